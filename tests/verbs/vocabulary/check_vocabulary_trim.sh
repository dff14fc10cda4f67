#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the models that organ vocabulary writes: rows, ids in all files, texts, lists, padding, resumed runs, refusals. Ends with the line "N passed, N
# failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
q8=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
head -c 6000 tiny-qwen2/calibration.txt >text.txt
head -c 3000 tiny-qwen2/heldout.txt >other.txt

# holds WHAT-NOT CONDITION FILE: the condition is true of the document.
holds() { judge "$1" test "$(jq "$2" "$3")" = true; }

# row MODEL TENSOR ROW: the bytes of a row of a tensor, as hexadecimal digits.
row() {
    local file offset width
    read -r file offset width < <("$organ" inspect "$1" --tensors --json --quiet --select "$2" |
        jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes / .shape[0])"')
    [[ -d $1 ]] && file=$1/$file || file=$(dirname "$1")/$file
    od -An -v -tx1 -j $((offset + $3 * width)) -N "$width" "$file" | tr -d ' \n'
}

# ids MODEL TEXT: the ids of a text, one a line. renamed KEPT: writes the lines of ids of the whole vocabulary as those of the output.
ids() { "$organ" tokenize "$1" --text "$2" --ids --json --quiet | jq '.ids[]'; }
renamed() { jq -r --slurpfile report "$1" -n '($report[0].kept | to_entries | map({key: (.value | tostring), value: .key}) | from_entries) as $new |
    inputs | $new[tostring] // "none"'; }

# checked MODEL OUT REPORT TENSOR: the text has the same tokens, another text the same bytes, and rows are those of the model.
checked() {
    local k kept
    judge "$2: the text has other tokens" cmp -s <(ids "$1" text.txt | renamed "$3") <(ids "$2" text.txt)
    judge "$2: another text cannot be read" test "$(ids "$2" other.txt | wc -l)" -gt "$(ids "$1" other.txt | wc -l)"
    kept=$(jq '.kept | length' "$3")
    for k in 0 1 17 $((kept / 2)) $((kept - 1)); do
        judge "$2: row $k is another one" test "$(row "$2" "$4" "$k")" = "$(row "$1" "$4" "$(jq ".kept[$k]" "$3")")"
    done
    judge "$2: rows" test "$("$organ" inspect "$2" --tensors --json --quiet --select "$4" | jq '.tensors[0].shape[0]')" = "$kept"
}

# ---- a directory ----
ends 0 vocabulary tiny-qwen2 --text text.txt -o small --quiet
prints "2,048 rows became"
report=small/organ/vocabulary.json
checked tiny-qwen2 small $report model.embed_tokens.weight
eos=$(jq '.kept | index(2047)' $report) kept=$(jq '.kept | length' $report)
judge "vocab_size" test "$(jq .vocab_size small/config.json)" = "$kept"
judge "eos_token_id" test "$(jq .eos_token_id small/config.json)" = "$eos"
judge "eos_token_id of generation_config.json" test "$(jq .eos_token_id small/generation_config.json)" = "$eos"
judge "the id of the added token" test "$(jq '.added_tokens[0].id' small/tokenizer.json)" = "$eos"
judge "added_tokens_decoder" test "$(jq -r '.added_tokens_decoder | keys[]' small/tokenizer_config.json)" = "$eos"
judge "the vocabulary has holes" test "$(jq '.model.vocab | [.[]] | sort == [range(length)]' small/tokenizer.json)" = true
judge "files that list old tokens are copied" test ! -e small/vocab.json -a ! -e small/merges.txt
ends 0 autopsy small --quiet
ends 0 perplexity small --text other.txt --max-tokens 300 --json
ends 0 generate small --prompt "the" --tokens 4

# Twice is once, and two texts are their union.
ends 0 vocabulary small --text text.txt -o twice --quiet
judge "a second time removes more" cmp -s small/tokenizer.json twice/tokenizer.json
judge "a second time has other rows" cmp -s small/model.safetensors twice/model.safetensors
ends 0 vocabulary tiny-qwen2 --text text.txt --text other.txt -o both --quiet
judge "both texts: other tokens" cmp -s <(ids tiny-qwen2 other.txt | renamed both/organ/vocabulary.json) <(ids both other.txt)
ends 0 vocabulary tiny-qwen2 --text other.txt -o second --quiet
judge "two texts need other tokens than each" test "$(jq -sc '.[0].kept + .[1].kept | unique' $report second/organ/vocabulary.json)" = "$(jq -c .kept both/organ/vocabulary.json)"

# A list, and all tokens.
ends 0 vocabulary tiny-qwen2 --tokens $report -o listed --quiet
for file in config.json generation_config.json tokenizer.json tokenizer_config.json model.safetensors; do
    judge "--tokens: $file" cmp -s "small/$file" "listed/$file"
done
ends 0 vocabulary $q8 --tokens $report --text text.txt -o listed.gguf --quiet
checked $q8 listed.gguf $report token_embd.weight
ends 0 vocabulary tiny-qwen2 --text text.txt --keep-all -o all --quiet
for file in config.json generation_config.json tokenizer.json tokenizer_config.json; do
    judge "--keep-all: $file" cmp -s "tiny-qwen2/$file" "all/$file"
done
ends 0 compare tiny-qwen2 all --json
judge "--keep-all changes values" test "$(jq '[.pairs[].distance] | add' ../out)" = 0
ends 0 vocabulary tiny-qwen2 --text text.txt --multiple-of 128 -o padded --quiet
judge "--multiple-of" test $(($(jq .vocab_size padded/config.json) % 128)) = 0
checked tiny-qwen2 padded padded/organ/vocabulary.json model.embed_tokens.weight

# transformers writes a length without limit as an integer of 31 digits, which stays as it is.
cp -rL tiny-qwen2 endless && chmod -R u+w endless
sed -i 's/"model_max_length": [0-9]*/"model_max_length": 1000000000000000019884624838656/' endless/tokenizer_config.json
ends 0 vocabulary endless --text text.txt -o endless-small --quiet
judge "a length without limit changes" grep -q '"model_max_length": 1000000000000000019884624838656' endless-small/tokenizer_config.json
ends 0 vocabulary endless --labels a,b -o endless-labels --quiet
printf "qwzx\n" >word.txt
ends 0 vocabulary endless --add word.txt -o endless-larger --quiet
ends 0 audit endless endless-larger --quiet
ends 0 audit endless endless-small --quiet

# ---- GGUF ----
ends 0 vocabulary $q8 --text text.txt -o small.gguf --quiet
checked $q8 small.gguf small.vocabulary.json token_embd.weight
judge "the key of EOS" test "$("$organ" tokenize small.gguf --text text.txt --json --quiet | jq .tokenizer.eos)" = "$(jq '.kept | index(2047)' small.vocabulary.json)"
ends 0 perplexity small.gguf --text other.txt --max-tokens 300 --json
ends 0 convert small -o converted.gguf --to gguf --quiet
judge "a smaller model as GGUF has other tokens" cmp -s <(ids small text.txt) <(ids converted.gguf text.txt)

# ---- audits ----
for made in small listed padded all; do
    ends 0 audit tiny-qwen2 $made
    prints "Passed: "
done
ends 0 audit tiny-qwen2 small --text text.txt --json
holds "texts in both models" '.texts[0] | .same_tokens == .tokens and .same_logits == 512 and .compared == 512' ../out
ends 0 audit $q8 small.gguf --text text.txt --quiet
ends 1 audit tiny-qwen2 small --text text.txt --text other.txt --quiet
prints "other.txt: token "
printf '\xff' >binary.txt
ends 3 audit tiny-qwen2 small --text binary.txt --quiet
says "binary.txt: is no text in UTF-8: byte 0 is 0xff"
ends 2 audit tiny-qwen2 tiny-qwen2 --text text.txt --quiet
says "tiny-qwen2: is no output of organ vocabulary, which --text needs"
ends 2 audit --recipe r.yaml small --text text.txt --quiet
ends 0 audit $q8 small.gguf --json --html audit.html
holds "the audit of a GGUF file" '(.schema == "organ.audit_vocabulary/1") and ([.checks[].ok] | all) and .tensors == .identical' ../out
# damaged FILE COMMAND...: a copy of small in which the command changes the file, whose text it reads, fails the audit, which says the last argument.
damaged() {
    rm -rf damaged && cp -r small damaged
    "${@:2:$#-2}" <"small/$1" >"damaged/$1"
    ends 1 audit tiny-qwen2 damaged --quiet
    says "${*: -1}"
}
# flipped OFFSET: changes a byte.
flipped() {
    local byte
    cat >../bytes
    byte=$(od -An -tu1 -j "$1" -N 1 ../bytes)
    # shellcheck disable=SC2059 # the format is one escape
    head -c "$1" ../bytes && printf "\\x$(printf %x $((byte ^ 1)))" && tail -c +$(($1 + 2)) ../bytes
}
at() { "$organ" inspect small --tensors --json --quiet --select "$1" | jq '.tensors[0].offset'; }
damaged model.safetensors flipped $(($(at model.embed_tokens.weight) + 700)) "tensor 'model.embed_tokens.weight': 1 bytes are not those of the kept rows"
damaged model.safetensors flipped $(($(at model.norm.weight) + 7)) "tensor 'model.norm.weight': 1 bytes are not those of the donor"
damaged config.json jq '.eos_token_id = 3' "eos_token_id is 3, not"
damaged config.json jq '.vocab_size = 2048' "vocab_size is 2048, not"
damaged generation_config.json jq 'del(.eos_token_id)' "eos_token_id is absent"
damaged tokenizer.json jq '.model.vocab |= (to_entries | (.[5].value, .[6].value) |= 11 - . | from_entries)' "is not token"
damaged tokenizer.json jq '.model.merges |= reverse' "is none of the donor's, or not in its order"
damaged organ/vocabulary.json jq 'del(.kept[3])' "tensor 'model.embed_tokens.weight' of damaged has another type or shape"
rm -rf damaged && cp -r small damaged && cp -f twice/tokenizer.json damaged/
ends 0 audit tiny-qwen2 damaged --quiet

# ---- dry runs, resumed runs, outputs that exist ----
before=$(inventory)
ends 0 vocabulary tiny-qwen2 --text text.txt -o none --dry-run --json
holds "a dry run keeps other tokens" '(.dry_run and (.kept | length) == '"$kept)" ../out
judge "a dry run writes" test "$(inventory)" = "$before"
refused 2 "small" vocabulary tiny-qwen2 --text text.txt -o small
ends 0 vocabulary tiny-qwen2 --text other.txt -o small --force --quiet
judge "--force" cmp -s small/model.safetensors second/model.safetensors

# ---- settings: each is an id, refused by name, or none ----
# changed FILE FILTER: a model with another setting.
changed() {
    rm -rf changed && cp -rL tiny-qwen2 changed && chmod -R u+w changed
    jq "$2" "tiny-qwen2/$1" >"changed/$1"
}
# becomes FILE FILTER PATH VALUE: the setting of the output has the value.
becomes() {
    changed "$1" "$2"
    rm -rf made && ends 0 vocabulary changed --text text.txt -o made --quiet
    judge "$1: $2: $(jq -c "$3" "made/$1")" test "$(jq -c "$3" "made/$1")" = "$4"
}
id=$(jq '.kept[300]' listed/organ/vocabulary.json)
becomes config.json ".image_token_id = $id" .image_token_id 300
becomes config.json ".text_config = {vocab_size: 2048, pad_token_id: $id, eos_token_id: [$id, 2047]}" '[.text_config[]]' "[$kept,300,[300,$eos]]"
becomes config.json ".vision_config = {vocab_size: 77, out_indices: [1, 2]} | .pad_token_id = -1 | .bos_token_id = null" \
    '[.vision_config.vocab_size, .vision_config.out_indices, .pad_token_id, .bos_token_id]' "[77,[1,2],-1,null]"
becomes config.json ".audio_config = {inner: {boi_token_index: $id}}" .audio_config.inner.boi_token_index 300
becomes generation_config.json ".suppress_tokens = [$id, 2000, 2047] | .bad_words_ids = [[2000, $id], [$id]]" '[.suppress_tokens, .bad_words_ids]' \
    "[[300,$eos],[[300]]]"
becomes generation_config.json ".forced_bos_token_id = $id" .forced_bos_token_id 300
# A setting's token stays, though no text has it.
absent=$(jq -n --slurpfile r listed/organ/vocabulary.json '[range(2047)] - $r[0].kept | .[-1]')
changed config.json ".mask_token_id = $absent"
rm -rf made && ends 0 vocabulary changed --text text.txt -o made --quiet
judge "a setting's token goes" test "$(jq ".kept[$(jq .mask_token_id made/config.json)]" made/organ/vocabulary.json)" = "$absent"

# refuses FILE FILTER TEXT: the run names file and setting.
refuses() {
    changed "$1" "$2"
    refused 3 "$3" vocabulary changed --text text.txt -o made2
    refused 3 "$3" vocabulary changed --text text.txt -n
    ends 0 vocabulary changed --text text.txt --quiet
}
rm -rf made
refuses config.json '.fancy_id = 7' "config.json: fancy_id is 7: it may be the id of a token, but is not known to be one"
refuses config.json '.audio_config = {thing_ids: [1, 2]}' "config.json: audio_config.thing_ids is [1,2]"
refuses config.json '.vocab_offset = 2048' "config.json: vocab_offset is 2048: a vocabulary of codes, offsets or n-grams"
refuses config.json '.oe_vocab_sizes = [5]' "config.json: oe_vocab_sizes is [5]"
refuses config.json '.vocab_size = 2000' "config.json: vocab_size is 2000: the embedding has another number of rows"
refuses config.json '.image_token_id = 5000' "config.json: image_token_id is 5000: the vocabulary has no such token"
refuses generation_config.json '.lang_to_id = {"<|en|>": 5}' "generation_config.json: lang_to_id is"
refuses generation_config.json '.forced_decoder_ids = [[1, 5]]' "generation_config.json: forced_decoder_ids is"

# ---- refusals ----
refused 2 "config.json" vocabulary tiny-qwen2 --text text.txt -o one.safetensors
refused 2 "--multiple-of" vocabulary tiny-qwen2 --text text.txt --multiple-of 3000 -o made
refused 2 "--keep-merges" vocabulary tiny-qwen2 --tokens listed/organ/vocabulary.json --keep-merges 5
refused 2 "--keep-all" vocabulary tiny-qwen2 --text text.txt --keep-all --keep-characters
refused 2 "--multiple-of" vocabulary tiny-qwen2 --tokens listed/organ/vocabulary.json --multiple-of 8
refused 3 "has no list 'kept'" vocabulary tiny-qwen2 --tokens tiny-qwen2/config.json -o made
jq '.kept[3] = 2' listed/organ/vocabulary.json >twice.json
refused 3 "kept[3] is 2" vocabulary tiny-qwen2 --tokens twice.json -o made
refused 3 "is a list of another tokenizer" vocabulary "${model%/*}/tiny-llama" --tokens listed/organ/vocabulary.json -o made
cp -rL tiny-qwen2 bare && chmod -R u+w bare && mkdir bare/x && rm -r bare/x && mv bare/tokenizer.json bare/tokenizer.txt
refused 3 "bare" vocabulary bare --text text.txt -o made
finish
