#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every session of README.md and the pages in docs/ and compares its output; checks that the target of every link exists.
#
# A session is an indented block. "    $ COMMAND" begins a command, a backslash at its end continues it, and the lines below are its output. The
# sessions of a page run in one directory, in the order of the page, with build/ in PATH and a link to fixtures/. The output is stdout, then the
# lines of stderr that begin with "error: ", "warning: " or "note: ". The comparison ignores blank lines, lines of progress, "Time:", "Bound by" and the width of gaps, and takes all
# times as equal. A line "..." stands for any number of lines. A command without output must exit with 0. A block below
# "<!-- not run: REASON -->" is skipped, and one below "<!-- real model -->" unless ORGAN_PUBLISHED names the folder of bench/published.sh, to
# which the session's directory then has a link `published`. With ORGAN_PUBLISHED=none, there is no such link, and the sessions fetch all that they need, as
# on a machine that has nothing.
#
# Ends with the line "N passed, N failed". Arguments name the pages to check (default: all). Unless EFFORT is all, it runs the sessions of the pages in
# `first` and of every third other page but that of experts, whose runs take longest.
# shellcheck source=tests/kit/cli_kit.sh
. "$(dirname "$0")/kit/cli_kit.sh"
cd "$golden/../.." && cd -P . || exit 1
root=$PWD
unset COLUMNS
export PATH=$root/build:$PATH
limit=300 # seconds of a command
[[ -z ${ORGAN_PUBLISHED:-} ]] || limit=3600
[[ ${ORGAN_PUBLISHED:-} != none ]] || unset no_proxy NO_PROXY
mapfile -t pages < <(find README.md docs -name '*.md' | LC_ALL=C sort)
first="README.md docs/tutorial.md docs/cookbook.md"
chosen=("$@")
[[ -n ${1:-} ]] || for page in "${!pages[@]}"; do
    [[ ${pages[page]} == docs/verbs/experts.md ]] && in_part && continue
    if ! in_part || ((page % 3 == 0)) || [[ " $first " == *" ${pages[page]} "* ]]; then chosen+=("${pages[page]}"); fi
done

# ---- sessions ----
# split PAGE FOLDER: writes commands and their outputs as FOLDER/N.command and N.output, and the line number in the page as N.line.
# shellcheck disable=SC2016
split() {
    awk -v folder="$2" -v real="${ORGAN_PUBLISHED:-}" '
        function begin() { name = sprintf("%s/%03d", folder, ++count); print FNR >(name ".line"); close(name ".line"); printf "" >(name ".output") }
        /^<!-- not run: .+ -->$/ || (/^<!-- real model -->$/ && real == "") { skipped = 1; next }
        !/^(    |$)/ { name = ""; more = 0; if (skipped == 2) skipped = 0; next }
        /^    / && skipped { skipped = 2; next }
        /^    \$ / || (more && /^    /) {
            if (!more) begin()
            print substr($0, more ? 5 : 7) >(name ".command")
            more = /\\$/
            next
        }
        name != "" { print substr($0, 5) >(name ".output") }' "$1"
}

# Prints the part of a file that is compared.
# shellcheck disable=SC2016
plain() { sed -E -e '/^ *Time: /d' -e '/^ *--memory auto: /d' -e '/^Bound by /d' -e '/^note: .* is done: /d' -e 's/[0-9]+\.[0-9]+ s\b/T s/g' -e 's/[─ ]+/ /g' -e 's/^ //' -e 's/ $//' -e '/^$/d' "$1"; }

# holds WANTED PRINTED: whether the lines of PRINTED match those of WANTED, where "..." stands for any number of lines. Each part between two of
# these is searched from the end of the part before; the first part must begin PRINTED, the last one must end it.
# shellcheck disable=SC2016
holds() {
    awk '
        function same(at, from, to, k) {
            for (k = from; k <= to; k++) if (wanted[k] != printed[at + k - from]) { far = k > far ? k : far; return 0 }
            return 1
        }
        FILENAME == ARGV[1] { wanted[++last] = $0; next }
        { printed[++end] = $0 }
        END {
            at = 1
            for (from = 1; from <= last; from = to + 2) {
                for (to = from; to <= last && wanted[to] != "..."; to++) {}
                far = from
                final = --to == last
                if (final && from > 1 && end - (to - from) > at) at = end - (to - from)
                while (to >= from && !same(at, from, to)) {
                    at++
                    if (from == 1 || at + to - from > end) { text = wanted[far]; print "not printed: " text; exit 1 }
                }
                at += to - from + 1
                if (final && at <= end) { print "printed, but not shown: " printed[at]; exit 1 }
            }
        }' "$1" "$2"
}

session() {
    local page=$1 file command
    mkdir -p "$scratch/$page.parts" "$scratch/$page.area"
    split "$page" "$scratch/$page.parts"
    ln -s "$root/fixtures" "$root/bench" "$scratch/$page.area/"
    [[ ${ORGAN_PUBLISHED:-none} == none ]] || ln -s "$(realpath "$ORGAN_PUBLISHED")" "$scratch/$page.area/published"
    for file in "$scratch/$page.parts"/*.command; do
        [[ -e $file ]] || continue
        command=$(<"$file")
        here="$page:$(<"${file%command}line"): $command"
        (cd "$scratch/$page.area" && timeout "$limit" bash -c "$command") >"$scratch/out" 2>"$scratch/err" </dev/null
        code=$?
        plain "${file%command}output" >"$scratch/wanted"
        if [[ ! -s $scratch/wanted ]]; then
            if ((code == 0)); then good; else bad "ends with $code" "$scratch/err"; fi
            continue
        fi
        cat "$scratch/out" <(grep -E '^(error|warning|note): ' "$scratch/err") >"$scratch/all"
        plain "$scratch/all" >"$scratch/printed"
        if holds "$scratch/wanted" "$scratch/printed" >"$scratch/why"; then good; else bad "$(<"$scratch/why")" "$scratch/all"; fi
    done
    rm -rf "$scratch/$page.area"
}
for page in "${chosen[@]}"; do session "$page"; done
[[ -n ${1:-} ]] && finish

# ---- links ----
# Prints the anchors of a page: its headings in lower case, with "-" for blanks and without punctuation.
anchors() {
    awk '/^```/ { code = !code } !code && /^#+ /' "$1" | sed -E -e 's/^#+ +//' -e 's/\[([^]]*)\]\([^)]*\)/\1/g' |
        tr '[:upper:]' '[:lower:]' | sed -E -e 's/[^[:alnum:] _-]//g' -e 's/ /-/g'
}
# targets PAGE: prints the targets of its links, except in code.
# shellcheck disable=SC2016
targets() { sed -E -e '/^(    |```)/d' -e 's/`[^`]*`//g' "$1" | grep -oE '\]\([^)]*\)' | sed -E -e 's/^\]\(//' -e 's/\)$//' | grep -vE '^https?:'; }
# leads PAGE TARGET: whether the target is a file and, if it has an anchor, a heading of that file.
leads() {
    local file=${2%%#*}
    if [[ -n $file ]]; then file=$(dirname "$1")/$file; else file=$1; fi
    [[ -e $file ]] || return
    [[ $2 != *#* ]] || grep -qxF -- "${2#*#}" < <(anchors "$file")
}
for page in "${pages[@]}" CONTRIBUTING.md; do
    here=$page
    while read -r target; do
        judge "the link '$target' leads nowhere" leads "$page" "$target"
        [[ $target == *#* && ${target%%#*} == '' ]] || realpath -m --relative-to=. "$(dirname "$page")/${target%%#*}" >>"$scratch/linked"
    done < <(targets "$page")
done
for page in "${pages[@]}"; do
    here=$page
    [[ $page == README.md ]] || judge "no page links to it" grep -qxF -- "$page" "$scratch/linked"
done
here=README.md
judge "has more than 20,000 bytes" test "$(wc -c <README.md)" -le 20000
# The checks find faults: a missing heading, a missing page, a line that is not printed, a printed line that is not shown.
here="the checks themselves"
if leads README.md docs/nothing.md || leads README.md docs/library.md#nothing; then bad "a link that leads nowhere passes"; else good; fi
judge "a link to a heading does not pass" leads docs/library.md ../README.md#install
printf '%s\n' one two three four >"$scratch/printed"
wrong() { printf '%s\n' "$@" >"$scratch/wanted" && ! holds "$scratch/wanted" "$scratch/printed" >"$scratch/why"; }
judge "two lines exchanged pass" wrong two one ...
judge "a line too many passes" wrong one two three four five
judge "a line too few passes" wrong one two three
judge "a line that is not printed passes" wrong one ... tree ... four
judge "a line after the last passes" wrong ... three
right() { ! wrong "$@"; }
judge "lines left out do not pass" right one ... three four
judge "lines left out at both ends do not pass" right ... two three ...

finish
