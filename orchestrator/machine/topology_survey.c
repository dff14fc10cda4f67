/* SPDX-License-Identifier: MIT */
#include "formats/base/text.h"
#include "orchestrator/machine/topology_parts.h"

#include <errno.h>
#include <stdlib.h>

/* The first CPUs of all cores come before the second ones, and so on; among these, faster cores come first; among
 * equally fast cores, the first core of each node comes before the second of each node. */
static int worker_cpu_order(const void *left, const void *right)
{
    const organ_worker_cpu *a = left, *b = right;
    return ORGAN_ORDERS(ORGAN_ORDER(a->pu.sibling, b->pu.sibling), ORGAN_ORDER(a->pu.kind, b->pu.kind),
                        ORGAN_ORDER(a->turn, b->turn), ORGAN_ORDER(a->place.node, b->place.node));
}

/* NULL stands before the first node and after the last. */
static hwloc_obj_t next_node(const organ_topology *topology, hwloc_obj_t node)
{
    return hwloc_get_next_obj_by_type(topology->machine, HWLOC_OBJ_NUMANODE, node);
}

/* If no node has memory, the machine is a record without sizes, and all nodes count as having memory. */
static void note_unusable_nodes(organ_topology *topology)
{
    const hwloc_const_bitmap_t allowed = hwloc_topology_get_allowed_nodeset(topology->machine);
    bool known = false;
    for (hwloc_obj_t node = NULL; (node = next_node(topology, node));)
        known = known || node->attr->numanode.local_memory > 0;
    for (hwloc_obj_t node = NULL; (node = next_node(topology, node));)
        if (known && node->attr->numanode.local_memory == 0)
            hwloc_bitmap_set(topology->absent[ORGAN_NODE_EMPTY], node->os_index);
        else if (!hwloc_bitmap_iszero(allowed) && !hwloc_bitmap_isset(allowed, node->os_index))
            hwloc_bitmap_set(topology->absent[ORGAN_NODE_FORBIDDEN], node->os_index);
}

static bool is_usable(const organ_topology *topology, hwloc_obj_t node)
{
    return !hwloc_bitmap_isset(topology->absent[ORGAN_NODE_EMPTY], node->os_index) &&
           !hwloc_bitmap_isset(topology->absent[ORGAN_NODE_FORBIDDEN], node->os_index);
}

/* Compares latencies by the system's matrix. Returns NULL if no node is usable. */
static hwloc_obj_t nearest_to(const organ_topology *topology, hwloc_obj_t home)
{
    unsigned count = 1;
    struct hwloc_distances_s *matrix = NULL;
    hwloc_obj_t nearest = NULL;
    if (hwloc_distances_get_by_type(topology->machine, HWLOC_OBJ_NUMANODE, &count, &matrix,
                                    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
        count == 0)
        return NULL;
    const int from = hwloc_distances_obj_index(matrix, home);
    uint64_t least = UINT64_MAX;
    for (unsigned k = 0; from >= 0 && k < matrix->nbobjs; k++) {
        const uint64_t latency = matrix->values[(size_t)from * matrix->nbobjs + k];
        if (matrix->objs[k] && is_usable(topology, matrix->objs[k]) && latency < least) {
            least = latency;
            nearest = matrix->objs[k];
        }
    }
    hwloc_distances_release(topology->machine, matrix);
    return nearest;
}

/* The first local node is ordinary memory if the core has several kinds. If no local node is usable, sets *near to
 * false and returns the usable node nearest to the local one, or any usable node, or the machine's first node if
 * none is usable. */
static hwloc_obj_t memory_of(const organ_topology *topology, unsigned pu, bool *near)
{
    hwloc_obj_t own = NULL, any = NULL;
    *near = true;
    for (hwloc_obj_t node = NULL; (node = next_node(topology, node));) {
        const bool local = hwloc_bitmap_isset(node->cpuset, pu) != 0;
        if (local && is_usable(topology, node))
            return node;
        if (local && !own)
            own = node;
        if (!any && is_usable(topology, node))
            any = node;
    }
    *near = false;
    const hwloc_obj_t nearest = own ? nearest_to(topology, own) : NULL;
    if (nearest)
        return nearest;
    return any ? any : hwloc_get_obj_by_type(topology->machine, HWLOC_OBJ_NUMANODE, 0);
}

/* Returns the index of the node in topology->nodes, to which a new node is added. */
static unsigned node_number(organ_topology *topology, hwloc_obj_t node)
{
    size_t k = 0;
    while (k < topology->node_count && topology->nodes[k] != node)
        k++;
    if (k == topology->node_count)
        topology->nodes[topology->node_count++] = node;
    return (unsigned)k;
}

/* hwloc numbers kinds from slow to fast. A core of unknown kind counts as the fastest. */
static unsigned kind_of_core(const organ_topology *topology, hwloc_obj_t pu)
{
    const int kinds = hwloc_cpukinds_get_nr(topology->machine, 0);
    const int rank = kinds > 0 ? hwloc_cpukinds_get_by_cpuset(topology->machine, pu->cpuset, 0) : -1;
    return rank < 0 ? 0 : (unsigned)(kinds - 1 - rank);
}

static unsigned package_of(hwloc_topology_t machine, hwloc_obj_t pu)
{
    const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_PACKAGE, pu);
    return package ? package->os_index : 0;
}

/* hwloc lists CPUs core by core, so `same_core` compares with the CPU appended before. A CPU without a core object
 * counts as a core of its own. */
static void add_worker_cpu(organ_topology *topology, hwloc_obj_t pu, bool same_core)
{
    organ_worker_cpu *const now = &topology->worker_cpus[topology->worker_cpu_count++];
    now->place.pu = pu->os_index;
    if (same_core) {
        now->pu = now[-1].pu;
        now->pu.sibling++;
        now->place.node = now[-1].place.node;
        now->turn = now[-1].turn;
        return;
    }
    const hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology->machine, HWLOC_OBJ_CORE, pu);
    now->pu = (organ_pu){.core = core ? core->os_index : pu->os_index,
                         .package = package_of(topology->machine, pu),
                         .kind = kind_of_core(topology, pu)};
    now->place.node = node_number(topology, memory_of(topology, pu->os_index, &now->pu.near));
    now->turn = (unsigned)topology->node_cores[now->place.node]++;
    topology->cores++;
}

/* A kind may have no usable core, so the numbers may have gaps before. */
static void number_kinds(organ_topology *topology)
{
    unsigned next = 0;
    for (unsigned kind = 0;
         next < topology->worker_cpu_count && kind <= (unsigned)hwloc_cpukinds_get_nr(topology->machine, 0); kind++) {
        bool found = false;
        for (size_t k = 0; k < topology->worker_cpu_count; k++)
            if (topology->worker_cpus[k].pu.kind == kind) {
                topology->worker_cpus[k].pu.kind = next;
                found = true;
            }
        next += found;
    }
    topology->kinds = next;
}

/* These nodes are usable, but nearest to no usable CPU. */
static void note_remote_nodes(organ_topology *topology)
{
    for (hwloc_obj_t node = NULL; (node = next_node(topology, node));) {
        bool used = false;
        for (size_t k = 0; k < topology->node_count; k++)
            used = used || topology->nodes[k] == node;
        if (!used && is_usable(topology, node))
            hwloc_bitmap_set(topology->absent[ORGAN_NODE_REMOTE], node->os_index);
    }
}

organ_status organ_topology_survey(organ_topology *topology, organ_error *error)
{
    const size_t count = (size_t)hwloc_get_nbobjs_by_type(topology->machine, HWLOC_OBJ_PU);
    topology->worker_cpus = calloc(count, sizeof *topology->worker_cpus);
    topology->nodes = calloc(count, sizeof *topology->nodes);
    topology->node_cores = calloc(count, sizeof *topology->node_cores);
    if (!topology->worker_cpus || !topology->nodes || !topology->node_cores)
        return organ_fail_errno(error, ENOMEM, "topology of %zu CPUs", count);
    note_unusable_nodes(topology);
    hwloc_obj_t core = NULL;
    for (hwloc_obj_t pu = NULL; (pu = hwloc_get_next_obj_by_type(topology->machine, HWLOC_OBJ_PU, pu));) {
        const hwloc_obj_t its_core = hwloc_get_ancestor_obj_by_type(topology->machine, HWLOC_OBJ_CORE, pu);
        add_worker_cpu(topology, pu, its_core && its_core == core);
        core = its_core;
    }
    number_kinds(topology);
    note_remote_nodes(topology);
    qsort(topology->worker_cpus, topology->worker_cpu_count, sizeof *topology->worker_cpus, worker_cpu_order);
    return ORGAN_OK;
}
