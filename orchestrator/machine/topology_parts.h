/* SPDX-License-Identifier: MIT
 * Declarations shared by the files of the topology. */
#ifndef ORGAN_TOPOLOGY_PARTS_H
#define ORGAN_TOPOLOGY_PARTS_H

#include "orchestrator/machine/topology.h"

#include <hwloc.h>

/* A usable CPU with the keys by which CPUs are ordered. */
typedef struct organ_worker_cpu {
    organ_place place;
    organ_pu pu;
    unsigned turn; /* index of its core within its node */
} organ_worker_cpu;

struct organ_topology {
    hwloc_topology_t machine;
    organ_worker_cpu *worker_cpus; /* in the order in which workers get them */
    size_t worker_cpu_count, cores, kinds;
    hwloc_obj_t *nodes; /* the nodes that are nearest to a worker CPU */
    size_t *node_cores; /* number of cores to which each is nearest */
    size_t node_count;
    hwloc_bitmap_t absent[ORGAN_ABSENCES];
    void *aside; /* memory reserved for hwloc while the machine is loaded */
};

/* Creates a worker CPU for every CPU left in the machine, assigns each its node, and records the nodes that serve no
 * CPU. ORGAN_IO if there is no memory. */
organ_status organ_topology_survey(organ_topology *topology, organ_error *error);

#endif
