#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks the files that `ninja install` installs: the program, manual pages, completion, and the library with its headers. Needs a built tree
# (ninja) and writes into a scratch directory only.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=$PWD
. tests/kit/counts.sh
# holds WHAT COMMAND...: the command succeeds and prints nothing.
holds() {
    if "${@:2}" >"$scratch/log" 2>&1 && [[ ! -s $scratch/log ]]; then good; else bad "$1" "$scratch/log"; fi
}

# Prints the value of a variable of build.ninja with its continued lines joined.
variable() { sed -e ':a' -e '/\$$/{N;s/\$\n *//;ba' -e '}' build.ninja | sed -n "s/^$1 = //p"; }
public=$(variable public_headers)
prefix=$scratch/prefix

# shellcheck disable=SC2086 # a list of headers
holds "install fails" env PREFIX="$prefix" DESTDIR= packaging/install.sh "$(variable libs)" $public
# shellcheck disable=SC2086
holds "install with DESTDIR fails" env PREFIX=/usr DESTDIR="$scratch/stage" packaging/install.sh "$(variable libs)" $public
holds "DESTDIR holds something else" diff <(cd "$prefix" && find . | sort) <(cd "$scratch/stage/usr" && find . | sort)
holds "organ.pc names the scratch directory" grep -qx 'prefix=/usr' "$scratch/stage/usr/lib/pkgconfig/organ.pc"
touch "$scratch/stage/usr/bin/other"
holds "uninstall fails" env PREFIX=/usr DESTDIR="$scratch/stage" packaging/install.sh --remove
holds "uninstall leaves or takes something" diff <(cd "$scratch/stage" && find . -not -type d) <(echo ./usr/bin/other)
rm -r "$scratch/stage"

# ---- the program, its pages and completion ----
here=$("$prefix/bin/organ" version | head -n 1)
version=${here#organ }
holds "every page is there" diff <("$prefix/bin/organ" manual --list | sort) <(cd "$prefix/share/man/man1" && for p in *.1; do echo "${p%.1}"; done | sort)
for page in organ organ-prune organ-lora-extract; do
    holds "$page.1 is old" diff <("$prefix/bin/organ" manual "$page") "$prefix/share/man/man1/$page.1"
done
holds "completion of bash" diff <("$prefix/bin/organ" completion bash) "$prefix/share/bash-completion/completions/organ"
holds "completion of zsh" diff <("$prefix/bin/organ" completion zsh) "$prefix/share/zsh/site-functions/_organ"
holds "completion of fish" diff <("$prefix/bin/organ" completion fish) "$prefix/share/fish/vendor_completions.d/organ.fish"

# ---- the shared library: its names, and no symbols but those of public headers ----
library=$prefix/lib/liborgan.so
if [[ $(readlink -f "$library") == "$(readlink -f "$prefix/lib/liborgan.so.$version")" ]]; then good; else bad "liborgan.so is not $version"; fi
holds "no soname" grep -q 'Library soname: \[liborgan.so.5\]' <(readelf -d "$library")
nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort >"$scratch/exported"
holds "a symbol without version" bash -c "! grep -v '@@ORGAN_5$' '$scratch/exported'"
sed -i 's/@@.*//' "$scratch/exported"
# Lists the functions and data that the headers declare, from the compiler's preprocessed output.
echo "#include <organ/organ.h>" >"$scratch/all.c"
# shellcheck disable=SC2086 # CC may be a command with words: "ccache gcc"
${CC:-cc} -std=c11 -I "$prefix/include" -E "$scratch/all.c" 2>"$scratch/log" | awk -v root="$prefix/include/organ/" '
    /^# [0-9]+ "/ { split($0, quoted, "\""); ours = index(quoted[2], root) == 1; next }
    ours && !/^#/' | tr '\n' ' ' | sed 's/{[^{}]*}/;/g; s/{[^{}]*}/;/g; s/{[^{}]*}/;/g' | tr ';' '\n' |
    grep -vE 'typedef|static inline' | sed 's/__attribute__.*//' >"$scratch/declarations"
{
    sed -nE 's/^[^(]*[ *](organ_[a-z0-9_]+) *\(.*/\1/p' "$scratch/declarations"
    grep 'extern const' "$scratch/declarations" | tr ',' '\n' | grep -oE 'organ_[a-z0-9_]+ *$'
} | tr -d ' ' | sort >"$scratch/declared"
holds "what is declared is not what is exported" diff "$scratch/declared" "$scratch/exported"
if (($(wc -l <"$scratch/exported") > 100)); then good; else bad "hardly anything is exported" "$scratch/exported"; fi

# ---- headers: each compiles alone, as C and as C++ ----
for header in $public; do
    printf '#include <%s>\ntypedef int unit;\n' "${header#include/}" >"$scratch/one.c"
    holds "$header as C11" ${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror -I "$prefix/include" -fsyntax-only "$scratch/one.c"
done
cxx=${CXX:-$(command -v g++ || command -v clang++)}
if [[ -n $cxx ]]; then
    for header in $public; do
        printf '#include <%s>\n' "${header#include/}" >"$scratch/one.cpp"
        holds "$header as C++17" "$cxx" -std=c++17 -Wall -Wextra -Wpedantic -Werror -I "$prefix/include" -fsyntax-only "$scratch/one.cpp"
    done
fi

# ---- a user's program: with the shared library, with the static one, in C++ ----
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
words() { pkg-config "$@" | tr '\n' ' '; }
if [[ $(pkg-config --modversion organ) == "$version" ]]; then good; else bad "organ.pc has another version"; fi
# shellcheck disable=SC2086,SC2046 # lists of options
{
    holds "zeros.c with liborgan.so" ${CC:-cc} -std=c11 -Wall -Wextra -Werror docs/examples/zeros.c $(words --cflags --libs organ) -o "$scratch/shared"
    mkdir "$scratch/static" && cp "$prefix/lib/liborgan.a" "$scratch/static"
    holds "zeros.c with liborgan.a" ${CC:-cc} -std=c11 docs/examples/zeros.c $(words --cflags organ) -L "$scratch/static" \
        $(words --static --libs organ | sed "s,-L$prefix/lib ,,") -o "$scratch/alone"
}
holds "is not linked with liborgan.so.5" grep -q 'NEEDED.*\[liborgan.so.5\]' <(readelf -d "$scratch/shared")
holds "liborgan.a is not in the program" bash -c "! readelf -d '$scratch/alone' | grep liborgan"
"$prefix/bin/organ" prune fixtures/tiny-qwen2 -o "$scratch/pruned" --quiet >/dev/null || bad "the installed program does not prune"
LD_LIBRARY_PATH=$prefix/lib "$scratch/shared" "$scratch/pruned" >"$scratch/shown" 2>&1 || bad "zeros fails" "$scratch/shown"
holds "zeros with liborgan.a prints something else" diff <("$scratch/alone" "$scratch/pruned") "$scratch/shown"
holds "zeros counts wrongly" grep -qE '^model.layers.0.self_attn.q_proj.weight +22411 of +102400 +21.89 %$' "$scratch/shown"
"$scratch/alone" nowhere >"$scratch/shown" 2>&1
if (($? == 4)) && grep -q '^nowhere: ' "$scratch/shown"; then good; else bad "zeros nowhere" "$scratch/shown"; fi
if [[ -n $cxx ]]; then
    cat >"$scratch/sum.cpp" <<'END'
#include <organ/models.h>
#include <organ/stream.h>
#include <iostream>
int main(int, char **argv)
{
    organ_error error{};
    organ_model *model = nullptr;
    organ_stop stop{};
    if (organ_model_open(argv[1], &model, &error) != ORGAN_OK || organ_stop_is_requested(&stop))
        return error.status;
    std::cout << model->tensor_count << " tensors\n";
    organ_model_close(model);
}
END
    # shellcheck disable=SC2046
    holds "C++ does not link" "$cxx" -std=c++17 -Wall -Wextra -Werror "$scratch/sum.cpp" $(words --cflags --libs organ) -o "$scratch/sum"
    holds "C++ counts wrongly" diff <(LD_LIBRARY_PATH=$prefix/lib "$scratch/sum" "$root/fixtures/tiny-qwen2") <(echo "50 tensors")
fi

finish
