#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Refuses allocations in every verb and in the libraries below it, one by one: only this one, or this one and all later ones. The run must exit with 4
# and name memory as the reason, or do its work; it may leave no incomplete file.
#
#   tests/faults/check_memory_verbs.sh                  some allocations of each verb; MEMORY_TURN=1, 2, ... selects others
#   MEMORY_RUNS=paths tests/faults/check_memory_...     the first allocation of each path of calls
#   MEMORY_RUNS=all tests/faults/check_memory_...       every allocation: hours
#   MEMORY_VERBS="inspect prune" ...                    some verbs
. "$(dirname "$0")/sweep_kit.sh"
FAULT_RUNS=${MEMORY_RUNS:-} FAULT_VERBS=${MEMORY_VERBS:-} FAULT_TURN=${MEMORY_TURN:-0}
# Under a sanitizer a run takes ten times as long. `ninja test` then sweeps one form of each verb, `ninja test-memory` all of them.
brief=
[[ -z $asan || -n $FAULT_RUNS$FAULT_VERBS || ${EFFORT:-some} == all ]] || brief=yes
sweep_memory() { sweep memory "$@"; }
# For a form of a verb that has its own sweep.
sweep_form() { [[ -n $brief ]] || sweep memory "$@"; }

# ---- inputs of the verbs ----
prepare
made noisy quantize "$model" --scheme fp8-block128
[[ -n $brief ]] || made tuned-noisy quantize tuned --scheme fp8-block128
noisy=$area/noisy
mkdir -p coming && cp -rL "$model" coming/m && chmod -R u+w coming || bad "no input"
# Makes an interrupted pruning: refuses the first of these allocations that leaves a partial output.
mkdir unfinished
for ((n = 1000; n < 20000; n += 50)); do
    (cd unfinished && rm -rf p && LD_PRELOAD=$(preload memory) ORGAN_FAULT_AT=$n "$organ" prune "$q" --threads 1 -o p --quiet >../../out 2>&1)
    [[ -e unfinished/.p.organ-partial ]] && break
done
judge "no pruning to go on with" test -e unfinished/.p.organ-partial/organ/journal.jsonl
mkdir download && cp "$q"/* download/ && cp "$model"/tokenizer*.json download/ && : >download/x.py || bad "no input"
printf '%s' '{"chat_template":[{"name":"a","template":"{{ x.__class__ }}"}],"auto_map":{"A":"x.B"}}' >download/processor_config.json

# ---- the verbs ----
# version times two kernels to choose the faster one, which may differ between runs unless ORGAN_ISA names one.
ORGAN_ISA=scalar sweep_memory paths version version
sweep_memory paths help help prune
sweep_memory 20 topology topology
sweep_memory 100 inspect
sweep_memory 8 vocabulary
sweep_memory 8 vocabulary-out
sweep_memory 8 vocabulary-labels
sweep_memory 8 compare
sweep_memory 16 merge
sweep_form 16 merge-then
sweep_form 60 inspect-json inspect "$q" --json
sweep_memory 60 inspect-gguf inspect "$model-gguf/tiny-qwen2-Q8_0.gguf"
sweep_form 40 inspect-mlx inspect "$fixtures/precision/mlx-affine"
sweep_memory 60 untrusted inspect --untrusted "$area/download"
sweep_memory 80 report
sweep_memory 40 tokenize
sweep_memory 8 measure
begin=$area/coming
begin=
sweep_memory 8 autopsy
sweep_memory 8 audit
sweep_memory 8 experts
sweep_memory 8 audit-cut
sweep_memory 8 extract
sweep_memory 460 assemble
sweep_memory 8 gguf-split
sweep_memory 8 gguf-join
sweep_memory 8 gguf-edit
sweep_memory 8 patch-extract
sweep_memory 8 patch-apply
sweep_memory 8 graft
sweep_form 8 graft-part
sweep_memory 8 dequantize
sweep_memory 8 convert
sweep_form 8 convert-back
sweep_form 8 dequantize-mlx dequantize "$fixtures/precision/mlx-affine" "${t1[@]}" -o d
sweep_memory 4 width
sweep_memory 4 layers
sweep_form 4 layers-heal
sweep_memory 4 width-experts
sweep_memory 8 quantize
sweep_memory 8 quantize-gguf
sweep_memory 8 lora-extract
sweep_memory 8 lora-sanitize
sweep_memory 8 lora-merge
sweep_memory 8 lora-resize
sweep_memory 8 lora-combine
sweep_memory 8 orthogonality
sweep_form 4 orthogonality-pairs orthogonality --pair "$model" "$area/noisy" --pair "$area/tuned" "$area/tuned-noisy" "${t1[@]}" -o o
sweep_memory 8 purify
sweep_form 8 purify-fft purify "$q" --select all --method fft "${t1[@]}" -o p
sweep_memory 8 perplexity
sweep_memory 8 generate
sweep_memory 8 imatrix
sweep_form 3 experts-predict experts "$fixtures/tiny-moe" --predict --score sum --keep 8 --calibration "$area/longer" --samples 2 --context 16 \
    --predict-tokens 64 "${t1[@]}"
sweep_memory 8 evaluate
sweep_memory 8 prune
sweep_form 4 prune-gguf
sweep_form 4 prune-evaluate prune "$model" "${t1[@]}" -o p --evaluate "$area/text"
begin=$area/unfinished
sweep_memory 8 prune-resume prune "$q" "${t1[@]}" --resume -o p
begin=
# A few matrices in more than one layer; some of them share their inputs.
some=(--select '*.[02].self_attn.[qkv]_proj.weight,*.1.mlp.down_proj.weight')
along=("${some[@]}" --calibration "$area/text" --samples 2 --context 32 "${t1[@]}")
methods="physarum-v2 wanda sparsegpt alps physarum-v3" walks=yes
[[ -z $brief ]] || methods=wanda walks=
for method in $methods; do
    sweep_memory 3 "prune-$method" prune "$model" --method $method --sparsity 20 "${along[@]}" -o p
done
sweep_memory 3 prune-allocate prune "$model" --method wanda --budget 40% --allocate global --allocate-tokens 64 --allocate-layers 2 \
    --select '*.self_attn.[kv]_proj.weight' --calibration "$area/longer" --samples 2 --context 32 "${t1[@]}" -o p
[[ -z $walks ]] || sweep_memory 3 prune-then prune "$model" --method physarum-v2 -s 50 --then int4-group32 "${along[@]}" -o pt
sweep_form 3 prune-then-allocate prune "$model" --method physarum-v3 --budget 2.6bpw --then int4-group32 --allocate global --allocate-tokens 64 \
    --allocate-layers 2 --select '*.self_attn.o_proj.weight' --calibration "$area/longer" --samples 2 --context 32 "${t1[@]}" -o pt
sweep_memory 3 quantize-gptq quantize "$model" --method gptq --scheme int4-group32 "${along[@]}" -o q
sweep_form 3 quantize-gguf-gptq quantize "$gguf" --method gptq --scheme q4_0 "${along[@]}" --select 'blk.[02].attn_[kv].weight,blk.1.ffn_up.weight' -o q.gguf
sweep_form 3 prune-imatrix prune "$model" --method wanda --sparsity 20 --imatrix "$fixtures/imatrix/tiny-qwen2.gguf" "${t1[@]}" -o p
sweep_memory 8 fleet
# Refuses the last allocations, when the output has its name: the message must say that it is complete. With MEMORY_RUNS the sweeps above include them.
if [[ -z $FAULT_RUNS ]]; then
    for verb in prune quantize-gguf measure; do sweep_memory last:60:6 $verb; done # a directory, a file, a report
    for verb in extract lora-merge audit evaluate fleet; do sweep_form last:60:6 $verb; done
fi

# ---- inside hwloc ----
# hwloc may crash, which loses its memory, so leaks are not checked. A run that hwloc ends leaves nothing but what the same command continues.
(
    export ORGAN_FAULT_LIBRARIES=1
    [[ -n $asan ]] && export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
    sweep_memory 40 in-hwloc prune "$q" "${t1[@]}" -o p
    sweep_memory 16 in-hwloc-record topology --import "$fixtures/topologies/2x24.xml"
    echo "$passed $failed" >../counts
)
read -r passed failed <../counts

# ---- a process with too little address space, up to the point where hwloc finds the cores ----
# It runs only if MEMORY_VERBS names it, because with some sizes a library's constructor ends the program before main, which varies from run to run.
if [[ -z $asan && " ${MEMORY_VERBS:-} " == *" exhausted "* ]]; then
    low=0 high=4194304 # KiB; at `high` it works
    while ((high - low > 64)); do
        middle=$(((low + high) / 2))
        if (ulimit -v $middle && exec "$organ" version) >../out 2>&1; then high=$middle; else low=$middle; fi
    done
    # Below a certain size the loader or a library's constructor fails. The size moves by some pages from run to run with the addresses that the kernel
    # chooses; the search ends after four sizes in a row that are above it.
    begun=0
    for ((size = high - 4096; size < high; size += 64)); do
        (ulimit -v $size && exec "$organ" version) >../out 2>../err
        code=$?
        here="organ version with $size KiB"
        if ((begun < 4)); then
            if ((code == 0 || code == 4)); then begun=$((begun + 1)); else begun=0; fi
            continue
        fi
        if ((code == 0)) || { ((code == 4)) && grep -q memory ../err; }; then good; else bad "ends with $code" ../err; fi
    done
fi
finish
