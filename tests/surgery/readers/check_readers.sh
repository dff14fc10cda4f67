#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests --for of organ inspect and organ quantize: what other programs open, and the members of config.json that some of them need. Ends with
# the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

fixtures=$(dirname "$model")
precision=$fixtures/precision
all=vllm,transformers,llama.cpp,mlx,openvino,mistralrs

# shows ARGS...: whether jq finds what it is asked for.
shows() { jq -e "$@" >/dev/null; }
# verdicts_are MODEL READER VERDICT...: compares the verdicts of `inspect --for`.
verdicts_are() {
    local of=$1
    shift
    run inspect "$of" --for $all --json
    for ((k = 1; k < $#; k += 2)); do
        judge "${!k} does not ${*:k+1:1}: $of" test "$(jq -r --arg r "${!k}" '.readers[] | select(.reader == $r).verdict' ../out)" = "${*:k+1:1}"
    done
}
# reason_is MODEL READER TEXT: a reason of this reader has the text.
reason_is() {
    run inspect "$1" --for "$2" --json
    judge "$2 has no such reason for $1: $3" shows --arg text "$3" '.readers[0].reasons | any((.form // .member) + ": " + .why | contains($text))' ../out
}

# ---- inspect ----
verdicts_are tiny-qwen2 vllm opens transformers opens llama.cpp refuses mlx opens openvino refuses mistralrs opens
verdicts_are "$precision/gptq-auto-4" vllm refuses
reason_is "$precision/gptq-auto-4" vllm "sym false"
verdicts_are "$precision/ct-packed-group-asym" transformers refuses
reason_is "$precision/ct-packed-group-asym" transformers "zero points"
verdicts_are "$precision/ct-packed-actorder" vllm refuses
reason_is "$precision/ct-packed-actorder" vllm act-order
verdicts_are "$precision/ct-packed-group" transformers opens
verdicts_are "$precision/ct-packed-old-group" transformers refuses
reason_is "$precision/ct-packed-old-group" transformers "words without unused bits"
verdicts_are "$precision/ct-naive-quantized" transformers opens
verdicts_are "$precision/modelopt-nvfp4" transformers refuses
verdicts_are "$precision/mlx-mxfp4" vllm refuses mlx opens mistralrs refuses
verdicts_are "$precision/bnb-nf4" vllm "not run" transformers "not run"
gguf=$fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
verdicts_are "$gguf" transformers opens llama.cpp opens mlx refuses openvino refuses mistralrs opens
reason_is "$gguf" openvino gguf/bf16
ends 0 convert "$fixtures/tiny-moe" -o mixture.gguf --to gguf --quiet
verdicts_are mixture.gguf transformers refuses vllm refuses llama.cpp opens
reason_is mixture.gguf transformers "expert_feed_forward_length: it expects experts with 768 channels"

cp -rL tiny-qwen2 uneven && chmod -R u+w uneven
jq ".intermediate_size = [864, 864, 864, 432]" tiny-qwen2/config.json >uneven/config.json
reason_is uneven vllm intermediate_size
jq 'del(.rope_theta) | .rope_parameters = {"rope_theta": 10000.0, "rope_type": "default"}' tiny-qwen2/config.json >uneven/config.json
reason_is uneven mistralrs rope_theta
ends 0 inspect uneven --for mistralrs
prints "rope_theta: it needs rope_theta at the top level"
ends 0 inspect tiny-qwen2 --json
judge "a report without --for has the member readers" shows 'has("readers") | not' ../out
refused 2 "no program 'vlm'" inspect tiny-qwen2 --for vlm
refused 2 "no program ''" inspect tiny-qwen2 --for vllm,
refused 2 --untrusted inspect tiny-qwen2 --untrusted --for vllm

# ---- quantize: the nearest scheme that is opened ----
to=(-o out --quiet)
refused 2 "the nearest scheme that it opens is nvfp4" quantize tiny-qwen2 -s int4-group32 --for mistralrs "${to[@]}"
refused 2 "the nearest scheme that all of them open is nvfp4" quantize tiny-qwen2 -s int4-group32 --for mistralrs,vllm "${to[@]}"
refused 2 "q4_0 to OUT.gguf" quantize tiny-qwen2 -s int4-group32 --for llama.cpp "${to[@]}"
refused 2 "the nearest scheme that it opens is q4_0" quantize tiny-qwen2 -s recipe:q4_k_m --for openvino -o out.gguf --quiet
refused 2 "int4-group32" quantize "$fixtures/tiny-llama" --format mlx -s int5-group64 --for mlx,mistralrs "${to[@]}"
refused 2 "there is no scheme that all of them open" quantize tiny-qwen2 -s int8-channel --for openvino,mlx "${to[@]}"
ends 0 quantize tiny-qwen2 -s q4_0 --for openvino,llama.cpp,mistralrs,transformers -o out.gguf --dry-run
ends 0 quantize tiny-qwen2 -s q4_1 --for openvino -o out.gguf --dry-run
says "q4_0, q6_k and q8_0 are right"
ends 0 quantize tiny-qwen2 -s mxfp4 --for vllm -o out --dry-run
says "rounds inputs to FP4"
# Scheme mixed chooses among the types that are opened.
mixed=(quantize "$gguf" -o mixed.gguf -s mixed --target-size 4MB --calibration tiny-qwen2/calibration.txt --samples 2 --context 64 --allocate-tokens 64)
ends 0 "${mixed[@]}" --for openvino --quiet
ends 0 inspect mixed.gguf --json
judge "mixed has a type that OpenVINO does not read" shows '[.dtypes[].dtype] - ["F32", "F16", "Q4_0", "Q4_1", "Q4_K", "Q6_K", "Q8_0"] == []' ../out
refused 2 "of the types iq4_nl, there is none" "${mixed[@]}" --types iq4_nl --for mistralrs
# Mixed widths are refused before costs are measured, which would leave a journal.
text=(--calibration tiny-qwen2/calibration.txt --samples 2 --context 64 --allocate-tokens 64)
widths=(quantize tiny-qwen2 -s mixed --method gptq --allocate global --budget 4bpw "${text[@]}" "${to[@]}")
refused 2 "the nearest scheme that it opens is nvfp4" "${widths[@]}" --for mistralrs
ends 0 "${widths[@]}" --for vllm,transformers
rm -r out

# ---- members of config.json for older readers ----
ends 0 quantize uneven -s fp8-channel --for mistralrs,vllm,transformers "${to[@]}"
judge "rope_theta is not added" shows '.rope_theta == 10000 and .rope_parameters.rope_theta == 10000' out/config.json
ends 0 inspect out --for $all --json
judge "the output has no verdict opens" shows '[.readers[] | select(.verdict == "opens").reader] == ["vllm", "transformers", "mistralrs"]' ../out
rm -r out
jq '.rope_parameters = {"full_attention": {"rope_theta": 10000.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 1000.0, "rope_type": "default"}}' uneven/config.json >by_kind
mv by_kind uneven/config.json
ends 0 quantize uneven -s fp8-channel "${to[@]}" --force
judge "rope_theta is added although layers differ" shows 'has("rope_theta") | not' out/config.json
finish
