/* SPDX-License-Identifier: MIT
 * The machine as the orchestrator sees it: cores to work on and the memory node of each. A topology is made once and
 * given to functions. */
#ifndef ORGAN_TOPOLOGY_H
#define ORGAN_TOPOLOGY_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

typedef struct organ_topology organ_topology;

/* This machine, limited to the CPUs this process may run on (cgroup cpuset, taskset) and to the memory nodes it may
 * allocate on. */
organ_status organ_topology_discover(organ_topology **topology, organ_error *error);

/* A machine recorded by hwloc ("lstopo machine.xml"). Nothing can be bound on it. ORGAN_BAD_INPUT if the file is no
 * such record, larger than 64 MiB, or has no CPU that may be used; ORGAN_IO if it cannot be read. */
organ_status organ_topology_import(const char *path, organ_topology **topology, organ_error *error);

/* A machine made up for tests, in hwloc's synthetic language ("numa:2 core:24 pu:2"); `allowed` is a list of PU numbers
 * as hwloc writes them ("0-11,48"), NULL for all. Nothing can be bound on it: organ_topology_is_this_machine is false.
 * ORGAN_USAGE if either is not understood or no PU is left. */
organ_status organ_topology_synthetic(const char *description, const char *allowed, organ_topology **topology,
                                      organ_error *error);

void organ_topology_destroy(organ_topology *topology); /* NULL is allowed */
bool organ_topology_is_this_machine(const organ_topology *topology);
size_t organ_topology_cores(const organ_topology *topology); /* physical cores that may be used */
size_t
organ_topology_nodes(const organ_topology *topology); /* NUMA nodes that are nearest to such a core, at least 1 */

/* Where one worker lives. */
typedef struct organ_place {
    unsigned node; /* 0 .. organ_topology_nodes - 1 */
    unsigned pu;   /* OS number of the CPU it is bound to */
} organ_place;

/* Fills places[0 .. threads): one worker per core first, the fastest kind of core first, cores of one kind dealt to the
 * nodes in turn so that any number of workers is spread evenly over nodes. With more workers than cores, SMT siblings
 * are used, then PUs are shared. */
void organ_topology_place(const organ_topology *topology, size_t threads, organ_place *places);

/* A node by its number in an organ_place. */
typedef struct organ_node {
    unsigned os;    /* the number that the system gives it */
    uint64_t bytes; /* of memory; 0 if the record does not tell */
    size_t cores;   /* that may be used and have this node nearest */
} organ_node;
organ_node organ_topology_node(const organ_topology *topology, unsigned node);

/* A CPU on which a worker can live. */
typedef struct organ_pu {
    unsigned core;    /* the number that the system gives its core; cores of two packages can have the same */
    unsigned package; /* and its package; 0 where there is none */
    unsigned kind;    /* 0: the fastest kind of core of the machine; 1 the next, ... */
    unsigned sibling; /* 0: the first CPU of its core that may be used */
    bool near; /* its node is its own; false: its own has no memory that may be used, so that the nearest other one
                  serves */
} organ_pu;
organ_pu organ_topology_pu(const organ_topology *topology, unsigned pu);
size_t organ_topology_kinds(const organ_topology *topology); /* kinds of core that may be used, at least 1 */

/* Why something of the machine is not used. The first three are CPUs, the others memory nodes, all by the numbers of
 * the system. */
typedef enum organ_absence {
    ORGAN_CPU_OFFLINE,    /* switched off, or unknown to the record */
    ORGAN_CPU_FORBIDDEN,  /* not in the cpuset of the process (cgroup) */
    ORGAN_CPU_UNBOUND,    /* not in the affinity of the caller (taskset, numactl, a batch system) */
    ORGAN_NODE_FORBIDDEN, /* not in the cpuset of the process */
    ORGAN_NODE_EMPTY,     /* without memory, or switched off */
    ORGAN_NODE_REMOTE,    /* nearest to no core that may be used */
    ORGAN_ABSENCES
} organ_absence;

/* "8-15,40", "" for none; for the caller to free. NULL without memory. */
char *organ_topology_absent(const organ_topology *topology, organ_absence why);

/* CPUs that may be used and on which `threads` workers leave none, in the same form: first CPUs of cores of the fastest
 * kind, those of slower kinds, and second and further CPUs of cores. false without memory; what was made must be freed
 * all the same. */
bool organ_topology_idle(const organ_topology *topology, size_t threads, char **cores, char **slower, char **siblings);

/* Numbers of CPUs or nodes, in any order, in the same form. */
char *organ_topology_list(const unsigned *numbers, size_t count);

/* Binds the calling thread to the place. false if the system refuses (reported as a downgrade, never an error). */
bool organ_topology_bind(const organ_topology *topology, organ_place place);

/* Leaves to the calling thread, and to threads that it makes, the share-th of `of` shares of the cores that it may run
 * on now: whole cores, next to each other; where there are more shares than cores, one that others have too. What is
 * discovered afterwards is that share alone. ORGAN_IO if the system refuses; ORGAN_USAGE unless share < of. */
organ_status organ_topology_take_share(size_t share, size_t of, organ_error *error);

/* `bytes` of zeroed memory, page-aligned, on that node where the system allows it; NULL with errno set if there is
 * none. */
void *organ_topology_allocate(const organ_topology *topology, unsigned node, size_t bytes);
void organ_topology_free(const organ_topology *topology, void *memory, size_t bytes); /* NULL is allowed */

ORGAN_API_END

#endif
