#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests what a run allocates on the disk before its output: the outline of a merged or converted model has holes in place of the tensors, next to the
# output or, if there is none (audit), in TMPDIR. A run is killed before each of its changes of files, and the blocks of what it leaves are counted. A
# directory that cannot be removed is an error; the next run removes it. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
root=${organ%/build/organ}
. "$root/tests/kit/faults_kit.sh"
mkdir place ../tmp && export TMPDIR=$PWD/../tmp
limit=131072 # bytes of the blocks of an outline: headers, configuration, reports and directories

# A model of 50 MB whose tensors are holes.
columns=262144
make_large() {
    local name rows cols at=0 header=
    mkdir "$1"
    jq ".intermediate_size = $columns | .num_hidden_layers = 1 | .layer_types |= .[:1] | del(.rope_scaling)" "$root/fixtures/forward/qwen2/config.json" >"$1/config.json"
    while read -r name rows cols; do
        header+=",\"$name\":{\"dtype\":\"BF16\",\"shape\":[$rows${cols:+,$cols}],\"data_offsets\":[$at,$((at += 2 * rows * ${cols:-1}))]}"
    done <<EOF
lm_head.weight 96 32
model.embed_tokens.weight 96 32
model.norm.weight 32
model.layers.0.input_layernorm.weight 32
model.layers.0.post_attention_layernorm.weight 32
model.layers.0.self_attn.q_proj.weight 32 32
model.layers.0.self_attn.k_proj.weight 16 32
model.layers.0.self_attn.v_proj.weight 16 32
model.layers.0.self_attn.o_proj.weight 32 32
model.layers.0.self_attn.q_proj.bias 32
model.layers.0.self_attn.k_proj.bias 16
model.layers.0.self_attn.v_proj.bias 16
model.layers.0.mlp.gate_proj.weight $columns 32
model.layers.0.mlp.up_proj.weight $columns 32
model.layers.0.mlp.down_proj.weight 32 $columns
EOF
    header="{${header#,}}"
    # shellcheck disable=SC2059 # the format is the length of the header in 8 bytes
    printf "$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((${#header} & 255)) $((${#header} >> 8)))" >"$1/model.safetensors"
    printf %s "$header" >>"$1/model.safetensors"
    truncate -s $((8 + ${#header} + at)) "$1/model.safetensors"
}

# Makes the place of the output and TMPDIR empty.
empty() { rm -rf place ../tmp && mkdir place ../tmp; }

# allocated: the bytes of all blocks below the place of the output and TMPDIR.
allocated() { echo $(($(du -s --block-size=1 place | cut -f 1) + $(du -s --block-size=1 ../tmp | cut -f 1))); }

# is_left: what lies there.
is_left() { find place ../tmp -mindepth 1 -printf '%P '; }

# outlines WORDS...: no killed run leaves more than $limit bytes, and the last one nothing.
outlines() {
    local at most=0 most_at=0 apparent=0 now
    empty && count_changes "$@"
    judge "is left: $(is_left)" test -z "$(is_left)"
    for ((at = changes - 1; at > 0; at -= changes / 12 + 1)); do
        empty && killed_at $at "$@"
        now=$(allocated)
        ((now > most)) && most=$now most_at=$at
        now=$(du -s --apparent-size --block-size=1 place ../tmp | awk '{ sum += $1 } END { print sum }')
        ((now > apparent)) && apparent=$now
    done
    judge "$most bytes are allocated before change $most_at of files" test "$most" -le $limit
    [[ $1 == quantize ]] || judge "no run was killed while the outline was there ($apparent bytes)" test "$apparent" -gt 50000000
}

# stays WHERE WORDS...: the directory of the outline in WHERE cannot be removed.
stays() {
    local at all words=("${@:2}")
    empty && faulty ORGAN_FAULT_MAP=../map "${words[@]}"
    all=$(od -A n -t u8 -N 8 ../map)
    # the last event that removes something: PRELOAD_REMOVES
    at=$(od -A n -v -t x8 -w8 -j 8 -N $((8 * all)) ../map | awk '{ if (substr($1, 13, 1) ~ /[89a-f]/) last = NR - 1 } END { print last }')
    empty && faulty ORGAN_FAULT_AT="$at" ORGAN_FAULT_KIND=0 "${words[@]}"
    judge "ends with $?" test $? -eq 4
    says "Input/output error"
    judge "nothing is left in $1" test -n "$(ls -A "$1")"
    judge "$(allocated) bytes stay" test "$(allocated)" -le $limit
    [[ $1 == place ]] || return
    ends 0 "${words[@]}"
    judge "is left by the next run: $(is_left)" test -z "$(is_left)"
}

for name in a b; do make_large $name; done
ends 0 convert a --to gguf -o a.gguf --quiet
ends 0 merge a.gguf b --method linear -o merged --quiet
rm -rf ../tmp/*
small=(--quiet --threads 1)
then=(merge a b --method linear --then q4_0 "${small[@]}" -o place/o.gguf --dry-run)
gguf=(merge a b --method linear "${small[@]}" -o place/o.gguf --dry-run)
host=(merge a.gguf b --method linear "${small[@]}" -o place/o --dry-run)
source=(quantize a --scheme q4_0 "${small[@]}" -o place/o.gguf --dry-run)
audit=(audit --recipe merged/organ/recipe.yaml merged "${small[@]}" --tensors 1)
outlines "${then[@]}"
outlines "${gguf[@]}"
outlines "${host[@]}"
outlines "${source[@]}"
outlines "${audit[@]}"
stays place "${then[@]}"
stays place "${host[@]}"
stays place "${source[@]}"
stays ../tmp "${audit[@]}"
if command -v mpirun >/dev/null; then
    rm -rf place ../tmp/* && mkdir place
    here="two ranks"
    # the libraries of MPI leak
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 mpirun --allow-run-as-root --oversubscribe -n 2 "$organ" "${then[@]}" --ranks 2 >../out 2>../err || bad "a dry run on two ranks fails" ../err
    judge "is left: $(find place -mindepth 1)" test -z "$(find place -mindepth 1)"
fi
finish
