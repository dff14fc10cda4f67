#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks that clang-format 14 would leave every C source as it is, that shellcheck finds nothing in the scripts, and that functions of the product have
# at most 40 lines. Run from the root; ends with the line "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
. tests/kit/counts.sh
root=$PWD

# Prints the sources of the project with these endings.
sources() { git ls-files -co --exclude-standard -- "$@" 2>/dev/null | while read -r file; do [[ -f $file ]] && echo "$file"; done; }
# changed: of the files that it reads, prints those that differ from what they were 40 commits ago. Both programs take half a minute for all files, and
# earlier tests had the others. It prints all of them in `ninja test-whole` and without `ninja`, with other rules of layout, and where git does not know
# those commits.
changed() {
    if [[ ${EFFORT:-all} != all ]] && git diff --quiet HEAD~40 -- .clang-format 2>/dev/null; then
        grep -xFf <(git diff --name-only HEAD~40 && git ls-files -o --exclude-standard)
    else
        cat
    fi
}
sources '*.c' '*.h' >"$scratch/c_files"
sources '*.sh' >"$scratch/scripts"
# A tarball has no git.
[[ -s $scratch/c_files ]] || find kernels formats orchestrator tests bench docs include -name '*.[ch]' >"$scratch/c_files"
[[ -s $scratch/scripts ]] || find tests packaging bench docs fixtures -name '*.sh' >"$scratch/scripts"

# needs PROGRAM: fails without the program, whose package is in the command for tests of README.md.
needs() { command -v "$1" >/dev/null && return || bad "$1 is not installed"; }

# clean WHAT FILE: passes if the file is empty.
clean() { if [[ -s $2 ]]; then bad "$1" "$2"; else good; fi; }

if needs clang-format; then
    changed <"$scratch/c_files" | xargs -r -d '\n' -P "${JOBS:-2}" -n 200 clang-format --dry-run 2>&1 | grep 'warning: ' | cut -d: -f 1 | sort | uniq -c >"$scratch/found"
    clean "$(clang-format --version) would change (clang-format -i FILE)" "$scratch/found"
    # The comparison finds a file with another layout.
    printf 'int  a ;\n' >"$scratch/wrong.c"
    cp "$root/.clang-format" "$scratch/.clang-format"
    judge "a source with another layout passes" grep -q 'warning: ' <(cd "$scratch" && clang-format --dry-run wrong.c 2>&1)
fi
# Scripts read in kits, which set and use variables of each other (SC2034, SC2154), and split lists of words on purpose (SC2046, SC2206). SC1010 is about
# `done` as the name of a state.
if needs shellcheck; then
    changed <"$scratch/scripts" | xargs -r -d '\n' -P "${JOBS:-2}" -n 20 shellcheck -S warning -f gcc -e SC1010,SC2034,SC2046,SC2154,SC2206 >"$scratch/found" 2>&1
    clean "shellcheck" "$scratch/found"
    # shellcheck disable=SC2016
    printf '#!/bin/sh\necho "$list[0]"\n' >"$scratch/wrong.sh"
    judge "a script with a fault passes" bash -c '! shellcheck -S warning "$1" >/dev/null' - "$scratch/wrong.sh"
fi

# long_functions: reads names of files and prints functions of more than 40 lines between their braces.
long_functions() {
    xargs -d '\n' awk '
        FNR == 1 { open = 0 }
        /^[a-z].*[a-z_0-9]\(/ { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
        /^\{$/ { open = FNR }
        /^\}$/ && open {
            lines = FNR - open - 1
            if (lines > 40) print FILENAME ": " name " has " lines " lines"
            open = 0
        }'
}
grep -E '^(formats|orchestrator)/' "$scratch/c_files" | long_functions >"$scratch/found"
clean "functions of more than 40 lines" "$scratch/found"
{ echo 'int f(int a)' && echo '{' && yes '    a++;' | head -n 41 && echo '}'; } >"$scratch/long.c"
judge "a function of 41 lines passes" grep -q 'f has 41 lines' <(echo "$scratch/long.c" | long_functions)
conclude
