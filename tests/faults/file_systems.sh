#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests real file systems on images: a disk that becomes full at many places of a run, a read-only one, a quota, and a file system that shuts down during
# a run as at a power cut and is recovered. The run must exit with 4 and name the output, and leave nothing, or a partial output that --resume
# completes to the same bytes. The script names what this machine does not support and skips it.
. "$(dirname "$0")/sweep_kit.sh"
reference=$PWD/reference
place=$scratch/mounted
image=$scratch/image
mkdir "$place"
trap 'umount "$place" 2>/dev/null; [[ $BASHPID == "$$" ]] && rm -rf "$scratch"' EXIT

leave_out() { echo "left out: $1"; }
if ((EUID != 0)); then leave_out "all: only root mounts images" && finish; fi
made reference prune "$model" --threads 1

# same: compares the output with the reference, except for reports, which contain times and paths.
same() { diff -rq -x organ "$reference" "$place/p" >../difference 2>&1; }

# attach TYPE: makes and mounts an image of that type; fails if this machine cannot.
attach() {
    if ! grep -qw "$1" /proc/filesystems; then leave_out "$1: this kernel does not have it" && return 1; fi
    if [[ $1 == tmpfs ]]; then
        mount -t tmpfs -o size=64m tmpfs "$place" 2>../err || { leave_out "tmpfs: $(tail -n 1 ../err)" && return 1; }
        return
    fi
    if ! command -v "mkfs.$1" >/dev/null; then leave_out "$1: no mkfs.$1" && return 1; fi
    rm -f "$image"
    truncate -s 320M "$image"
    "mkfs.$1" -q "$image" >../err 2>&1 && mount -o loop "$image" "$place" 2>>../err || { leave_out "$1: $(tail -n 1 ../err)" && return 1; }
}

# clear_place: empties the file system.
clear_place() { find "$place" -mindepth 1 -delete 2>/dev/null; }

# prune ARGS: prunes into the file system, like `run`.
prune() { run prune "$model" --threads 1 -o "$place/p" --quiet "$@"; }

# refused_by_disk TEXT: checks a run that the disk ended; $kind names the file system.
refused_by_disk() {
    here="$kind"
    if ((code == 4)); then good; else bad "ends with $code instead of 4" ../err; fi
    judge "stderr does not say '$1'" grep -qiE -- "$1" ../err
    judge "something has the final name" test ! -e "$place/p"
    if [[ -e $place/.p.organ-partial ]]; then judge "leaves what it does not tell of" grep -q -- --resume ../err; else good; fi
}

# goes_on: checks that the next run writes the same bytes.
goes_on() {
    prune --resume
    here="$kind, then --resume"
    if ((code == 0)); then good; else bad "ends with $code" ../err; fi
    judge "is not what it should be" same
}

# full: lets the disk become full after more and more of the output. A file takes the free space; a copy-on-write file system needs some of it to remove
# files.
full() {
    local left free
    for left in 100 2000 5000 8000 9000 9500 10000 10400 10800 11200; do
        kind="$type with $left KiB left"
        clear_place
        sync -f "$place"
        free=$(df --output=avail "$place" | tail -n 1)
        fallocate -l $(((free - left) * 1024)) "$place/ballast" || { bad "cannot be filled" && continue; }
        prune
        if ((code == 0)); then
            judge "is not what it should be" same
            continue
        fi
        refused_by_disk "no space"
        rm "$place/ballast"
        sync -f "$place" # what was freed is free after that
        goes_on
    done
}

read_only() {
    kind="$type, read-only"
    clear_place
    mount -o remount,ro "$place" || { bad "cannot be remounted" && return; }
    prune
    refused_by_disk "read-only file system"
    mount -o remount,rw "$place"
    goes_on
}

# quota: sets a quota of btrfs, which needs no tables of users.
quota() {
    kind="$type with a quota"
    command -v btrfs >/dev/null || { leave_out "quota: no btrfs" && return; }
    clear_place
    btrfs quota enable "$place" && btrfs subvolume create "$place/s" >../subvolume && btrfs qgroup limit 6M "$place/s" || { leave_out "quota: not here" && return; }
    run prune "$model" --threads 1 -o "$place/s/p" --quiet
    here=$kind
    if ((code == 4)); then good; else bad "ends with $code instead of 4" ../err; fi
    judge "stderr does not speak of the quota" grep -qi "quota" ../err
    judge "something has the final name" test ! -e "$place/s/p"
} >../quota.log 2>&1

# shut_down TYPE: shuts the file system down during a run without writing its log, and mounts it again.
shut_down() {
    local delay runner tries
    command -v xfs_io >/dev/null || { leave_out "$type, shut down: no xfs_io" && return; }
    for delay in 0.01 0.02 0.04 0.06 0.08 0.1 0.12 0.14 0.16 0.2 0.3 0.5; do
        kind="$type, shut down after $delay s"
        clear_place
        sync -f "$place"
        prune &
        runner=$!
        sleep "$delay"
        xfs_io -x -c shutdown "$place" >../shut 2>&1 || { wait $runner; leave_out "$kind: $(tail -n 1 ../shut)" && return; }
        wait $runner
        for ((tries = 0; tries < 50; tries++)); do umount "$place" 2>../shut && break || sleep 0.1; done # the kernel may still hold it
        mount -o loop "$image" "$place" || { bad "cannot be mounted again" ../shut && return; }
        here=$kind
        if [[ -e $place/p ]]; then judge "has the final name and is not whole" same; else goes_on; fi
    done
}

for type in ext4 xfs btrfs tmpfs; do
    attach $type || continue
    full
    read_only
    [[ $type == btrfs ]] && { quota; cat ../quota.log; }
    if [[ $type == tmpfs ]]; then leave_out "tmpfs, shut down: nothing of it outlives the power"; else shut_down; fi
    umount "$place"
    echo "$type: $passed passed, $failed failed so far"
done
grep -qw dm-flakey /proc/modules 2>/dev/null || leave_out "dm-flakey, dm-error: this kernel does not have them loaded"
finish
