# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # variables are for and of the scripts that read this in
# Copies of models with their experts in another order. A script begins with `. "$(dirname "$0")/../../kit/experts_kit.sh"`, which reads cli_kit.sh as well.
. "$(dirname "${BASH_SOURCE[0]}")/cli_kit.sh"

# of TENSOR FIELD...: fields of a tensor of the model in $from, as `inspect` has them.
of() { "$organ" inspect "$from" --tensors --json --select "$1" | jq -r ".tensors[] | \"$2\""; }

# rotate FILE OFFSET BYTES ENTRY SHIFT: the first SHIFT entries of a tensor become its last.
rotate() {
    local cut=$(($4 * $5))
    { tail -c +$(($2 + 1 + cut)) "$1" | head -c $(($3 - cut)); tail -c +$(($2 + 1)) "$1" | head -c $cut; } >../rotated
    dd if=../rotated of="$1" bs=64K oflag=seek_bytes seek="$2" conv=notrunc status=none
}

# turn FROM TO EXPERTS SHIFT [STEP]: expert e of layer l of TO is expert e + SHIFT + l STEP of FROM, counted in a circle. FROM is one file; files next to
# it are copied. Numbered experts get other names, the entries of routers and stacks are moved.
turn() {
    local file=$2/model.safetensors n k from=$1 step=${5:-0} layer offset bytes
    cp -rL "$1" "$2" && chmod -R u+w "$2" && rm -rf "$2/organ"
    n=$(od -An -tu8 -N8 "$file")
    tail -c +9 "$file" | head -c "$n" | jq -cj --argjson n "$3" --argjson s "$4" --argjson step "$step" '
        with_entries(.key |= ((capture("^(?<before>.*layers\\.(?<layer>[0-9]+)\\..*experts\\.)(?<expert>[0-9]+)(?<rest>\\..*)") |
            .before + (((.expert | tonumber) + 2 * $n - $s - $step * (.layer | tonumber)) % $n | tostring) + .rest) // .))' >../header
    while (($(wc -c <../header) % 8)); do printf ' ' >>../header; done
    from=$1
    of '*' '\(.name) \(.offset) \(.bytes)' | grep -E 'mlp\.(gate|router)\.|block_sparse_moe\.gate\.|mlp\.experts\.[^0-9]' >../entries
    while read -r name offset bytes; do
        layer=${name#*layers.}
        rotate "$file" "$offset" "$bytes" $((bytes / $3)) $((($4 + step * ${layer%%.*}) % $3))
    done <../entries
    k=$(wc -c <../header)
    { for b in 0 8 16 24 32 40 48 56; do printf "\\x$(printf %x $((k >> b & 255)))"; done && cat ../header && tail -c +$((9 + n)) "$file"; } >../turned
    cp ../turned "$file"
}
