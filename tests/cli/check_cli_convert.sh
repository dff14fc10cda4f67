#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ convert: output, reports, exit codes, errors. fixtures/convert.tsv has digests of files that equal those of llama.cpp's converter.
# Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

root=${organ%/build/organ}

# make TYPE [JSON]: makes a model of fixtures/architectures without a tokenizer, with the members of JSON in config.json.
make() {
    (cd "$root" && build/checks/arch_model "$1" "$scratch/area/$1") >../out 2>&1 || bad "$1 cannot be made" ../out
    mv "$1/tokenizer.json" "$1.json"
    [[ ${2:-{\}} == "{}" ]] || { jq ". + $2" "$1/config.json" >set.json && mv set.json "$1/config.json"; }
}

# likelihood MODEL BACK: prints the likelihood of a text for both models, which get the tokenizer of a fixture.
likelihood() {
    cp "$1.json" "$1/tokenizer.json" && cp "$1.json" "$2/tokenizer.json" && cp "$1/tokenizer_config.json" "$2"
    run perplexity "$1" --compare "$2" --text tiny-qwen2/heldout.txt --context 16 --max-tokens 128 --json --quiet
    likelihoods | paste -sd ' '
}

# same NAME BEFORE AFTER: whether the likelihoods are equal, or for Mamba, whose A_log in FP32 is known from its exp to the last bit but one, nearly so.
same() {
    case $1 in
    mamba-gguf | falcon_mamba-gguf | jamba) awk -v a="$2" -v b="$3" 'BEGIN { d = a - b; exit !(a > 0 && d * d < 1e-14 * a * a) }' ;;
    *) test -n "$2" -a "$2" = "$3" ;;
    esac
}

# ---- files that were compared with llama.cpp's ----
ln -s "$(dirname "$model")/tiny-moe" tiny-moe
row=0
while IFS=$'\t' read -r name type _ _ ways sha256 settings; do
    [[ $name == \#* ]] && continue
    [[ -e $name ]] || make "$name" "${settings/#-/{\}}"
    ends 0 convert "$name" -o made.gguf --to gguf --dtype "$type" --mmproj none --quiet --force
    judge "$name $type is not the file that was compared with llama.cpp's" test "$(sha256sum <made.gguf)" = "$sha256  -"
    [[ $type != f32 ]] && continue
    if in_part && ((row++ % 3)); then continue; fi
    ends 0 convert made.gguf -o "$name-back" --to safetensors --quiet
    read -r before after < <(likelihood "$name" "$name-back")
    judge "$name scores $before, and $after after both conversions" same "$name" "$before" "$after"
    rm -r "$name-back"
done <"$root/fixtures/convert.tsv"

# LFM2 computes the width of its feeds from intermediate_size; Nemotron-H has layers without a feed; Qwen3-VL's experts are transposed;
# Published configurations of Gemma 3 leave out sizes. StableLM has a norm for each head, which are one tensor in GGUF (llama.cpp's converter ends with an error for them)
for type in lfm2-adjusted nemotron_h-gguf qwen3_vl_moe-gguf stablelm gemma3-short internlm3 iquestcoder; do
    [[ -e $type ]] || make $type
    cp $type.json $type/tokenizer.json
    ends 0 convert $type -o $type.gguf --to gguf --mmproj none --quiet
    ends 0 perplexity $type --compare $type.gguf --text tiny-qwen2/heldout.txt --context 16 --max-tokens 64 --json --quiet
    scores_alike "the GGUF file of $type scores otherwise"
done
make nemotron_h
cp nemotron_h.json nemotron_h/tokenizer.json
ends 0 convert nemotron_h -o lost.gguf --to gguf
says "0.4 and inf"

# tensors in BF16 are the same bytes after both conversions, although GGUF has -exp(A_log) and 1 + w in their place
both_ways=(mamba-gguf qwen3_next falcon_h1-gguf kimi_linear-gguf gemma4_text-moe)
in_part || both_ways+=(stablelm granitemoehybrid nemotron_h-gguf nemotron_h-latent-gguf minimax-gguf internlm3 jamba mamba2 lfm2_moe qwen3_5_moe_text apertus gemma4_text-shared)
for type in "${both_ways[@]}"; do
    ends 0 convert $type -o wide.gguf --to gguf --mmproj none --quiet --force
    ends 0 convert wide.gguf -o first --to safetensors --dtype bf16 --quiet --force
    ends 0 convert first -o first.gguf --to gguf --dtype bf16 --quiet --force
    ends 0 convert first.gguf -o second --to safetensors --quiet --force
    judge "$type has other bytes after both conversions" cmp -s first/model.safetensors second/model.safetensors
done

# transformers reads a whole number, and the width beside it
make falcon_mamba
ends 0 convert falcon_mamba -o narrow.gguf --to gguf --quiet
ends 0 convert narrow.gguf -o narrow --to safetensors --quiet
judge "expand of a mixer of 96 channels" test "$(jq -c '[.expand, .intermediate_size]' narrow/config.json)" = '[2,96]'

differs="llama.cpp computes something else"
# llama.cpp does not apply these settings, which its files have (bench/compare_logits.py measures what it computes instead)
while IFS='|' read -r type words; do
    [[ -e $type ]] || make "$type" "$(awk -F '\t' -v name="$type" '$1 == name && $7 != "-" { print $7; exit }' "$root/fixtures/convert.tsv")"
    ends 0 convert "$type" -o noted.gguf --to gguf --mmproj none --force
    says "$differs: it $words"
done <<'END'
exaone4|applies the sliding window, and leaves full layers without rotation, only in models of 64 layers
phi3|does not apply the sliding window
olmo3|rotates layers with a window by the rope_theta of the other layers
mimo_v2_flash|does not apply routed_scaling_factor
gpt_oss|rounds the bounds of YaRN's ramp to whole dimensions
deepseek_v3|gives the norms of latent vectors the epsilon rms_norm_eps instead of 1e-6
END
for type in llama gemma4_text-moe glm4; do
    [[ -e $type ]] || make $type
    ends 0 convert $type -o noted.gguf --to gguf --mmproj none --force
    ! grep -q "$differs" ../err || bad "$type: a note, although llama.cpp computes the same" ../err
done
# llama.cpp caps logits at 30 if a file of Gemma 4 has no key; transformers divides by a cap of 0
ends 0 convert gemma4_text-moe -o noted.gguf --to gguf --quiet --force
ends 0 convert noted.gguf -o uncapped --to safetensors --quiet
test "$(jq 'has("final_logit_softcapping") and .final_logit_softcapping == null' uncapped/config.json)" = true || bad "the cap of Gemma 4's logits is not null"
judge "the GGUF file of Gemma 4 has no key for the cap" grep -aq 'gemma4.final_logit_softcapping' noted.gguf

# published GPT-2: names without a prefix, and the causal masks of its layers
mkdir -p own/fixtures/architectures/masked
sed 's/\ttransformer\./\t/' "$root/fixtures/architectures/gpt2/model.tsv" >own/fixtures/architectures/masked/model.tsv
printf 'tensor\th.0.attn.bias\t1x1x64x64\ntensor\th.0.attn.masked_bias\t1\n' >>own/fixtures/architectures/masked/model.tsv
cp "$root/fixtures/architectures/gpt2/config.json" own/fixtures/architectures/masked
(cd own && "$root/build/checks/arch_model" masked ../masked) >../out 2>&1 || bad "masked cannot be made" ../out
ends 0 convert masked -o masked.gguf --to gguf --quiet
ends 0 perplexity masked --compare masked.gguf --text tiny-qwen2/heldout.txt --context 16 --max-tokens 64 --json --quiet
scores_alike "the GGUF file of published GPT-2 scores otherwise"

# in files of Nemotron-H with experts all feed-forwards have experts, without biases
make nemotron_h-moe
refused 3 "nemotron_h_moe" \
    convert nemotron_h-moe -o no.gguf --to gguf --quiet
make nemotron_h-latent
refused 3 "mlp_bias" convert nemotron_h-latent -o no.gguf --to gguf --quiet
# the rotation of Gemma 4 has no factor in GGUF
jq '.rope_parameters.full_attention.factor = 2.0' gemma4_text-moe/config.json >set.json && mv set.json gemma4_text-moe/config.json
refused 3 "rope_type" convert gemma4_text-moe -o no.gguf --to gguf --quiet
# llama.cpp divides the factors of Kimi Linear's experts by their sum, and its files have no groups of experts
make kimi_linear-hub
refused 3 "norm_topk_prob" convert kimi_linear-hub -o no.gguf --to gguf --quiet
jq '.num_expert_group = 2 | .topk_group = 1' kimi_linear-gguf/config.json >set.json && mv set.json kimi_linear-gguf/config.json
refused 3 "n_group" convert kimi_linear-gguf -o no.gguf --to gguf --quiet
# files of MiniMax 1 have one factor of normed inputs, and say which layers attend if it is not every eighth
jq '.mlp_beta_factor = 0.5' minimax-gguf/config.json >set.json && mv set.json minimax-gguf/config.json
refused 3 "0.5" \
    convert minimax-gguf -o no.gguf --to gguf --quiet
# llama.cpp has MiniMax M3's activation as constants, an indexer in every layer with experts, and as many of its heads as of keys
[[ -e minimax_m3_vl-gguf ]] || make minimax_m3_vl-gguf
edited() { jq ".text_config$1" minimax_m3_vl-gguf/config.json >set.json && cp set.json "$2/config.json"; }
cp -r minimax_m3_vl-gguf m3
edited '.swiglu_alpha = 1.5' m3
refused 3 "1.5" convert m3 -o no.gguf --to gguf --quiet
edited '.sparse_attention_config.sparse_num_index_heads = 4' m3
refused 3 "index_n_heads is 4" convert m3 -o no.gguf --to gguf --quiet
edited '.sparse_attention_config.sparse_attention_freq = [0, 1, 0, 1]' m3
refused 3 "sparse attention" convert m3 -o no.gguf --to gguf --quiet
edited '.shared_intermediate_size = 40' m3
refused 3 "shared_intermediate is 40" convert m3 -o no.gguf --to gguf --quiet
# llama.cpp has no architecture for OLMo hybrid
make olmo_hybrid
refused 3 "'OlmoHybridForCausalLM'" \
    convert olmo_hybrid -o no.gguf --to gguf --quiet
# the norm of Mamba-2 before its gate has no form in GGUF
make falcon_h1-norm
refused 3 "Mamba-2" convert falcon_h1-norm -o no.gguf --to gguf --quiet
# a setting that is an enumeration is named by its word
make llama-relu
refused 3 "activation" convert llama-relu -o no.gguf --to gguf --quiet
# the multipliers of Falcon-H1 are in the weights of the file, which scores like the model
make falcon_h1
cp falcon_h1.json falcon_h1/tokenizer.json
ends 0 convert falcon_h1 -o scaled.gguf --to gguf --quiet
ends 0 perplexity falcon_h1 --compare scaled.gguf --text tiny-qwen2/heldout.txt --context 16 --max-tokens 128 --json --quiet
judge "the multipliers change the likelihood" jq -e '[.models[].figures.nll] | ((.[0] - .[1]) | fabs) < 1e-6 * .[0]' ../out

# ---- results ----
ends 0 convert tiny-qwen2 -o q.gguf --to gguf
matches convert/convert ../out
matches convert/convert_json q.convert.json
matches convert/CONVERT_REPORT q.CONVERT_REPORT.md
judge "there is no page" grep -q "</table>" q.CONVERT_REPORT.html
ends 0 inspect q.gguf
prints "No problems found"
ends 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --compare q.gguf --json
scores_alike "the GGUF file scores otherwise"
ends 0 convert tiny-qwen2 -o threads.gguf --to gguf --threads 3 --memory 64M --quiet
judge "threads or memory change the bytes" cmp -s q.gguf threads.gguf
ORGAN_ISA=scalar ends 0 convert tiny-qwen2 -o scalar8.gguf --to gguf --dtype q8_0 --quiet
ends 0 convert tiny-qwen2 -o fast8.gguf --to gguf --dtype q8_0 --quiet
judge "the instruction set changes the bytes" cmp -s scalar8.gguf fast8.gguf
ends 0 convert tiny-qwen2 -o k.gguf --to gguf --dtype q4_k --quiet
ends 0 quantize q.gguf -o qk.gguf --scheme q4_k --quiet
judge "the blocks are not those of quantize" test "$("$organ" inspect k.gguf --tensors --json | jq -S '[.tensors[] | [.name, .dtype]] | sort')" = \
    "$("$organ" inspect qk.gguf --tensors --json | jq -S '[.tensors[] | [.name, .dtype]] | sort')"
ends 0 convert tiny-qwen2 -o dry.gguf --to gguf --dry-run --quiet
judge "a dry run wrote something" test ! -e dry.gguf

# ---- and back ----
ends 0 convert q.gguf -o back --to safetensors
matches convert/convert_back ../out
matches convert/config_back back/config.json
ends 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 512 --compare back --json
scores_alike "the model that came back scores otherwise"
ends 0 convert back -o again.gguf --to gguf --quiet
judge "keys or tokens of a round trip differ" cmp -s <("$organ" tokenize q.gguf --text tiny-qwen2/heldout.txt --json --quiet | jq 'del(.run, .model, .models)') \
    <("$organ" tokenize again.gguf --text tiny-qwen2/heldout.txt --json --quiet | jq 'del(.run, .model, .models)')
ends 0 convert fast8.gguf -o of_blocks --to safetensors --dtype f32 --quiet
ends 0 perplexity fast8.gguf --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256 --compare of_blocks --json
scores_alike "blocks have other values"
refused 2 "no.safetensors" convert q.gguf -o no.safetensors --to safetensors
refused 2 "bf16" convert q.gguf -o no --to safetensors --dtype q8_0

# ---- a stored output head although config.json ties it to the embeddings ----
ends 0 convert llama -o apart.gguf --to gguf --quiet
jq '.tie_word_embeddings = true' llama/config.json >tied.json && mv tied.json llama/config.json
ends 0 convert llama -o both.gguf --to gguf --quiet
judge "the head was not kept" cmp -s apart.gguf both.gguf

# ---- quantised sources, by value ----
ends 0 quantize tiny-qwen2 -o fp8 --scheme fp8-channel --quiet
ends 0 dequantize fp8 -o plain --quiet
ends 0 convert fp8 -o of_codes.gguf --to gguf --dtype bf16 --quiet
ends 0 convert plain -o of_values.gguf --to gguf --dtype bf16 --quiet
ends 0 perplexity of_codes.gguf --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256 --compare of_values.gguf --json
scores_alike "codes have other values"

# ---- quantised sources, by code ----
# tensors FILE: prints the name, the first and the last byte of each tensor of a file of safetensors, in order of names.
tensors() {
    local bytes
    bytes=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    tail -c +9 "$1" | head -c "$bytes" | jq -r --argjson at $((bytes + 8)) 'del(.__metadata__) | to_entries | sort_by(.key)[]
        | [.key, .value.dtype, .value.data_offsets[0] + $at, .value.data_offsets[1] + $at] | @tsv'
}
# digest FILE: prints name, type and size of each tensor that stdin lists, then one digest of the bytes of all.
digest() {
    local rows row name type from to
    mapfile -t rows
    for row in "${rows[@]}"; do read -r name type from to <<<"$row" && echo "$name $type $((to - from))"; done
    for row in "${rows[@]}"; do
        read -r name type from to <<<"$row"
        dd if="$1" iflag=skip_bytes,count_bytes bs=1M skip="$from" count=$((to - from)) status=none
    done | sha256sum
}
# digests FILE: prints the tensors with codes or their scales.
digests() { tensors "$1" | awk '$2 ~ /^([UI]8|I32)$/ || $1 ~ /_scale$/' | digest "$1"; }
# scale FILE TENSOR BYTES: replaces the first bytes of a tensor in a file of safetensors.
scale() {
    printf "$3" | dd of="$1" bs=1 conv=notrunc status=none seek="$(tensors "$1" | awk -v name="$2" '$1 == name {print $3}')"
}
# values A B: both models score the same text equally.
values() {
    ends 0 perplexity "$1" --text tiny-qwen2/heldout.txt --context 16 --max-tokens 128 --compare "$2" --json --quiet
    scores_alike "$1 and $2 have other values"
}
# a limit of the activation that GGUF does not store is noted; the output is tried with that of the model
make gpt_oss-mxfp4 '{"swiglu_limit": 0.5}'
ends 0 convert gpt_oss-mxfp4 -o lost.gguf --to gguf --force
says "limit of 0.5"
rm -r gpt_oss-mxfp4
make gpt_oss-mxfp4 '{"swiglu_limit": 7.0}'
cp gpt_oss-mxfp4.json gpt_oss-mxfp4/tokenizer.json
ends 0 convert gpt_oss-mxfp4 -o codes4.gguf --to gguf --dtype codes --quiet
judge "the stacks are not MXFP4" test "$("$organ" inspect codes4.gguf --tensors --json | jq -c '[.tensors[] | select(.dtype == "MXFP4")] | length')" = 12
values gpt_oss-mxfp4 codes4.gguf
mkdir again
ends 0 convert codes4.gguf -o again/gpt_oss-mxfp4 --to safetensors --dtype codes --quiet
values gpt_oss-mxfp4 again/gpt_oss-mxfp4
digests gpt_oss-mxfp4/model.safetensors >before
digests again/gpt_oss-mxfp4/model.safetensors >after
judge "there are other tensors with codes" test "$(grep -c " [A-Z]" before)" = 16
judge "codes of MXFP4 changed on the way back" cmp -s before after
scale gpt_oss-mxfp4/model.safetensors model.layers.1.mlp.experts.down_proj_scales '\xff'
refused 3 "down_proj_scales" \
    convert gpt_oss-mxfp4 -o no.gguf --to gguf --dtype codes --quiet
ends 0 convert fast8.gguf -o again/tiny-qwen2 --to safetensors --dtype codes --quiet
ends 0 inspect again/tiny-qwen2
prints "INT8, group 32, symmetric, F16 scales       28"
ends 0 convert again/tiny-qwen2 -o again8.gguf --to gguf --dtype codes --quiet
ends 0 convert again8.gguf -o again/third --to safetensors --dtype codes --quiet
digests again/tiny-qwen2/model.safetensors >before
digests again/third/model.safetensors >after
judge "there are other tensors with codes" test "$(grep -c " [A-Z]" before)" = 56
judge "codes of Q8_0 changed on the way back" cmp -s before after
values again/tiny-qwen2 again8.gguf
scale again/tiny-qwen2/model.safetensors model.layers.2.mlp.up_proj.weight_scale '\x00\x7c'
refused 3 "up_proj.weight_scale" \
    convert again/tiny-qwen2 -o no.gguf --to gguf --dtype codes --quiet
# multipliers of Falcon-H1 and the order of heads in Qwen3.5 change values that --dtype codes would copy
for type in falcon_h1 qwen3_5_text; do
    [[ -e $type ]] || make $type
    cp $type.json $type/tokenizer.json
    ends 0 convert $type -o wide.gguf --to gguf --dtype q8_0 --mmproj none --quiet --force
    ends 0 convert wide.gguf -o again/$type --to safetensors --dtype codes --quiet
    if [[ $type == falcon_h1 ]]; then
        jq '. + {attention_out_multiplier: 0.5, mlp_multipliers: [0.5, 0.25], ssm_multipliers: [0.5, 1, 1, 1, 1]}' again/$type/config.json >set.json
        mv set.json again/$type/config.json
    fi
    ends 0 convert again/$type -o again.gguf --to gguf --dtype codes --mmproj none --quiet --force
    judge "$type keeps no codes" test "$("$organ" inspect again.gguf --tensors --json | jq '[.tensors[] | select(.dtype == "Q8_0")] | length')" -ge 8
    ends 0 perplexity again/$type --text tiny-qwen2/heldout.txt --context 16 --max-tokens 128 --compare again.gguf --json --quiet
    judge "$type and its GGUF file differ by more than rounding to BF16" jq -e '[.models[].figures.nll] | ((.[0] - .[1]) | fabs) < 5e-4 * .[0]' ../out
done
# A stack is copied by code only if all its experts have the same codes: expert 1 of this model is plain.
[[ -e qwen3_moe ]] || make qwen3_moe '{"norm_topk_prob": true}'
ends 0 convert qwen3_moe -o wide.gguf --to gguf --dtype q8_0 --quiet --force
ends 0 convert wide.gguf -o again/mixed --to safetensors --dtype codes --max-shard-size 1 --quiet
ends 0 convert wide.gguf -o again/plain --to safetensors --dtype bf16 --max-shard-size 1 --quiet
plain=model.layers.2.mlp.experts.1.up_proj.weight
file_of() { jq -r --arg name "$2" '.weight_map[$name]' "$1/model.safetensors.index.json"; }
cp "again/plain/$(file_of again/plain $plain)" again/mixed/plain.safetensors
for part in packed scale shape; do rm "again/mixed/$(file_of again/mixed ${plain}_$part)"; done
jq --arg name $plain '.weight_map[$name] = "plain.safetensors" | del(.weight_map[$name + ("_packed", "_scale", "_shape")])' again/mixed/model.safetensors.index.json >set.json
mv set.json again/mixed/model.safetensors.index.json
refused 3 "'$plain'" \
    convert again/mixed -o no.gguf --to gguf --dtype codes --quiet
ends 0 convert again/mixed -o mixed.gguf --to gguf --dtype bf16 --quiet
# INT4 with a scale for 32 values is Q4_0, MLX's 4 bits in groups of 32 are Q4_1: the same values in their size. Values of MLX are sums that are rounded to
# BF16 (docs/definitions/quantisation.md), those of Q4_1 are not, so they differ in last digits.
# twin DIR TYPE COUNT DISTANCE: converts by codes and by values; the relative distance of both is at most DISTANCE.
twin() {
    ends 0 convert "$1" -o "$1.codes.gguf" --to gguf --dtype codes --quiet
    judge "$1 has not $3 tensors of $2" test "$("$organ" inspect "$1.codes.gguf" --tensors --json | jq "[.tensors[] | select(.dtype == \"$2\")] | length")" = "$3"
    judge "$1 grows" test "$(stat -c %s "$1.codes.gguf")" -lt "$(du -bs "$1" | cut -f 1)"
    ends 0 convert "$1" -o "$1.values.gguf" --to gguf --dtype f32 --quiet
    ends 0 compare "$1.codes.gguf" "$1.values.gguf" --json
    judge "$1: the values differ" jq -e --argjson most "$4" '.pairs[0].distance <= $most' ../out
}
ends 0 quantize tiny-qwen2 -o packed4 -s int4-group32 --quiet
twin packed4 Q4_0 28 0
ends 0 quantize tiny-qwen2 -o mlx4 --format mlx -s int4-group32 --quiet
twin mlx4 Q4_1 29 0.005
ends 0 convert packed4 -o grown.gguf --to gguf
says "--dtype codes copies them unchanged"
judge "keeps codes without a request" test "$("$organ" inspect grown.gguf --tensors --json | jq '[.tensors[] | select(.dtype == "BF16")] | length')" = 29
ends 0 quantize tiny-qwen2 -o packed3 -s int3-group32 --quiet
refused 3 "INT4 with a scale for 32 values" convert packed3 -o no.gguf --to gguf --dtype codes --quiet
ends 0 convert packed3 -o large.gguf --to gguf
says "organ quantize makes it small again"
refused 3 "GGUF" convert tiny-qwen2 -o no.gguf --to gguf --dtype codes
refused 3 "safetensors" convert k.gguf -o no --to safetensors --dtype codes

# ---- architectures that organ does not know: by name ----
# novel TYPE: makes `novel` of the model, with an architecture that no program knows.
novel() {
    [[ -e $1 ]] || make $1
    rm -rf novel novel-back && cp $1.json $1/tokenizer.json && cp -r $1 novel
    jq '.architectures = ["NovelForCausalLM"] | .model_type = "novel"' $1/config.json >novel/config.json
}
# contents FILE: prints all tensors.
contents() { tensors "$1" | digest "$1"; }
# renamed FROM TO FILE OUT: replaces a text of a file by one of the same length.
renamed() { LC_ALL=C sed "s/$1/$2/g" "$3" >"$4"; }
unknown="qwen2 deepseek_v3"
in_part || unknown+=" qwen2_moe olmo2 gemma2"
for type in $unknown; do
    novel $type
    ends 0 convert novel -o novel.gguf --to gguf --quiet --force
    ends 0 convert novel.gguf -o novel-back --to safetensors --quiet --force
    judge "a tensor of $type came back otherwise" cmp -s <(contents novel/model.safetensors) <(contents novel-back/model.safetensors)
    judge "config.json of $type came back otherwise" cmp -s novel/config.json novel-back/config.json
    cp $type/config.json novel-back/config.json
    values $type novel-back
done
judge "the report does not say that names were all" jq -e .by_name novel.convert.json
refused 3 "'NovelForCausalLM'" convert novel -o no.gguf --to gguf --quiet --evaluate tiny-qwen2/heldout.txt
ends 0 convert novel -o no.gguf --to gguf --dry-run
judge "a dry run wrote something" test ! -e no.gguf
ends 0 inspect novel.gguf
prints "(novel, GGUF, 1 file"
novel qwen2_moe
ends 0 convert novel -o novel8.gguf --to gguf --dtype q8_0
prints "organ convert has no rules for this architecture"
says "'NovelForCausalLM'"
says "layer"
ends 0 dequantize novel8.gguf -o novel-plain.gguf
says "layer"
ends 0 convert novel8.gguf -o novel-codes --to safetensors --dtype codes --quiet
cp qwen2_moe/config.json plain.json
jq --slurpfile own novel-codes/config.json '.quantization_config = $own[0].quantization_config' plain.json >set.json
mv set.json novel-codes/config.json
ends 0 convert novel-codes -o codes-again.gguf --to gguf --dtype codes --quiet
values novel-codes codes-again.gguf
# a file of another program has the key-values of most architectures, but not config.json
novel qwen2
ends 0 convert novel -o novel.gguf --to gguf --quiet --force
renamed 'organ\.config' other.config novel.gguf foreign.gguf
ends 0 convert foreign.gguf -o novel-back --to safetensors --dtype f32 --quiet --force
judge "the sizes of a foreign file are lost" test "$(jq -cS '[.model_type, .num_hidden_layers, .hidden_size, .intermediate_size, .num_attention_heads,
    .num_key_value_heads, .vocab_size, .rms_norm_eps, .rope_theta, .max_position_embeddings, .tie_word_embeddings, .torch_dtype]' novel-back/config.json)" = \
    '["novel",4,64,96,4,2,256,1e-06,10000,512,false,"float32"]'
judge "a tensor of a foreign file came back otherwise" cmp -s <(contents novel/model.safetensors) <(contents novel-back/model.safetensors)
cp -rL tiny-qwen2 chatty && chmod -R u+w chatty
jq '.chat_template = "say hello"' tiny-qwen2/tokenizer_config.json >chatty/tokenizer_config.json
ends 0 convert chatty -o chatty.gguf --to gguf --quiet --force
renamed 'say hello' $'say hell\xff' chatty.gguf foreign.gguf
refused 3 "'tokenizer.chat_template'" convert foreign.gguf -o no --to safetensors
renamed novel rwkv7 novel.gguf foreign.gguf
refused 3 "'rwkv7'" convert foreign.gguf -o no --to safetensors
renamed '"architectures":' '"architectures";' novel.gguf foreign.gguf
refused 3 "organ.config" convert foreign.gguf -o no --to safetensors
renamed attn_output attn_novelt novel.gguf foreign.gguf
refused 3 "'blk.0.attn_novelt.weight'" \
    convert foreign.gguf -o no --to safetensors
renamed 'blk\.0\.' 'blk.00' novel.gguf foreign.gguf
refused 3 "'blk.00attn_norm.weight'" convert foreign.gguf -o no --to safetensors
renamed ffn_gate.weight ffn_gate_exps.w novel.gguf foreign.gguf
refused 3 "'blk.0.ffn_gate_exps.w'" convert foreign.gguf -o no --to safetensors
renamed attn_output.weight ffn_up_exps.weight novel.gguf foreign.gguf
refused 3 "'blk.0.ffn_up_exps.weight'" convert foreign.gguf -o no --to safetensors
# the rows of fused tensors have an order that depends on the architecture
novel phi3
refused 3 "'model.layers.0.mlp.gate_up_proj.weight'" \
    convert novel -o no.gguf --to gguf --quiet
novel deepseek_v3
renamed 'mlp\.shared_experts\.\([a-z_]*\)\.weight":' 'mlp.shared_expert.\1.weight" :' deepseek_v3/model.safetensors novel/model.safetensors
refused 3 "shared_expert.down_proj.weight" convert novel -o no.gguf --to gguf --quiet
novel qwen2_moe
renamed 'experts\.3\.' 'experts.5.' qwen2_moe/model.safetensors novel/model.safetensors
refused 3 "'blk.0.ffn_down_exps.weight'" convert novel -o no.gguf --to gguf --quiet

# ---- interrupted and resumed ----
interrupted INT resumed.gguf convert tiny-qwen2 -o resumed.gguf --to gguf --dtype q8_0 --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 0 convert tiny-qwen2 -o resumed.gguf --to gguf --dtype q8_0 --quiet --resume
judge "the resumed file differs" cmp -s resumed.gguf fast8.gguf

interrupted INT resumed convert codes4.gguf -o resumed --to safetensors --dtype codes --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
ends 0 convert codes4.gguf -o resumed --to safetensors --dtype codes --quiet --resume
judge "the resumed codes differ" cmp -s resumed/model.safetensors again/gpt_oss-mxfp4/model.safetensors
ends 0 convert codes4.gguf -o threads --to safetensors --dtype codes --threads 3 --memory 64M --quiet
judge "threads or memory change the codes" cmp -s threads/model.safetensors again/gpt_oss-mxfp4/model.safetensors

# ---- errors ----
refused 2 "MODEL" convert
refused 2 "--to" convert tiny-qwen2 -o no.gguf
refused 2 "q.gguf" convert q.gguf -o no.gguf --to gguf
refused 2 ".gguf" convert tiny-qwen2 -o no --to gguf
refused 4 "nowhere" convert nowhere -o no.gguf --to gguf
mkdir strange && cp -rL tiny-qwen2/. strange && chmod -R u+w strange
sed -i 's/Qwen2ForCausalLM/Qwen7ForCausalLM/' strange/config.json
refused 3 "'qwen2'" convert strange -o no.gguf --to gguf
jq 'del(.model_type)' strange/config.json >set.json && mv set.json strange/config.json
refused 3 "'Qwen7ForCausalLM'" convert strange -o no.gguf --to gguf
cp tiny-qwen2/config.json strange && sed -i 's/(?i:.s|/(?i:|/' strange/tokenizer.json
ends 0 convert strange -o named.gguf --to gguf # the class of Qwen 2 has its own pattern
rm -r strange named.* && mkdir strange && cp -rL "${model%/*}/tiny-llama/." strange && chmod -R u+w strange && sed -i 's/(?i:.s|/(?i:|/' strange/tokenizer.json
refused 3 "tokenizer.ggml.pre" convert strange -o no.gguf --to gguf
ends 0 convert strange -o named.gguf --to gguf --pre qwen2
says "--pre qwen2"
jq '.normalizer.normalizers += [{"type": "Lowercase"}]' "$root/fixtures/tokenizers/llama2.json" >strange/tokenizer.json
refused 3 "tokenizer.json" convert strange -o no.gguf --to gguf
refused 3 "tokenizer.json" convert strange -o no.gguf --to gguf --dry-run
ends 0 convert strange -o small.gguf --to gguf --pre default
says "--pre default"
rm strange/tokenizer.json && touch strange/tokenizer.model
refused 3 "tokenizer.model" convert strange -o no.gguf --to gguf
rm strange/tokenizer.model
for file in tekken.json kimi/tiktoken.model; do
    cp "$root/fixtures/tokenizers/$file" "strange/${file##*/}"
    refused 3 "${file##*/}" convert strange -o no.gguf --to gguf
    rm "strange/${file##*/}"
done
for kind in Unigram WordPiece; do
    jq ".model = {type: \"$kind\", unk_id: 0, vocab: [[\"<unk>\", 0], [\"a\", -1]]}" tiny-qwen2/tokenizer.json >strange/tokenizer.json
    refused 3 "'$kind'" convert strange -o no.gguf --to gguf
done
rm strange/tokenizer.json
jq '.rope_scaling = {"rope_type": "dynamic", "factor": 2.0}' tiny-qwen2/config.json >strange/config.json
refused 3 "rope_type" convert strange -o no.gguf --to gguf
jq '.norm_topk_prob = false' tiny-moe/config.json >strange/config.json && cp -Lf tiny-moe/*.safetensors* tiny-moe/tokenizer.json strange
refused 3 "norm_topk_prob" convert strange -o no.gguf --to gguf --quiet
judge "a refused run wrote something" test ! -e no.gguf

# ---- what GGUF loses of per-layer embeddings, and what loaders read only in its type ----
for type in gemma3n_text gemma3n_text-gguf gpt2; do
    rm -rf "${type:?}"
    (cd "$root" && build/checks/arch_model $type "$scratch/area/$type") >../out 2>&1 || bad "$type cannot be made" ../out
done
ends 0 convert gemma3n_text -o lost.gguf --to gguf --force
says "model.embed_tokens_per_layer.weight"
ends 0 convert gemma3n_text-gguf -o kept.gguf --to gguf
judge "there is a warning of rows that are not lost" test "$(grep -c model.embed_tokens_per_layer.weight ../err)" = 0
ends 0 convert gpt2 -o gpt2.gguf --to gguf --quiet
for select in '*' position_embd; do
    ends 0 quantize gpt2.gguf -s q8_0 -o small.gguf --select "$select" --json --quiet --force
    holds ../out "[.left_alone[].tensor] == $([[ $select == '*' ]] && echo '["position_embd.weight"]' || echo '[]')"
done

# ---- a base of the rotation that is not the default, in the member that the model type reads ----
[[ -e gpt_neox ]] || make gpt_neox
jq '.rope_parameters.rope_theta = 50000 | .rope_parameters.partial_rotary_factor = 0.5' gpt_neox/config.json >set.json && mv set.json gpt_neox/config.json
ends 0 convert gpt_neox -o neox.gguf --to gguf --dtype f32 --quiet --force
ends 0 convert neox.gguf -o neox-back --to safetensors --quiet --force
holds neox-back/config.json '[.rotary_emb_base, .rotary_pct, .rope_theta, .partial_rotary_factor] == [50000, 0.5, null, null]'
read -r before after < <(likelihood gpt_neox neox-back)
judge "gpt_neox with another base: another likelihood comes back" same gpt_neox "$before" "$after"

# ---- Gemma 3 as Ollama stores it: one file with the tower, without keys that Ollama has in its code; models of 34 layers also have a factor there ----
fixture_rows=$root/fixtures/architectures/gemma3_text
for layers in 4 34; do
    rm -rf fixture ollama && mkdir fixture
    { grep -v 'layers\.' "$fixture_rows/model.tsv" && for ((k = 0; k < layers; k++)); do grep 'layers\.0\.' "$fixture_rows/model.tsv" | sed "s/layers\.0\./layers.$k./"; done; } >fixture/model.tsv
    jq --argjson n $layers '.num_hidden_layers = $n | .layer_types = [range($n) | if . % 6 == 5 then "full_attention" else "sliding_attention" end]
        | .query_pre_attn_scalar = 16 | if $n == 34 then .rope_parameters.full_attention += {rope_type: "linear", factor: 8} else . end' \
        "$fixture_rows/config.json" >fixture/config.json
    (cd "$root" && build/checks/arch_model "../../../../../../../../../..$scratch/area/fixture" "$scratch/area/ollama") >../out 2>&1 || bad "the model cannot be made" ../out
    rm -f ollama/tokenizer.json
    ends 0 convert ollama -o plain.gguf --to gguf --dtype f32 --quiet --force
    "$root/build/checks/gguf_keys" plain.gguf ollama.gguf gemma3.rope.freq_base= gemma3.rope.freq_base_swa= gemma3.attention.layer_norm_rms_epsilon= \
        gemma3.rope.scaling.type= gemma3.rope.scaling.factor= gemma3.vision.block_count=u32:1 +v.patch_embedding.bias +v.blk.0.layer_norm1.weight \
        +mm.mm_soft_emb_norm.weight >../out 2>&1 || bad "the file cannot be made" ../out
    ends 0 convert ollama.gguf -o ollama-back --to safetensors --force
    says "3 tensors of vision, audio or multi-token prediction, such as 'v.patch_embedding.bias', are left out"
    ends 0 convert plain.gguf -o plain-back --to safetensors --quiet --force
    judge "$layers layers: the keys in Ollama's code change config.json" diff plain-back/config.json ollama-back/config.json
    judge "$layers layers: the tower changes the tensors of the text" cmp plain-back/model.safetensors ollama-back/model.safetensors
done
holds ollama-back/config.json '.rope_scaling == {rope_type: "linear", factor: 8.0}'
finish
