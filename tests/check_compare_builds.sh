#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests compare_builds.sh: a build equals itself; a build that writes another byte, ends with another code or says something else is reported.
cd "$(dirname "$0")/.." || exit 1
. tests/kit/counts.sh
organ=$PWD/build/organ

# build NAME: makes a build from the script on stdin, in which $organ is the program.
build() {
    { printf '#!/usr/bin/env bash\norgan=%q\n' "$organ" && cat; } >"$scratch/$1"
    chmod +x "$scratch/$1"
}
# compares NAME END PATTERN: compares the program with a build; checks the last line.
compares() {
    here="a build: $1"
    tests/compare_builds.sh "$organ" "$scratch/$1" "$3" >"$scratch/report" 2>&1
    judge "is not reported as '$2'" test "$(tail -n 1 "$scratch/report")" = "$2"
}
build equal <<<'exec "$organ" "$@"'
build byte <<<'"$organ" "$@" && if [[ $1 == extract ]]; then printf x >>"$(find o/qwen2-organs -name "*.bin" | sort | tail -n 1)"; fi'
build code <<<'"$organ" "$@" && exit 9'
build file <<<'"$organ" "$@" && : >o/another'
build word <<<'"$organ" "$@" | sed s/Qwen2ForCausalLM/Qwen3ForCausalLM/'
compares equal "4 passed, 0 failed" '^(inspect|extract) qwen2 '
compares byte "4 passed, 1 failed" '^(inspect|extract) qwen2 '
compares code "1 passed, 1 failed" '^inspect qwen2 '
compares file "1 passed, 1 failed" '^inspect qwen2 '
compares word "1 passed, 1 failed" '^inspect qwen2 '
finish
