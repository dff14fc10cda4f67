# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # cli_kit.sh sets root, scratch and organ
# side_by_side READS WRITES WORDS...: runs organ with the words and checks that READS reads of tensors, then WRITES writes are in flight at the same
# time (0: none are expected; nor are writes if $in_turn is set), calls of up to $long bytes (4,096 if unset) left out, and that only workers and their companions read, write and copy bytes of tensors (side_by_side.c).
in_turn= # not empty: writes into a file here are one after another, because it is in memory or there is no direct I/O
dd if=/dev/zero of=probe bs=4096 count=1 oflag=direct status=none 2>"$scratch/err" || in_turn=yes
case $(stat -f -c %T .) in tmpfs | ramfs) in_turn=yes ;; esac
rm -f probe
side_by_side() {
    local reads=$1 writes=$2 others code
    [[ -z $in_turn ]] || writes=0
    shift 2
    here="organ $* with $reads reads and $writes writes side by side"
    rm -f "$scratch/side"
    ORGAN_SIDE_BYTES=${long:-4096} ORGAN_SIDE_READS=$reads ORGAN_SIDE_WRITES=$writes ORGAN_SIDE_LOG=$scratch/side LD_PRELOAD=$root/build/checks/side_by_side.so \
        timeout -k 1 30 "$organ" "$@" --quiet >"$scratch/out" 2>&1
    code=$?
    if ((code == 124)); then bad "waits for ever: never so many calls in flight" "$scratch/side"; elif ((code)); then bad "ends with $code" "$scratch/out"; else good; fi
    if grep -qx "met $((reads > 0)) $((writes > 0))" "$scratch/side"; then good; else bad "did not meet" "$scratch/side"; fi
    others=$(grep -v "^met" "$scratch/side" | awk '$2 != "worker" && $2 != "writer"' | sort | uniq -c | head -n 5)
    if [[ -z $others ]]; then good; else bad "other threads move bytes of tensors: $others"; fi
}
