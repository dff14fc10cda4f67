# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # variables are for the scripts that read this in
# Functions of tests/faults/check_*.sh. `prepare` makes the inputs of the verbs, `sweep` makes events fail.
#
#   FAULT_RUNS=paths             the first event of each path of calls, in each way in which it can fail; all: every event; unset: samples
#   FAULT_VERBS="prune inspect"  some verbs
#   FAULT_TURN=1, 2, ...         other samples
. "$(dirname "${BASH_SOURCE[0]}")/../kit/cli_kit.sh"
root=${organ%/build/organ}
. "$root/tests/kit/faults_kit.sh"
fixtures=$root/fixtures
sweeper=$root/build/checks/fault_sweep
jobs=$(nproc)
export LC_ALL=C
q=$fixtures/forward/qwen2 # small: two layers
t1=(--threads 1)
# Makes scores of experts, and a model cut by them, for the verbs that read these.
scores_of_experts() {
    [[ -e $area/fewer ]] || "$organ" experts "$fixtures/tiny-moe" --keep 4 --calibration "$fixtures/tiny-moe/calibration.txt" --samples 2 \
        --context 32 --scores "$area/scores.json" -o "$area/fewer" --quiet >"$scratch/made" 2>&1
}

# Makes a recipe that unites the tokens of two models.
unite_tokens() {
    [[ -e $area/tokens.yaml ]] && return
    cp -rL "$model" "$area/other" && cp -f "$fixtures/tiny-llama/tokenizer.json" "$area/other" && rm -f "$area/other/"{vocab.json,merges.txt}
    printf 'models: [{model: %s}, {model: %s}]\nmerge_method: linear\nparameters: {weight: 1}\ntokenizer_source: union\n' "$model" "$area/other" \
        >"$area/tokens.yaml"
}

# verb NAME: sets $words to the arguments of the verb, which several scripts use. Variables name its inputs, and a script may set them.
packed=$fixtures/precision/ct-packed-group moe=$fixtures/forward/qwen3moe.gguf adapter=$fixtures/tiny-lora mixture=$fixtures/tiny-moe
verb() {
    case $1 in
        inspect) words=(inspect "$q" --tensors) ;;
        vocabulary) words=(vocabulary "$model" --text "$area/text" "${t1[@]}") ;;
        vocabulary-out) words=(vocabulary "$model" --text "$area/text" "${t1[@]}" -o v) ;;
        vocabulary-labels) words=(vocabulary "$model" --labels " the, and" "${t1[@]}" -o v) ;;
        compare) words=(compare "$q" "$area/pruned" "${t1[@]}") ;;
        merge) words=(merge "$q" "$area/pruned" --method linear "${t1[@]}" -o merged) ;;
        merge-ties) words=(merge "$area/pruned" --base "$q" --method ties --density 0.5 "${t1[@]}" -o merged) ;;
        merge-tokens) unite_tokens && words=(merge "$area/tokens.yaml" "${t1[@]}" -o merged) ;;
        merge-then) words=(merge "$q" "$area/pruned" --method linear "${t1[@]}" --then q4_0 -o merged.gguf) ;;
        quantize-source) words=(quantize "$q" "${t1[@]}" --scheme q4_0 -o s.gguf) ;;
        # Two outputs: the model, and the adapter, which gets its name first.
        quantize-repair)
            words=(quantize "$model" "${t1[@]}" --scheme int4-group32 --method gptq --calibration "$area/longer" --samples 1 --context 32
                --targets '*.0.self_attn.o_proj' --repair-rank 2 -o r)
            ;;
        quantize-sizes)
            words=(quantize "$model" "${t1[@]}" --scheme mixed --target-size "9.9MB,10MB" --calibration "$area/longer" --samples 1 --context 32
                --allocate-tokens 64 --select blk.1.ffn_up.weight -o s.gguf)
            ;;
        # Runs that decide by runs of the model; `layers`, `width`, `width-experts` and `experts-measured` do so too.
        decide-widths)
            words=(quantize "$model" "${t1[@]}" --scheme mixed --method gptq --calibration "$area/longer" --samples 1 --context 32 --allocate global
                --budget 3.5bpw --allocate-tokens 64 --rounds 1 --select '*.[01].self_attn.[qkv]_proj.weight' -o q)
            ;;
        decide-types)
            words=(quantize "$model-gguf/tiny-qwen2-BF16-00001-of-00002.gguf" "${t1[@]}" --scheme mixed --budget 14bpw --calibration "$area/longer"
                --samples 1 --context 32 --allocate-tokens 64 --allocate-layers 2 --types "q8_0,q4_0" -o t.gguf)
            ;;
        decide-prune)
            words=(prune "$model" "${t1[@]}" --method sparsegpt --calibration "$area/longer" --samples 1 --context 32 --allocate global --budget 50%
                --allocate-tokens 64 --rounds 1 --select '*.[01].self_attn.[qkv]_proj.weight' -o p)
            ;;
        decide-then) verb decide-prune && words=("${words[@]}" --then int4-group32) ;;
        report) words=(report "$area/prune.json" -o p.html) ;;
        tokenize) words=(tokenize "$model" --text "$area/text") ;;
        prune) words=(prune "$q" "${t1[@]}" -o p) ;;
        prune-gguf) words=(prune "${q%/*}/llama.gguf" "${t1[@]}" -o p.gguf) ;;
        quantize-gguf-force) words=(quantize "$moe" "${t1[@]}" --scheme q4_0 -o q.gguf --force) ;;
        lora-sanitize-force) words=(lora sanitize "$adapter" "${t1[@]}" -o l --force) ;;
        dequantize-file) words=(dequantize "$area/q8.gguf" "${t1[@]}" -o d.gguf) ;;
        purify-parts) words=(purify "$parts" --select feed-forward --method haar "${t1[@]}" -o p) ;;
        perplexity-reports) words=(perplexity "$model" --text "$area/text" "${t1[@]}" -o e) ;;
        prune-force) words=(prune "$q" "${t1[@]}" -o p --force) ;;
        purify) words=(purify "$q" --select all --method haar "${t1[@]}" -o p) ;;
        width) words=(width "$model" "${t1[@]}" -o w --ffn 50% --heads 1 --calibration "$area/longer" --samples 2 --context 32) ;;
        layers) words=(layers "$model" "${t1[@]}" -o l --drop 1 --calibration "$area/longer" --context 32 --search-tokens 64) ;;
        layers-named) words=(layers "$q" "${t1[@]}" -o l --drop 1-1) ;;
        layers-heal) words=(layers "$model" "${t1[@]}" -o l --drop 2-2 --refit --calibration "$area/longer" --samples 4 --context 32) ;;
        width-experts) words=(width "${model%/*}/tiny-moe" "${t1[@]}" -o w --ffn 50% --calibration "$area/longer" --samples 1 --context 16) ;;
        quantize) words=(quantize "$q" "${t1[@]}" --scheme int4-group32 -o q) ;;
        quantize-gguf) words=(quantize "$moe" "${t1[@]}" --scheme q4_0 -o q.gguf) ;;
        convert) words=(convert "$q" "${t1[@]}" -o c.gguf --to gguf) ;;
        convert-back) words=(convert "$moe" "${t1[@]}" -o c --to safetensors) ;;
        fetch) words=(fetch hf:tiny/q -o f) ;;
        fetch-cache) words=(fetch hf:tiny/q --cache) ;;
        dequantize) words=(dequantize "$packed" "${t1[@]}" -o d) ;;
        extract) words=(extract "$q" "${t1[@]}" -o parts) ;;
        assemble) words=(assemble "$parts" "${t1[@]}" -o b.safetensors) ;;
        graft) words=(graft --source "$area/pruned" --target "$q" "${t1[@]}" --output g --select "feed-forward,1") ;;
        graft-part) words=(graft --source "$gguf" --target "$gguf" --select "feed-forward,1-2" "${t1[@]}" -o c.gguf) ;;
        gguf-split) words=(gguf split "$model-gguf/tiny-qwen2-Q8_0.gguf" --max-tensors 17 "${t1[@]}" -o s) ;;
        gguf-join) words=(gguf join "$model-gguf/tiny-qwen2-BF16-00001-of-00002.gguf" "${t1[@]}" -o j.gguf) ;;
        gguf-edit) words=(gguf edit "$model-gguf/tiny-qwen2-Q8_0.gguf" --metadata general.name=x --remove tokenizer.ggml.pre "${t1[@]}" -o e.gguf) ;;
        patch-extract) words=(patch extract --base "$q" --tuned "$area/pruned" "${t1[@]}" -o p) ;;
        patch-apply)
            [[ -e $area/patch ]] || made "$area/patch" patch extract --base "$fixtures/forward/qwen2" --tuned "$area/pruned"
            words=(patch apply --base "$q" --patch "$area/patch" "${t1[@]}" -o n)
            ;;
        measure) words=(measure "$q" "${t1[@]}" -o z) ;;
        autopsy) words=(autopsy "$q" "${t1[@]}" -o a) ;;
        audit) words=(audit "$q" "$area/pruned" "${t1[@]}" --html a.html) ;;
        evaluate) words=(evaluate "$model" "$area/tuned" --text "$area/text" "${t1[@]}" -o e) ;;
        fleet) words=(fleet "$models" "${t1[@]}" -o f) ;;
        orthogonality) words=(orthogonality "$model" "$noisy" "$adapter" "${t1[@]}" -o o) ;;
        perplexity) words=(perplexity "$model" --text "$area/text" "${t1[@]}") ;;
        imatrix) words=(imatrix "$model" --calibration "$area/longer" --context 32 --chunks 2 "${t1[@]}" -o i.gguf) ;;
        generate) words=(generate "$model" --prompt "a b" --tokens 3 "${t1[@]}") ;;
        experts) scores_of_experts && words=(experts "$mixture" --keep 4 --scores "$area/scores.json" "${t1[@]}" -o fewer) ;;
        experts-measured) words=(experts "$mixture" --keep 4 --calibration "$mixture/calibration.txt" --samples 1 --context 16 "${t1[@]}" -o fewer) ;;
        audit-cut) scores_of_experts && words=(audit "$fixtures/tiny-moe" "$area/fewer" "${t1[@]}") ;;
        lora-merge) words=(lora merge --base "$model" --adapter "$adapter" "${t1[@]}" -o l) ;;
        # All modules would take ten times as long on the same paths.
        lora-extract)
            words=(lora extract --base "$model" --tuned "$area/tuned" "${t1[@]}" --rank 4 -o l --select '*.self_attn.v_proj,*.1.mlp.up_proj,*.0.*.k_proj')
            ;;
        lora-sanitize) words=(lora sanitize "$adapter" "${t1[@]}" -o l) ;;
        lora-combine)
            [[ -e $area/servable ]] || made "$area/servable" lora sanitize "$fixtures/tiny-lora"
            [[ -e $area/second ]] || made "$area/second" lora resize "$area/servable" --rank 1
            words=(lora combine "$adapter" "$area/second" --method svd --rank 2 "${t1[@]}" -o l)
            ;;
        lora-resize) words=(lora resize "$adapter" --rank 2 "${t1[@]}" -o l) ;;
        *) return 1 ;;
    esac
}

# sweep WHAT COUNT NAME [WORDS...]: tests COUNT of the paths of a verb (by default that of NAME), fewer under a sanitizer. Each run starts with a copy of
# the directory $begin. $more has further arguments of the sweeper.
begin=
more=()
sweep() {
    local what=$1 count=$2 name=$3 lines words=("${@:4}") leaves=("${more[@]}")
    [[ -z ${FAULT_VERBS:-} || " $FAULT_VERBS " == *" $name "* ]] || return
    ((${#words[@]})) || verb "$name" || bad "there is no verb $name"
    case $name in prune* | vocabulary-out | vocabulary-labels | purify* | width* | layers* | convert* | dequantize* | quantize* | decide-* | lora-* | extract | assemble | gguf-* | patch-* | graft | graft-part | merge* | experts* | imatrix) leaves+=(--resumable) ;; esac
    case $name in measure* | autopsy | fleet | orthogonality* | evaluate) leaves+=(--each) ;; esac
    [[ $name == fetch* ]] && leaves+=(--each --again) # files that are whole stay, and parts of others
    [[ $name == evaluate ]] && leaves+=(--tells)
    [[ $name == untrusted ]] && leaves+=(--finds)
    [[ " ${words[*]} " == *" --force "* ]] && leaves+=(--forced)
    case $name in measure* | autopsy | fleet | audit | report | fetch* | inspect-html) leaves+=(--forced) ;; esac
    [[ -n $begin ]] && leaves+=(--from "$begin")
    [[ $name == fleet ]] && leaves+=(--keeps) # the next run takes what is done from it
    [[ -n $asan && $count != paths && $count != *t:* ]] && count=$((count / 12 + 1))
    [[ -n $asan && $count == paths ]] && count=8
    [[ $count == paths || $count =~ ^(first|last):[0-9]+$ ]] || count=$count:${FAULT_TURN:-0}
    here="organ ${words[*]}"
    (
        [[ -n $asan && $what != memory ]] && export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
        exec "$sweeper" "$what" "$(preload "$what")" "$scratch/sweep" "${FAULT_RUNS:-$count}" "$jobs" "${leaves[@]}" -- "$organ" "${words[@]}"
    ) >../out 2>&1
    lines=$(tail -n 1 ../out)
    if [[ $lines =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        printf '%-7s %-19s %s\n' "$what" "$name" "$(tail -n 2 ../out | head -n 1)"
        if ((BASH_REMATCH[2])); then head -n 40 ../out | cut -c -300; fi
    else
        bad "was not tried" ../out
    fi
    rm -rf "$scratch/sweep"
}

# made NAME ARGS...: makes an input of the verbs with the program itself.
made() {
    "$organ" "${@:2}" -o "$1" --quiet >../out 2>&1 || bad "no input" ../out
}

# hub_begin: starts the server of tests/kit/hub_server.c as $server, with the model as tiny/q. The cache is in the directory of the run.
hub_begin() {
    mkdir -p "$scratch/hub/tiny/q" && cp "$q"/* "$scratch/hub/tiny/q" || bad "no input"
    "$root/build/checks/hub_server" "$scratch/hub" >"$scratch/hub.port" &
    server=$!
    unset http_proxy HF_TOKEN HF_TOKEN_PATH HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_DISABLE_IMPLICIT_TOKEN
    says_where "$scratch/hub.port" || bad "the server does not start" "$scratch/hub.port"
    export HF_ENDPOINT=http://127.0.0.1:$port HF_HUB_CACHE=cache
}

# Makes small inputs for all verbs.
prepare() {
    area=$PWD
    head -c 300 "$model/heldout.txt" >text
    head -c 1200 "$model/heldout.txt" >longer
    made pruned prune "$q"
    cp pruned/organ/prune.json prune.json
    made parts extract "$q"
    made tuned lora merge --base "$model" --adapter "$adapter"
    mkdir models && cp -r "$q" "$fixtures/forward/llama.gguf" models/
    parts=$area/parts gguf=$model-gguf/tiny-qwen2-BF16-00001-of-00002.gguf models=$area/models noisy=$area/tuned
}
