#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs organ on several hosts, which are network namespaces of this machine: `ninja test-cluster`, or tests/cluster/run.sh ssh slurm mpich nfs for some
# of the parts. Each part runs in its own namespaces for mounts, processes, network and names, with its files in memory, so that everything it has
# started or mounted disappears when it ends. Ends with the line "N passed, N failed"; a part that cannot run prints "skipped" with the reason and
# counts nothing.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
if ((EUID != 0)); then
    echo "skipped: only root can make hosts of this machine"
    echo "0 passed, 0 failed"
    exit 0
fi
if ! unshare --mount --net --uts --ipc --pid --fork --mount-proc true 2>/dev/null; then
    echo "skipped: this machine does not allow namespaces (unshare), from which the hosts are made"
    echo "0 passed, 0 failed"
    exit 0
fi
directory=$(mktemp -d) || exit 1
inside=
clean_up() {
    if [[ -n $inside ]]; then kill -KILL "$inside" 2>/dev/null && wait "$inside" 2>/dev/null; fi
    rm -f "$directory.log"
    rmdir "$directory"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
export root=$PWD scratch=$directory
passed=0 failed=0 skipped=()
# bash makes background processes ignore SIGINT, which some tests send to end a run.
for part in "${@:-ssh slurm mpich nfs}"; do for name in $part; do
    echo "---- $name ----"
    # shellcheck disable=SC2016 # expanded inside
    env --default-signal=INT,TERM,QUIT,PIPE unshare --mount --net --uts --ipc --pid --fork --kill-child=KILL --mount-proc bash -c '
        mount -t tmpfs -o mode=755 cluster "$scratch" && mount -t tmpfs -o mode=755 cluster /run && mount -t tmpfs cluster /dev/shm || exit 1
        . "$1"' cluster "tests/cluster/$name.sh" > >(exec tee "$directory.log") 2>&1 </dev/null &
    inside=$!
    wait "$inside"
    status=$?
    inside=
    read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$directory.log" | tail -n 1)
    if [[ -z ${good:-} || ($status -ne 0 && $bad -eq 0) ]]; then
        echo "FAILED $name: it ends with $status" && bad=$((${bad:-0} + 1))
    fi
    if grep -q '^skipped: ' "$directory.log"; then skipped+=("$name"); fi
    passed=$((passed + ${good:-0})) failed=$((failed + bad)) good=
done; done
if ((${#skipped[@]})); then echo "skipped: ${skipped[*]}"; fi
echo "$passed passed, $failed failed"
((failed == 0))
