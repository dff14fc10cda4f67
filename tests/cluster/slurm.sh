# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Tests Slurm with one controller and three hosts and its own munge: the script of docs/cluster.md, and ranks started by srun with PMIx. run.sh starts it.
. tests/cluster/hosts.sh
needs slurmctld slurmctld
needs slurmd slurmd
needs srun slurm-client
needs munged munge
needs sshd openssh-server
[[ -f $root/build/liborgan_mpi.so ]] || skip "build/liborgan_mpi.so is not there (apt-get install libopenmpi-dev; ninja)"
slurm=$scratch/slurm
mkdir -p "$slurm/state" "$slurm"/{spool,tmp}.h{1,2,3}
# Each host has its own files, as on real hosts; there is no accounting and no control group. Slurm's limits are so long that the ranks notice a silent
# host first and name it, also on a loaded machine. KillWait is Slurm's default: ranks need time to print their message after SIGTERM.
cat >"$slurm/slurm.conf" <<CONF
ClusterName=cluster
SlurmctldHost=head
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$slurm/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool.%n
TmpFS=$slurm/tmp.%n
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.%n.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd.%n.log
SlurmdTimeout=60
KillWait=30
ReturnToService=2
NodeName=h[1-3] CPUs=2
PartitionName=all Nodes=h[1-3] Default=YES MaxTime=60
CONF
echo 'CgroupPlugin=cgroup/v1' >"$slurm/cgroup.conf"
export SLURM_CONF=$slurm/slurm.conf
idle() { [[ $(sinfo -h -t idle -o %D 2>/dev/null) == 3 ]]; }
# until_true SECONDS COMMAND...: repeats the command until it succeeds, at most for that time.
until_true() {
    local k
    for ((k = 0; k < 5 * $1; k++)); do "${@:2}" && return 0 || sleep 0.2; done
    return 1
}
services=/usr/sbin/slurmd
head -c 128 /dev/urandom >"$slurm/munge.key" && chmod 600 "$slurm/munge.key" && network_start &&
    munged --force --key-file="$slurm/munge.key" --socket="$slurm/munge.socket" --pid-file="$slurm/munge.pid" --log-file="$slurm/munge.log" \
        --seed-file="$slurm/munge.seed" && slurmctld && host_start h1 && host_start h2 && host_start h3 && until_true 600 idle ||
    { bad "Slurm does not start" "$slurm/slurmd.h1.log" && finish; }
grep -q pmix < <(srun --mpi=list 2>&1) || skip "this Slurm has no PMIx (apt-get install slurm-wlm-basic-plugins)"
cd "$scratch" || exit 1
export PATH=$root/build:$PATH
launch() { srun --nodes=3 --overcommit --mpi=pmix --kill-on-bad-exit=1 --ntasks="$2" "${@:3}"; }
same_runs 3
judge "not each rank has the host of its own" test "$(launch -n 3 organ topology --json 2>err | jq -c '[.ranks[].host]')" = '["h1","h2","h3"]'

# ---- environments that start no ranks, and launches that fail ----
here="a shell of salloc"
judge "organ does not run alone" salloc --quiet -N 3 -n 3 organ prune "$model" -o new --quiet
judge "it made nothing" test -d new
rm -rf new
here="a batch script without srun"
judge "organ does not run alone" sbatch --quiet --wait -N 3 -n 3 -o batch.log --wrap "organ prune $model -o new --quiet"
judge "it made nothing" test -d new
rm -rf new
here="srun --mpi=none"
if timeout 60 srun -N 3 -n 3 --mpi=none organ prune "$model" -o new --quiet >out 2>err; then bad "ranks that do not see each other run" err; else good; fi
judge "something was made" test ! -e new

# ---- the script of docs/cluster.md ----
sed -n '/^    #!\/bin\/bash$/,/^$/s/^    //p' "$root/docs/cluster.md" >organ.sbatch
here="the script of docs/cluster.md"
judge "docs/cluster.md has no script" grep -q '^srun --mpi=pmix' organ.sbatch
slowly=(prune "$model" --iterations 20000) # longer than it takes to look
alone slow "${slowly[@]}"
state() { scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p'; }
is() { [[ $(state "$1") == "$2" ]]; }
# begun N: whether more than $before + 2 tensors have been written.
begun() { (($(lines) > before + 2)); }
batch() { sbatch --parsable --output=job.log "${how[@]}" organ.sbatch "${slowly[@]}" -o new; }
how=(--nodes=3 --time=10)
job=$(batch)
judge "the job does not end" until_true 600 is "$job" COMPLETED
judge "it makes something else" diff <(holds slow) <(holds new)
rm -rf new

here="scancel"
before=0 job=$(batch)
judge "the job does not begin" until_true 600 begun
scancel "$job"
judge "it is not cancelled" until_true 600 is "$job" CANCELLED
judge "there is an output" test ! -e new
judge "it does not say that it can be resumed" until_true 600 grep -q -- '--resume continues' job.log
until_true 600 idle
how=(--nodes=2 --time=10)
job=$(batch)
judge "the job does not end" until_true 600 is "$job" COMPLETED
judge "resumed by two hosts it is not the same" diff <(holds slow) <(holds new)
rm -rf new job.log

here="the time limit"
until_true 600 idle
before=0 SECONDS=0
job=$(sbatch --parsable --output=job.log --nodes=3 --time=60 --signal=TERM@50 organ.sbatch prune "$model" --iterations 100000 -o new)
judge "the job does not begin" until_true 600 begun
# Ranks are stopped until Slurm's signal arrives, which takes up to a minute, so that they do not end before. Slurm may continue them itself.
signalled() { [[ -z $(rank_process 0) ]] || grep -qE '^ShdPnd:.*[4-7c-f][0-9a-f]{3}$' "/proc/$(rank_process 0)/status"; }
to_rank STOP 0 1 2
scontrol update "JobId=$job" "TimeLimit=$((SECONDS / 60 + 1))"
judge "no signal comes" until_true 600 signalled
to_rank CONT 0 1 2
judge "the job is not put back into the queue" until_true 600 is "$job" PENDING
judge "it has not ended by the signal" until_true 600 grep -q 'interrupted .*--resume continues' job.log
judge "there is an output" test ! -e new
judge "there is nothing to go on with" test -d .new.organ-partial
scancel "$job"
rm -rf .new.organ-partial

# ---- faults in the middle of a run ----
until_true 600 idle
broken "a rank is killed" 3 kill_rank 2
until_true 600 idle
resumed 2
broken "a host hangs" 3 host_signal h3 STOP
says 'error: rank 2 of 3 (h3) has sent nothing for 5 s'
host_signal h3 CONT
until_true 600 idle
resumed 3
broken "a host dies" 3 host_die h3
host_boot h3 || bad "h3 does not start again"
judge "h3 does not come back" until_true 600 idle
resumed 3
broken "a link is cut" 3 ip link set to-h3 down
says 'error: rank 2 of 3 (h3) has sent nothing for 5 s'
resumed 1
finish
