#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the mistyped commands of foreign_words.tsv, with words of other programs among them, and checks code and advice of each. Ends with the line
# "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
table=$top/tests/command/foreign_words.tsv

ln -s "$PWD/tiny-qwen2" M
cp tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf M.gguf
cp tiny-qwen2/heldout.txt T
ends 0 quantize M -o Q -s fp8-channel --quiet
mkdir strange
ln -s "$PWD"/tiny-qwen2/* strange
rm strange/config.json
sed 's/Qwen2ForCausalLM/KlingonForCausalLM/' tiny-qwen2/config.json >strange/config.json

rows=0
while IFS=$'\t' read -r code thing command; do
    [[ $code == '#'* ]] && continue
    read -ra words <<<"$command"
    if [[ $code == 1 ]]; then # the report of a failed check is on stdout
        ends 1 "${words[@]}"
        says "$thing"
    else
        refused "$code" "$thing" "${words[@]}"
    fi
    rows=$((rows + 1))
done <"$table"
here=$table
judge "has few rows" test "$rows" -ge 80

# A message never suggests a word that is far from what was typed.
here="words that resemble none"
for word in recipe port keep hello reports; do
    refused 2 "unknown option '--$word'" quantize M -o q -s fp8-channel "--$word"
    judge "suggests something from afar" test "$(grep -c 'did you mean' ../err)" = 0
done

# ---- help of one option, and of the exit codes ----
ends 0 help memory
prints "-m, --memory SIZE"
ends 0 help target-size
prints "--target-size SIZES"
ends 0 help exits
prints "130  interrupted"

# ---- a report whose model was deleted ----
ends 0 convert M -o c.gguf --to gguf --quiet
rm c.gguf
refused 2 "the report of an earlier c.gguf" convert M -o c.gguf --to gguf
ends 0 convert M -o c.gguf --to gguf --quiet --force

finish
