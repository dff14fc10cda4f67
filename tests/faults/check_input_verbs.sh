#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every verb that writes is killed, then one of its inputs is changed, and the command runs again with --resume: it ends with 2 and names the file, or
# begins again and writes what a new run with the changed input writes. With the input as it was, the run is continued.
#
#   tests/faults/check_input_verbs.sh    one kill of some verbs; FAULT_RUNS=all: several kills of all verbs. For FAULT_VERBS see sweep_kit.sh
if [[ -w /dev/shm && $(($(stat -f -c '%a*%S' /dev/shm))) -ge $((1 << 30)) ]]; then export TMPDIR=/dev/shm; fi
. "$(dirname "$0")/sweep_kit.sh"
prepare
made adapted lora extract --base "$model" --tuned tuned --rank 2 --select '*.self_attn.v_proj'
made few.gguf imatrix "$model" --calibration longer --context 32 --chunks 2
scores_of_experts
mkdir fresh && cp -rL "$model" fresh/m && cp -rL tuned fresh/n && cp -rL adapted fresh/a && cp -rL adapted fresh/b && cp -rL "$mixture" fresh/x && cp -rL parts fresh/parts
rm -rf fresh/*/organ && chmod -R u+w fresh && cp longer fresh/text && cp few.gguf fresh/few.gguf && cp scores.json fresh/scores.json
cat "$model-gguf/tiny-qwen2-Q8_0.gguf" >fresh/q8.gguf && cat "$model-gguf"/tiny-qwen2-F16.gguf >fresh/f.gguf 2>../out || cat "$moe" >fresh/f.gguf
printf 'models: [{model: in/m}, {model: in/n}]\nmerge_method: linear\nparameters: {weight: 1}\n' >fresh/r.yaml
printf 'models: [{model: in/m, calibration: in/long}, {model: in/n, calibration: in/second}]\nmerge_method: moments\n' >fresh/moments.yaml
head -c 5000 "$model/heldout.txt" >fresh/long && tail -c 5000 "$model/heldout.txt" >fresh/second && chmod -R u+w fresh

# inputs_of NAME: sets $words to the arguments and $files to the inputs that are changed, below in/.
inputs_of() {
    local small=(m/config.json m/tokenizer.json m/generation_config.json) shard=m/model-00002-of-00003.safetensors
    local text=(--calibration in/text --samples 1 --context 32)
    case $1 in
        merge) words=(merge in/m in/n --method linear -o o) files=("${small[@]}" $shard n/config.json n/tokenizer.json n/model.safetensors) ;;
        merge-adapter) words=(merge in/m in/m+in/a --method linear -o o) files=(a/adapter_config.json a/adapter_model.safetensors m/config.json $shard) ;;
        merge-recipe) words=(merge in/r.yaml -o o) files=(r.yaml m/config.json n/config.json n/tokenizer.json) ;;
        merge-moments) words=(merge in/moments.yaml -o o) files=(moments.yaml long second n/config.json) ;;
        merge-gguf) words=(merge in/m in/n --method linear -o o.gguf) files=("${small[@]}" $shard n/config.json) ;;
        merge-then) words=(merge in/m in/n --method linear --then q4_0 -o o.gguf) files=(m/config.json n/config.json n/tokenizer.json $shard) ;;
        quantize-source) words=(quantize in/m --scheme q4_0 -o o.gguf) files=("${small[@]}" $shard) ;;
        quantize) words=(quantize in/m --scheme int4-group32 -o o) files=("${small[@]}" $shard) ;;
        quantize-text) words=(quantize in/m --scheme int4-group32 --method gptq "${text[@]}" -o o) files=(text m/config.json $shard) ;;
        quantize-imatrix) words=(quantize in/m --scheme q4_k --imatrix in/few.gguf -o o.gguf) files=(few.gguf m/tokenizer.json) ;;
        quantize-sizes)
            words=(quantize in/m --scheme mixed --target-size "9.9MB,10MB" --imatrix in/few.gguf "${text[@]}" --allocate-tokens 64 --select blk.1.ffn_up.weight -o o.gguf)
            files=(text ${FAULT_RUNS:+few.gguf m/config.json m/tokenizer.json $shard})
            ;;
        quantize-gguf) words=(quantize in/f.gguf --scheme q4_0 -o o.gguf) files=(f.gguf) ;;
        prune) words=(prune in/m -o o) files=("${small[@]}" $shard) ;;
        prune-text) words=(prune in/m --method wanda -s 30 "${text[@]}" -o o) files=(text m/config.json $shard) ;;
        purify) words=(purify in/m --select all --method haar -o o) files=("${small[@]}" $shard) ;;
        width) words=(width in/m --ffn 50% "${text[@]}" -o o) files=(text m/config.json $shard) ;;
        layers) words=(layers in/m --drop 2-2 --refit "${text[@]}" -o o) files=(text m/config.json $shard) ;;
        experts) words=(experts in/x --keep 4 --scores in/scores.json -o o) files=(scores.json x/config.json x/tokenizer.json) ;;
        convert) words=(convert in/m --to gguf -o o.gguf) files=("${small[@]}" $shard) ;;
        convert-back) words=(convert in/f.gguf --to safetensors -o o) files=(f.gguf) ;;
        dequantize) words=(dequantize in/q8.gguf -o o.gguf) files=(q8.gguf) ;;
        extract) words=(extract in/m -o o) files=("${small[@]}" $shard) ;;
        assemble) words=(assemble in/parts -o o) files=(parts/manifest.json parts/files/config.json) ;;
        gguf-edit) words=(gguf edit in/q8.gguf --metadata tokenizer.chat_template:string=@in/text -o o.gguf) files=(q8.gguf text) ;;
        graft) words=(graft --source in/n --target in/m --select "feed-forward,1" -o o) files=(m/config.json n/config.json $shard n/model.safetensors) ;;
        lora-merge) words=(lora merge --base in/m --adapter in/a -o o) files=(a/adapter_config.json a/adapter_model.safetensors m/config.json $shard) ;;
        lora-extract) words=(lora extract --base in/m --tuned in/n --rank 2 --select '*.self_attn.v_proj' -o o) files=(m/config.json n/config.json $shard) ;;
        lora-sanitize) words=(lora sanitize in/a -o o) files=(a/adapter_config.json a/adapter_model.safetensors) ;;
        lora-resize) words=(lora resize in/a --rank 1 -o o) files=(a/adapter_config.json a/adapter_model.safetensors) ;;
        lora-combine) words=(lora combine in/a in/b --method svd --rank 1 -o o) files=(a/adapter_config.json a/adapter_model.safetensors b/adapter_model.safetensors) ;;
        imatrix) words=(imatrix in/m --calibration in/text --context 32 --chunks 2 -o o.gguf) files=(text m/config.json m/tokenizer.json $shard) ;;
        *) bad "there is no verb $1" ;;
    esac
    words+=(--threads 1 --quiet)
}

# begin DIRECTORY: makes a directory with new inputs and enters it.
begin() {
    cd "$area" && rm -rf "$1" && mkdir "$1" && cp -r fresh "$1/in" && cd "$1" || exit 1
}

# killed AT: the command of $words is killed before its change AT of files.
killed() {
    faulty ORGAN_FAULT_KILLS=1 ORGAN_FAULT_AT="$1" ORGAN_FAULT_KIND=11 "${words[@]}"
}

# change FILE: other bytes. A file with weights keeps its times of modification and its size.
change() {
    case $1 in
        *.safetensors | *.gguf)
            cp -p "$1" ../kept && printf x | dd of="$1" bs=1 conv=notrunc status=none seek=$(($(stat -c %s "$1") - 40)) && touch -r ../kept "$1"
            ;;
        *) echo >>"$1" ;;
    esac
}

# digest: the contents of the outputs without their reports.
digest() {
    find o* -type f ! -path '*/organ/*' ! -name '*REPORT*' ! -name 'o.*.json' ! -name 'o-*.json' -exec sha256sum {} + | sort
}

# resumed NAME AT FILE: kills the verb, changes the file and continues.
resumed() {
    local name=$1 at=$2 file=$3 status left complete
    begin w && killed "$at"
    left=$(find . -maxdepth 1 \( -name '.o*organ*' -o -name o.sizes.json \))
    complete=$(find . -maxdepth 1 -name 'o*')
    change "in/$file"
    "$organ" "${words[@]}" --resume >../../out 2>&1 </dev/null
    status=$?
    rows+=("$name	$at	$file	$status")
    if ((status == 2)) && [[ -n $complete && $left != *o.sizes.json* ]]; then
        judge "$name, killed before call $at: --resume does not say that the output exists" grep -q "exists; --force replaces it" ../../out
    elif ((status == 2)) && [[ $left == *organ-finished* ]]; then # killed before the complete output got its name
        judge "$name, killed before call $at: --resume names neither the finished output nor $file" grep -qE "a finished output|its .*'${file##*/}'" ../../out
    elif ((status == 2)) && [[ -n $left ]]; then
        judge "$name, killed before call $at: --resume does not name $file" grep -q "its .*'${file##*/}'.* --force starts over" ../../out
    else
        digest >../resumed
        begin v && change "in/$file" && "$organ" "${words[@]}" >../../out 2>&1 </dev/null
        cd ../w && judge "$name, killed before call $at, then $file changed: --resume ends with $status and other bytes" \
            test "$(digest)" = "$(cd ../v && digest)"
    fi
}

# goes_on NAME AT: the run is continued if a small file has another time only.
goes_on() {
    begin w && killed "$2" && return
    find in -type f ! -path '*/parts/*' ! -name '*.safetensors' ! -name '*.gguf' -exec touch {} +
    "$organ" "${words[@]}" --resume >../../out 2>&1 </dev/null || "$organ" "${words[@]}" >../../out 2>&1 </dev/null
    judge "$1, killed before call $2: --resume does not go on with equal inputs" test "$(digest)" = "$(cd ../reference && digest)"
}

# verb_inputs NAME: all inputs of the verb.
verb_inputs() {
    local all at file
    [[ -z ${FAULT_VERBS:-} || " $FAULT_VERBS " == *" $1 "* ]] || return
    inputs_of "$1"
    begin reference && count_changes "${words[@]}"
    all=$changes
    for at in $((all * 7 / 10)) ${FAULT_RUNS:+$((all / 4)) $((all / 2)) $((all * 8 / 10)) $((all * 9 / 10)) $((all - 2))}; do
        goes_on "$1" "$at"
        for file in "${files[@]}"; do resumed "$1" "$at" "$file"; done
    done
    cd "$area" || exit 1
}

rows=()
verbs="merge-adapter merge-then quantize-source quantize-sizes quantize-text"
[[ -n ${FAULT_RUNS:-} ]] && verbs="merge merge-adapter merge-recipe merge-moments merge-gguf merge-then quantize-source quantize-sizes quantize quantize-text quantize-imatrix
    quantize-gguf prune prune-text purify width layers experts convert convert-back dequantize extract assemble gguf-edit graft lora-merge lora-extract lora-sanitize
    lora-resize lora-combine imatrix"
for name in $verbs; do verb_inputs "$name"; done
[[ -n ${FAULT_RUNS:-} ]] && printf '%s\n' "${rows[@]}"
finish
