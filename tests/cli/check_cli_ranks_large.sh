#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Several processes started by an MPI launcher share one tensor and write the bytes and documents of one process.
. "$(dirname "$0")/../kit/cli_kit.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader
# MPI frees its memory only when the process ends, so leaks are not checked.
[[ -n ${ASAN_OPTIONS:-} ]] && export ASAN_OPTIONS=${ASAN_OPTIONS/detect_leaks=1/detect_leaks=0}
if ! command -v mpirun >/dev/null || [[ ! -f $(dirname "$organ")/liborgan_mpi.so ]]; then
    echo "mpirun or mpicc is not installed: several processes were not run"
    finish
fi

# A model of repeated weights of the fixture: a stack of experts and a matrix that are cut, a small matrix, and a tensor that pruning does not change.
stack=$((3 * 4096 * 4096 * 2)) matrix=$((40960 * 1024 * 2)) small=$((512 * 1024 * 2)) rest=$((3000 * 1024 * 2))
header=$(printf '{"model.layers.0.mlp.experts.gate_up_proj":{"dtype":"BF16","shape":[3,4096,4096],"data_offsets":[0,%d]},
"model.layers.0.self_attn.q_proj.weight":{"dtype":"BF16","shape":[40960,1024],"data_offsets":[%d,%d]},
"model.layers.0.self_attn.k_proj.weight":{"dtype":"BF16","shape":[512,1024],"data_offsets":[%d,%d]},
"model.embed_tokens.weight":{"dtype":"BF16","shape":[3000,1024],"data_offsets":[%d,%d]}}' \
    $stack $stack $((stack + matrix)) $((stack + matrix)) $((stack + matrix + small)) \
    $((stack + matrix + small)) $((stack + matrix + small + rest)))
mkdir large && cp tiny-qwen2/config.json tiny-qwen2/tokenizer.json large
{
    printf -v size %016x ${#header}
    for byte in {14..0..-2}; do printf "\\x${size:byte:2}"; done
    printf %s "$header"
    tail -c 1000002 tiny-qwen2/model-00002-of-00003.safetensors >piece
    yes piece | head -n $(((stack + matrix + small + rest) / 1000002 + 1)) | xargs cat | head -c $((stack + matrix + small + rest))
} >large/model.safetensors

tells() { sed "s,some,one,g" "$1" | jq "del(.run)"; }
holds() { find "$1" -type f ! -name '*.html' ! -name '*.md' ! -name '*.json' -printf '%P\n' | LC_ALL=C sort | (cd "$1" && xargs -d '\n' sha256sum); }

# ranks N CODE ARGS...: runs N processes of one thread each.
ranks() {
    here="mpirun -n $1 organ ${*:3}"
    mpirun -n "$1" "$organ" "${@:3}" --threads 1 >../out 2>../err </dev/null
    code=$?
    if ((code == $2)); then good; else bad "ends with $code instead of $2" ../err; fi
}

# same COUNTS ARGS...: checks that each number of ranks makes the output of one process.
same() {
    local n
    rm -rf one
    ends 0 "${@:2}" -o one --json --quiet
    tells ../out >../one
    for n in $1; do
        ranks "$n" 0 "${@:2}" -o some --json --quiet
        judge "$n ranks tell something else" cmp <(tells ../out) ../one
        judge "$n ranks make other files" diff <(holds one) <(holds some)
        rm -rf some
    done
}
numbers="2 3 7 16"
if in_part; then numbers="3 16"; fi
if sampled; then numbers=3; fi
same "$numbers" prune large --iterations 1
cp -r one pruned
# audited CODE: checks that several ranks find the faults that one process finds.
audited() {
    ends "$1" audit large pruned --json --quiet
    tells ../out >../one
    ranks 3 "$1" audit large pruned --json --quiet
    judge "3 ranks find something else" cmp <(tells ../out) ../one
}
audited 0
# Changes the last matrix of the stack, which is a part of its own.
printf '\x11\x3f' | dd of=pruned/model.safetensors bs=1 seek=95000000 conv=notrunc status=none
audited 1
says "'model.layers.0.mlp.experts.gate_up_proj'"
if in_part; then finish; fi
same 3 prune large --sparsity 40 --iterations 1
same 3 prune large --method magnitude -s 50
same 3 purify large --method haar

# ---- parts written by some ranks, continued by another number of ranks ----
run prune large -o one --force --iterations 60 --quiet
stretches() { cat .new.organ-partial/organ/journal*.jsonl 2>/dev/null | grep -c '"unit":".* (\(row\|matrix\) [0-9]*)"'; }
has_stretches() { (($(stretches) > 0)) || is_over; }
for tries in 1 2 3 4 5; do # until it is killed in the middle, however long this script is held up
    rm -rf new
    mpirun -n 3 "$organ" prune large -o new --iterations 60 --threads 1 >../out 2>../err &
    runner=$!
    await has_stretches
    pkill -KILL -n -P $runner
    wait $runner
    [[ ! -e new ]] && break
    echo "try $tries: the run was over before the signal"
done
here="mpirun -n 3, killed"
judge "the output has its name" test ! -e new
judge "nothing of a tensor is done" test "$(stretches)" -gt 0
ranks 2 0 prune large -o new --iterations 60 --resume
says "continuing"
judge "resumed by others it is not the same" diff <(holds one) <(holds new)
finish
