#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every method of organ merge writes the recorded bytes, with every instruction set of this CPU, and whether unchanged tensors are recognised by their
# bytes or by their values. Ends with the line "N passed, N failed"; `--bless` writes tests/cli/merge/bytes.golden again.
. "$(dirname "$0")/../../kit/cli_kit.sh"

"$organ" prune tiny-qwen2 -o part --sparsity 30 --select q_proj,down_proj --quiet >../out || exit 1 # a few tensors changed
"$organ" convert tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o dense --to safetensors --dtype bf16 --quiet >../out || exit 1
"$organ" merge tiny-qwen2 --method passthrough -o wide --dtype f32 --quiet >../out || exit 1

# Prints the arguments for a method, in which BASE stands for the base.
arguments() {
    case $1 in
        linear | nuslerp) echo part dense --weight 0.3,0.9 ;;
        karcher) echo part dense ;;
        slerp) echo part --base BASE --t 0.3 ;;
        multislerp) echo part dense --base BASE --weight 0.3,0.9 ;;
        passthrough) echo dense ;;
        nearswap) echo part --base BASE --t 0.0005 ;;
        arcee_fusion) echo part --base BASE ;;
        task_arithmetic) echo part dense --base BASE --weight 0.3,0.9 --set lambda=0.8 ;;
        ties | dare_linear | dare_ties | della | della_linear) echo part dense --base BASE --weight 0.3,0.9 --density 0.4,0.7 ;;
        breadcrumbs*) echo part dense --base BASE --weight 0.3,-0.9 --density 0.4,0.7 --set gamma=0.05 ;;
        sce) echo part dense --base BASE --set select_topk=0.5 ;;
        model_stock | ram | ramplus_tl) echo part dense --base BASE ;;
        *) return 1 ;;
    esac
}

# merged ISA METHOD ARGS...: merges, and sets $digest to that of the weights.
merged() {
    rm -rf out.d
    ORGAN_ISA=$1 ends 0 merge "${@:3}" --method "$2" -o out.d --dtype bf16 --quiet
    digest=$(cat out.d/*.safetensors | md5sum | cut -d ' ' -f 1)
}

isas=()
for isa in scalar avx2 avx512 neon; do
    if ORGAN_ISA=$isa "$organ" version >../out 2>&1; then isas+=("$isa"); else echo "skipped: this CPU has no $isa"; fi
done
for method in $("$organ" help merge | tr '\n' ' ' | sed 's/.*needed without a recipe *(//; s/).*//' | tr -d ' ' | tr , ' '); do
    [[ $method == moments ]] && continue # the suites merge and cli_memory have it: it needs texts
    words=$(arguments "$method") || bad "the method $method has no arguments"
    for isa in "${isas[@]}"; do
        # shellcheck disable=SC2086 # words
        merged "$isa" "$method" ${words//BASE/tiny-qwen2}
        if [[ $isa == scalar ]]; then printf '%s\t%s\n' "$method" "$digest" >>../digests && first=$digest; fi
        judge "$method has other bytes with $isa" test "$digest" == "$first"
    done
    # The base with the same values in FP32 has other bytes than an unchanged tensor.
    if [[ $words == *BASE* ]]; then
        # shellcheck disable=SC2086 # words
        merged "${isas[-1]}" "$method" ${words//BASE/wide}
        judge "$method: bytes of the inputs change the values" test "$digest" == "$first"
    fi
done
matches merge/bytes ../digests

# ---- a tensor that all threads merge: a tune with the same bytes, and one that differs at the end only ----
header='{"w.weight":{"dtype":"BF16","shape":[2100,2048],"data_offsets":[0,8601600]}}'
{ printf '\x4c\0\0\0\0\0\0\0%s' "$header" && seq 1 3000000 | head -c 8601600; } >large.safetensors
cp large.safetensors same.safetensors && cp large.safetensors late.safetensors
printf '%0100d' 7 | dd of=late.safetensors bs=1 seek=8601500 conv=notrunc status=none
ends 0 merge large.safetensors --method passthrough -o plain.safetensors --quiet
ends 0 merge large.safetensors --method passthrough --dtype f32 -o widened.safetensors --quiet
for method in ties dare_ties breadcrumbs sce; do
    ends 0 merge same.safetensors --base large.safetensors --method $method --set select_topk=0.5 --set gamma=0 --density 0.5 -o out.safetensors --quiet --force
    judge "$method changes what no tune changes" cmp out.safetensors plain.safetensors
    set -- merge same.safetensors late.safetensors --method $method --set select_topk=0.5 --set gamma=0 --density 0.5 --dtype bf16 --quiet
    ends 0 "$@" --base large.safetensors -o one.safetensors --threads 1 --force
    judge "$method leaves out a change at the end" test "$(cmp -s one.safetensors plain.safetensors; echo $?)" == 1
    ends 0 "$@" --base large.safetensors -o three.safetensors --threads 3 --force
    judge "$method: threads change the bytes" cmp one.safetensors three.safetensors
    ends 0 "$@" --base widened.safetensors -o three.safetensors --threads 3 --force
    judge "$method: bytes of the inputs change the values" cmp one.safetensors three.safetensors
done
finish
