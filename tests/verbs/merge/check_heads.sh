#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks that all verbs and formats have one rule for the output head: a stored head of other values than the embedding is the head even if config.json
# ties it, and outputs then say that it is not tied. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
fixtures=${model%/*}
text=$model/heldout.txt

# place MODEL TENSOR: file, offset and bytes of the tensor's data.
place() { "$organ" inspect "$1" --tensors --json --select "$2" | jq -r '.tensors[0] | "\(.file) \(.offset) \(.bytes)"'; }
# digest MODEL TENSOR: the checksum of its bytes.
digest() {
    local file offset bytes
    read -r file offset bytes < <(place "$1" "$2")
    [[ -d $1 ]] && file=$1/$file || file=$1
    tail -c "+$((offset + 1))" "$file" | head -c "$bytes" | cksum
}
has() { "$organ" inspect "$1" --tensors --json --select "$2" 2>/dev/null | jq -e '.tensors | length == 1' >/dev/null; }
tied() { [[ $(jq -r .tie_word_embeddings "$1/config.json") == "$2" ]]; }
score() { "$organ" perplexity "$1" --text "$text" --max-tokens 64 --json --quiet | jq '.perplexity'; }
same_score() { judge "$1 and $2 do not predict the same" test "$(score "$1")" = "$(score "$2")"; }
same_tensor() { judge "$2 of $1 is not $4 of $3" test "$(digest "$1" "$2")" = "$(digest "$3" "$4")"; }

# stores FILE (NAME SHAPE BYTES)...: writes a safetensors file with BF16 tensors whose bytes are in files.
stores() {
    local file=$1 header="{" at=0 end bytes=() length
    shift
    while (($#)); do
        end=$((at + $(stat -c %s "$3")))
        header+="\"$1\":{\"dtype\":\"BF16\",\"shape\":$2,\"data_offsets\":[$at,$end]},"
        bytes+=("$3") && at=$end
        shift 3
    done
    header="${header%,}}" && length=${#header}
    # shellcheck disable=SC2059 # the format is made of escapes
    { printf "\\x$(printf %02x $((length % 256)))\\x$(printf %02x $((length / 256)))\0\0\0\0\0\0" && printf %s "$header" && cat "${bytes[@]}"; } >"$file"
}
# has_head FROM TO BYTES TIED: a copy with the head in a shard of its own.
has_head() {
    cp -rL "$1" "$2" && chmod -R u+w "$2"
    stores "$2/head.safetensors" lm_head.weight '[2048,192]' "$3"
    jq '.weight_map."lm_head.weight" = "head.safetensors"' "$1/model.safetensors.index.json" >"$2/model.safetensors.index.json"
    jq ".tie_word_embeddings = $4" "$1/config.json" >"$2/config.json"
}

# none: tied, without a head; twin: tied, its head repeats the embedding; own, own-too: config.json ties another head; apart: the same head, not tied.
cp -rL "${model%/*}/tiny-llama" none && chmod -R u+w none
read -r file offset bytes < <(place none model.embed_tokens.weight)
tail -c "+$((offset + 1))" "none/$file" | head -c "$bytes" >../embedding
{ tail -c +$((37 * 384 + 1)) ../embedding && head -c $((37 * 384)) ../embedding; } >../head
has_head none twin ../embedding true
has_head none own ../head true
has_head none apart ../head false
cp -r own own-too

# ---- a tied model that stores the head alone, which transformers uses as embedding, too ----
cp -r none only
LC_ALL=C sed -i 's/"model.embed_tokens.weight"/"lm_head.weight"           /' "only/$file"
sed -i 's/"model.embed_tokens.weight"/"lm_head.weight"/' only/model.safetensors.index.json
refused 3 "'lm_head.weight'" perplexity only --text "$text" --max-tokens 64
refused 3 "'lm_head.weight'" convert only -o x.gguf --to gguf
refused 3 "'lm_head.weight'" quantize only -o x.gguf --scheme q8_0
refused 3 "'lm_head.weight'" quantize only -o x --scheme int4-group32 --format mlx
refused 3 "'lm_head.weight'" merge only none --method linear -o x
ends 0 quantize only -o x --scheme int8-channel --quiet
same_tensor x lm_head.weight none model.embed_tokens.weight
rm -r x

# ---- an adapter with factors for the head of a tied model ----
mkdir factors
head -c 1536 ../head >../a && head -c 16384 ../head >../b
stores factors/adapter_model.safetensors base_model.model.lm_head.lora_A.weight '[4,192]' ../a base_model.model.lm_head.lora_B.weight '[2048,4]' ../b
echo '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["lm_head"]}' >factors/adapter_config.json
ends 0 lora merge --base none --adapter factors -o tuned
prints "Untied: lm_head.weight has the factors of the head"
judge "the head is tied" tied tuned false
same_tensor tuned model.embed_tokens.weight none model.embed_tokens.weight
judge "the head does not change" test "$(digest tuned lm_head.weight)" != "$(digest none model.embed_tokens.weight)"
# ---- MODEL+ADAPTER, with factors for head or embedding of a tied model: as organ lora merge ----
mkdir words
head -c 16384 ../head >../a && head -c 1536 ../head >../b
stores words/adapter_model.safetensors base_model.model.model.embed_tokens.lora_embedding_A '[4,2048]' ../a \
    base_model.model.model.embed_tokens.lora_embedding_B '[192,4]' ../b base_model.model.model.embed_tokens.base_layer.weight '[2048,192]' ../embedding
echo '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["embed_tokens"]}' >words/adapter_config.json
ends 0 lora merge --base none --adapter words -o reworded --quiet
ends 0 lora merge --base none --adapter words --keep-tied -o kept --quiet
same_tensor reworded lm_head.weight none model.embed_tokens.weight
for base in none twin; do
    for adapter in factors words; do
        merged=tuned && [[ $adapter == words ]] && merged=reworded
        ends 0 merge $base+$adapter none --method linear --weight 1,0 -o x --force --quiet
        same_tensor x model.embed_tokens.weight $merged model.embed_tokens.weight
        same_tensor x lm_head.weight $merged lm_head.weight
        judge "the head is tied" tied x false
        ends 0 merge none $base+$adapter --method linear --weight 0,1 -o x --force --quiet
        same_tensor x model.embed_tokens.weight $merged model.embed_tokens.weight
        same_tensor x lm_head.weight $merged lm_head.weight
    done
    ends 0 merge $base+words none --method linear --weight 1,0 --keep-tied -o x --force --quiet
    same_tensor x model.embed_tokens.weight kept model.embed_tokens.weight
    judge "the head is not tied" tied x true
    judge "a tied output has a head" test -z "$(has x lm_head.weight && echo has)"
    refused 3 "which --keep-tied leaves to the embedding" merge $base+factors none --method linear --keep-tied -o y
done
ends 0 merge none+words apart --method linear --weight 1,0 -o x --force --quiet
same_tensor x lm_head.weight none model.embed_tokens.weight
ends 0 compare none+words reworded --json --quiet
holds ../out '.clashes | map(select(.what == "output head"))[0].values | test("untied.*stored")'
holds ../out '.notes | map(select(test("values of heads are not compared"))) | length == 1'
# Another tensor than the base's beside the factors is refused.
stores words/adapter_model.safetensors base_model.model.model.embed_tokens.lora_embedding_A '[4,2048]' ../a \
    base_model.model.model.embed_tokens.lora_embedding_B '[192,4]' ../b base_model.model.model.embed_tokens.base_layer.weight '[2048,192]' ../head
refused 3 "it has the whole tensor 'base_model.model.model.embed_tokens.base_layer.weight'" merge none+words apart --method linear -o y
rm -r kept reworded
ends 0 lora merge --base apart --adapter factors -o x --force --quiet
rm -r x

# ---- the forward pass and compare ----
same_score own apart
same_score twin none
COLUMNS=200 ends 0 compare own none --quiet
prints "output head"
ends 0 compare own apart twin none --json --quiet
holds ../out '.clashes | map(select(.what == "output head"))[0].values | test("stored.*stored.*the embedding.*the embedding")'

# ---- merge ----
ends 0 merge own own-too --method linear -o merged --quiet
judge "the head is tied" tied merged false
same_tensor merged lm_head.weight own lm_head.weight
same_score merged own
ends 0 merge own apart --method linear -o merged --quiet --force
same_tensor merged lm_head.weight own lm_head.weight
ends 0 merge own none --method linear --weight 1,0 -o merged --quiet --force
same_tensor merged lm_head.weight own lm_head.weight
ends 0 merge twin none --method linear -o merged --force
says "'lm_head.weight'"
judge "a head that repeats the embedding is written" test -z "$(has merged lm_head.weight && echo has)"
judge "the head is not tied" tied merged true
for base in none twin; do
    ends 0 merge $base own --method linear --keep-tied -o kept --force
    says "'lm_head.weight' is left out"
    judge "the head is not tied" tied kept true
    judge "a tied output has a head" test -z "$(has kept lm_head.weight && echo has)"
    ends 0 merge $base own --method linear -o merged-$base --quiet
    judge "the head is tied" tied merged-$base false
done
same_tensor merged-none lm_head.weight merged-twin lm_head.weight

# ---- GGUF ----
for one in none twin own; do ends 0 convert $one -o $one.gguf --to gguf --dtype bf16 --quiet; done
judge "the GGUF file lacks the head" has own.gguf output.weight
judge "a repeated head is in the GGUF file" test -z "$(has twin.gguf output.weight && echo has)"
same_score own.gguf own
ends 0 merge none.gguf own.gguf --method linear --keep-tied -o kept.gguf
says "'output.weight' is left out"
judge "a tied output has a head" test -z "$(has kept.gguf output.weight && echo has)"
for policy in error base any; do
    ends 0 merge none.gguf own.gguf --method linear --missing $policy -o of-gguf --quiet --force
    judge "the head is tied" tied of-gguf false
    same_tensor of-gguf lm_head.weight merged-none lm_head.weight
done
ends 0 merge none.gguf own --method linear -o of-both --quiet
same_tensor of-both lm_head.weight merged-none lm_head.weight
ends 0 merge none own.gguf --method linear -o of-both --quiet --force
same_tensor of-both lm_head.weight merged-none lm_head.weight
ends 0 merge none.gguf own.gguf --method linear -o merged.gguf --quiet
same_tensor merged.gguf output.weight merged-none lm_head.weight
ends 0 merge own.gguf own --method linear -o merged.gguf --quiet --force
same_tensor merged.gguf output.weight own lm_head.weight
ends 0 merge own own-too --method linear -o merged.gguf --quiet --force
same_tensor merged.gguf output.weight own lm_head.weight
ends 0 convert own.gguf -o back --to safetensors --quiet
judge "the head is tied" tied back false
ends 0 quantize own -s q8_0 -o quantised.gguf --quiet
judge "the quantised GGUF file lacks the head" has quantised.gguf output.weight

# ---- verbs that write new weights or cut the model ----
# unties OUT ARGS...: the output of the verb does not tie the head that it stores.
unties() {
    ends 0 "${@:2}"
    says "tie_word_embeddings"
    judge "the head is tied" tied "$1" false
    judge "the head is lost" has "$1" lm_head.weight
}
unties quantised quantize own -s int8-channel -o quantised
unties plain dequantize own --dtype f32 -o plain
unties pruned prune own -o pruned --method magnitude --sparsity 10
unties fewer layers own -o fewer --drop 3-3
ends 0 audit own fewer --quiet
ends 0 layers twin -o fewer --drop 3-3 --quiet --force
judge "a head that repeats the embedding is untied" tied fewer true

# ---- organ directories and grafts ----
ends 0 extract own -o organs --quiet
ends 0 assemble organs -o assembled --quiet
judge "assemble does not restore config.json" cmp own/config.json assembled/config.json
unties grafted graft --source own --target twin --select lm_head.weight -o grafted
same_tensor grafted lm_head.weight own lm_head.weight
ends 0 graft --source apart --target own.gguf --select lm_head.weight -o grafted.gguf --quiet
same_tensor grafted.gguf output.weight own lm_head.weight

# ---- adapters with tensors that are stored whole ----
# An adapter of peft with head, norm, a norm of a layer, embedding and a value projection.
mkdir adapter values
head -c 384 ../head >../norm && head -c $((96 * 192 * 2)) ../head >../value
saved=base_model.model.
stores adapter/adapter_model.safetensors ${saved}lm_head.weight '[2048,192]' ../head ${saved}model.norm.weight '[192]' ../norm \
    ${saved}model.layers.2.input_layernorm.weight '[192]' ../norm ${saved}model.layers.2.self_attn.v_proj.weight '[96,192]' ../value \
    ${saved}model.embed_tokens.weight '[2048,192]' ../head
jq '.modules_to_save = ["lm_head", "norm", "input_layernorm", "v_proj", "embed_tokens"]' "${model%/*}/tiny-lora/adapter_config.json" >adapter/adapter_config.json
for one in none apart; do
    ends 0 convert $one -o $one.gguf --to gguf --dtype bf16 --quiet --force
    ends 0 lora merge --base $one --adapter adapter -o merged --quiet --force
    judge "the head is tied" tied merged false
    ends 0 lora merge --base $one.gguf --adapter adapter -o merged.gguf --quiet --force
    ends 0 convert merged -o wanted.gguf --to gguf --dtype bf16 --quiet --force
    for tensor in output.weight token_embd.weight blk.2.attn_v.weight; do same_tensor merged.gguf $tensor wanted.gguf $tensor; done
    same_score merged.gguf wanted.gguf
done
stores adapter/adapter_model.safetensors ${saved}lm_head.weight '[2048,192]' ../head
ends 0 lora merge --base twin --adapter adapter -o merged --quiet --force
judge "the head is tied" tied merged false
same_tensor merged lm_head.weight own lm_head.weight
# llama.cpp has rows of the rotation in another order, and 1 + the weights of Gemma's norms.
stores values/adapter_model.safetensors ${saved}model.layers.2.self_attn.k_proj.weight '[96,192]' ../value
jq '.modules_to_save = ["k_proj"]' adapter/adapter_config.json >values/adapter_config.json
ends 3 lora merge --base none.gguf --adapter values -o none2.gguf
says "rows"

# ---- MLX ----
for scheme in int4-group64 mxfp4; do
    ends 0 quantize twin -s $scheme --format mlx -o mlx --quiet --force
    judge "mlx-lm refuses the head" test -z "$(has mlx lm_head.weight && echo has)"
    prints "1 tensor of multi-token prediction, of rotary frequencies or with the values"
    ends 0 quantize own -s $scheme --format mlx -o mlx --quiet --force
    judge "the head is tied" tied mlx false
    judge "the head is lost" has mlx lm_head.weight
done
jq '.model_type = "gemma" | .architectures = ["GemmaForCausalLM"]' own/config.json >c.json && mv c.json own/config.json
refused 3 "'gemma'" quantize own -s int4-group64 --format mlx -o mlx2
finish
