/* SPDX-License-Identifier: MIT */
#include "formats/base/files.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/topology_parts.h"
#include "orchestrator/machine/workers.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Upper bound on the bytes of an XML record: a host of 4096 CPUs has less than 10 MiB. */
#define MAX_RECORD ((size_t)64 << 20)

/* Bytes of a piece. malloc takes larger requests (128 KiB and more) from mmap, and free returns those to the system. */
enum { PIECE = 64 << 10 };

/* Allocates and frees 2 MiB plus 32 KiB for each CPU, which is more than hwloc needs and which malloc keeps for it.
 * hwloc 2.9 does not check many of its allocations and crashes if one is refused. *last becomes a small allocation
 * after the pieces: until the caller frees it, malloc does not return them to the system. Returns false, with *last
 * NULL, if the memory is not available. */
static bool set_aside(void **last)
{
    const long cpus = sysconf(_SC_NPROCESSORS_CONF);
    const size_t count = (((size_t)2 << 20) + (size_t)(cpus > 0 ? cpus : 1) * (32 << 10)) / PIECE + 1;
    void **pieces = NULL; /* a list: each piece begins with the address of the one before */
    size_t made = 0;
    for (; made < count; made++) {
        void **const piece = malloc(PIECE);
        if (!piece)
            break;
        *piece = pieces;
        pieces = piece;
    }
    *last = made == count ? malloc(1) : NULL;
    while (pieces) {
        void **const next = *pieces;
        free(pieces);
        pieces = next;
    }
    return *last != NULL;
}

static organ_topology *create_empty(void)
{
    organ_topology *const topology = calloc(1, sizeof *topology);
    bool made = topology && set_aside(&topology->aside) && hwloc_topology_init(&topology->machine) == 0;
    for (size_t k = 0; made && k < ORGAN_ABSENCES; k++)
        made = (topology->absent[k] = hwloc_bitmap_alloc()) != NULL;
    /* loads forbidden CPUs and nodes too; otherwise they could not be reported */
    if (made && hwloc_topology_set_flags(topology->machine, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) == 0)
        return topology;
    organ_topology_destroy(topology);
    return NULL;
}

/* Restricts the machine to the CPUs of `requested`, and adds all CPUs that it loses to absent[why]. If no CPU would
 * remain, sets *none to true and changes nothing. */
static organ_status restrict_to(organ_topology *topology, hwloc_const_bitmap_t requested, organ_absence why, bool *none,
                                organ_error *error)
{
    hwloc_const_bitmap_t const all = hwloc_topology_get_topology_cpuset(topology->machine);
    *none = !hwloc_bitmap_intersects(all, requested);
    if (*none || hwloc_bitmap_isincluded(all, requested))
        return ORGAN_OK;
    hwloc_bitmap_t const left = hwloc_bitmap_alloc();
    if (!left || hwloc_bitmap_andnot(topology->absent[why], all, requested) != 0 ||
        hwloc_bitmap_and(left, all, requested) != 0 || hwloc_topology_restrict(topology->machine, left, 0) != 0)
        organ_fail_errno(error, left ? errno : ENOMEM, "topology of the machine");
    hwloc_bitmap_free(left);
    return error->status;
}

/* Records in `absent` the CPUs that are offline and the memory nodes without memory. Excludes from the machine the CPUs
 * that the cpuset of the process forbids, or, if the machine was recorded by hwloc, that the record marks as forbidden.
 */
static organ_status leave_out_forbidden(organ_topology *topology, organ_error *error)
{
    hwloc_topology_t const machine = topology->machine;
    bool none;
    if (hwloc_bitmap_andnot(topology->absent[ORGAN_CPU_OFFLINE], hwloc_topology_get_complete_cpuset(machine),
                            hwloc_topology_get_topology_cpuset(machine)) != 0 ||
        hwloc_bitmap_andnot(topology->absent[ORGAN_NODE_EMPTY], hwloc_topology_get_complete_nodeset(machine),
                            hwloc_topology_get_topology_nodeset(machine)) != 0)
        return organ_fail_errno(error, ENOMEM, "topology of the machine");
    return restrict_to(topology, hwloc_topology_get_allowed_cpuset(machine), ORGAN_CPU_FORBIDDEN, &none, error);
}

/* Excludes CPUs outside the caller's affinity. If the system cannot report the affinity, or reports no known CPU,
 * nothing is excluded. */
static organ_status leave_out_unbound(organ_topology *topology, organ_error *error)
{
    hwloc_bitmap_t const mine = hwloc_bitmap_alloc();
    bool none;
    if (!mine)
        return organ_fail_errno(error, ENOMEM, "topology of this machine");
    if (hwloc_get_cpubind(topology->machine, mine, HWLOC_CPUBIND_THREAD) == 0)
        restrict_to(topology, mine, ORGAN_CPU_UNBOUND, &none, error);
    hwloc_bitmap_free(mine);
    return error->status;
}

static organ_status keep_listed_cpus(organ_topology *topology, const char *allowed, organ_error *error)
{
    hwloc_bitmap_t const set = hwloc_bitmap_alloc();
    bool none = false;
    if (!set)
        return organ_fail_errno(error, ENOMEM, "list of CPUs '%s'", allowed);
    if (hwloc_bitmap_list_sscanf(set, allowed) != 0)
        organ_fail(error, ORGAN_USAGE, "list of CPUs '%s': invalid syntax", allowed);
    else if (restrict_to(topology, set, ORGAN_CPU_UNBOUND, &none, error) == ORGAN_OK && none)
        organ_fail(error, ORGAN_USAGE, "list of CPUs '%s': the machine has none of them", allowed);
    hwloc_bitmap_free(set);
    return error->status;
}

/* Releases `made` if `error` is set already or a step fails. */
static organ_status finish_topology(organ_topology *made, organ_topology **topology, organ_error *error)
{
    if (error->status == ORGAN_OK && leave_out_forbidden(made, error) == ORGAN_OK)
        if (!organ_topology_is_this_machine(made) || leave_out_unbound(made, error) == ORGAN_OK)
            organ_topology_survey(made, error);
    organ_clear(&made->aside);
    if (error->status != ORGAN_OK)
        organ_topology_destroy(made);
    else
        *topology = made;
    return error->status;
}

organ_status organ_topology_discover(organ_topology **topology, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_topology *const made = create_empty();
    *topology = NULL;
    if (!made || hwloc_topology_load(made->machine) != 0) {
        organ_fail_errno(error, made ? errno : ENOMEM, "topology of this machine");
        organ_topology_destroy(made);
        return error->status;
    }
    return finish_topology(made, topology, error);
}

organ_status organ_topology_synthetic(const char *description, const char *allowed, organ_topology **topology,
                                      organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_topology *const made = create_empty();
    *topology = NULL;
    if (!made)
        return organ_fail_errno(error, ENOMEM, "machine '%s'", description);
    if (hwloc_topology_set_synthetic(made->machine, description) != 0)
        organ_fail(error, ORGAN_USAGE, "machine '%s': invalid syntax", description);
    else if (hwloc_topology_load(made->machine) != 0)
        organ_fail_errno(error, errno, "machine '%s'", description);
    else if (allowed)
        keep_listed_cpus(made, allowed, error);
    return finish_topology(made, topology, error);
}

static bool has_cpus(const organ_topology *topology)
{
    return hwloc_get_nbobjs_by_type(topology->machine, HWLOC_OBJ_PU) > 0 &&
           hwloc_bitmap_intersects(hwloc_topology_get_topology_cpuset(topology->machine),
                                   hwloc_topology_get_allowed_cpuset(topology->machine)) != 0;
}

/* hwloc may return the same error for an exhausted memory and a malformed record, so a second attempt must fail too
 * before the record counts as malformed. */
static organ_topology *load_record(const char *xml, size_t length, bool *malformed)
{
    *malformed = false;
    for (int attempt = 0; attempt < 2; attempt++) {
        organ_topology *const made = create_empty();
        if (!made)
            return NULL;
        /* hwloc's size includes the NUL after the text */
        if (hwloc_topology_set_xmlbuffer(made->machine, xml, (int)length + 1) == 0 &&
            hwloc_topology_load(made->machine) == 0)
            return made;
        const bool no_memory = errno == ENOMEM;
        organ_topology_destroy(made);
        if (no_memory)
            return NULL;
    }
    *malformed = true;
    return NULL;
}

organ_status organ_topology_import(const char *path, organ_topology **topology, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    ORGAN_OWNED char *xml = NULL;
    size_t length = 0;
    *topology = NULL;
    if (organ_input_load(path, path, MAX_RECORD, &xml, &length, error) != ORGAN_OK)
        return error->status;
    bool malformed;
    organ_topology *const made = load_record(xml, length, &malformed);
    if (malformed)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: is not a topology recorded by hwloc (lstopo machine.xml)", path);
    else if (!made)
        organ_fail_errno(error, ENOMEM, "%s: machine", path);
    else if (!has_cpus(made))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the machine has no usable CPU", path);
    return made ? finish_topology(made, topology, error) : error->status;
}

void organ_topology_destroy(organ_topology *topology)
{
    if (!topology)
        return;
    for (size_t k = 0; k < ORGAN_ABSENCES; k++)
        hwloc_bitmap_free(topology->absent[k]);
    if (topology->machine)
        hwloc_topology_destroy(topology->machine);
    ORGAN_FREE_ARRAYS(topology->worker_cpus, topology->nodes, topology->node_cores, topology->aside, topology);
}

bool organ_topology_is_this_machine(const organ_topology *topology)
{
    return hwloc_topology_is_thissystem(topology->machine) != 0;
}

const char *organ_topology_cpu(const organ_topology *topology)
{
    const hwloc_obj_t package = hwloc_get_obj_by_type(topology->machine, HWLOC_OBJ_PACKAGE, 0);
    const char *const name = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    return name ? name : hwloc_obj_get_info_by_name(hwloc_get_root_obj(topology->machine), "CPUModel");
}

size_t organ_topology_cores(const organ_topology *topology) { return topology->cores; }
size_t organ_topology_nodes(const organ_topology *topology) { return topology->node_count; }
size_t organ_topology_kinds(const organ_topology *topology) { return topology->kinds; }

organ_node organ_topology_node(const organ_topology *topology, unsigned node)
{
    if (node >= topology->node_count)
        return (organ_node){0};
    return (organ_node){.os = topology->nodes[node]->os_index,
                        .bytes = topology->nodes[node]->attr->numanode.local_memory,
                        .cores = topology->node_cores[node]};
}

organ_pu organ_topology_pu(const organ_topology *topology, unsigned pu)
{
    for (size_t k = 0; k < topology->worker_cpu_count; k++)
        if (topology->worker_cpus[k].place.pu == pu)
            return topology->worker_cpus[k].pu;
    return (organ_pu){0};
}

char *organ_topology_absent(const organ_topology *topology, organ_absence why)
{
    char *list = NULL;
    return hwloc_bitmap_list_asprintf(&list, topology->absent[why]) < 0 ? NULL : list;
}

void organ_topology_place(const organ_topology *topology, size_t threads, organ_place *places)
{
    for (size_t k = 0; k < threads; k++)
        places[k] = topology->worker_cpus[k % topology->worker_cpu_count].place;
}

/* Frees the set. Returns NULL if `complete` is false or memory is exhausted; the caller frees the list. */
static char *format_and_free_set(hwloc_bitmap_t set, bool complete)
{
    char *list = NULL;
    if (!complete || hwloc_bitmap_list_asprintf(&list, set) < 0)
        list = NULL;
    hwloc_bitmap_free(set);
    return list;
}

char *organ_topology_list(const unsigned *numbers, size_t count)
{
    hwloc_bitmap_t const set = hwloc_bitmap_alloc();
    bool done = set != NULL;
    for (size_t k = 0; done && k < count; k++)
        done = hwloc_bitmap_set(set, numbers[k]) == 0;
    return format_and_free_set(set, done);
}

/* With `sibling`, lists the idle CPUs that are not the first CPU of their core; otherwise the idle first CPUs, of
 * slower cores or of the fastest kind. The caller frees the list. */
static char *idle_worker_cpus(const organ_topology *topology, size_t threads, bool slower, bool sibling)
{
    hwloc_bitmap_t const set = hwloc_bitmap_alloc();
    bool done = set != NULL;
    for (size_t k = threads; done && k < topology->worker_cpu_count; k++) {
        const organ_pu pu = topology->worker_cpus[k].pu;
        if ((pu.sibling > 0) == sibling && (sibling || (pu.kind > 0) == slower))
            done = hwloc_bitmap_set(set, topology->worker_cpus[k].place.pu) == 0;
    }
    return format_and_free_set(set, done);
}

bool organ_topology_idle(const organ_topology *topology, size_t threads, char **cores, char **slower, char **siblings)
{
    *cores = idle_worker_cpus(topology, threads, /*slower=*/false, /*sibling=*/false);
    *slower = idle_worker_cpus(topology, threads, /*slower=*/true, /*sibling=*/false);
    *siblings = idle_worker_cpus(topology, threads, /*slower=*/false, /*sibling=*/true);
    return *cores && *slower && *siblings;
}

bool organ_topology_bind(const organ_topology *topology, organ_place place)
{
    if (!organ_topology_is_this_machine(topology))
        return false;
    /* hwloc does not check the allocation of a CPU set. Allocating and freeing one of that size first shows that
     * there is memory. */
    void *const set = malloc(CPU_ALLOC_SIZE(place.pu + 1));
    free(set);
    const hwloc_obj_t pu = set ? hwloc_get_pu_obj_by_os_index(topology->machine, place.pu) : NULL;
    return pu && hwloc_set_cpubind(topology->machine, pu->cpuset, HWLOC_CPUBIND_THREAD) == 0;
}

static hwloc_bitmap_t cpus_between(const organ_topology *topology, hwloc_obj_type_t type, size_t from, size_t to)
{
    hwloc_bitmap_t const set = hwloc_bitmap_alloc();
    for (size_t k = from; set && k < to; k++)
        if (hwloc_bitmap_or(set, set, hwloc_get_obj_by_type(topology->machine, type, (unsigned)k)->cpuset) != 0) {
            hwloc_bitmap_free(set);
            return NULL;
        }
    return set;
}

/* Machines that do not report cores are divided by CPUs. */
organ_status organ_topology_take_share(size_t share, size_t of, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_topology *topology = NULL;
    if (share >= of)
        return organ_fail(error, ORGAN_USAGE, "share %zu of %zu", share, of);
    if (organ_topology_discover(&topology, error))
        return error->status;
    const int known = hwloc_get_nbobjs_by_type(topology->machine, HWLOC_OBJ_CORE);
    const hwloc_obj_type_t type = known > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    const size_t count = (size_t)hwloc_get_nbobjs_by_type(topology->machine, type),
                 from = of > count ? share % count : share * count / of;
    const size_t to = of > count ? from + 1 : (share + 1) * count / of;
    hwloc_bitmap_t const set = cpus_between(topology, type, from, to);
    if (!set)
        organ_fail_memory(error, "a share of the cores");
    else if (hwloc_set_cpubind(topology->machine, set, HWLOC_CPUBIND_THREAD) != 0)
        organ_fail_errno(error, errno, "cores %zu to %zu cannot be used", from, to - 1);
    hwloc_bitmap_free(set);
    organ_topology_destroy(topology);
    return error->status;
}

void *organ_topology_allocate(const organ_topology *topology, unsigned node, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    /* Without HWLOC_MEMBIND_STRICT the node is a preference: if it is full, the run is slower but does not fail. */
    if (organ_topology_is_this_machine(topology) && node < topology->node_count)
        hwloc_set_area_membind(topology->machine, memory, bytes, topology->nodes[node]->nodeset, HWLOC_MEMBIND_BIND,
                               HWLOC_MEMBIND_BYNODESET);
    /* Kernels access rows that are kilobytes apart: with small pages each access would need another TLB entry. */
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

void organ_topology_free(const organ_topology *topology, void *memory, size_t bytes)
{
    (void)topology;
    if (memory)
        munmap(memory, bytes);
}
