#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Verbs based on products and decompositions of matrices write the same files and documents on every instruction set, with one thread and with five,
# with little memory and with much. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "${model%/*}/tiny-lora" tiny-lora
ends 0 version
isas=$(sed -n 's/^usable *//p' ../out)
judge "scalar is not among the usable kernels" grep -qw scalar <<<"$isas"
# Under a sanitizer, two settings that differ most are enough.
ways=$(for isa in $isas; do printf '%s ' $isa/1/64M $isa/5/1G; done)
# The scalar table takes as long as all others together, so it and each of the others run once.
if in_part; then
    ways=scalar/1/64M
    for isa in $isas; do [[ $isa == scalar ]] || ways+=" $isa/5/1G"; done
fi
if sampled; then ways="scalar/1/64M ${isas##* }/5/1G"; fi

# Prints a document without the parts that differ from run to run.
plain() { sed -e '/^  "run": {$/,$d' -e '/^  *"memory": [0-9]*,\{0,1\}$/d' "$1"; }

# same NAME REPORT HOW ARGS...: HOW says where the verb writes: 'files', a directory that contains the report; 'file', a file with the report next to
# it; 'prints', its document on stdout.
same() {
    local name=$1 report=$2 how=$3 first='' way isa threads memory out to ending=safetensors
    for way in $ways; do
        IFS=/ read -r isa threads memory <<<"$way"
        out=$name-$isa-$threads
        if [[ $how == prints ]]; then
            ORGAN_ISA=$isa ends 0 "${@:4}" --json --quiet --threads "$threads" --memory "$memory"
            mkdir -p "$out"
            cp ../out "$out/$report"
        else
            to=$out
            [[ $how == files ]] || { mkdir "$out" && ending=gguf && to=$out/model.gguf; }
            ORGAN_ISA=$isa ends 0 "${@:4}" -o "$to" --quiet --threads "$threads" --memory "$memory"
            judge "$out: other bytes than $first" cmp -s <(cat "$out"/*.$ending) <(cat "${first:-$out}"/*.$ending)
        fi
        judge "$out: another document than $first" cmp -s <(plain "$out/$report") <(plain "${first:-$out}/$report")
        judge "$out: the document is empty" test "$(plain "$out/$report" | wc -l)" -gt 10
        first=${first:-$out}
    done
}

calibrated=(prune tiny-qwen2 --sparsity 50 --select '*.0.self_attn.o_proj.weight' --calibration tiny-qwen2/calibration.txt --samples 1
    --context 64)
for method in sparsegpt physarum-v2 alps physarum-v3; do
    same $method organ/prune.json files "${calibrated[@]}" --method $method
done
for method in sparsegpt physarum-v3; do
    same then-$method organ/quantize.json files "${calibrated[@]}" --method $method --then int3-group32
done
# A narrow model with a tokenizer of single characters: on the other model, scalar kernels take a minute to divide a budget among the tensors.
mkdir narrow && cp "${model%/*}"/forward/qwen3/* narrow/
jq -n '{pre_tokenizer: {type: "ByteLevel", add_prefix_space: false, use_regex: true}, decoder: {type: "ByteLevel"},
    model: {type: "BPE", vocab: ([range(33; 127) | {([.] | implode): (. - 33)}] | add), merges: []}}' >narrow/tokenizer.json
tr -dc '!-~' <tiny-qwen2/calibration.txt | head -c 4000 >narrow.txt
targets='*.self_attn.[qkv]_proj.weight,*.mlp.gate_proj.weight,*.mlp.up_proj.weight'
if in_part; then targets='*.self_attn.[qkv]_proj.weight'; fi
divided=(--allocate global --allocate-tokens 64 --samples 4 --context 40 --calibration narrow.txt --select "$targets")
same divided organ/prune.json files prune narrow --budget 50% "${divided[@]}" --rounds 1 --method physarum-v2
same then-divided organ/quantize.json files prune narrow --budget 2.6bpw "${divided[@]}" --method physarum-v3 --then int4-group32
same mixed organ/quantize.json files quantize narrow --budget 3.5bpw "${divided[@]}" --scheme mixed --method gptq
same gptq organ/quantize.json files quantize tiny-qwen2 --scheme int3-group32 --method gptq --select '*.0.self_attn.o_proj.weight' \
    --calibration tiny-qwen2/calibration.txt --samples 1 --context 64
same gptq-gguf model.quantize.json file quantize tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --scheme q4_1 --method gptq \
    --select 'blk.0.attn_k.weight' --calibration tiny-qwen2/calibration.txt --samples 1 --context 64
same merge organ/lora_merge.json files lora merge --base tiny-qwen2 --adapter tiny-lora --scale 4
same extract organ/lora_extract.json files lora extract --base tiny-qwen2 --tuned merge-scalar-1 -r 2 --select v_proj
same exact organ/lora_extract.json files lora extract --base tiny-qwen2 --tuned merge-scalar-1 -r 2 --exact --select v_proj
same resize organ/lora_resize.json files lora resize tiny-lora --rank 2
run lora sanitize tiny-lora -o servable --quiet
same combined organ/lora_combine.json files lora combine tiny-lora servable
same combined-ties organ/lora_combine.json files lora combine tiny-lora servable --method ties_svd --density 0.5 --rank 2
ends 0 quantize tiny-qwen2 -o int4 --scheme int4-group32 --quiet
same orthogonality orthogonality.json prints orthogonality tiny-qwen2 int4 tiny-lora
finish
