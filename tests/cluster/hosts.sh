# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Makes hosts on this machine: each is a network namespace with its own address on one bridge, its own host name, processes and sshd. They
# use the files of this machine. run.sh starts each script of this directory in its own namespaces for mounts, processes, network and names, so
# that everything it has started and mounted disappears with its first process.

# run.sh sets scratch, a directory in memory, and root, the root of the repository.
: "${scratch:?}" "${root:?}"
organ=$root/build/organ
model=$root/fixtures/tiny-qwen2
passed=0 failed=0
good() { passed=$((passed + 1)); }
# bad WHAT [FILE]: counts a failure and shows the file.
bad() {
    failed=$((failed + 1))
    printf 'FAILED %s: %s\n' "${here:-}" "$1"
    if [[ -n ${2:-} ]]; then tail -n 25 "$2" | sed 's/^/    /'; fi
}
# judge WHAT COMMAND...: counts a success if the command succeeds, else the failure WHAT.
judge() { if "${@:2}" >"$scratch/judged" 2>&1; then good; else bad "$1" "$scratch/judged"; fi; }
# says WORDS [FILE]: checks that the file contains the words, ../err by default.
says() { if grep -qF -- "$1" "${2:-$scratch/err}"; then good; else bad "does not say '$1'" "${2:-$scratch/err}"; fi; }
finish() {
    echo "$passed passed, $failed failed"
    exit $((failed > 0))
}
# skip REASON: ends the script because this machine cannot run it.
skip() {
    echo "skipped: $1"
    finish
}
# needs COMMAND PACKAGE: skips the script if the command is not installed.
needs() { command -v "$1" >/dev/null || [[ -x /usr/sbin/$1 ]] || skip "$1 is not installed (apt-get install $2)"; }

declare -A keeper=() init=() # of each host: the process whose end is that of all of it; its first process
# Shell commands that each host runs when it boots.
services=

network_start() {
    ip link set lo up && ip link add bridge type bridge && ip addr add 10.77.0.254/24 dev bridge && ip link set bridge up &&
        hostname head && mkdir -p /run/sshd "$scratch/ssh" "$scratch/tmp" &&
        printf '127.0.0.1 localhost\n10.77.0.254 head\n10.77.0.1 h1\n10.77.0.2 h2\n10.77.0.3 h3\n' >"$scratch/hosts" &&
        mount --bind "$scratch/hosts" /etc/hosts &&
        ssh-keygen -q -t ed25519 -N '' -f "$scratch/ssh/user" && ssh-keygen -q -t ed25519 -N '' -f "$scratch/ssh/host" &&
        cp "$scratch/ssh/user.pub" "$scratch/ssh/authorized" &&
        printf '%s\n' 'Port 2222' "HostKey $scratch/ssh/host" "AuthorizedKeysFile $scratch/ssh/authorized" 'PermitRootLogin yes' 'StrictModes no' \
            'UsePAM no' 'PidFile none' 'PrintMotd no' >"$scratch/ssh/sshd_config" &&
        printf '%s\n' 'Port 2222' "IdentityFile $scratch/ssh/user" 'StrictHostKeyChecking no' "UserKnownHostsFile $scratch/ssh/known" \
            'LogLevel ERROR' 'BatchMode yes' >"$scratch/ssh/config"
}

# host_start NAME: makes the host with the address in /etc/hosts.
host_start() {
    local address k
    address=$(awk -v name="$1" '$2 == name { print $1 }' /etc/hosts)
    ip netns add "$1" && ip link add "to-$1" type veth peer name eth0 netns "$1" && ip link set "to-$1" master bridge up &&
        ip -n "$1" addr add "$address/24" dev eth0 && ip -n "$1" link set lo up && ip -n "$1" link set eth0 up || return 1
    host_boot "$1"
}

# host_boot NAME: starts the host's processes on its existing network.
host_boot() {
    local k
    nsenter --net="/run/netns/$1" unshare --uts --pid --fork --kill-child --mount-proc bash -c "hostname $1; /usr/sbin/sshd -f $scratch/ssh/sshd_config
        $services
        while :; do sleep 1000 & wait; done" >>"$scratch/$1.log" 2>&1 </dev/null &
    keeper[$1]=$!
    disown
    for ((k = 0; k < 3000; k++)); do
        init[$1]=$(tr -d ' ' <"/proc/${keeper[$1]}/task/${keeper[$1]}/children" 2>/dev/null)
        [[ -n ${init[$1]} ]] && on "$1" ssh -F "$scratch/ssh/config" "$1" true 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}

# on NAME COMMAND...: runs the command on that host, in the current directory.
on() { nsenter --target "${init[$1]}" --mount --uts --net --pid --wd="$PWD" -- "${@:2}"; }

# host_die NAME: kills all processes of the host at once. host_processes NAME: prints their process numbers on this machine.
host_die() { kill -KILL "${keeper[$1]}"; }
host_processes() { ip netns pids "$1"; }
host_signal() {
    local process
    for process in $(host_processes "$1"); do [[ $process == "${init[$1]}" ]] || kill -"$2" "$process"; done
}

# ---- runs ----
# The script that sources this file defines how several ranks of organ are started: launch -n N COMMAND...
slowly=(prune "$model" --iterations 4000)
holds() { (cd "$1" && find . -type f ! -name '*.html' ! -name '*.md' ! -name '*.json' | LC_ALL=C sort | xargs -d '\n' sha256sum); }
tells() { sed 's,some\([0-9]\),one\1,g' "$1" | jq 'del(.run)'; }
alone() { judge "one process fails" "$organ" "${@:2}" -o "$1" --quiet; }
# by_all N ARGS...: runs organ as N ranks of one thread each; its output is in ../out and ../err.
by_all() {
    launch -n "$1" "$organ" "${@:2}" >out 2>err </dev/null
}

# same_runs N: checks that verbs with N ranks write the files and documents of one process.
same_runs() {
    local verb k=0 n=$1
    for verb in "prune $model --threads 1" "quantize $model --scheme int4-group32" "extract $model" "perplexity $model --text $model/heldout.txt --max-tokens 600" \
        "prune $model --method wanda -s 50 --calibration $model/calibration.txt --samples 4 --context 32"; do
        k=$((k + 1))
        here="$n ranks, organ $verb"
        # shellcheck disable=SC2206 # words
        local words=($verb) output=(-o "one$k") several=(-o "some$k")
        [[ $verb == perplexity* ]] && output=() several=()
        judge "one process fails" "$organ" "${words[@]}" "${output[@]}" --json --quiet
        cp judged alone.json
        if by_all "$n" "${words[@]}" "${several[@]}" --json --quiet; then good; else bad "it fails" err; fi
        judge "they tell something else" diff <(tells alone.json) <(tells out)
        [[ $verb == perplexity* ]] || judge "they make something else" diff <(holds "one$k") <(holds "some$k")
        rm -rf "one$k" "some$k"
    done
}

# Prints the process of a rank, on whatever host it runs. A process that has just ended has no environment.
rank_process() {
    local process
    for process in $(pgrep -x organ); do
        grep -qxE "(OMPI_COMM_WORLD_RANK|PMI_RANK|SLURM_PROCID)=$1" < <({ tr '\0' '\n' <"/proc/$process/environ"; } 2>/dev/null) && echo "$process" && return
    done
}
kill_rank() { kill -KILL "$(rank_process "$1")"; }

# Succeeds if ranks of the first two hosts still run; these are neither stopped nor unreachable.
living() { [[ -n $(rank_process 0) || -n $(rank_process 1) ]]; }

lines() { cat .new.organ-partial/organ/journal*.jsonl 2>/dev/null | wc -l; }
# to_rank SIGNAL RANK...: sends the signal to the ranks.
to_rank() {
    local rank
    for rank in "${@:2}"; do kill -"$1" "$(rank_process "$rank")" 2>/dev/null; done
}

# caught: succeeds when the run $runner has written some tensors but not all; its three ranks are then stopped.
caught() {
    local k
    for ((k = 0; k < 30000; k++)); do { (($(lines) > begun + 2)) || ! kill -0 "$runner" 2>/dev/null; } && break || sleep 0.02; done
    to_rank STOP 0 1 2
    [[ ! -e new && -n $(rank_process 0) ]]
}

# broken WHAT N COMMAND...: runs three ranks and, after they have written some tensors, the command, while the ranks are stopped so that none ends
# first. If the run is already over, it starts again. The run must end with an error, leave nothing under the output's name and be resumable.
# The limit of time is for runs that hang, so it is long enough for a loaded machine.
broken() {
    local runner begun tries limit=600
    here=$1
    for tries in {1..10}; do
        begun=$(lines)
        ORGAN_SILENCE=5 by_all "$2" "${slowly[@]}" --threads 1 -o new --resume &
        runner=$!
        if caught; then break; fi
        to_rank CONT 0 1 2
        wait $runner
        echo "$here: try $tries, the run was over"
        rm -rf new .new.organ-partial
    done
    judge "the run does not begin" test -d .new.organ-partial
    "${@:3}"
    to_rank CONT 0 1
    [[ $3 == host_signal ]] || to_rank CONT 2
    begun=$SECONDS
    while kill -0 $runner 2>/dev/null && ((SECONDS - begun < limit)); do
        # The launcher waits for its daemon on a host that has disappeared; the user ends it.
        if [[ -n ${stubborn:-} ]] && ! living; then
            sleep 2
            pkill -INT -x "$stubborn"
        fi
        sleep 0.2
    done
    echo "$here: ended after $((SECONDS - begun)) s"
    if kill -0 $runner 2>/dev/null; then
        bad "it has not ended after $limit s" err
        pkill -KILL -x 'organ|mpirun|mpirun.openmpi|mpiexec.hydra|orted|srun|hydra_pmi_proxy'
    else
        good
    fi
    if wait $runner; then bad "it ends well" err; else good; fi
    judge "there is an output" test ! -e new
    judge "there is nothing to go on with" test -d .new.organ-partial
}

# resumed N: continues with N ranks (1: one process, without a launcher) and compares the bytes with those of `slow`.
resumed() {
    if (($1 == 1)); then "$organ" "${slowly[@]}" -o new --resume >out 2>err; else by_all "$1" "${slowly[@]}" --threads 1 -o new --resume; fi
    if (($? == 0)); then good; else bad "it cannot be resumed by $1" err; fi
    says 'continuing: '
    judge "resumed by $1 it is not the same" diff <(holds slow) <(holds new)
    rm -rf new
}
