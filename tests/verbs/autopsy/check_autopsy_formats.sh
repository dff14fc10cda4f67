#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ autopsy between GGUF and safetensors: for each model that convert accepts, the files of both formats have equal weights, and each weight of
# one format has its counterpart in the other. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

root=${organ%/build/organ}

# models of fixtures/architectures that convert refuses
refused=" bailing_hybrid bailing_hybrid-plain biogpt bitnet codegen cohere2_moe-pattern cohere2_moe-sigmoid deepseek_v2 deepseek_v2-groups deepseek_v2-lite \
deepseek_v4 deepseek_v4-fp4 deepseek_v4-hub falcon-rw falcon_h1-norm gemma2 gemma3 gemma3-flat gemma3_text gpt_neo gptj granite_swa granitemoe_swa \
helium hy_v4 hy_v4-shared hyperclovax kimi_linear kimi_linear-hub laguna laguna-elements lfm3 lfm3-plain lfm3_vl llama-relu llama4 llama4-flat \
llama4_text longcat_flash mellum minicpm3 minicpm3-plain minimax minimax-window minimax_m3_vl minimax_m3_vl-flat mpt nanochat nemotron_h-latent \
nemotron_h-moe olmo_hybrid olmo_hybrid-plain opt opt-post persimmon phimoe phimoe-long phimoe-stacked qwen2_moe-dense qwen3_moe qwen3_moe-dense \
qwen3_moe-stacked qwen3_vl_moe qwen3_vl_moe-flat sarvam_moe vaultgemma xglm "
# and those that it converts to GGUF only
one_way=" minimax_m3_vl-gguf minimax_m3_vl-sparse step3p7 step3p7-flat "

# quiet_jq ARGS...: only the exit code of jq.
quiet_jq() { jq "$@" >/dev/null; }

# compares A B: whether autopsy pairs all weights of A and B and finds them equal. Left out are tensors of vision, audio and draft layers, and values that one
# format has in its settings. Findings about values alone (of random numbers) are those of the fixture.
compares() {
    "$organ" autopsy "$1" "$2" --json --quiet >both.json 2>../err
    judge "autopsy $1 $2" quiet_jq -en --slurpfile b both.json '
        $b[0] as $d
        | ([$d.findings[].kind] - ["flat", "few_levels", "range", "exploded", "biased", "constant"] == [])
        and ([$d.remarks[] | select(.kind == "missing" or .kind == "extra" or .kind == "unusual")
              | select((.role | IN("vision", "audio", "mtp") | not) and (.tensor | test("^rope_freqs|act_fn") | not))] == [])
        and ([$d.roles[] | select((.role | IN("vision", "audio", "mtp") | not) and .against_other) | .against_other.largest_relative_error | select(. > 1e-4)] == [])
        and ([$d.roles[] | .against_other.tensors // 0] | add) > 10'
}

# pairs NAME: converts a model to GGUF and back, and compares each format with the other.
pairs() {
    "$organ" convert "$1" -o "$1.gguf" --to gguf --dtype f32 --quiet >../out 2>../err || { bad "$1 cannot be converted" ../err; return; }
    compares "$1.gguf" "$1"
    compares "$1" "$1.gguf"
    if [[ $one_way == *" $1 "* ]]; then
        refused 3 "cannot be converted" convert "$1.gguf" -o "$1-back" --to safetensors
        rm -r "$1.gguf"
        return
    fi
    "$organ" convert "$1.gguf" -o "$1-back" --to safetensors --quiet >../out 2>../err || { bad "$1.gguf cannot be converted" ../err; return; }
    compares "$1.gguf" "$1-back"
    compares "$1-back" "$1.gguf"
    rm -r "$1.gguf" "$1-back"
}

count=0
for name in "$root"/fixtures/architectures/*/; do
    name=$(basename "$name")
    sampled && ((count++ % 8)) && continue
    (cd "$root" && build/checks/arch_model "$name" "$scratch/area/$name") >../out 2>&1 || bad "$name cannot be made" ../out
    if [[ $refused == *" $name "* ]]; then
        "$organ" convert "$name" -o no.gguf --to gguf --mmproj none --quiet >../out 2>../err
        judge "$name can be converted: take it out of the list" test $? = 3
    else
        pairs "$name"
    fi
    rm -rf "$name"
done
for name in tiny-moe tiny-qwen2moe tiny-hybrid tiny-llama; do
    ln -s "$root/fixtures/$name" $name
    pairs $name
done
pairs tiny-qwen2

# a copy of quantised weights is as near as its type allows
ends 0 convert tiny-moe -o q8.gguf --to gguf --dtype q8_0 --quiet
ends 0 autopsy q8.gguf tiny-moe --quiet
ends 0 autopsy tiny-moe q8.gguf --quiet

# a damaged expert and one of another name are found in both directions
cp -rL tiny-moe damaged && chmod -R u+w damaged
ends 0 convert tiny-moe -o made.gguf --to gguf --quiet
read -r shard offset < <("$organ" inspect damaged --tensors --json --select 'model.layers.1.mlp.experts.3.up_proj.weight' | jq -r '.tensors[0] | "\(.file) \(.offset)"')
dd if=tiny-qwen2/tokenizer.json of="damaged/$shard" bs=1 seek="$offset" count=1536 conv=notrunc status=none
ends 1 autopsy made.gguf damaged --json --quiet
judge "the stack of the damaged expert is not found" test "$(jq -r '[.findings[].tensor] | unique[]' ../out)" = blk.1.ffn_up_exps.weight
ends 1 autopsy damaged made.gguf --json --quiet
judge "the damaged expert is not found" test "$(jq -r '[.findings[].tensor] | unique[]' ../out)" = model.layers.1.mlp.experts.3.up_proj.weight
LC_ALL=C sed -i 's/layers\.1\.mlp\.experts\.3\.up_proj/layers.1.mlp.experts.3.xp_proj/' damaged/*
ends 1 autopsy made.gguf damaged --json --quiet
judge "the incomplete stack is not missing" quiet_jq -en --slurpfile d ../out '[$d[0].findings[] | select(.kind == "missing") | .tensor] == ["blk.1.ffn_up_exps.weight"]' ../out
judge "the other name is not found" quiet_jq -en '[inputs.only_in_other[]] == ["model.layers.1.mlp.experts.3.xp_proj.weight"]' ../out
ends 1 autopsy damaged made.gguf --json --quiet
judge "the other name is not missing" quiet_jq -en --slurpfile d ../out '[$d[0].findings[] | select(.kind == "missing") | .tensor] == ["model.layers.1.mlp.experts.3.xp_proj.weight"]' ../out

# rows of q and k have the order of the architecture that the GGUF file states
"$organ" convert tiny-llama -o turned.gguf --to gguf --quiet >../out 2>../err || bad "tiny-llama cannot be converted" ../err
LC_ALL=C sed -i 's/llama/qwen2/g' turned.gguf
ends 1 autopsy turned.gguf tiny-llama --json --quiet
judge "only q and k have another order" quiet_jq -en --slurpfile d ../out '[$d[0].findings[] | select(.kind == "order") | .role] | unique == ["k_proj", "q_proj"]' ../out

# graft finds the norms of each architecture under the names of the other format
for name in glm4 olmo2; do
    (cd "$root" && build/checks/arch_model $name "$scratch/area/$name") >../out 2>&1 || bad "$name cannot be made" ../out
    ends 0 convert $name -o $name.gguf --to gguf --dtype f32 --mmproj none --quiet --force
    ends 0 graft --source $name --target $name.gguf -o grafted.gguf --select norm,0-1 --quiet
    ends 0 graft --source $name.gguf --target $name -o grafted --select norm,0-1 --quiet
    compares grafted.gguf grafted
    rm -r $name grafted grafted.*
done
finish
