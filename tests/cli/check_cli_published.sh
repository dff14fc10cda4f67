#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What published models keep in other places or under other names than the fixtures: names of tensors without their base prefix or with words of wrappers,
# configurations without a class. The results must equal those of the same model in the usual form. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

root=${organ%/build/organ}
text=$root/fixtures/tiny-moe/calibration.txt
commit=0123456789abcdef0123456789abcdef01234567

# header FILE: prints the JSON of a file of safetensors.
header() { tail -c +9 "$1" | head -c "$(od -An -tu8 -N8 "$1" | tr -d ' ')"; }
# reheader FILE FILTER: changes the names of tensors in a file of safetensors by a filter of jq, with the name as input.
reheader() {
    local old size
    old=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    header "$1" | jq -jc "with_entries(if .key == \"__metadata__\" then . else .key |= ($2) end)" >../header
    size=$(stat -c %s ../header)
    while ((size % 8)); do printf ' ' >>../header && size=$((size + 1)); done
    {
        for at in 0 8 16 24 32 40 48 56; do printf "\\x$(printf %x $((size >> at & 255)))"; done
        cat ../header
        tail -c +$((9 + old)) "$1"
    } >../made && mv ../made "$1"
}
# contents FILE: prints the digest of the tensors of a file of safetensors in order of names.
contents() {
    header "$1" | jq -r --argjson at $((9 + $(od -An -tu8 -N8 "$1"))) 'del(.__metadata__) | to_entries | sort_by(.key)[] | .value.data_offsets
        | "tail -c +\(.[0] + $at) \"$file\" | head -c \(.[1] - .[0])"' | file=$1 bash | md5sum
}
# make TYPE NAME: the model of this type in the directory NAME.
make() { (cd "$root" && build/checks/arch_model "$1" "$scratch/area/$2") >../out 2>&1 || bad "$1 cannot be made" ../out; }
nll() { jq '.models[0].figures.nll' ../out; }

# ---- names of tensors ----
# adapter DIRECTORY MODEL MODULE PREFIX: a LoRA adapter of rank 1 for the matrix PREFIX MODULE .weight, whose shape it takes from MODEL; all its values are 2^-4.
adapter() {
    local rows cols
    read -r rows cols < <(header "$2/model.safetensors" | jq -r --arg n "$4$3.weight" '.[$n].shape | @tsv')
    mkdir -p "$1"
    jq -jc -n --arg m "base_model.model.$4$3" --argjson r "$rows" --argjson c "$cols" \
        '{($m + ".lora_A.weight"): {dtype: "F32", shape: [1, $c], data_offsets: [0, 4 * $c]},
          ($m + ".lora_B.weight"): {dtype: "F32", shape: [$r, 1], data_offsets: [4 * $c, 4 * ($c + $r)]}}' >../header
    {
        printf "\\x$(printf %x $(($(stat -c %s ../header) & 255)))\\x$(printf %x $(($(stat -c %s ../header) >> 8)))\\0\\0\\0\\0\\0\\0"
        cat ../header
        for ((k = 0; k < rows + cols; k++)); do printf '\0\0\x80\x3d'; done
    } >"$1/adapter_model.safetensors"
    jq -n --arg m "${3##*.}" '{peft_type: "LORA", r: 1, lora_alpha: 1, target_modules: [$m]}' >"$1/adapter_config.json"
}

# TYPE PREFIX MODULE: a file of the model without its head lacks the prefix; gemma's norms get 1 more in GGUF, and cwm is converted by name alone.
while read -r type prefix module; do
    mkdir -p usual bare
    make $type usual/model
    cp -r usual/model bare/model
    reheader bare/model/model.safetensors "ltrimstr(\"$prefix\")"
    judge "$type has no names with $prefix" test "$(header bare/model/model.safetensors | jq -c keys)" != "$(header usual/model/model.safetensors | jq -c keys)"
    ends 0 perplexity usual/model --text "$text" --max-tokens 40 --context 16 --json --quiet
    before=$(nll)
    ends 0 perplexity bare/model --text "$text" --max-tokens 40 --context 16 --json --quiet
    judge "$type scores otherwise without $prefix" test "$(nll)" = "$before"
    for form in usual bare; do ends 0 convert $form/model -o $form.gguf --to gguf --quiet; done
    judge "$type becomes another GGUF file without $prefix" cmp usual.gguf bare.gguf
    adapter lora usual/model "$module" "$prefix"
    ends 0 lora merge --base usual/model --adapter lora -o usual.safetensors --quiet
    ends 0 lora merge --base bare/model --adapter lora -o bare.safetensors --quiet
    reheader bare.safetensors 'if test("^(lm_head|embed_out)") then . else "'$prefix'" + . end'
    judge "$type is merged otherwise without $prefix" cmp -s <(contents usual.safetensors) <(contents bare.safetensors)
    judge "$type is not changed by the adapter" test "$(contents usual.safetensors)" != "$(contents usual/model/model.safetensors)"
    rm -r usual bare lora ./*.gguf ./*.safetensors ./*.json ./*REPORT*
done <<'END'
bloom transformer. h.0.self_attention.query_key_value
gpt_neox gpt_neox. layers.1.attention.dense
mamba backbone. layers.0.mixer.in_proj
gemma model. layers.0.self_attn.q_proj
cwm model. layers.0.mlp.up_proj
END

# words that PyTorch's wrappers put into names: the model's names do not have them
make qwen3 wrapped
cp -r wrapped plain
reheader wrapped/model.safetensors '"_orig_mod." + sub("layers.0."; "layers.0._orig_mod.")'
ends 0 perplexity plain --text "$text" --max-tokens 40 --context 16 --json --quiet
before=$(nll)
ends 0 perplexity wrapped --text "$text" --max-tokens 40 --context 16 --json
judge "wrapped names score otherwise" test "$(nll)" = "$before"
mv wrapped wrapped_model && mkdir -p wrapped a && mv wrapped_model wrapped/model && mv plain a/model
ends 0 convert wrapped/model -o wrapped.gguf --to gguf
says "wrapped"
ends 0 convert a/model -o a.gguf --to gguf --quiet
judge "wrapped names become another GGUF file" cmp a.gguf wrapped.gguf

# ---- no class in config.json, or that of the model without its head ----
for class in 'del(.architectures)' '.architectures = []' '.architectures = ["Qwen3Model"]'; do
    jq "$class" a/model/config.json >set.json
    cp set.json wrapped/model/config.json
    ends 0 perplexity wrapped/model --text "$text" --max-tokens 40 --context 16 --json --quiet
    judge "$class scores otherwise" test "$(nll)" = "$before"
    ends 0 convert wrapped/model -o wrapped.gguf --to gguf --quiet --force
    judge "$class becomes another GGUF file" cmp a.gguf wrapped.gguf
done
jq 'del(.architectures, .model_type)' a/model/config.json >wrapped/model/config.json
refused 3 "'(none)'" perplexity wrapped/model --text "$text" --quiet

# ---- DeepSeek-V4: FP8 and FP4 under names of its own ----
make deepseek_v4-fp4 v4
ends 0 perplexity v4 --text "$text" --max-tokens 60 --context 30 --activations off --json --quiet
before=$(nll)
ends 0 dequantize v4 -o v4-plain --quiet
judge "config.json still states codes" jq -e '(has("quantization_config") or has("expert_dtype")) | not' v4-plain/config.json
judge "a tensor is still of codes" test "$(header v4-plain/model.safetensors | jq -c '[.[].dtype? // empty] | unique')" = '["BF16","F32","I64"]'
ends 0 perplexity v4-plain --text "$text" --max-tokens 60 --context 30 --json --quiet
judge "it scores otherwise after dequantize" test "$(nll)" = "$before"
refused 3 "no rules for llama.cpp's 'deepseek4'" convert v4-plain -o v4.gguf --to gguf --quiet
refused 3 "ffn.gate.tid2eid" experts v4-plain -o v4-cut --keep 50% --score frequency --calibration "$text" --samples 2 --context 32 --quiet
refused 2 "its attention is compressed" width v4-plain -o v4-cut --heads 50% --calibration "$text" --samples 2 --context 32 --quiet
refused 2 "organ can round: it has compressed attention" perplexity v4-plain --text "$text" --max-tokens 60 --context 30 --kv-cache fp8 --quiet

# ---- BOS: the post_processor of tokenizer.json decides, as in transformers 5, and the GGUF file does the same ----
cp -rL tiny-qwen2 flags && chmod -R u+w flags
template='{type: "TemplateProcessing", single: [{SpecialToken: {id: "<|endoftext|>", type_id: 0}}, {Sequence: {id: "A", type_id: 0}}],
    pair: [{SpecialToken: {id: "<|endoftext|>", type_id: 0}}, {Sequence: {id: "A", type_id: 0}}, {Sequence: {id: "B", type_id: 1}}],
    special_tokens: {"<|endoftext|>": {id: "<|endoftext|>", ids: [2047], tokens: ["<|endoftext|>"]}}}'
while read -r flag post adds; do
    jq ".post_processor = ${post/template/$template}" tiny-qwen2/tokenizer.json >flags/tokenizer.json
    jq ".add_bos_token = $flag | .bos_token = \"<|endoftext|>\"" tiny-qwen2/tokenizer_config.json >flags/tokenizer_config.json
    ends 0 convert flags -o flags.gguf --to gguf --quiet --force
    judge "add_bos_token $flag and $post: the GGUF file has another flag" test "$("$root/build/checks/gguf_keys" flags.gguf | grep -a -c "add_bos_token	$adds")" = 1
    for one in flags flags.gguf; do
        ends 0 perplexity $one --text "$text" --max-tokens 40 --context 16 --json --quiet
        [[ $adds == true ]] && prints '"bos": "BOS once before the text"' || prints '"bos": "no BOS: '
    done
    ends 0 convert flags.gguf -o flags-back --to safetensors --quiet --force
    ends 0 perplexity flags-back --text "$text" --max-tokens 40 --context 16 --json --quiet
    [[ $adds == true ]] && prints '"bos": "BOS once before the text"' || prints '"bos": "no BOS: '
done <<'END'
true {type:"ByteLevel",add_prefix_space:true,trim_offsets:false,use_regex:true} false
false template true
true null false
END
# EOS after a text: GGUF has a flag for it, tokenizer.json a template; a text's last token is EOS, and the EOS of the config then ends a turn
jq ".post_processor = $template | .post_processor.single = .post_processor.single[1:] + [.post_processor.single[0]]" tiny-qwen2/tokenizer.json >flags/tokenizer.json
jq '.eos_token = "!"' tiny-qwen2/tokenizer_config.json >flags/tokenizer_config.json
ends 0 convert flags -o flags.gguf --to gguf --quiet --force
"$root/build/checks/gguf_keys" flags.gguf >../keys
for key in 'add_eos_token	true' 'add_bos_token	false' 'eos_token_id	2047' "eot_token_id	$(jq '.model.vocab["!"]' tiny-qwen2/tokenizer.json)"; do
    judge "the GGUF file lacks $key" grep -q "^tokenizer.ggml.$key$" ../keys
done
ends 0 convert flags.gguf -o flags-back --to safetensors --quiet --force
judge "the template does not end with EOS" test "$(jq -c '[.post_processor.single[] | .SpecialToken.id // .Sequence.id]' flags-back/tokenizer.json)" = '["A","<|endoftext|>"]'

# ---- types of added tokens: special ones are control tokens (3), also those that tokenizer_config.json names; all others are user-defined (4) ----
jq '(.model.vocab | to_entries | map(select(.value | . >= 2043 and . <= 2046)) | sort_by(.value)) as $last | ["<|a|>", "<｜b｜>", "<|c|>", "<|d|>"] as $new
    | .model.vocab |= (with_entries(select(.value < 2043 or .value > 2046)) + ([range(4) | {key: $new[.], value: (2043 + .)}] | from_entries))
    | .model.merges |= .[:-4] | .added_tokens += [range(4) | {id: (2043 + .), content: $new[.], single_word: false, lstrip: false, rstrip: false,
    normalized: false, special: (. == 2)}]' tiny-qwen2/tokenizer.json >flags/tokenizer.json
jq 'del(.added_tokens_decoder) | .additional_special_tokens = ["<|d|>"]' tiny-qwen2/tokenizer_config.json >flags/tokenizer_config.json
ends 0 convert flags -o flags.gguf --to gguf --quiet --force
judge "added tokens have other types" test "$("$root/build/checks/gguf_keys" flags.gguf | grep -a '^tokenizer.ggml.token_type' | cut -f 2 | jq -c '.[2043:]')" = '[4,4,3,3,3]'
printf 'a<|a|>b<|d|>' >flags.txt
for one in flags flags.gguf; do
    ends 0 tokenize $one --text flags.txt --ids
    judge "$one: other tokens" test "$(grep -cE '^(2043|2046)$' ../out)" = 1
done

# ---- chat templates ----
# templates FILE: the chat templates in the keys of a GGUF file.
templates() { "$root/build/checks/gguf_keys" "$1" | grep '^tokenizer.chat_template' | cut -d . -f 2-; }
cp -rL tiny-qwen2 chat && chmod -R u+w chat
mkdir chat/additional_chat_templates
echo '{"chat_template": "JSON"}' >chat/chat_template.json
ends 0 convert chat -o chat.gguf --to gguf --quiet
judge "chat_template.json is lost" test "$(templates chat.gguf)" = 'chat_template	"JSON"'
jq '.chat_template = [{name: "default", template: "LISTED"}, {name: "rag-2", template: "RAG"}]' tiny-qwen2/tokenizer_config.json >chat/tokenizer_config.json
ends 0 convert chat -o chat.gguf --to gguf --quiet --force
judge "the list of tokenizer_config.json is lost" test "$(templates chat.gguf)" = $'chat_template\t"LISTED"\nchat_template.rag_2\t"RAG"\nchat_templates\t["rag_2"]'
ends 0 convert chat.gguf -o chat-back --to safetensors --quiet
judge "the named templates are lost on the way back" test "$(jq -c .chat_template chat-back/tokenizer_config.json)" = \
    '[{"name":"default","template":"LISTED"},{"name":"rag_2","template":"RAG"}]'
printf MAIN >chat/chat_template.jinja
printf TOOL >chat/additional_chat_templates/tool_use.jinja
ends 0 convert chat -o chat.gguf --to gguf --quiet --force
judge "the files of templates do not come first" test "$(templates chat.gguf)" = $'chat_template\t"MAIN"\nchat_template.tool_use\t"TOOL"\nchat_templates\t["tool_use"]'
rm -r chat/chat_template.jinja chat/additional_chat_templates chat.gguf chat-back
cp tiny-qwen2/tokenizer_config.json chat && printf ONE >chat/chat_template.jinja
ends 0 convert chat -o chat.gguf --to gguf --quiet --force
ends 0 convert chat.gguf -o chat-back --to safetensors --quiet
judge "the template is lost on the way back" test "$(jq -c .chat_template chat-back/tokenizer_config.json)" = '"ONE"'

# ---- added tokens without a row in the embedding ----
cp -rL tiny-qwen2 longer && chmod -R u+w longer
jq '.added_tokens += [{id: 2048, content: "<image_soft_token>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true}]
    | .model.vocab["<image_soft_token>"] = 2048' tiny-qwen2/tokenizer.json >longer/tokenizer.json
ends 0 convert longer -o longer.gguf --to gguf
says "2048"
judge "the GGUF file has another vocabulary" test "$("$root/build/checks/gguf_keys" longer.gguf | grep -a -aE '^tokenizer.ggml.(tokens|token_type)' | cut -f 2 | jq length | uniq)" = 2048
jq '.model.vocab["qzqz"] = 2048' tiny-qwen2/tokenizer.json >longer/tokenizer.json
refused 3 "'qzqz'" \
    convert longer -o no.gguf --to gguf --quiet

# ---- tokens that end a text ----
# ends_with ID MODEL: the text of the model ends with this token.
ends_with() {
    ends 0 generate "$2" --prompt "In the beginning" -n 12 --json --quiet
    judge "$2 does not end with $1" jq -e ".stopped == \"eos\" and .generated.ids[-1] == $1" ../out
}
cp -rL tiny-qwen2 stops && chmod -R u+w stops
rm stops/generation_config.json
ends 0 generate stops --prompt "In the beginning" -n 12 --json --quiet
judge "the text ends at once" jq -e '.stopped == "length"' ../out
first=$(jq '.generated.ids[3]' ../out) second=$(jq '.generated.ids[5]' ../out)
jq ".eos_token_id = [2047, $second]" tiny-qwen2/config.json >stops/config.json
ends_with "$second" stops
echo "{\"eos_token_id\": [2047, $first]}" >stops/generation_config.json
ends_with "$first" stops
echo "{\"eos_token_id\": $first}" >stops/generation_config.json
ends_with "$first" stops
echo '{"eos_token_id": "x"}' >stops/generation_config.json
refused 3 "eos_token_id" generate stops --prompt In -n 1
echo "{\"eos_token_id\": [2047, $second, $first], \"temperature\": 0.5, \"top_k\": 20}" >stops/generation_config.json
ends 0 convert stops -o stops.gguf --to gguf --quiet
ends_with "$first" stops.gguf
judge "the GGUF file lacks an id" test "$("$root/build/checks/gguf_keys" stops.gguf | grep -a -cE "^(tokenizer.ggml.(eos_token_id	2047|eot_token_id	$second|eom_token_id	$first)|general.sampling.(temp	0.5|top_k	20))$")" = 5
ends 0 convert stops.gguf -o stops-back --to safetensors --quiet
ends_with "$first" stops-back
judge "generation_config.json lost a member" test "$(jq -c 'del(.bos_token_id, .pad_token_id)' stops-back/generation_config.json)" = \
    "{\"eos_token_id\":[2047,$second,$first],\"temperature\":0.5,\"do_sample\":true,\"top_k\":20}"
echo "{\"eos_token_id\": [2047, $second, $first, 7, 8, 7]}" >stops/generation_config.json
ends 0 convert stops -o four.gguf --to gguf
says "eos_token_id"
"$root/build/checks/gguf_keys" stops.gguf eom.gguf tokenizer.ggml.eot_token_id= || bad "the key cannot be removed"
ends_with "$first" eom.gguf

# ---- a number for each layer where config.json has one for all ----
make llama layered
rm layered/tokenizer.json
ends 0 convert layered -o one.gguf --to gguf --quiet
width=$("$root/build/checks/gguf_keys" one.gguf | sed -n 's/^llama.feed_forward_length	//p')
layers=$("$root/build/checks/gguf_keys" one.gguf | sed -n 's/^llama.block_count	//p')
list=$(jq -nc "[range($layers) | $width]")
"$root/build/checks/gguf_keys" one.gguf many.gguf "llama.feed_forward_length=i32:$list" || bad "the key cannot be set"
ends 0 convert many.gguf -o layered-back --to safetensors --quiet
judge "the width is not that of the layers" test "$(jq .intermediate_size layered-back/config.json)" = "$width"
"$root/build/checks/gguf_keys" one.gguf many.gguf "llama.feed_forward_length=i32:$(jq -c '.[-1] += 32' <<<"$list")" || bad "the key cannot be set"
refused 3 "'llama.feed_forward_length'" convert many.gguf -o no --to safetensors --quiet

# ---- scores and types of a SentencePiece vocabulary, which tokenizer.json does not have ----
rows=2048
words=$(jq -nc --argjson n $rows '"0123456789ABCDEF" as $d | ["<unk>", "<s>", "</s>"] + [range(256) | "<0x\($d[. / 16 | floor:][:1])\($d[. % 16:][:1])>"] + ["▁"]
    + ("abcdefgh" | split("")) + ["ab", "abc", "de", "abcde", "▁a"] + ["<tool>"] | . + [range(length; $n) | [19968 + .] | implode]')
types=$(jq -nc --argjson n $rows '[2, 3, 3] + [range(256) | 6] + [range(259; $n) | if . == 273 then 4 else 1 end]')
ends 0 convert "${model%/*}/tiny-llama" -o llama.gguf --to gguf --quiet
as_pieces() {
    "$root/build/checks/gguf_keys" "$1" pieces.gguf tokenizer.ggml.{model='string:"llama"',pre='string:"default"',merges=,add_eos_token=,eot_token_id=} \
        "tokenizer.ggml.tokens=string:$words" "tokenizer.ggml.scores=f32:$(jq -nc --argjson n $rows '[range($n) | if . < 260 then 0 else -. * 1.5 end]')" \
        "tokenizer.ggml.token_type=i32:$types" tokenizer.ggml.{bos_token_id=u32:1,eos_token_id=u32:2,unknown_token_id=u32:0,padding_token_id=} \
        tokenizer.ggml.add_space_prefix=bool:true tokenizer.ggml.add_bos_token=bool:true || bad "the keys cannot be set"
    ends 0 convert pieces.gguf -o pieces --to safetensors --force
}
as_pieces flags.gguf
says "transformers 5.24 loads the tokenizer of this model type in a class with its own normalizer" # that of Qwen 2 splits texts into bytes
as_pieces llama.gguf
ends 0 evaluate pieces pieces.gguf --text "$text" --max-tokens 40 --context 16 --json --quiet
judge "the same tokens are scored otherwise" test "$(jq '.models[1].comparison.ratio == 1' ../out)" = true
ends 0 convert pieces -o pieces-back.gguf --to gguf --quiet
for key in scores token_type tokens model; do
    same "$key is lost" <("$root/build/checks/gguf_keys" pieces.gguf | grep -a "ggml.$key	") <("$root/build/checks/gguf_keys" pieces-back.gguf | grep -a "ggml.$key	")
done
# scores that are not those of tokenizer.json's merges are not used
jq '.model.merges |= (.[1:] + .[:1])' pieces/tokenizer.json >set.json && mv set.json pieces/tokenizer.json
ends 0 convert pieces -o pieces-back.gguf --to gguf --quiet --force
judge "scores of other merges are used" test "$("$root/build/checks/gguf_keys" pieces.gguf | grep -a ggml.scores)" != "$("$root/build/checks/gguf_keys" pieces-back.gguf | grep -a ggml.scores)"
head -c 100 pieces/tokenizer.model >set.model && mv set.model pieces/tokenizer.model
ends 0 convert pieces -o pieces-back.gguf --to gguf --quiet --force

# ---- the files of a snapshot: an index next to model.safetensors, GGUF files in folders and next to a projector ----
make llama both
jq -n '{metadata: {}, weight_map: {"model.norm.weight": "model-00001-of-00002.safetensors"}}' >both/model.safetensors.index.json
ends 0 prune both -o pruned
says "model.safetensors.index.json"
judge "the output has the index of other files" test ! -e pruned/model.safetensors.index.json
export HF_HUB_CACHE=$PWD/cache
snapshot=cache/models--acme--Tiny/snapshots/$commit file=$root/fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
mkdir -p cache/models--acme--Tiny/{refs,blobs} $snapshot/Q8_0
printf %s $commit >cache/models--acme--Tiny/refs/main
cp "$file" cache/models--acme--Tiny/blobs/abc
ln -s ../../../blobs/abc $snapshot/Q8_0/tiny-Q8_0.gguf
ln -s ../../../blobs/abc $snapshot/Q8_0/mmproj-F16.gguf
ln -s ../../blobs/abc $snapshot/mmproj-BF16.gguf
printf {} >$snapshot/config.json
ends 0 inspect acme/Tiny --json
judge "the model in the folder is not found" test "$(jq -r .model.name ../out)" = tiny-Q8_0.gguf
ends 0 models --json
judge "the model has another name" jq -e '[.models[].name] == ["hf:acme/Tiny"]' ../out
mkdir $snapshot/BF16 && ln -s ../../../blobs/abc $snapshot/BF16/tiny-BF16.gguf
refused 3 "BF16/tiny-BF16.gguf" inspect acme/Tiny
ends 0 inspect hf:acme/Tiny/BF16/tiny-BF16.gguf
ends 0 models --json
judge "the files in folders have no names" jq -e '[.models[].name] == ["hf:acme/Tiny/BF16/tiny-BF16.gguf", "hf:acme/Tiny/Q8_0/tiny-Q8_0.gguf"]' ../out
ln -s ../../blobs/abc $snapshot/tiny-Q8_0.gguf
ends 0 inspect acme/Tiny --json
judge "the model next to the projector is not found" jq -e ".model.files == 1 and .model.tensors > 40" ../out
rm $snapshot/tiny-Q8_0.gguf $snapshot/BF16/* $snapshot/Q8_0/tiny*
ln -s ../../../blobs/missing $snapshot/BF16/tiny-BF16.gguf
refused 3 "'../../../blobs/missing'" inspect acme/Tiny
unset HF_HUB_CACHE

# ---- general.* of a GGUF file: the name of the model, and what its card says ----
# name_of FILE: general.name, as JSON.
name_of() { "$root/build/checks/gguf_keys" "$1" | sed -n 's/^general.name	//p'; }
mkdir -p hub/models--acme--Tiny-1B/snapshots hub/plain
cp -rL tiny-qwen2 hub/models--acme--Tiny-1B/snapshots/$commit
cp -L tiny-qwen2/*.json hub/plain/ && cp hub/models--acme--Tiny-1B/snapshots/$commit/*.safetensors hub/plain/
for model in hub/models--acme--Tiny-1B/snapshots/$commit hub/models--acme--Tiny-1B/snapshots/$commit/; do
    ends 0 convert $model -o named.gguf --to gguf --quiet --force
    judge "$model is named otherwise" test "$(name_of named.gguf)" = '"Tiny-1B"'
done
(cd hub/plain && "$organ" convert . -o ../../named.gguf --to gguf --quiet --force >../../../out 2>&1)
judge "the current folder has no name" test "$(name_of named.gguf)" = '"plain"'
"$root/build/checks/gguf_keys" named.gguf card.gguf 'general.name=string:"A: \"model\""' 'general.license=string:"apache-2.0"' 'general.languages=string:["en","no"]' \
    'general.tags=string:["text-generation"]' 'general.basename=string:"a"' 'general.size_label=string:"7B"' || bad "the keys cannot be set"
ends 0 convert card.gguf -o card --to safetensors --quiet
ends 0 convert card -o card-back.gguf --to gguf --quiet
same "general.* is lost" <("$root/build/checks/gguf_keys" card.gguf | grep -a ^general | sort) <("$root/build/checks/gguf_keys" card-back.gguf | grep -a ^general | sort)
printf -- '---\r\nlicense: mit # comment\r\nlanguage: [en, "de"]\r\ntags:\r\n  - a\r\n  - \x27b c\x27\r\nnested:\r\n  x: y\r\n---\r\nlicense: no\r\n' >card/README.md
ends 0 convert card -o card-back.gguf --to gguf --quiet --force
judge "the card is read otherwise" test "$("$root/build/checks/gguf_keys" card-back.gguf | grep -a -cE '^general.(license	"mit"|languages	."en","de".|tags	."a","b c".|name	"card")$')" = 4
# a member without a valid name has no list; a number that does not fit its key is left out
printf -- '---\n\xff\xfe:\n- a\n- b\nname: Card\n---\n' >card/README.md
echo '{"temperature": 1e300, "top_k": 5000000000, "top_p": 0.5}' >card/generation_config.json
ends 0 convert card -o card-back.gguf --to gguf --quiet --force
judge "the name of the card is not read" test "$(name_of card-back.gguf)" = '"Card"'
judge "numbers are stored otherwise" test "$("$root/build/checks/gguf_keys" card-back.gguf | grep -a ^general.sampling)" = $'general.sampling.top_p\t0.5'
"$root/build/checks/gguf_keys" card.gguf heat.gguf 'general.sampling.temp=f32:1e39' 'general.sampling.top_k=i32:3' || bad "the keys cannot be set"
ends 0 convert heat.gguf -o heat --to safetensors --quiet
judge "the settings of sampling differ" jq -e '.top_k == 3 and (has("temperature") | not)' heat/generation_config.json

finish
