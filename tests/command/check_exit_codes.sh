#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares the exit codes of every verb with the table of orchestrator/command/exits.c: 2 for wrong words, 3 for contents that cannot be used, 4 for paths
# that are missing or cannot be read or written. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
fixtures=${model%/*}

ln -s "$fixtures/tiny-moe" moe
ln -s "$fixtures/tiny-lora" lora
ln -s "$fixtures/forward" models
ln -s "$fixtures/precision/ct-packed-group" packed
ln -s "$fixtures/topologies/no_memory.xml" machine.xml
ln -s loop loop # root, too, cannot read it
mkdir home folder
export HOME=$PWD/home
unset HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME OLLAMA_MODELS HF_TOKEN
export HF_HUB_OFFLINE=1
head -c 3000 "$model/heldout.txt" >text
printf a >short
: >empty
printf 'no model, no table, no page\n' | tee bad.safetensors bad.json >bad.xml
for made in "pruned prune tiny-qwen2" "parts extract tiny-qwen2" "second lora sanitize lora" "tuned lora merge --base tiny-qwen2 --adapter lora"; do
    read -r name words <<<"$made"
    # shellcheck disable=SC2086 # words of a command line
    "$organ" $words -o "$name" --quiet >../made 2>&1 || bad "no input $name" ../made
done
cp pruned/organ/prune.json report.json
cp tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf q.gguf
"$organ" patch extract --base tiny-qwen2 --tuned pruned -o difference --quiet >../made 2>&1 || bad "no input difference" ../made
"$organ" gguf split q.gguf -o s --max-tensors 20 --quiet >../made 2>&1 || bad "no input s" ../made

# The verbs with words of a run that succeeds. The cases replace some of them: MODEL=X a model, FILE=X another input, TEXT a text, OUT an output.
verbs="
inspect MODEL=tiny-qwen2
prune MODEL=tiny-qwen2 -o OUT
prune MODEL=tiny-qwen2 -o OUT --method wanda --sparsity 50 --calibration TEXT --context 64
audit MODEL=tiny-qwen2 pruned
audit tiny-qwen2 MODEL=pruned
purify MODEL=tiny-qwen2 -o OUT --type norm --method haar
measure MODEL=tiny-qwen2
fleet FILE=models -o OUT --no-extract
autopsy MODEL=tiny-qwen2
orthogonality tiny-qwen2 MODEL=tiny-qwen2 lora -o OUT
report FILE=report.json -o OUT
extract MODEL=tiny-qwen2 -o OUT
assemble FILE=parts -o OUT.safetensors
gguf split MODEL=q.gguf -o OUT --max-tensors 20
gguf join MODEL=s-00001-of-00003.gguf -o OUT.gguf
gguf edit MODEL=q.gguf -o OUT.gguf --metadata general.name=x
patch extract --base MODEL=tiny-qwen2 --tuned pruned -o OUT
patch apply --base MODEL=tiny-qwen2 --patch difference -o OUT
graft --source MODEL=tiny-qwen2 --target tiny-qwen2 -o OUT --layers 1 --type organ
chimera --base MODEL=tiny-qwen2 --donor tiny-qwen2 -o OUT --layers 1 --take organ
convert MODEL=tiny-qwen2 -o OUT.gguf --to gguf
dequantize MODEL=packed -o OUT
quantize MODEL=tiny-qwen2 -o OUT -s int4-group32
quantize MODEL=tiny-qwen2 -o OUT -s int4-group32 --method gptq --calibration TEXT --context 64
experts MODEL=moe -o OUT --keep 4 --calibration TEXT --context 64
layers MODEL=tiny-qwen2 -o OUT --drop 1 --calibration TEXT --context 64
width MODEL=tiny-qwen2 -o OUT --ffn 50% --calibration TEXT --context 64
lora extract --base MODEL=tiny-qwen2 --tuned tuned --rank 4 -o OUT
lora sanitize FILE=lora -o OUT
lora merge --base MODEL=tiny-qwen2 --adapter lora -o OUT
lora merge --base tiny-qwen2 --adapter FILE=lora -o OUT
lora resize FILE=lora --rank 2 -o OUT
lora combine FILE=lora second -o OUT
lora combine second FILE=lora -o OUT
evaluate MODEL=tiny-qwen2 pruned --text TEXT --context 64
perplexity MODEL=tiny-qwen2 --text TEXT --context 64
imatrix MODEL=tiny-qwen2 -o OUT.gguf --calibration TEXT --context 64 --chunks 2
generate MODEL=tiny-qwen2 --prompt x --tokens 2
tokenize MODEL=tiny-qwen2 --text TEXT
topology --import FILE=machine.xml
models
version
help
manual
completion bash"

# put MODEL FILE TEXT OUT [WORDS...]: sets $words to those of $line with these replaced ("": as in the successful run) and with WORDS in addition.
put() {
    local word
    words=()
    # shellcheck disable=SC2086 # words of a command line
    for word in $line; do
        case $word in
            MODEL=*) words+=("${1:-${word#*=}}") ;;
            FILE=*) words+=("${2:-${word#*=}}") ;;
            TEXT) words+=("${3:-text}") ;;
            OUT*) words+=("${4:-out}${word#OUT}") ;;
            *) words+=("$word") ;;
        esac
    done
    words+=("${@:5}")
}
# ending CODE ARGUMENTS: checks the code of the run with these arguments of put. A run that fails leaves no output.
ending() {
    put "${@:2}"
    ends "$1" "${words[@]}"
    if (($1 == 0)) || ! compgen -G 'out*' >../left; then good; else bad "an output is left" ../left; fi
    rm -rf out out.* out-* .out*
}
# on_full_disk CODE: the same for a run in which no file can grow.
on_full_disk() {
    put "" "" "" ""
    here="organ ${words[*]}, full disk"
    message=$(
        trap '' XFSZ
        ulimit -f 0
        "$organ" "${words[@]}" 2>&1 >/dev/null </dev/null
    )
    code=$?
    if ((code == $1)); then good; else bad "ends with $code instead of $1" <(echo "$message"); fi
    rm -rf out out.* out-* .out*
}
has() { [[ " $line" == *" $1"* ]]; }

while IFS= read -r line; do
    [[ -n $line ]] || continue
    ending 0 "" "" "" ""
    ending 2 "" "" "" "" --no-such-option
    read -r verb second _ <<<"$line"
    [[ $verb == @(lora|gguf|patch) ]] || second=
    if grep -q -- "--threads N" < <("$organ" help "$verb" ${second:+"$second"}); then ending 2 "" "" "" "" --threads none; fi
    if has MODEL=; then
        names=(nobody/nothing ollama:nothing)
        [[ $line == inspect* ]] && names+=(nobody/nothing@main hf:nobody/nothing lmstudio:nobody/nothing hf:a//b)
        for name in "${names[@]}"; do ending 2 "$name" "" "" ""; done
    fi
    if has MODEL= || has FILE=; then
        paths=(missing ./nobody/nothing loop)
        [[ $line == inspect* ]] && paths+=(missing.safetensors folder/nothing nobody/nothing.gguf a/b/c)
        for path in "${paths[@]}"; do ending 4 "$path" "$path" "" ""; done
        malformed=bad.safetensors
        [[ $line == report* ]] && malformed=bad.json
        [[ $line == topology* ]] && malformed=bad.xml
        [[ $line == fleet* ]] && malformed=folder # it is given a directory; this one has no model
        ending 3 $malformed $malformed "" ""
    fi
    if has TEXT; then
        ending 4 "" "" missing ""
        ending 4 "" "" loop ""
        [[ $line == tokenize* ]] || { ending 3 "" "" short "" && ending 3 "" "" empty ""; } # every text has tokens
    fi
    if has OUT; then
        for path in missing/out loop/out text/out; do ending 4 "" "" "" "$path"; done
        on_full_disk 4
    fi
done <<<"$verbs"
finish
