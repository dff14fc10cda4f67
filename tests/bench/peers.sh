#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs each script of bench/ that compares organ with other programs once on tiny inputs and checks that it ends with 0 and that its output has
# rows with figures; it never judges a speed. PYTHON (python3) is the interpreter. A script whose packages are missing is skipped with the command
# that installs them. PEERS="compare_loading llama_speed" selects scripts. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
export BENCH_SMOKE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1
python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null; then
    echo "skipped: all, for which python3 is missing"
    finish
fi
organ=$PWD/build/organ model=fixtures/tiny-qwen2 model_of_llama=fixtures/tiny-llama
gguf=fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf plain=fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
head -c 4000 $model/heldout.txt >"$scratch/text"

# The packages of PyPI whose modules have other names.
package_of() { sed -e 's/^llama_cpp$/llama-cpp-python/' -e 's/^compressed_tensors$/compressed-tensors/' -e 's/^lm_eval$/lm_eval[hf]/' <<<"$1"; }

# peer NAME "MODULES" ROWS PATTERN ARGS...: bench/NAME.py ends with 0 and prints at least ROWS lines that the extended expression matches. Skips it if
# Python lacks one of the modules, or if PEERS does not name it.
peer() {
    local name=$1 rows=$3 pattern=$4 missing=() module status
    [[ -z ${PEERS:-} || " $PEERS " == *" $name "* ]] || return 0
    for module in $2; do
        "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$module') is None)" || missing+=("$(package_of "$module")")
    done
    if ((${#missing[@]})); then
        echo "skipped: $name.py; to run it: $python -m pip install ${missing[*]}"
        return 0
    fi
    "$python" "bench/$name.py" "${@:5}" >"$scratch/out" 2>"$scratch/err"
    status=$?
    if ((status == 0)); then good; else
        cat "$scratch/err" >>"$scratch/out"
        bad "$name.py ends with $status" "$scratch/out"
    fi
    if (($(grep -cE "$pattern" "$scratch/out") >= rows)); then good; else bad "$name.py prints fewer than $rows rows" "$scratch/out"; fi
    echo "$name.py: $(grep -cE "$pattern" "$scratch/out") rows"
}

for scheme in int8-channel fp8-channel; do "$organ" quantize $model_of_llama -o "$scratch/served-$scheme" -s $scheme -q >/dev/null; done
mkdir -p "$scratch/handbook/en-US"
for page in 1 2 3; do echo "<html><head>x</head><p>Page&nbsp;$page</p></html>" >"$scratch/handbook/en-US/$page.html"; done
peer published_text "" 2 "^(calib|held)\.txt [1-9][0-9]* characters\$" "$scratch/handbook" "$scratch"
figure='[-+]?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?%?'
peer compare_measure numpy 1 "ratio $figure; theta differs" 1 "$organ"
peer compare_methods numpy 7 "^\| [a-z_]+_proj( \| $figure %){6} \|" $model 4 "$organ"
peer compare_feedback "torch transformers safetensors" 2 "^\| 0.001( \| [^|]+){6} \|" $model $model/heldout.txt 1e-3
peer compare_loading "torch transformers compressed_tensors accelerate" 2 "^\| (fp8-channel|int4-group32)( \| $figure){4} \| *\$" $model "$organ" fp8-channel int4-group32
peer served/losses "torch transformers compressed_tensors accelerate" 2 "^\| served-[a-z0-9-]+( \| $figure){7} \|" $model_of_llama \
    "$scratch"/served-{int8,fp8}-channel --text $model_of_llama/heldout.txt --context 64 --tokens 512 --weights --most 10 --organ "$organ"
peer served/compressor "torch transformers datasets llmcompressor" 2 "^\| (W8A8|FP8 dynamic)( \| $figure, $figure){3} \|" $model_of_llama --judge \
    --calibration $model_of_llama/calibration.txt --text $model_of_llama/heldout.txt --context 64 --tokens 512 --samples 4 --work "$scratch/compressor" \
    --jobs "W8A8,FP8 dynamic" --organ "$organ"
peer served/smoothing "torch transformers datasets llmcompressor" 2 "^\| (llama|gemma3_text) \| $figure \| [a-z]+ \| $figure \|" --organ "$organ" \
    llama=same gemma3_text=moved
peer compare_widths "torch transformers compressed_tensors accelerate" 2 "^\| [a-z0-9/ -]+ \| int4-group32 \| .*(loads|refused)" \
    --organ "$organ" --schemes int4-group32 --models "llama 128/160,qwen3-moe 128/48"
peer load_quantized "torch transformers compressed_tensors safetensors" 1 "^\|llama(\|$figure){4}\|" llama
peer load_back "torch transformers" 4 "^loads " lfm2 lfm2_moe mimo_v2_flash mixtral
peer compare_adapters "torch transformers peft safetensors" 2 "^\| (llama|mixtral) \| [0-9]+ \| 0 " llama mixtral
peer compare_repair "torch transformers peft compressed_tensors" 6 "^(\| int[234]-group32.* \| [0-9]+ \||peft: logits differ)" $model $model/calibration.txt \
    $model/heldout.txt --rank 4 --samples 4 --context 64 --tokens 256 --organ "$organ"
peer compare_kinds "torch transformers numpy" 2 "^\| [^|]+( \| $figure){4} \|" "$scratch/kinds" 1 "Qwen 3: norms"
peer compare_forward "torch transformers" 3 "^(organ|float32|bfloat16) \[$figure, $figure, $figure\]" "$scratch/forward" 1
peer compare_tasks "lm_eval torch transformers" 3 "questions, acc $figure and $figure" $model fixtures/tasks/tasks.jsonl "$organ"
# compare_peers.py does the jobs of organ without packages of Python; those of llama.cpp need llama-quantize and llama-imatrix in the directory LLAMA.
compared=(--models fixtures --model tiny-llama --calibration tiny-llama/calibration.txt --heldout tiny-llama/heldout.txt --size 32 --samples 4
    --context 64 --tokens 256 --page "$scratch/compare.md" --organ "$organ" --python "$python" --work)
job="^\| [^|]+ \| [A-Za-z.-]+( \| $figure){5} \|"
cp docs/compare.md "$scratch"
peer compare_peers "" 19 "$job" "${compared[@]}" "$scratch/compare1" --lines "$scratch/compare1.tsv" --programs organ --groups codes,few,zeros,gguf --judge-with ""
peer compare_peers "torch transformers datasets llmcompressor mergekit peft" 23 "$job" "${compared[@]}" "$scratch/compare2" \
    --lines "$scratch/compare2.tsv" --programs organ,llm-compressor,mergekit,peft --groups start,codes,few,zeros,adapters --judge-with transformers
for package in auto_round gptqmodel; do
    program=$([[ $package == gptqmodel ]] && echo GPTQModel || echo AutoRound)
    peer compare_peers "torch transformers $package" 3 "$job" "${compared[@]}" "$scratch/compare-$package" --lines "$scratch/compare-$package.tsv" \
        --programs "$program" --groups start,few --judge-with transformers
done
if [[ -x ${LLAMA:-}/llama-quantize ]]; then
    peer compare_peers "torch transformers llama_cpp numpy" 10 "$job" "${compared[@]}" "$scratch/compare3" --lines "$scratch/compare3.tsv" \
        --programs llama.cpp --groups gguf --judge-with llama.cpp --llama "$LLAMA"
else
    echo "skipped: compare_peers.py with llama.cpp; to run it: LLAMA=DIRECTORY, in which llama-quantize and llama-imatrix are"
fi
peer train_model "torch transformers" 3 "^perplexity (of the source|when (cut|trained)): $figure" --width 128 --heads 4 --layers 4 --steps 2 \
    --held $model_of_llama/heldout.txt $model_of_llama $model_of_llama/calibration.txt "$scratch/trained"
peer mtp/train_block "torch transformers" 3 "^(acceptance (before training|when trained): sum of min\(p, q\) $figure|largest difference of logits: model [0-9.]+e-0[5-9], block [0-9.]+e-0[5-9];)" \
    --windows 4 --steps 2 --others 8 --held $model_of_llama/heldout.txt $model_of_llama $model_of_llama/calibration.txt "$scratch/block"
peer compare_mergekit "numpy torch safetensors mergekit" 8 "^tiny-llama.(linear.smooth|ties.selects|example [a-z0-9_-]+.[a-z]+).2718144.[0-9]+.[01]\$" \
    --values --examples --methods "linear,ties" --organ "$organ" $model_of_llama
peer compare_mergekit "numpy torch safetensors mergekit" 1 "^tiny-llama.linear.smooth.2718144.[0-9]+.[01](.$figure){8}\$" --methods linear --repeat 3 \
    --organ "$organ" $model_of_llama
peer compare_layers "torch transformers" 3 "^llama.*written" --organ "$organ" --only llama --kind "as it is"
peer compare_logits "torch transformers gguf llama_cpp" 1 "^llama.llama.$figure.$figure" llama
peer compare_logits "torch transformers gguf llama_cpp" 3 "^(mean_tokens|cls_token|lasttoken).pooling_type [123].$figure\$" --pooling
if [[ -d ${MERGEKIT:-}/tests ]]; then
    peer compare_mergekit_suite "torch transformers safetensors pytest mergekit" 20 "^[^.]*.(linear|slerp|ties|passthrough).(same|explained)" --recipes 30 \
        --only linear --organ "$organ" "$MERGEKIT"
else
    echo "skipped: compare_mergekit_suite.py; to run it: MERGEKIT=DIRECTORY, a checkout of mergekit's sources"
fi
for part in calibration heldout; do
    peer train_tunes "torch transformers" 1 "^step 1: loss $figure" --steps 2 --window 64 $model "$model/$part.txt" "$scratch/$part-tune"
done
if [[ -x ${LLAMA:-}/llama-perplexity ]]; then
    peer compare_merges "numpy torch transformers safetensors" 12 "^[a-z_, ]+(.$figure){4}\$" --context 64 --organ "$organ" $model \
        "$scratch/calibration-tune" "$scratch/heldout-tune" $model_of_llama "$scratch/text" "$LLAMA"
else
    echo "skipped: compare_merges.py; to run it: LLAMA=DIRECTORY, in which llama-perplexity is"
fi
# The rivals of the last row are those of `organ merge`.
tune() { echo "$scratch/$1-tune=$model/$1.txt,$model/heldout.txt"; }
peer compare_moments "torch transformers" 3 "^(RegMean\+\+|linear 0.5|base) +$figure $figure mean $figure" --windows 2 --judged 1 --length 32 \
    --rivals linear --only "RegMean++" --organ "$organ" $model "$(tune calibration)" "$(tune heldout)"
# A wider model computes the same.
peer padded/pad_model numpy 1 "^192 channels in 256, 8 heads\$" $model_of_llama "$scratch/padded"
if [[ -e $scratch/padded ]]; then
    divergence=$("$organ" evaluate $model_of_llama "$scratch/padded" --text "$scratch/text" --context 64 --json --quiet 2>"$scratch/out" |
        jq '.models[1].comparison.kl_divergence | fabs')
    if awk -v d="$divergence" 'BEGIN { exit !(d != "" && d + 0 < 1e-6) }'; then good; else bad "the padded model differs: $divergence" "$scratch/out"; fi
    if "$organ" convert "$scratch/padded" -o "$scratch/padded.gguf" --to gguf --quiet >"$scratch/out" 2>&1 && "$organ" imatrix "$scratch/padded.gguf" \
        --calibration "$scratch/text" --context 64 -o "$scratch/padded.imatrix.gguf" --quiet >>"$scratch/out" 2>&1; then good; else
        bad "the padded model has no imatrix" "$scratch/out"
    fi
    peer padded/judge_layers "gguf llama_cpp numpy" 1 "^\| IQ2_XS( \| $figure){6} \|" --imatrix "$scratch/padded.imatrix.gguf" --text "$scratch/text" \
        --layers 1 --types IQ2_XS --context 64 --tokens 256 --organ "$organ" "$scratch/padded.gguf"
fi
# compare_recipes.py compares two recipes on tiny-llama, whose rows are blocks of 32.
recipes=(--published "$scratch" --trained $model_of_llama --models trained --samples 4 --context 64 --chunks 4 --organ "$organ")
if [[ -x ${LLAMA:-}/llama-perplexity ]]; then
    cp $model_of_llama/calibration.txt "$scratch/calib.txt"
    cp $model_of_llama/heldout.txt "$scratch/held.txt"
    cp docs/quality.md "$scratch"
    peer compare_recipes "" 5 "^trained: Q[34]_K_M by [a-z-]+: [0-9]+ bytes, KL 0\.[0-9]+ \+- 0\.[0-9]+\$" "${recipes[@]}" \
        --works "Q4_K_M,Q3_K_M" --llama "$LLAMA" --work "$scratch/recipes" --lines "$scratch/bits.tsv" --page "$scratch/quality.md"
    if [[ -n ${PEERS:-} && " $PEERS " != *" compare_recipes "* ]]; then :; elif grep -q '^|Q4_K_M|0\.' "$scratch/quality.md" && (($(grep -c '<circle' "$scratch/bits.svg") == 6)); then good; else
        bad "compare_recipes.py writes neither a table nor a plot" "$scratch/quality.md"
    fi
else
    echo "skipped: compare_recipes.py; to run it: LLAMA=DIRECTORY, in which llama-quantize, llama-imatrix and llama-perplexity are"
fi
# Rows that cannot be measured are named.
LLAMA='' peer compare_recipes "" 1 "^skipped: 4 rows of gemma3; to measure them: LLAMA=" --models gemma3 --lines "$scratch/none.tsv"
TRAINED='' peer compare_recipes "" 1 "^skipped: [0-9]+ rows of trained; to measure them: (LLAMA|TRAINED)=" --models trained --lines "$scratch/none.tsv"
# What the pages show is what the tables have.
cp docs/quality.md docs/bits.tsv "$scratch"
"$python" bench/compare_recipes.py --draw --page "$scratch/quality.md" --lines "$scratch/bits.tsv"
same "docs/quality.md has the rows of docs/bits.tsv" docs/quality.md "$scratch/quality.md"
same "docs/bits.svg has the figures of docs/bits.tsv" docs/bits.svg "$scratch/bits.svg"
"$python" bench/compare_peers.py --draw --page "$scratch/compare.md"
same "docs/compare.md has the rows of docs/compare.tsv" docs/compare.md "$scratch/compare.md"
same "docs/compare.svg has the figures of docs/compare.tsv" docs/compare.svg "$scratch/compare.svg"
peer load_mlx "mlx numpy torch compressed_tensors" 23 "^\|tiny-qwen2\|[a-z0-9-]+\|(mlx|compressed-tensors)\|0?1?\.[0-9]+\|" errors fixtures/tiny-qwen2
peer served/written_names "torch transformers compressed_tensors" 1 "^[1-9][0-9]* outputs, 0 wrong\$" --only-look "$scratch/written" qwen2
peer served/mlx_back "torch transformers mlx mlx_lm safetensors" 1 "^\|llama\|right(\|$figure){2}\|" llama
peer compare_convert "torch transformers gguf llama_cpp numpy" 1 "^\| llama( \| $figure){5} \|" llama
peer compare_gguf "gguf llama_cpp numpy" 47 "^(I?Q[1-8]_[01KMNLXS]+|TQ[12]_0|MXFP4|NVFP4) +$figure" --megabytes 32 --organ "$organ"
cp "$plain" "${plain/00001-of/00002-of}" "$scratch"
peer compare_llama "llama_cpp numpy" 2 "^\| (as given|q8_0) \| $figure" "$scratch/${plain##*/}" "$scratch/text" q8_0
peer llama_speed "llama_cpp gguf numpy" 1 "^${gguf}[[:space:]]${figure}[[:space:]]$figure" --rounds 1 $gguf
peer draw_text llama_cpp 1 . $gguf 5 1
finish
