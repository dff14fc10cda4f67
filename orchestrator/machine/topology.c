/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/topology.h"

#include <errno.h>
#include <hwloc.h>
#include <stdlib.h>
#include <sys/mman.h>

/* One PU that may be used, with what decides its turn. */
typedef struct seat {
    organ_place place;
    unsigned sibling; /* 0 for the first PU of its core */
    unsigned turn;    /* which core of its node it belongs to */
} seat;

struct organ_topology {
    hwloc_topology_t machine;
    seat *seats; /* in the order in which workers get them */
    size_t seat_count, cores;
    hwloc_obj_t *nodes; /* those with a PU that may be used */
    size_t node_count;
};

static int seat_order(const void *left, const void *right)
{
    const seat *a = left, *b = right;
    if (a->sibling != b->sibling)
        return a->sibling < b->sibling ? -1 : 1;
    if (a->turn != b->turn)
        return a->turn < b->turn ? -1 : 1;
    return a->place.node < b->place.node ? -1 : a->place.node > b->place.node;
}

/* The memory nearest to a PU. Where a core has several kinds, the first is ordinary memory. Where none near may be used, any serves. */
static hwloc_obj_t memory_of(hwloc_topology_t machine, unsigned pu)
{
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_NUMANODE, node)))
        if (hwloc_bitmap_isset(node->cpuset, pu))
            return node;
    return hwloc_get_obj_by_type(machine, HWLOC_OBJ_NUMANODE, 0);
}

/* The number of `node` among those in use; it becomes one of them if it is new. */
static unsigned node_number(organ_topology *topology, hwloc_obj_t node)
{
    size_t k = 0;
    while (k < topology->node_count && topology->nodes[k] != node)
        k++;
    if (k == topology->node_count)
        topology->nodes[topology->node_count++] = node;
    return (unsigned)k;
}

/* Seats every PU that is left in the topology. hwloc numbers PUs core by core, so siblings follow each other. */
static organ_status survey(organ_topology *topology, organ_error *error)
{
    const size_t count = (size_t)hwloc_get_nbobjs_by_type(topology->machine, HWLOC_OBJ_PU);
    topology->seats = calloc(count, sizeof *topology->seats);
    topology->nodes = calloc(count, sizeof *topology->nodes);
    unsigned *cores_of_node = calloc(count, sizeof *cores_of_node);
    if (!topology->seats || !topology->nodes || !cores_of_node) {
        free(cores_of_node);
        return organ_fail_errno(error, ENOMEM, "topology of %zu CPUs", count);
    }
    hwloc_obj_t pu = NULL, core = NULL;
    while ((pu = hwloc_get_next_obj_by_type(topology->machine, HWLOC_OBJ_PU, pu))) {
        seat *now = &topology->seats[topology->seat_count];
        hwloc_obj_t its_core = hwloc_get_ancestor_obj_by_type(topology->machine, HWLOC_OBJ_CORE, pu);
        now->place.pu = pu->os_index;
        if (its_core && its_core == core) {
            now->place.node = now[-1].place.node;
            now->sibling = now[-1].sibling + 1;
            now->turn = now[-1].turn;
        } else { /* a PU outside any core object is a core of its own */
            now->place.node = node_number(topology, memory_of(topology->machine, pu->os_index));
            now->turn = cores_of_node[now->place.node]++;
            topology->cores++;
        }
        core = its_core;
        topology->seat_count++;
    }
    free(cores_of_node);
    qsort(topology->seats, topology->seat_count, sizeof *topology->seats, seat_order);
    return ORGAN_OK;
}

static organ_status create(organ_topology **topology, organ_error *error)
{
    *topology = calloc(1, sizeof **topology);
    if (!*topology)
        return organ_fail_errno(error, ENOMEM, "topology");
    if (hwloc_topology_init(&(*topology)->machine) == 0)
        return ORGAN_OK;
    const int fault = errno;
    free(*topology);
    *topology = NULL;
    return organ_fail_errno(error, fault, "topology");
}

/* Ends a creation: surveys what `status` says was found, or undoes it. */
static organ_status finish(organ_status status, organ_topology **topology, organ_error *error)
{
    if (status == ORGAN_OK)
        status = survey(*topology, error);
    if (status != ORGAN_OK) {
        organ_topology_destroy(*topology);
        *topology = NULL;
    }
    return status;
}

/* hwloc leaves out what the cgroup forbids; the affinity of the caller (taskset, numactl, a batch system) is taken away here. */
static organ_status discover(hwloc_topology_t machine, organ_error *error)
{
    if (hwloc_topology_load(machine) != 0)
        return organ_fail_errno(error, errno, "topology of this machine");
    hwloc_bitmap_t mine = hwloc_bitmap_alloc();
    if (!mine)
        return organ_fail_errno(error, ENOMEM, "topology of this machine");
    organ_status status = ORGAN_OK;
    /* A system that cannot tell the affinity restricts nothing, and one that tells of no known CPU is not believed (EINVAL). */
    if (hwloc_get_cpubind(machine, mine, HWLOC_CPUBIND_THREAD) == 0 && hwloc_topology_restrict(machine, mine, 0) != 0 && errno != EINVAL)
        status = organ_fail_errno(error, errno, "topology of this machine");
    hwloc_bitmap_free(mine);
    return status;
}

organ_status organ_topology_discover(organ_topology **topology, organ_error *error)
{
    const organ_status status = create(topology, error);
    return status == ORGAN_OK ? finish(discover((*topology)->machine, error), topology, error) : status;
}

static organ_status hide_all_but(hwloc_topology_t machine, const char *allowed, organ_error *error)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set)
        return organ_fail_errno(error, ENOMEM, "list of CPUs '%s'", allowed);
    organ_status status = ORGAN_OK;
    if (hwloc_bitmap_list_sscanf(set, allowed) != 0)
        status = organ_fail(error, ORGAN_USAGE, "list of CPUs '%s': not understood", allowed);
    else if (!hwloc_bitmap_intersects(set, hwloc_topology_get_topology_cpuset(machine)))
        status = organ_fail(error, ORGAN_USAGE, "list of CPUs '%s': the machine has none of them", allowed);
    else if (hwloc_topology_restrict(machine, set, 0) != 0)
        status = organ_fail_errno(error, errno, "list of CPUs '%s'", allowed);
    hwloc_bitmap_free(set);
    return status;
}

static organ_status synthesise(hwloc_topology_t machine, const char *description, const char *allowed, organ_error *error)
{
    if (hwloc_topology_set_synthetic(machine, description) != 0)
        return organ_fail(error, ORGAN_USAGE, "machine '%s': not understood", description);
    if (hwloc_topology_load(machine) != 0)
        return organ_fail_errno(error, errno, "machine '%s'", description);
    return allowed ? hide_all_but(machine, allowed, error) : ORGAN_OK;
}

organ_status organ_topology_synthetic(const char *description, const char *allowed, organ_topology **topology, organ_error *error)
{
    const organ_status status = create(topology, error);
    return status == ORGAN_OK ? finish(synthesise((*topology)->machine, description, allowed, error), topology, error) : status;
}

void organ_topology_destroy(organ_topology *topology)
{
    if (!topology)
        return;
    hwloc_topology_destroy(topology->machine);
    free(topology->seats);
    free(topology->nodes);
    free(topology);
}

bool organ_topology_is_this_machine(const organ_topology *topology) { return hwloc_topology_is_thissystem(topology->machine) != 0; }
size_t organ_topology_cores(const organ_topology *topology) { return topology->cores; }
size_t organ_topology_nodes(const organ_topology *topology) { return topology->node_count; }

void organ_topology_place(const organ_topology *topology, size_t threads, organ_place *places)
{
    for (size_t k = 0; k < threads; k++)
        places[k] = topology->seats[k % topology->seat_count].place;
}

bool organ_topology_bind(const organ_topology *topology, organ_place place)
{
    if (!organ_topology_is_this_machine(topology))
        return false;
    const hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topology->machine, place.pu);
    return pu && hwloc_set_cpubind(topology->machine, pu->cpuset, HWLOC_CPUBIND_THREAD) == 0;
}

void *organ_topology_allocate(const organ_topology *topology, unsigned node, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    /* Without HWLOC_MEMBIND_STRICT the node is a preference: a full node costs speed, not the run. */
    if (organ_topology_is_this_machine(topology) && node < topology->node_count)
        hwloc_set_area_membind(topology->machine, memory, bytes, topology->nodes[node]->nodeset, HWLOC_MEMBIND_BIND,
                               HWLOC_MEMBIND_BYNODESET);
    /* Tiles walk down rows that are kilobytes apart: with small pages each step is another TLB entry. */
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

void organ_topology_free(const organ_topology *topology, void *memory, size_t bytes)
{
    (void)topology;
    if (memory)
        munmap(memory, bytes);
}
