/* SPDX-License-Identifier: MIT
 * What the files of the topology share. */
#ifndef ORGAN_TOPOLOGY_PARTS_H
#define ORGAN_TOPOLOGY_PARTS_H

#include "orchestrator/machine/topology.h"

#include <hwloc.h>

/* One CPU that may be used, with what decides its turn. */
typedef struct organ_seat {
    organ_place place;
    organ_pu pu;
    unsigned turn; /* which core of its node it belongs to */
} organ_seat;

struct organ_topology {
    hwloc_topology_t machine;
    organ_seat *seats; /* in the order in which workers get them */
    size_t seat_count, cores, kinds;
    hwloc_obj_t *nodes; /* those that are nearest to a seat */
    size_t *node_cores; /* how many cores each is nearest to */
    size_t node_count;
    hwloc_bitmap_t absent[ORGAN_ABSENCES];
    void *aside; /* memory kept for hwloc while the machine is loaded */
};

/* Seats every CPU that is left in the machine, gives each its node, and notes the nodes that serve none. ORGAN_IO
 * without memory. */
organ_status organ_topology_survey(organ_topology *topology, organ_error *error);

#endif
