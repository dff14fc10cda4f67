#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Converts each model of fixtures/architectures to GGUF and back: the tensors must have the names of the published model, which transformers loads. organ
# itself reads other names too, so its figures cannot show a wrong one. bench/load_back.py loads the same models in transformers. Unless EFFORT is all,
# it converts every third model. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
root=${organ%/build/organ}
fixtures=$root/fixtures/architectures

# Fixtures in a layout of their own (modules of transformers 5, codes of MXFP4) come back in that of published models, which another fixture has.
declare -A published=([ernie4_5_moe-stacked]=ernie4_5_moe [exaone_moe-stacked]=exaone_moe [granitemoe-stacked]=granitemoe
    [hunyuan_v1_moe-stacked]=hunyuan_v1_moe [hy_v3-stacked]=hy_v3 [minimax_m2-stacked]=minimax_m2 [mixtral-stacked]=mixtral [olmoe-stacked]=olmoe
    [gpt_oss-mxfp4]=gpt_oss [qwen3_vl_moe-gguf]=qwen3_moe [glm46v-moe]=glm4_moe)
# Types that organ converts to GGUF only.
one_way=" step3p7 step3p7-flat minimax_m3_vl-gguf minimax_m3_vl-sparse "

# Names of a fixture. GGUF has the text model of a multimodal one alone, and comes back as such; two blocks for multi-token prediction are left out.
names_of() {
    local left='visual|vision_tower|audio_tower|vision_embedder|embed_vision|embed_audio|multi_modal_projector|mm_projector'
    [[ $1 == qwen3_5_text-mtp ]] || left+='|mtp'
    awk -F'\t' '$1 == "tensor" { print $2 }' "$fixtures/$1/model.tsv" |
        grep -vE '^(model\.)?('"$left"')\.' |
        sed -E 's/^(language_model\.model|model\.language_model)\./model./; s/^language_model\.lm_head/lm_head/' | sort
}
# With the number of each layer and expert as N, and without biases of projections, which not both fixtures have.
kinds() { grep -vE '(_proj|lm_head)\.bias$' | sed -E 's/\.[0-9]+\./.N./g; s/\.[0-9]+\./.N./g' | sort -u; }

converted=0 number=0 least=100
if in_part; then least=33; fi
for folder in "$fixtures"/*/; do
    if in_part && ((++number % 3)); then continue; fi
    type=$(basename "$folder")
    (cd "$root" && build/checks/arch_model "$type" "$scratch/area/model") >../out 2>&1 || bad "$type cannot be made" ../out
    if "$organ" convert model -o x.gguf --to gguf --dtype f32 --mmproj none --quiet >../out 2>../err; then
        converted=$((converted + 1))
        here="$type to GGUF and back"
        if [[ $one_way == *" $type "* ]]; then
            refused 3 "cannot be converted" convert x.gguf -o back --to safetensors
            rm -rf model x.*
            continue
        fi
        "$organ" convert x.gguf -o back --to safetensors --quiet >../out 2>../err || bad "does not come back" ../err
        "$organ" inspect back --tensors --json | jq -r '.tensors[].name' | sort >../names
        if [[ ${published[$type]:-} ]]; then
            judge "has other names" diff <(names_of "${published[$type]}" | kinds) <(kinds <../names)
        else
            judge "has other names" diff <(names_of "$type") ../names
        fi
    fi
    rm -rf model back x.*
done
judge "only $converted models were converted" test $converted -ge $least
finish
