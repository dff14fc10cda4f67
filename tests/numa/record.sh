#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes the recorded machines in fixtures/topologies again: boots each in QEMU and stores the output of hwloc's lstopo. Needs qemu-system-x86, a
# kernel (linux-image-cloud-amd64), busybox-static, cpio and hwloc-nox. Attributes of the host are left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/numa/guest.sh
obstacle=$(guest_obstacle)
[[ -z $obstacle ]] || { echo "$0: $obstacle" >&2 && exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
guest_put "$scratch/guest" "$(command -v lstopo-no-graphics)"

# record NAME QEMU-OPTIONS...: boots a machine and writes its topology.
record() {
    local name=$1
    shift
    guest_run "$scratch" "$scratch/guest" "$@" <<<'lstopo-no-graphics --no-io --of xml /tmp/machine.xml && cat /tmp/machine.xml' |
        grep -vE '<info name="(HostName|ProcessName|OS|DMI|CPU|Architecture|hwlocVersion|Vendor|DeviceLocation|Inclusive)' \
            >"fixtures/topologies/$name.xml"
    echo "$name: $(grep -c 'type="PU"' "fixtures/topologies/$name.xml") CPUs"
}

mapfile -t two < <(node 0 1G 0-23; node 1 1G 24-47)
record 2x24 -smp 48,sockets=2,cores=24 -m 2G "${two[@]}" -numa dist,src=0,dst=1,val=21
mapfile -t four < <(node 0 512M 0-11; node 1 512M 12-23; node 2 512M 24-35; node 3 512M 36-47)
record 4x12 -smp 48,sockets=4,cores=12 -m 2G "${four[@]}"
# Node 2 has no memory; node 3 is nearer to it than the others.
mapfile -t gap < <(node 0 512M 0-3; node 1 512M 4-7; node 2 0 8-11; node 3 512M 12-15)
record no_memory -smp 16,sockets=4,cores=2,threads=2 -m 1536M "${gap[@]}" -numa dist,src=0,dst=1,val=16 -numa dist,src=0,dst=2,val=32 \
    -numa dist,src=0,dst=3,val=32 -numa dist,src=1,dst=2,val=32 -numa dist,src=1,dst=3,val=32 -numa dist,src=2,dst=3,val=16
