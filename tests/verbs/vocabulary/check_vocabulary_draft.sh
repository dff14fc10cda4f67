#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests heads of drafts that organ vocabulary --draft-head makes: rows, d2t, t2d, counts, GGUF, lists for torch, refusals. Ends with the line "N passed,
# N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"
. "$top/tests/verbs/tensors_kit.sh"
holds() { judge "$1" test "$(jq "$2" "$3")" = true; }

# offset MODEL TENSOR, values FILE OFFSET TYPE BYTES: where a tensor begins, and its values, each after a blank.
offset() { "$organ" inspect "$1" --tensors --json --quiet --select "$2" | jq '.tensors[0].offset'; }
values() { od -An -v -w8 -t "$3" -j "$2" -N "$4" "$1" | tr -s ' \n' ' '; }
# lists DRAFT: the target ids of the rows, by d2t; and by t2d.
by_d2t() { values "$1/model.safetensors" "$(offset "$1" d2t)" d8 $((8 * $2)) | tr ' ' '\n' | grep . | awk '{print $1 + NR - 1}'; }
by_t2d() { od -An -v -w1 -t u1 -j "$(offset "$1" t2d)" -N 2048 "$1/model.safetensors" | awk '$1 == 1 {print NR - 1}'; }

head -c 6000 tiny-qwen2/calibration.txt >text.txt
head -c 3000 tiny-qwen2/heldout.txt >other.txt
mkdir draft
safetensors >draft/model.safetensors <<'TENSORS'
fc.weight BF16 2 8,24
midlayer.hidden_norm.weight BF16 2 8
midlayer.self_attn.q_proj.weight BF16 2 8,16
norm.weight BF16 2 8
lm_head.weight BF16 2 2048,8
TENSORS
echo '{"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": 8, "vocab_size": 2048, "draft_vocab_size": 2048}' >draft/config.json

# ---- a draft with all rows ----
ends 0 vocabulary draft --target tiny-qwen2 --text text.txt --evaluate other.txt --draft-head 600 -o small --quiet
prints "2,048 rows became 600"
prints "never drafted"
report=small/organ/draft_head.json
judge "d2t is not the list of the report" cmp -s <(by_d2t small 600) <(jq '.kept[]' $report)
judge "t2d is not the list of the report" cmp -s <(by_t2d small) <(jq '.kept[]' $report)
judge "the rows" test "$(jq '.kept | length == 600 and . == sort' $report)" = true
holds "draft_vocab_size" '.draft_vocab_size == 600 and .vocab_size == 2048' small/config.json
head=$(offset small lm_head.weight) before=$(offset draft lm_head.weight)
for k in 0 1 300 599; do
    id=$(jq ".kept[$k]" $report)
    judge "row $k is another one" test "$(values small/model.safetensors $((head + 16 * k)) x1 16)" = "$(values draft/model.safetensors $((before + 16 * id)) x1 16)"
done
for name in fc.weight midlayer.hidden_norm.weight midlayer.self_attn.q_proj.weight norm.weight; do
    judge "$name" test "$(values small/model.safetensors "$(offset small $name)" x1 16)" = "$(values draft/model.safetensors "$(offset draft $name)" x1 16)"
done
holds "the token that ends texts" '.kept | index(2047) != null' $report
# The most frequent tokens of the text are kept, and the shares are those of a count.
"$organ" tokenize tiny-qwen2 --text text.txt --ids --json --quiet | jq -c .ids >ids.json
"$organ" tokenize tiny-qwen2 --text other.txt --ids --json --quiet | jq -c .ids >other.json
share() { jq -n --slurpfile ids "$1" --slurpfile r $report '($r[0].kept | map({key: tostring, value: true}) | from_entries) as $kept | $ids[0] | map(select($kept[tostring])) | length'; }
judge "covered tokens of the text" test "$(jq '.texts[0].covered' $report)" = "$(share ids.json)"
judge "covered tokens of the second text" test "$(jq '.evaluated.covered' $report)" = "$(share other.json)"
holds "the second text is not covered less" '.evaluated.percent < .texts[0].percent and .evaluated.percent > 0' $report
least=$(jq -n --slurpfile ids ids.json --slurpfile r $report '($r[0].kept | map({key: tostring, value: true}) | from_entries) as $kept |
    [$ids[0] | group_by(.)[] | {id: .[0], n: length}] | (map(select($kept[.id | tostring] | not).n) | max // 0) <= (map(select($kept[.id | tostring] and .id != 2047).n) | min)')
judge "a rarer token is kept before a more frequent one" test "$least" = true
ends 0 report $report -o page.html

# ---- audits ----
ends 0 audit draft small --json
holds "the audit" '.schema == "organ.audit_rows/1" and .kind == "EAGLE-3" and .rows_after == 600 and .identical == .tensors and ([.checks[].ok] | all)' ../out
# damaged SAYS COMMAND...: a copy that the command changes fails.
damaged() {
    rm -rf damaged && cp -r small damaged
    "${@:2}"
    ends 1 audit draft damaged --quiet
    says "$1"
}
changed() { jq "$2" "small/$1" >"damaged/$1"; }
flipped() {
    local at=$(($(offset small "$1") + 16)) byte
    byte=$(od -An -tu1 -j $at -N 1 small/model.safetensors)
    # shellcheck disable=SC2059 # the format is one escape
    { head -c $at small/model.safetensors && printf "\\x$(printf %x $((byte ^ 1)))" && tail -c +$((at + 2)) small/model.safetensors; } >damaged/model.safetensors
}
damaged "tensor 'lm_head.weight': 1 bytes are not those of the kept rows" flipped lm_head.weight
damaged "tensor 'fc.weight': 1 bytes are not those of the donor" flipped fc.weight
damaged "tensor 'd2t' of damaged is not the list of the kept tokens" flipped d2t
damaged "tensor 't2d' of damaged is not the list of the kept tokens" flipped t2d
damaged "config.json of damaged is not that of the donor with the number of rows" changed config.json '.draft_vocab_size = 2048'
damaged "another type or shape" changed organ/draft_head.json '.kept |= .[1:]'

# ---- a head that is smaller already, in the same steps; a dry run ----
ends 0 vocabulary small --target tiny-qwen2 --text text.txt --draft-head 100 -o less --quiet
ends 0 vocabulary draft --target tiny-qwen2 --text text.txt --draft-head 100 -o direct --quiet
judge "twice is not once" cmp -s less/model.safetensors direct/model.safetensors
judge "d2t of the second one" cmp -s <(by_d2t less 100) <(jq '.kept[]' direct/organ/draft_head.json)
cp -r draft own && cp tiny-qwen2/tokenizer*.json tiny-qwen2/generation_config.json own/
ends 0 vocabulary own --text text.txt --draft-head 100 -o alone --quiet
judge "its own tokenizer gives other rows" test "$(jq -c .kept alone/organ/draft_head.json)" = "$(jq -c .kept direct/organ/draft_head.json)"
was=$(inventory)
ends 0 vocabulary draft --target tiny-qwen2 --text text.txt --draft-head 100 -n --json
holds "a dry run has another list" '.dry_run and (.kept | length == 100)' ../out
judge "a dry run writes" test "$(inventory)" = "$was"

# A text that names a special token counts once, like any other.
printf '<|endoftext|> the the the' >named.txt
printf ' and and and and and' >plain.txt
and=$("$organ" tokenize tiny-qwen2 --text plain.txt --ids --json --quiet | jq -c '.ids[0]')
ends 0 vocabulary draft --target tiny-qwen2 --text named.txt --text plain.txt --draft-head 2 -n --json
judge "a text with a special token counts twice: $(jq -c .kept ../out)" test "$(jq -c .kept ../out)" = "[$and,2047]"

# ---- a resumed run keeps the rows of its target ----
# target FILTER: the target gets the tokenizer that the filter makes.
cp -rL tiny-qwen2 target && chmod -R u+w target
target() { jq "$1" tiny-qwen2/tokenizer.json >target/tokenizer.json; }
long=(vocabulary draft --target target --text text.txt --draft-head 600 -o resumed)
target .
interrupted INT resumed "${long[@]}"
judge "the run was not interrupted" test "$code" = 130
refused 2 "resumed: an unfinished run was found" "${long[@]}"
target '.model.vocab |= (to_entries | (.[300].value, .[301].value) |= 601 - . | from_entries)'
ends 2 "${long[@]}" --resume
says "its target 'tokenizer.json'"
target .
rm -rf .resumed.organ-partial
interrupted INT resumed "${long[@]}"
ends 0 "${long[@]}" --resume --quiet
judge "a resumed run writes another file" cmp -s resumed/model.safetensors small/model.safetensors
# The target is an input, which no output may replace.
ends 0 vocabulary tiny-qwen2 --text text.txt --keep-all -o whole --quiet
refused 2 "whole" vocabulary draft --target whole --text text.txt --draft-head 100 -o whole --force

# ---- GGUF: ids in d2t ----
str() {
    local LC_ALL=C
    le ${#1} 8
    printf %s "$1"
}
gguf() {
    local k token tokens
    mapfile -t tokens < <(jq -r '.model.vocab | to_entries | sort_by(.value) | .[:256][].key' tiny-qwen2/tokenizer.json)
    printf GGUF && le 3 4 && le 2 8 && le 6 8
    str general.architecture && le 8 4 && str eagle3
    str tokenizer.ggml.model && le 8 4 && str gpt2
    str tokenizer.ggml.pre && le 8 4 && str qwen2
    str tokenizer.ggml.tokens && le 9 4 && le 8 4 && le 256 8
    for token in "${tokens[@]}"; do str "$token"; done
    str tokenizer.ggml.merges && le 9 4 && le 8 4 && le 0 8
    str tokenizer.ggml.eos_token_id && le 4 4 && le 5 4
    str fc.weight && le 2 4 && le 24 8 && le 8 8 && le 0 4 && le 0 8
    str output.weight && le 2 4 && le 8 8 && le 256 8 && le 0 4 && le 768 8
}
gguf >head.bin
{
    cat head.bin
    head -c $(((32 - $(stat -c %s head.bin) % 32) % 32)) /dev/zero
    head -c $((768 + 8192)) tiny-qwen2/model-00001-of-00003.safetensors
} >eagle.gguf
ends 0 vocabulary eagle.gguf --text text.txt --draft-head 40 -o eagle40.gguf --quiet
ends 0 audit eagle.gguf eagle40.gguf --quiet
prints "Passed: "
judge "d2t of GGUF has no ids" test "$(values eagle40.gguf "$(offset eagle40.gguf d2t)" d8 320)" = " $(jq -r '.kept | join(" ")' eagle40.draft_head.json) "
judge "GGUF has a t2d" test "$("$organ" inspect eagle40.gguf --tensors --json --quiet --select all | jq -c '[.tensors[].name] | sort')" = '["d2t","fc.weight","output.weight"]'
row=$(jq '.kept[7]' eagle40.draft_head.json)
judge "row of GGUF" test "$(values eagle40.gguf $(($(offset eagle40.gguf output.weight) + 7 * 32)) x1 32)" = "$(values eagle.gguf $(($(offset eagle.gguf output.weight) + row * 32)) x1 32)"
ends 0 vocabulary eagle40.gguf --text text.txt --draft-head 10 -o eagle10.gguf --quiet
ends 0 vocabulary eagle.gguf --text text.txt --draft-head 10 -o once.gguf --quiet
judge "twice is not once in GGUF" cmp -s eagle10.gguf once.gguf

# ---- a block: the list that torch reads ----
with_block qwen3_5_text block
jq '.added_tokens = [] | .model.vocab |= with_entries(select(.value < 256)) | .model.merges = []' tiny-qwen2/tokenizer.json >block/tokenizer.json
ends 0 vocabulary block --text text.txt --evaluate other.txt --draft-head 50 -o map.pt --json
jq -c .kept ../out >kept.json
holds "the document" '.kind == "MTP" and .rows == 50 and .head == null' ../out
# A pickle of small numbers: K and a byte for each.
judge "the list of the archive" test "$(od -An -v -w2 -t u1 -j $((30 + 12 + 6)) -N 100 map.pt | awk '{printf "%s%s", NR == 1 ? "[" : ",", $2} END {print "]"}')" = "$(cat kept.json)"
if command -v unzip >/dev/null; then judge "the archive is damaged" unzip -tq map.pt; fi
refused 2 "map.pt" vocabulary block --text text.txt --draft-head 50 -o map.pt
refused 2 "map.pt" vocabulary block --text text.txt --draft-head 50 -o map.pt --dry-run
cp map.pt first.pt
ends 0 vocabulary block --text text.txt --draft-head 60 -o map.pt --force --quiet
judge "--force keeps the list" test "$(stat -c %s map.pt)" = $(($(stat -c %s first.pt) + 20))
judge "a report of a list is named" test -z "$(grep Report: ../out)"
cp first.pt text.pt
refused 2 "text.pt" vocabulary block --text text.txt --evaluate text.pt --draft-head 50 -o text.pt --force
# foreign COMMAND...: a file that is no list, which the command makes of one, is not replaced.
foreign() {
    "$@" <first.pt >foreign.pt
    refused 2 "foreign.pt exists and is neither" vocabulary block --text text.txt --draft-head 50 -o foreign.pt --force
}
foreign head -c -1
foreign sed 's/]q/}q/'
foreign sed 's/map.data/mop\/data/'
refused 2 "--resume" vocabulary block --text text.txt --draft-head 50 -o again.pt --resume
if command -v mpirun >/dev/null && [[ -f ${organ%/*}/liborgan_mpi.so ]]; then
    mpirun --allow-run-as-root --oversubscribe -n 2 "$organ" vocabulary block --text text.txt --draft-head 50 -o ranks.pt --quiet --threads 1 >../out 2>../err
    judge "two ranks write another list" cmp first.pt ranks.pt
    judge "two ranks leave files" test -z "$(find . -maxdepth 1 -name '.ranks.pt*')"
fi
was=$(inventory)
ends 0 vocabulary block --text text.txt --draft-head 50 -o none.pt --dry-run --quiet
judge "a dry run writes a list" test "$(inventory)" = "$was"
refused 2 "name it .pt" vocabulary block --text text.txt --draft-head 50 -o map
refused 2 "--target" vocabulary block --target tiny-qwen2 --text text.txt --draft-head 50 -o no.pt

# ---- refusals ----
refused 2 "--draft-head 2048: draft has 2048 rows" vocabulary draft --target tiny-qwen2 --text text.txt --draft-head 2048 -o no
refused 2 "--text" vocabulary draft --target tiny-qwen2 --draft-head 10 -o no
refused 2 "--output" vocabulary draft --target tiny-qwen2 --text text.txt --draft-head 10
refused 2 "--keep-all" vocabulary draft --target tiny-qwen2 --text text.txt --draft-head 10 --keep-all -o no
refused 2 "--draft-head" vocabulary tiny-qwen2 --text text.txt --target tiny-qwen2 -o no
refused 2 "--draft-head" vocabulary tiny-qwen2 --labels a,b --draft-head 10 -o no
refused 2 "config.json" vocabulary draft --target tiny-qwen2 --text text.txt --draft-head 10 -o no.safetensors
refused 3 "draft" vocabulary draft --text text.txt --draft-head 10 -o no
refused 3 "is no EAGLE-3 draft, and has no block" vocabulary tiny-qwen2 --text text.txt --draft-head 10 -o no.pt
refused 3 "is no EAGLE-3 draft, and has no block" vocabulary tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --text text.txt --draft-head 10 -o no.gguf
ends 0 convert block -o block.gguf --to gguf --quiet
refused 3 "llama.cpp loads no smaller head" vocabulary block.gguf --text text.txt --draft-head 10 -o no.gguf
# broken WHAT COMMAND...: a draft that the command has changed is refused.
broken() {
    rm -rf broken && cp -r small broken
    "${@:2}"
    refused 3 "$1" vocabulary broken --target tiny-qwen2 --text text.txt --draft-head 10 -o no
}
patched() { le "$2" 8 | dd of=broken/model.safetensors bs=1 seek=$(($(offset small d2t) + 8 * $1)) conv=notrunc status=none; }
broken "'d2t' maps row 3 to token 5003, which the target lacks" patched 3 5000
broken "which another row has" patched 3 $(($(jq '.kept[2]' $report) - 3))
renamed() { sed -i "s/\"$1\"/\"$2\"/" broken/model.safetensors; }
broken "none of its own" renamed lm_head.weight lm_face.weight
broken "has 600 rows and no 'd2t', but the target has 2048 tokens" renamed d2t x2t
broken "is packed" sed -i 's/"BF16"/"I16" /g' broken/model.safetensors
mkdir hollow && cp draft/config.json hollow/
printf '%s\n' 'fc.weight BF16 2 8,24' 'midlayer.hidden_norm.weight BF16 2 8' 'lm_head.weight BF16 2 2048,0' | safetensors >hollow/model.safetensors
refused 3 "'lm_head.weight' has no values" vocabulary hollow --target tiny-qwen2 --text text.txt --draft-head 10 -o no
# Without t2d only config.json states the number of the target's tokens.
states() { renamed t2d x2d && jq ".vocab_size = $1" small/config.json >broken/config.json; }
broken "config.json states 4294967295 tokens (vocab_size), but tiny-qwen2 has 2048 rows" states 4294967295
rm -rf broken && cp -r small broken && states 2048
ends 0 vocabulary small --target tiny-qwen2 --text text.txt --draft-head 10 -o ten --quiet
ends 0 vocabulary broken --target tiny-qwen2 --text text.txt --draft-head 10 -o listed --quiet
judge "rows without t2d" test "$(jq -c .kept listed/organ/draft_head.json)" = "$(jq -c .kept ten/organ/draft_head.json)"
cp tiny-qwen2/tokenizer*.json broken/ && states 67585
refused 3 "config.json states 67585 tokens (vocab_size), but the tokenizer has 2048" vocabulary broken --text text.txt --draft-head 10 -o no
states 67584
ends 0 vocabulary broken --text text.txt --draft-head 10 -o padded --quiet
judge "t2d of a padded target" test "$(jq '.tensors[0].shape[0]' <("$organ" inspect padded --tensors --json --quiet --select t2d))" = 67584
finish
