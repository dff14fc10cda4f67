# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Tests mpirun of Open MPI on three hosts over ssh: the bytes are those of one process; a rank, a host and a link fail during a run. run.sh starts it.
. tests/cluster/hosts.sh
needs sshd openssh-server
needs ssh openssh-client
needs ip iproute2
needs mpirun.openmpi openmpi-bin
[[ -f $root/build/liborgan_mpi.so ]] || skip "build/liborgan_mpi.so is not there (apt-get install libopenmpi-dev; ninja)"
network_start && host_start h1 && host_start h2 && host_start h3 || { bad "the hosts do not start" "$scratch/h1.log" && finish; }
cd "$scratch" || exit 1
# mpirun checks the connections to its daemons more often than a rank may be silent, as docs/cluster.md recommends.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm_rsh_agent="ssh -F $scratch/ssh/config"
export OMPI_MCA_oob_tcp_keepalive_time=2 OMPI_MCA_oob_tcp_keepalive_intvl=1 OMPI_MCA_oob_tcp_keepalive_probes=2
export OMPI_MCA_orte_tmpdir_base=$scratch/tmp OMPI_MCA_btl=self,vader,tcp
printf 'h1 slots=4\nh2 slots=4\nh3 slots=4\n' >hostfile
launch() { on h1 mpirun.openmpi --hostfile "$scratch/hostfile" --map-by node --bind-to none "$@"; }
same_runs 3
judge "not each rank has the host of its own" test "$(launch -n 3 "$organ" topology --json 2>err | jq -c '[.ranks[].host]')" = '["h1","h2","h3"]'

# ---- faults in the middle of a run ----
here="one process" && alone slow "${slowly[@]}"
broken "a rank is killed" 3 kill_rank 2
says 'signal 9 (Killed)'
resumed 2
broken "a host dies" 3 host_die h3
host_boot h3 || bad "h3 does not start again"
resumed 4
# The kernel of a hanging host still answers, so mpirun waits for the daemon until Ctrl-C.
stubborn=mpirun.openmpi broken "a host hangs" 3 host_signal h3 STOP
says 'error: rank 2 of 3 (h3) has sent nothing for 5 s'
host_signal h3 CONT
resumed 3
broken "a link is cut" 3 ip link set to-h3 down
judge "the host is not named" grep -qE '(lost communication with a remote daemon|rank 2 of 3 .h3. has sent nothing)' err
ip link set to-h3 up
resumed 1
finish
