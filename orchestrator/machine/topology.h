/* SPDX-License-Identifier: MIT
 * The machine as the orchestrator sees it: cores to work on and the memory node of each. A topology is made once and given to functions. */
#ifndef ORGAN_TOPOLOGY_H
#define ORGAN_TOPOLOGY_H

#include "formats/api.h"
#include "formats/status.h"

#include <stdbool.h>
#include <stddef.h>

ORGAN_API_BEGIN

typedef struct organ_topology organ_topology;

/* This machine, limited to the CPUs this process may run on (cgroup cpuset, taskset). */
organ_status organ_topology_discover(organ_topology **topology, organ_error *error);

/* A machine made up for tests, in hwloc's synthetic language ("numa:2 core:24 pu:2"); `allowed` is a list of PU numbers as hwloc writes
 * them ("0-11,48"), NULL for all. Nothing can be bound on it: organ_topology_is_this_machine is false. ORGAN_USAGE if either is not
 * understood or no PU is left. */
organ_status organ_topology_synthetic(const char *description, const char *allowed, organ_topology **topology, organ_error *error);

void organ_topology_destroy(organ_topology *topology); /* NULL is allowed */
bool organ_topology_is_this_machine(const organ_topology *topology);
size_t organ_topology_cores(const organ_topology *topology); /* physical cores that may be used */
size_t organ_topology_nodes(const organ_topology *topology); /* NUMA nodes with such a core, at least 1 */

/* Where one worker lives. */
typedef struct organ_place {
    unsigned node; /* 0 .. organ_topology_nodes - 1 */
    unsigned pu;   /* OS number of the CPU it is bound to */
} organ_place;

/* Fills places[0 .. threads): one worker per core first, cores dealt to the nodes in turn so that any number of workers is spread evenly
 * over nodes. With more workers than cores, SMT siblings are used, then PUs are shared. */
void organ_topology_place(const organ_topology *topology, size_t threads, organ_place *places);

/* Binds the calling thread to the place. false if the system refuses (reported as a downgrade, never an error). */
bool organ_topology_bind(const organ_topology *topology, organ_place place);

/* `bytes` of zeroed memory, page-aligned, on that node where the system allows it; NULL with errno set if there is none. */
void *organ_topology_allocate(const organ_topology *topology, unsigned node, size_t bytes);
void organ_topology_free(const organ_topology *topology, void *memory, size_t bytes); /* NULL is allowed */

ORGAN_API_END

#endif
