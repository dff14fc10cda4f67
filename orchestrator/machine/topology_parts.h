/* SPDX-License-Identifier: MIT
 * The structure behind organ_topology, shared by topology.c and topology_survey.c. */
#ifndef ORGAN_MACHINE_TOPOLOGY_PARTS_H
#define ORGAN_MACHINE_TOPOLOGY_PARTS_H

#include <hwloc.h>
#include <organ/machine.h>
#include <stdbool.h>

/* A usable CPU with the keys by which CPUs are ordered. */
typedef struct organ_worker_cpu {
    organ_place place; /* its CPU and memory node */
    organ_pu pu;       /* its core, package and kind */
    unsigned turn;     /* index of its core among the cores of its node */
} organ_worker_cpu;

/* The CPUs and memory nodes that this process uses. */
struct organ_topology {
    hwloc_topology_t machine;              /* NULL before it is initialised */
    organ_worker_cpu *worker_cpus;         /* in the order in which workers get them */
    size_t worker_cpu_count, cores, kinds; /* usable CPUs, cores, kinds of cores */
    hwloc_obj_t *nodes;                    /* the nodes that are nearest to a worker CPU */
    size_t *node_cores;                    /* for each of `nodes`: number of cores to which it is nearest */
    size_t node_count;                     /* number of `nodes` */
    hwloc_bitmap_t absent[ORGAN_ABSENCES]; /* OS numbers of CPUs or nodes that are not used, by reason */
    void *aside;                           /* memory reserved for hwloc while the machine is loaded */
};

/* Sets worker_cpus to the CPUs of the loaded machine with the memory node of each, sets nodes, node_cores, cores and
 * kinds, and records in `absent` the nodes that no CPU uses. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_topology_survey(organ_topology *topology, organ_error *error);

/* ---- tile registers of AMX, which Linux gives a process only on request ---- */

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Requests from Linux the permission to use tile registers; returns true if it is granted. Repeated calls are allowed.
 * Each thread that uses tiles then needs 8 KiB more for its saved registers. ASK and TILE_DATA are ARCH_REQ_XCOMP_PERM
 * of asm/prctl.h (Linux 5.16) and the number of the XTILEDATA state component. */
static inline bool organ_ask_for_tiles(void)
{
#if defined(__x86_64__)
    enum { ASK = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
#else
    return false;
#endif
}

#endif
