#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ lora extract: output, reports, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "${model%/*}/tiny-lora" tiny-lora
"$organ" lora merge --base tiny-qwen2 --adapter tiny-lora -o tuned --scale 4 --quiet >../out 2>../err || bad "no tuned model" ../err

some=()
if sampled; then some=(--modules q_proj,v_proj); fi

ends 0 help lora extract
matches help/help_lora_extract ../out
cp ../out ../help
ends 0 lora extract --help
if cmp -s ../out ../help; then good; else bad "is not what 'organ help lora extract' prints"; fi

# ---- results ----
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o adapter -r 4 --quiet
matches lora/lora_extract ../out
judge "there is a word on stderr" test ! -s ../err
judge "the report is not there" test -s adapter/organ/LORA_REPORT.md -a -s adapter/organ/LORA_REPORT.html -a -s adapter/organ/lora_extract.json
ends 0 lora merge --base tiny-qwen2 --adapter adapter -o no --dry-run # every key finds its place
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o adapter --force -r 4 --json --quiet --threads 1 --memory 8M
prints '"schema": "organ.lora_extract/1"'
if diff <(sed '/^  "run": {$/,/^  }$/d' ../out) <(sed '/^  "run": {$/,/^  }$/d' adapter/organ/lora_extract.json) >../difference; then good; else
    bad "--json differs from the file" ../difference
fi
cp adapter/adapter_model.safetensors ../first
# A limit of 40 KiB for files kills the run; the next run does not decompose the modules in the journal again.
extraction=(lora extract --base tiny-qwen2 --tuned tuned -o killed -r 4 --quiet --threads 2)
(ulimit -f 40 && "$organ" "${extraction[@]}") >/dev/null 2>&1
cp .killed.organ-partial/organ/journal.jsonl ../journal
judge "no module was done" test "$(wc -l <../journal)" -gt 1
refused 2 "--resume continues it, --force starts over" "${extraction[@]}"
ends 2 "${extraction[@]}" --resume --seed 1
says "the unfinished run cannot be continued: its parameters was"
ends 0 "${extraction[@]}" --resume
judge "--resume makes another adapter" cmp -s ../first killed/adapter_model.safetensors
judge "--resume makes another config" cmp -s adapter/adapter_config.json killed/adapter_config.json
judge "--resume decomposes a module again" test "$(printf '%.3f' "$(sed -n 2p ../journal | jq -r .results.seconds)")" = \
    "$(printf '%.3f' "$(jq '.run.module_seconds[0]' killed/organ/lora_extract.json)")"
judge "--resume reports other figures" cmp -s <(jq 'del(.run)' adapter/organ/lora_extract.json) <(jq 'del(.run)' killed/organ/lora_extract.json)
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o adapter --force -r 4 --quiet --threads 3
judge "other threads and memory make another adapter" cmp -s ../first adapter/adapter_model.safetensors
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o by-energy --rank-by energy 0.9 -r 32 --dtype f32 --quiet "${some[@]}"
judge "no rank is its own" grep -q '"model\\\\.layers\\\\.' by-energy/adapter_config.json
ends 0 lora sanitize by-energy --check
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o exact --exact --modules q_proj,v_proj -r 4 --quiet
prints "Changed, without factors"
ends 0 lora extract --base tiny-qwen2 --tuned tuned -o no --dry-run
matches lora/lora_extract_dry ../out
judge "a dry run left something" test ! -e no
ends 0 quantize tiny-qwen2 -o fp8 --scheme fp8-block128 --quiet
ends 0 lora extract --base fp8 --tuned tuned -o mended -r 16 --quiet "${some[@]}"
prints "Method B: the base is quantised"

# ---- errors ----
mkdir taken && echo x >taken/x
refused 2 "--tuned MODEL is missing" lora extract --base tiny-qwen2 -o no
refused 2 "did you mean '--tuned'" lora extract --base tiny-qwen2 --tune tuned -o no
refused 2 "taken" lora extract --base tiny-qwen2 --tuned tuned -o taken
refused 2 "tiny-qwen2" lora extract --base tiny-qwen2 --tuned tuned -o tiny-qwen2/inside
refused 2 "--rank-by energy: '1.5' is not a share above 0, at most 1" lora extract --base tiny-qwen2 --tuned tuned -o no --rank-by energy 1.5
refused 2 "unexpected argument '0.9'" lora extract --base tiny-qwen2 --tuned tuned -o no 0.9
refused 2 "matches 'x_proj'" lora extract --base tiny-qwen2 --tuned tuned -o no --modules q_proj,x_proj
refused 2 "lora extract: --dtype is 'f64', but must be one of bf16, f16, f32" lora extract --base tiny-qwen2 --tuned tuned -o no --dtype f64
refused 2 "organ convert makes both of one format" lora extract --base tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --tuned tuned -o no
refused 3 "there is nothing to extract" lora extract --base tiny-qwen2 --tuned tiny-qwen2 -o no --quiet
refused 4 "nowhere" lora extract --base tiny-qwen2 --tuned nowhere -o no
finish
