# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Writes the output to NFS: three hosts mount the export of a user-space server (nfs-ganesha). run.sh starts it.
. tests/cluster/hosts.sh
grep -qw nfs4 /proc/filesystems || modprobe nfsv4 2>/dev/null && grep -qw nfs4 /proc/filesystems ||
    skip "this kernel ($(uname -r)) has no NFS client (CONFIG_NFS_V4): no host can mount a file system of NFS, whatever the server"
needs ganesha.nfsd "nfs-ganesha nfs-ganesha-vfs"
needs mount.nfs4 nfs-common
needs mpirun.openmpi openmpi-bin
needs sshd openssh-server
[[ -f $root/build/liborgan_mpi.so ]] || skip "build/liborgan_mpi.so is not there (apt-get install libopenmpi-dev; ninja)"
network_start || { bad "the network does not start" && finish; }
mkdir -p "$scratch/served" "$scratch/shared" "$scratch/recovery"
cat >"$scratch/ganesha.conf" <<CONF
NFS_CORE_PARAM { Protocols = 4; NFS_Port = 2049; }
NFSV4 { Grace_Period = 5; Lease_Lifetime = 5; RecoveryRoot = "$scratch/recovery"; }
EXPORT { Export_Id = 1; Path = "$scratch/served"; Pseudo = /served; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; } }
CONF
ganesha.nfsd -f "$scratch/ganesha.conf" -L "$scratch/ganesha.log" -p "$scratch/ganesha.pid" || { bad "the server does not start" "$scratch/ganesha.log" && finish; }
# Each host has its own mounts.
services="mount -t nfs4 -o vers=4.1,proto=tcp head:/served $scratch/shared"
host_start h1 && host_start h2 && host_start h3 || { bad "the hosts do not start" "$scratch/h1.log" && finish; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm_rsh_agent="ssh -F $scratch/ssh/config"
export OMPI_MCA_orte_tmpdir_base=$scratch/tmp OMPI_MCA_btl=self,vader,tcp
for host in h1 h2 h3; do here=$host && judge "it has not mounted the output" on $host grep -q " $scratch/shared nfs4 " /proc/mounts; done
cd "$scratch" || exit 1
for verb in "prune $model --threads 1" "quantize $model --scheme int4-group32"; do
    here="organ $verb"
    # shellcheck disable=SC2086 # words
    judge "one process fails" "$organ" $verb -o one --quiet
    # shellcheck disable=SC2086
    judge "three hosts fail" on h1 mpirun.openmpi --host h1,h2,h3 --bind-to none -n 3 "$organ" $verb -o "$scratch/shared/new" --quiet
    judge "they make something else" diff <(holds one) <(holds served/new)
    rm -rf one served/new
done
finish
