# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Tests the MPI module built for MPICH under MPICH's launcher; each launcher must reject the module of the other library. It uses one host, because
# across hosts MPICH 4.0.2 over UCX sometimes does not return from MPI_Finalize (docs/cluster.md). run.sh starts it.
. tests/cluster/hosts.sh
needs mpirun.mpich mpich
needs mpicc.mpich libmpich-dev
needs ip iproute2
ip link set lo up
mkdir -p "$scratch/mpich" && cp "$root/build/organ" "$scratch/mpich/" &&
    mpicc.mpich -std=c11 -D_GNU_SOURCE -I. -Iinclude -O2 -fvisibility=hidden -fPIC -pthread -shared orchestrator/ranks/mpi.c -o "$scratch/mpich/liborgan_mpi.so" ||
    { bad "the module cannot be built for MPICH" && finish; }
cd "$scratch" || exit 1
organ=$scratch/mpich/organ
launch() { mpirun.mpich "$@"; }
same_runs 3
alone slow "${slowly[@]}"
broken "a rank is killed" 3 kill_rank 2
resumed 2

# ---- the launcher of another library ----
refused() {
    if "$@" >out 2>err; then bad "it runs" err; else good; fi
    says 'MPI finds 1: the module belongs to another MPI library than the launcher'
    judge "something was made" test -z "$(find . -maxdepth 1 -name '*new*')"
}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_orte_tmpdir_base=$scratch/tmp
if command -v mpirun.openmpi >/dev/null; then
    here="Open MPI's mpirun and MPICH's module"
    refused mpirun.openmpi --oversubscribe -n 3 "$organ" prune "$model" -o new
    if [[ -f $root/build/liborgan_mpi.so ]] && grep -q libmpi.so < <(ldd "$root/build/liborgan_mpi.so"); then
        here="MPICH's mpirun and Open MPI's module"
        refused mpirun.mpich -n 3 "$root/build/organ" prune "$model" -o new
    fi
fi
finish
