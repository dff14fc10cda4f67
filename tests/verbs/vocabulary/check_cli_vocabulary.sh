#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ vocabulary: output, exit codes, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../../kit/cli_kit.sh"
calibration=tiny-qwen2/calibration.txt heldout=tiny-qwen2/heldout.txt

ends 0 help vocabulary
matches help/help_vocabulary ../out

# ---- results ----
head -c 3000 "$calibration" >small.txt
ends 0 vocabulary tiny-qwen2 --text small.txt --evaluate "$heldout" --evaluate-tokens 100 --quiet
matches vocabulary/vocabulary ../out
ends 0 vocabulary tiny-qwen2 --text small.txt --evaluate "$heldout" --evaluate-tokens 100 --json --quiet --html page.html
cp ../out saved.json
matches vocabulary/vocabulary_json ../out
jq 'del(.run)' ../out >../whole
judge "the page has no table" grep -q "</table>" page.html
judge "the page has no chart of sizes" grep -q "Tensors with a row for each token" page.html
ends 0 vocabulary tiny-qwen2 --text small.txt --evaluate "$heldout" --evaluate-tokens 100 --json --threads 3 --memory 16M
judge "threads or memory change the document" cmp -s <(jq 'del(.run)' ../out) ../whole
ORGAN_ISA=scalar ends 0 vocabulary tiny-qwen2 --text small.txt --evaluate "$heldout" --evaluate-tokens 100 --json
judge "the ISA changes the document" cmp -s <(jq 'del(.run)' ../out) ../whole
ends 0 report saved.json -o saved.html

# figure PATH: that of the last document. holds WHAT-NOT CONDITION FILE: the condition is true of the document.
figure() { jq "$1" ../out; }
holds() { judge "$1" test "$(jq "$2" "$3")" = true; }
chosen='.policies[] | select(.chosen)'

# Each policy keeps what the first one keeps, and costs less; all tokens cost nothing.
holds "a policy keeps less than the texts need" '[.policies[].tokens] | min == .[0]' saved.json
holds "more tokens make a longer text" '.policies | sort_by(.tokens) | [.[].text_tokens] | . == (sort | reverse)' saved.json
holds "more tokens drop more" '.policies | sort_by(.tokens) | [.[].dropped] | . == (sort | reverse)' saved.json
holds "all tokens cost" '.policies[] | select(.policy == "all tokens") | .more_percent == 0 and .saved == 0' saved.json
holds "the sizes do not add up" '.totals.bytes as $all | all(.policies[]; .bytes + .saved == $all)' saved.json
holds "the members of needs do not add up" '.needs | (.texts + (.template // 0) + .parts + .bytes + .added) == .tokens' saved.json
holds "kinds do not add up" '(.vocabulary.tokens == ([.kinds[].tokens] | add)) and (.needs.texts == ([.kinds[].used] | add))' saved.json
holds "scripts do not add up" '.vocabulary.tokens == ([.scripts[].tokens] | add)' saved.json

# Texts together need what each needs.
ends 0 vocabulary tiny-qwen2 --text small.txt --text "$heldout" --json
both=$(figure .needs.tokens)
cat small.txt "$heldout" >joined.txt
ends 0 vocabulary tiny-qwen2 --text joined.txt --json
judge "two texts do not need what they need in one file" test "$both" -ge "$(($(figure .needs.tokens) - 2))"
judge "one text needs more than two" test "$both" -gt "$(jq .needs.tokens saved.json)"

# The options choose a policy of the list, or add one.
ends 0 vocabulary tiny-qwen2 --text small.txt --keep-characters --json
judge "--keep-characters is another policy" test "$(figure "$chosen | .policy")" = '"+ characters"'
ends 0 vocabulary tiny-qwen2 --text small.txt --keep-characters --keep-merges 500 --multiple-of 256 --json
holds "the policy of three options" "$chosen | .characters and .first_merges == 500 and .rows % 256 == 0 and .rows >= .tokens and .rows - .tokens < 256" ../out
judge "500 merges make no more tokens" test "$(figure "$chosen | .tokens")" -gt "$(jq .policies[0].tokens saved.json)"

# A GGUF file has the same vocabulary. Its blocks are sizes of rows.
ends 0 vocabulary tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --text small.txt --json
judge "a GGUF file needs other tokens" test "$(figure .needs.texts)" = "$(jq .needs.texts saved.json)"
holds "its rows have another size" '.tables[0] | .bytes % .rows == 0' ../out

# Names of special tokens in a text are both special tokens and characters.
printf 'one <|endoftext|> two\n' >special.txt
ends 0 vocabulary tiny-qwen2 --text special.txt --json
holds "the name is no token" '.kinds[] | select(.kind == "added") | .used == 1' ../out

# Without a second text no tensor is read.
cp -rL tiny-qwen2 hollow && chmod -R u+w hollow
for file in hollow/*.safetensors; do
    size=$(stat -c %s "$file") header=$(od -An -t u8 -N 8 "$file")
    truncate -s $((header + 8)) "$file" && truncate -s "$size" "$file"
done
ends 0 vocabulary hollow --text small.txt --json
judge "the values of tensors change the report" test "$(jq -c .policies[0].bytes saved.json)" = "$(figure .policies[0].bytes)"

# ---- refusals ----
refused 2 "MODEL" vocabulary
refused 2 "--text" vocabulary tiny-qwen2
refused 2 "'--json'" vocabulary tiny-qwen2 --text small.txt --jsn
refused 2 "--multiple-of" vocabulary tiny-qwen2 --text small.txt --multiple-of 65537
refused 4 "nowhere" vocabulary nowhere --text small.txt
refused 4 "nowhere.txt" vocabulary tiny-qwen2 --text nowhere.txt
mkdir bare && echo '{}' >bare/config.json
refused 3 "bare" vocabulary bare --text small.txt
: >empty.txt
refused 3 "empty.txt: is empty" vocabulary tiny-qwen2 --text empty.txt
refused 3 "empty.txt: is empty" vocabulary tiny-qwen2 --text small.txt --evaluate empty.txt
printf 'text\0text' >zero.bin
refused 3 "zero.bin: is no text: byte 4 is 0" vocabulary tiny-qwen2 --text small.txt --text zero.bin
printf 'caf\xe9 au lait' >latin.txt
refused 3 "latin.txt: is no text in UTF-8: byte 3 is 0xe9" vocabulary tiny-qwen2 --text latin.txt
for kind in WordPiece Unigram; do
    cp -rL tiny-qwen2 $kind && chmod -R u+w $kind
    jq --arg kind $kind '.model = {type: $kind, vocab: (if $kind == "Unigram" then [["a", 0]] else {a: 0} end)}' tiny-qwen2/tokenizer.json >$kind/tokenizer.json
    refused 3 "'$kind' is not supported" vocabulary $kind --text small.txt
done
cp -rL tiny-qwen2 none && chmod -R u+w none && rm none/{tokenizer,vocab}.json none/merges.txt
refused 3 "none" vocabulary none --text small.txt
finish
