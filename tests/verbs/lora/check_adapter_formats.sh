#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks organ lora sanitize --to between peft, mlx-lm and llama.cpp: the same factors, turned for mlx-lm, and the same scale.
# Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
fixtures=$(dirname "$model")
ln -s "$fixtures/tiny-lora" tiny-lora
ln -s "$fixtures/tiny-qwen2-gguf" gguf
base=gguf/tiny-qwen2-Q8_0.gguf
to() { ends 0 lora sanitize "$1" -o "$3" --to "$2" "${@:4}"; }
# same A B: the factors of two adapters of peft have the same bytes; sorted by organ, in one order
same() {
    to "$1" peft one --quiet --force
    to "$2" peft two --quiet --force
    judge "$1 and $2 have other factors" cmp -s one/adapter_model.safetensors two/adapter_model.safetensors
    judge "$1 and $2 have another scale" test "$(jq .lora_alpha one/adapter_config.json)" = "$(jq .lora_alpha two/adapter_config.json)"
}
# all modules with rank 4 and the scale 2.5
ends 0 lora sanitize tiny-lora -o peft --quiet
jq '.lora_alpha = 10' peft/adapter_config.json >set.json && mv set.json peft/adapter_config.json
to peft mlx mlx
prints "with their scale 2.5"
holds mlx/adapter_config.json '.fine_tune_type == "lora"' '.num_layers == -1' '.lora_parameters | .rank == 4 and .scale == 2.5 and (.keys | index("self_attn.q_proj"))'
shape() { "$organ" lora sanitize "$1" --check --json | jq -c '[.adapter.pairs, .modules[0].rank, .modules[0].scale]'; }
judge "mlx has other modules" test "$(shape mlx)" = "$(shape peft)"
# the six directions
to mlx peft from-mlx --quiet
same peft from-mlx
holds from-mlx/adapter_config.json '.peft_type == "LORA"' '.r == 4' '.lora_alpha == 10' '.target_modules | length == 9'
to peft gguf to-gguf --base $base --quiet
to mlx gguf mlx-to-gguf --base $base --quiet
judge "mlx and peft become other GGUF files" cmp -s to-gguf/adapter_model.gguf mlx-to-gguf/adapter_model.gguf
to to-gguf peft from-gguf --base tiny-qwen2 --quiet
same peft from-gguf
to mlx-to-gguf mlx again --base tiny-qwen2 --quiet
to again peft again-peft --quiet
same peft again-peft
# the embedding, too; several scales are folded into the factors
to tiny-lora mlx whole
prints "Folded"
holds whole/adapter_config.json '.lora_parameters.scale == 1' '.lora_parameters.keys | index("model.embed_tokens")'
to tiny-lora peft whole-peft --quiet
to whole peft whole-again --quiet
same whole-peft whole-again
# a scale that FP32 does not have cannot be that of a GGUF adapter
jq '.lora_parameters.scale = 0.3' mlx/adapter_config.json >set.json
cp -r mlx odd && chmod -R u+w odd && mv set.json odd/adapter_config.json
to odd gguf odd-gguf --base $base
prints "Folded"
to odd peft odd-peft --quiet
holds odd-peft/adapter_config.json '.lora_alpha == 1.2'
# merged, mlx gives what peft gives
ends 0 lora merge --base tiny-qwen2 --adapter peft -o merged --quiet
ends 0 lora merge --base tiny-qwen2 --adapter mlx -o merged-mlx --quiet
judge "merged, mlx and peft differ" cmp -s merged/model.safetensors merged-mlx/model.safetensors
ends 0 lora resize mlx -o small --rank 2 --quiet
holds small/adapter_config.json '.r == 2' '.peft_type == "LORA"'
# names of GGUF need a base with such names
refused 2 "--base must be a GGUF model" lora sanitize mlx -o no --to gguf
refused 2 "--base must be a safetensors model" lora sanitize to-gguf -o no --to mlx
refused 2 "--base must be a safetensors model" lora sanitize mlx -o no --to peft --base $base
# configurations that are no LoRA, or incomplete
cp -r mlx bad && chmod -R u+w bad
config() { jq "$1" mlx/adapter_config.json >bad/adapter_config.json; }
while IFS='|' read -r edit word; do
    config "$edit"
    refused 3 "$word" lora sanitize bad -o no --to peft
done <<'END'
.fine_tune_type = "dora"|fine_tune_type is "dora"
.fine_tune_type = "full"|fine_tune_type is "full"
.fine_tune_type = "other"|fine_tune_type is "other"
del(.lora_parameters)|lora_parameters
.lora_parameters.rank = 0|lora_parameters.rank
.lora_parameters.rank = 3|states 3
del(.lora_parameters.scale) + {alpha: 3}|lora_parameters.scale
.lora_parameters.scale = "1"|lora_parameters.scale
END
rm bad/adapter_config.json
refused 3 "adapter_config.json" lora sanitize bad -o no --to peft
config .
sed -i '1s/q_proj.lora_b/q_proj.lora_x/' bad/adapters.safetensors
refused 3 "lora_B" lora sanitize bad -o no --to peft
head -c 200 mlx/adapters.safetensors >bad/adapters.safetensors
refused 3 "adapters.safetensors" lora sanitize bad -o no --to peft
finish
