#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ orthogonality: output, documents, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

# Makes an adapter of rank 2 for the four k_proj of tiny-qwen2, of small numbers that repeat, with the shell alone.
make_adapter() {
    mkdir -p "$1"
    local layer header="{" at=0 module comma='' length low n values=''
    for layer in 0 1 2 3; do
        module=base_model.model.model.layers.$layer.${2:-self_attn.k_proj}
        header+="$comma\"$module.lora_A.weight\":{\"dtype\":\"BF16\",\"shape\":[2,320],\"data_offsets\":[$at,$((at + 1280))]}"
        header+=",\"$module.lora_B.weight\":{\"dtype\":\"BF16\",\"shape\":[64,2],\"data_offsets\":[$((at + 1280)),$((at + 1536))]}"
        at=$((at + 1536))
        comma=,
    done
    header+="}"
    while ((${#header} % 8)); do header+=" "; done
    printf -v length '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((${#header} % 256)) $((${#header} / 256))
    # BF16 numbers between 0.01 and 0.1, of both signs
    for ((n = 0; n < at / 2; n++)); do
        printf -v low '\\x%02x' $((n * 37 % 251))
        values+=$low
        if ((n * n % 7 % 2)); then values+='\xbc'; else values+='\x3d'; fi
    done
    printf '%b%s%b' "$length" "$header" "$values" >"$1/adapter_model.safetensors"
    printf '{"peft_type":"LORA","r":2,"lora_alpha":2,"target_modules":["k_proj"],"base_model_name_or_path":"tiny-qwen2"}\n' \
        >"$1/adapter_config.json"
}
make_adapter adapter

ends 0 quantize tiny-qwen2 -o fp8 --scheme fp8-channel --quiet
ends 0 quantize tiny-qwen2 -o int4 --scheme int4-group32 --quiet

# ---- results ----
ends 0 orthogonality tiny-qwen2 fp8 adapter --progress lines
matches orthogonality/orthogonality ../out
matches orthogonality/orthogonality_log ../err
ends 0 orthogonality tiny-qwen2 fp8 adapter --noisy2 int4 -o report --quiet
matches orthogonality/orthogonality_two ../out
[[ -s ../err ]] && bad "--quiet is not quiet" ../err
for file in orthogonality.json ORTHOGONALITY_REPORT.md ORTHOGONALITY_REPORT.html magnitude.svg cosine.svg leakage.svg; do judge "no $file" test -s report/$file; done
matches orthogonality/orthogonality_report report/ORTHOGONALITY_REPORT.md
for plot in magnitude cosine leakage; do
    judge "the report does not show $plot.svg" grep -qF "]($plot.svg)" report/ORTHOGONALITY_REPORT.md
    judge "$plot.svg does not show k_proj of both" test "$(grep -c '>k_proj<\|>[^<]*noise of fp8<\|>[^<]*noise of int4<' report/$plot.svg)" -eq 3
done
ends 0 orthogonality tiny-qwen2 fp8 adapter --noisy2 int4 --json --quiet --threads 1 --memory 8M
if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' report/orthogonality.json) >../difference; then good; else
    bad "--json differs from the file, or threads or memory change it" ../difference
fi
rm -rf report
ends 0 orthogonality tiny-qwen2 tiny-qwen2 adapter --select '*.layers.2.*'
prints "There is no noise: both models have equal values in these modules."
prints "1 of 4 modules"

# A GGUF model with its own tensor names; Q8_0 changes the weights less than FP8 does.
ends 0 orthogonality tiny-qwen2 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf adapter --quiet
prints "k_proj            4    0.0"
sed 's/qwen2/llama/g' tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf >llama.gguf
refused 3 "'model.layers.0.self_attn.k_proj'" \
    orthogonality tiny-qwen2 llama.gguf adapter

# ---- two pairs ----
# The second model is the fixture with a merged adapter, so that only its k_proj differ.
ends 0 lora merge --base tiny-qwen2 --adapter adapter -o tuned --quiet
ends 0 quantize tuned -o tuned-fp8 --scheme fp8-channel --quiet
ends 0 quantize tuned -o tuned-int4 --scheme int4-group32 --quiet
ends 0 orthogonality --pair tiny-qwen2 fp8 --pair tuned tuned-fp8 --progress lines
matches orthogonality/orthogonality_pairs ../out
matches orthogonality/orthogonality_pairs_log ../err
ends 0 orthogonality --pair tiny-qwen2 fp8 --pair tuned tuned-fp8 --select '*.k_proj' -o pairs --quiet
matches orthogonality/orthogonality_pairs_report pairs/NOISE_PAIRS_REPORT.md
judge "the page shows no plots" test "$(grep -c '<svg' pairs/NOISE_PAIRS_REPORT.html)" -ge 3
ends 0 orthogonality --pair tiny-qwen2 fp8 --pair tuned tuned-fp8 --select '*.k_proj' --json --quiet --threads 1 --memory 8M
if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' pairs/noise_pairs.json) >../difference; then good; else
    bad "--json differs from the file, or threads or memory change it" ../difference
fi
ends 0 report pairs/noise_pairs.json -o page.html
judge "organ report makes another page" cmp -s page.html pairs/NOISE_PAIRS_REPORT.html
# The adapter and the tuned model give the same change, except for the rounding of the merge.
ends 0 orthogonality --pair tiny-qwen2 int4 --pair tuned tuned-int4 adapter --json --quiet
judge "the adapter is none" test "$(jq -r '.change.of' ../out)" = adapter
by_adapter=$(jq '.total.remains_to_change * 1000 | round' ../out)
ends 0 orthogonality --pair tiny-qwen2 int4 --pair tuned tuned-int4 tuned --select '*.k_proj' --json --quiet
judge "the tuned model is none" test "$(jq -r '.change.of' ../out)" = "tuned model"
by_tuned=$(jq '.total.remains_to_change * 1000 | round' ../out)
judge "the change is $by_adapter by the adapter and $by_tuned by the tuned model" test $((by_adapter - by_tuned)) -ge -5 -a $((by_adapter - by_tuned)) -le 5
# A GGUF model with its own tensor names.
ends 0 orthogonality --pair tiny-qwen2 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --pair tuned tuned-fp8 --quiet
prints "tiny-qwen2-Q8_0.gguf (Q8_0)"
ends 0 orthogonality --pair tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --pair tuned tuned-fp8 --quiet --select 'blk.0.*'
prints "7 modules"
refused 2 "--pair" orthogonality --pair tiny-qwen2 fp8
refused 2 "--pair" orthogonality --pair tiny-qwen2 fp8 adapter
refused 2 "--pair" orthogonality --pair tiny-qwen2 fp8 --pair tuned tuned-fp8 --pair a b
refused 2 "--pair" orthogonality --pair tiny-qwen2 fp8 --pair tuned
refused 2 "'fp8'" orthogonality --pair tiny-qwen2 fp8 --pair tuned tuned-fp8 adapter fp8
refused 2 "--noisy2" orthogonality --pair tiny-qwen2 fp8 --pair tuned tuned-fp8 --noisy2 int4
refused 2 "--top-k" orthogonality --pair tiny-qwen2 fp8 --pair tuned tuned-fp8 --top-k 3
refused 2 "tiny-qwen2" orthogonality --pair tiny-qwen2 fp8 --pair tiny-qwen2 tuned-fp8
refused 2 "--pair" orthogonality --pair tiny-qwen2 fp8 --pair tuned ./fp8/
refused 3 "does not fit" orthogonality --pair tiny-qwen2 fp8 --pair "$model/../forward/qwen2" tuned-fp8 -o out

# ---- errors ----
refused 2 "CLEAN" orthogonality
refused 2 "ADAPTER" orthogonality tiny-qwen2 fp8
refused 2 "'--noisy2'" orthogonality tiny-qwen2 fp8 adapter --noise2 int4
refused 2 "--draws" orthogonality tiny-qwen2 fp8 adapter --draws 1
refused 2 "--top-k" orthogonality tiny-qwen2 fp8 adapter --top-k 0
refused 2 "'*.up_proj'" orthogonality tiny-qwen2 fp8 adapter --select '*.k_proj,*.up_proj'
mkdir there && touch there/file
refused 2 "there" orthogonality tiny-qwen2 fp8 adapter -o there
refused 2 "adapter" orthogonality tiny-qwen2 fp8 adapter -o adapter --force
refused 4 "nowhere" orthogonality nowhere fp8 adapter
refused 3 "tiny-qwen2" orthogonality tiny-qwen2 fp8 tiny-qwen2
make_adapter other self_attn.x_proj
refused 3 "'model.layers.0.self_attn.x_proj'" orthogonality tiny-qwen2 fp8 other -o out
make_adapter wrong mlp.up_proj
refused 3 "'model.layers.0.mlp.up_proj'" orthogonality tiny-qwen2 fp8 wrong -o out
head -c 4000 adapter/adapter_model.safetensors >wrong/adapter_model.safetensors
refused 3 "adapter_model.safetensors" orthogonality tiny-qwen2 fp8 wrong -o out
finish
