# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Runs an emulated machine in QEMU with the CPUs and memory nodes that a test asks for. TCG emulation needs neither rights nor such hardware. The
# machine boots the kernel of this host with an initial RAM disk made here. Scripts in this directory source this file; their working directory
# is the root of the repository.

# Prints the reason if such a machine cannot boot here, else nothing.
guest_obstacle() {
    local tool
    for tool in qemu-system-x86_64 cpio gzip busybox; do
        command -v "$tool" >/dev/null || { echo "$tool is not installed"; return; }
    done
    [[ $(uname -m) == x86_64 ]] || { echo "the host is not x86-64"; return; }
    busybox --list | grep -x poweroff >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || { echo "busybox is not the static one"; return; }
    [[ -n $(guest_kernel) ]] || echo "there is no kernel to boot in /boot"
}

guest_kernel() {
    local kernel
    for kernel in $(printf '%s\n' /boot/vmlinuz-* | sort -rV); do [[ -r $kernel ]] && echo "$kernel" && return; done
}

# guest_put DIRECTORY PROGRAM...: copies the programs and their libraries into the guest's file system.
guest_put() {
    local root=$1 program library
    shift
    mkdir -p "$root"/{bin,proc,sys,dev,tmp}
    for program in "$(command -v busybox)" "$@"; do
        cp "$program" "$root/bin/" || return 1
        for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
            [[ -e $root$library ]] || { mkdir -p "$root${library%/*}" && cp -L "$library" "$root$library"; } || return 1
        done
    done
}

# guest_run SCRATCH ROOT QEMU-OPTIONS... <SCRIPT: boots with the files of ROOT, runs the script with busybox's shell and prints its output. Fails if
# the script has not ended within 10 minutes.
guest_run() {
    local scratch=$1 root=$2
    shift 2
    {
        printf '%s\n' '#!/bin/busybox sh' '/bin/busybox --install -s /bin' 'mount -t proc proc /proc' 'mount -t sysfs sys /sys' \
            'mount -t devtmpfs dev /dev' 'export HWLOC_HIDE_ERRORS=2' 'echo "guest begins"'
        cat
        printf '%s\n' 'echo "guest ends"' 'poweroff -f'
    } >"$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$scratch/initrd" || return 1
    timeout 600 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -nographic -no-reboot -nic none -kernel "$(guest_kernel)" \
        -initrd "$scratch/initrd" -append "console=ttyS0 quiet panic=-1" "$@" </dev/null 2>&1 | tr -d '\r' >"$scratch/console"
    grep -q '^guest ends$' "$scratch/console" || { tail -n 20 "$scratch/console" >&2 && return 1; }
    sed -n '/guest begins$/,/^guest ends$/p' "$scratch/console" | sed '1d;$d'
}

# node NUMBER MEMORY CPUS: prints QEMU's options for one memory node; MEMORY 0 means none.
node() {
    if [[ $2 == 0 ]]; then
        printf '%s\n' -numa "node,nodeid=$1,cpus=$3"
    else
        printf '%s\n' -object "memory-backend-ram,size=$2,id=m$1" -numa "node,nodeid=$1,memdev=m$1,cpus=$3"
    fi
}
