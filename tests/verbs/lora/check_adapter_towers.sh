#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests adapters of vision towers whose names are those of other versions of transformers than those of the base's file. Ends with the line "N passed, N
# failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/verbs/tensors_kit.sh"

# adapter DIRECTORY MODULE: an adapter of one matrix of 16 x 16.
adapter() {
    mkdir -p "$1"
    bf16 "base_model.model.$2.lora_A.weight" 4,16 "base_model.model.$2.lora_B.weight" 16,4 | safetensors 90000 >"$1/adapter_model.safetensors"
    echo '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": null}' >"$1/adapter_config.json"
}
end=encoder.layers.0.self_attn.q_proj
adapter older model.vision_tower.vision_model.$end
adapter newer model.vision_tower.$end
adapter plain vision_tower.$end
for file in vision_tower.vision_model. vision_tower. model.vision_tower.vision_model.; do
    rm -rf base && untied_base base $file$end.weight 16,16
    for name in older newer plain; do
        ends 0 lora merge --base base --adapter $name -o merged-$name --force
        judge "$file, $name: no note about the tower's file" grep -qF "changes 1 matrix of a vision or audio tower" ../err
        ends 0 compare base merged-$name --json --quiet
        judge "$file, $name: not exactly the tower changes" test "$(jq -c '[.pairs[0].roles[] | select(.equal < 1).role]' ../out)" = '["vision"]'
    done
    judge "$file: names change values" cmp -s merged-older/model.safetensors merged-newer/model.safetensors
    judge "$file: names change values" cmp -s merged-older/model.safetensors merged-plain/model.safetensors
    rm -rf merged-*
done
rm -rf base && untied_base base vision_tower.vision_model.encoder.layers.1.self_attn.q_proj.weight 16,16
ends 3 lora merge --base base --adapter newer -o none
prints "NO MATCH"
# ... and never into the layer of the text model with the same number, in GGUF either.
ends 0 convert base -o base.gguf --to gguf --quiet
ends 3 lora merge --base base.gguf --adapter newer -o none.gguf
judge "something was written" test ! -e none -a ! -e none.gguf
finish
