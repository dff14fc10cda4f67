/* SPDX-License-Identifier: MIT
 * Makes the report of how organ places its work on a machine. */
#include "formats/base/json.h"

#include "formats/base/results.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/pass_parts.h"

#include <errno.h>
#include <organ/base.h>
#include <organ/inspect.h>
#include <organ/machine.h>
#include <stdlib.h>
#include <string.h>

typedef struct machine_plan {
    organ_topology *topology;
    organ_place *places; /* place of each worker */
    size_t threads;
} machine_plan;

static size_t workers_on_pu(const machine_plan *p, unsigned pu)
{
    size_t count = 0;
    for (size_t k = 0; k < p->threads; k++)
        count += p->places[k].pu == pu;
    return count;
}

/* Counts the first `count` buffers that are on the node: buffer k is on that of worker k mod threads. `node` counts
 * from 0 as in organ_place. */
static size_t count_on_node(const machine_plan *p, size_t count, unsigned node)
{
    size_t on_node = 0;
    for (size_t k = 0; k < count; k++)
        on_node += p->places[k % p->threads].node == node;
    return on_node;
}

static json_t *worker_json(const void *context, size_t k)
{
    const machine_plan *const p = context;
    const organ_place place = p->places[k];
    const organ_pu pu = organ_topology_pu(p->topology, place.pu);
    return ORGAN_OBJECT(SET_COUNT("worker", k), SET_COUNT("cpu", place.pu), SET_COUNT("core", pu.core),
                        SET_COUNT("package", pu.package), SET_COUNT("kind", pu.kind), SET_COUNT("sibling", pu.sibling),
                        SET_COUNT("node", organ_topology_node(p->topology, place.node).os),
                        SET_FLAG("node_is_near", pu.near), SET_COUNT("workers_on_cpu", workers_on_pu(p, place.pu)));
}

static json_t *node_json(const void *context, size_t k)
{
    const machine_plan *const p = context;
    const organ_node node = organ_topology_node(p->topology, (unsigned)k);
    return ORGAN_OBJECT(SET_COUNT("node", node.os), SET_COUNT_OF("bytes", node.bytes, node.bytes),
                        SET_COUNT("cores", node.cores), SET_COUNT("workers", count_on_node(p, p->threads, (unsigned)k)),
                        SET_COUNT("band_buffers", count_on_node(p, organ_band_max_slots(p->threads), (unsigned)k)));
}

/* `what` is "CPU" or "memory node"; `which` lists the numbers ("0-3,8"). Takes ownership of `which`; an empty list
 * adds nothing, and NULL means that there was no memory. */
static bool add_absence(json_t *rows, const char *what, char *which, const char *why)
{
    bool done = which != NULL;
    if (done && *which)
        done = json_array_append_new(
                   rows, ORGAN_OBJECT(SET_TEXT("what", what), SET_TEXT("which", which), SET_TEXT("why", why))) == 0;
    free(which);
    return done;
}

static bool add_idle(json_t *rows, const machine_plan *p)
{
    char *slower = NULL, *siblings = NULL, *cores = NULL;
    bool done = organ_topology_idle(p->topology, p->threads, &cores, &slower, &siblings);
    /* Call add_absence for every list even after a failure, because it frees the list. */
    done = add_absence(rows, "CPU", cores, "core without a worker: fewer threads than cores") && done;
    done = add_absence(rows, "CPU", slower, "slower kind of core without a worker: fewer threads than cores") && done;
    return add_absence(rows, "CPU", siblings, "second hardware thread of a core: fewer threads than CPUs") && done;
}

static json_t *left_out_rows(const machine_plan *p)
{
    static const struct {
        const char *what, *why;
    } absences[ORGAN_ABSENCES] = {
        [ORGAN_CPU_OFFLINE] = {"CPU", "offline, or not in the record"},
        [ORGAN_CPU_FORBIDDEN] = {"CPU", "not in the cpuset of this process"},
        [ORGAN_CPU_UNBOUND] = {"CPU", "not in the affinity of the caller (taskset, numactl, a batch system)"},
        [ORGAN_NODE_FORBIDDEN] = {"memory node", "not in the cpuset of this process"},
        [ORGAN_NODE_EMPTY] = {"memory node", "without memory, or not in the record"},
        [ORGAN_NODE_REMOTE] = {"memory node", "not the nearest node of any usable core"},
    };
    json_t *const rows = json_array();
    bool done = true;
    for (size_t k = 0; k < ORGAN_ABSENCES && done; k++)
        done =
            add_absence(rows, absences[k].what, organ_topology_absent(p->topology, (organ_absence)k), absences[k].why);
    if (done && add_idle(rows, p))
        return rows;
    json_decref(rows);
    return NULL;
}

/* ---- several processes ---- */

static json_t *list_json(const unsigned *numbers, size_t count)
{
    ORGAN_OWNED char *const list = organ_topology_list(numbers, count);
    return list ? json_string(list) : NULL;
}

static json_t *rank_json(const machine_plan *p, const organ_ranks *ranks)
{
    const size_t rank = organ_ranks_rank(ranks);
    ORGAN_OWNED unsigned *const cpus = calloc(p->threads, sizeof *cpus);
    ORGAN_OWNED unsigned *const nodes = calloc(p->threads, sizeof *nodes);
    json_t *row = NULL;
    for (size_t k = 0; cpus && nodes && k < p->threads; k++) {
        cpus[k] = p->places[k].pu;
        nodes[k] = organ_topology_node(p->topology, p->places[k].node).os;
    }
    if (cpus && nodes)
        row = ORGAN_OBJECT(SET_COUNT("rank", rank), SET_BYTES("host", organ_ranks_host(ranks, rank)),
                           SET_COUNT("workers", p->threads), SET("cpus", list_json(cpus, p->threads)),
                           SET("nodes", list_json(nodes, p->threads)));
    return row;
}

static organ_status add_ranks(json_t *report, const machine_plan *p, organ_ranks *ranks, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    json_error_t fault;
    bool no_memory = false;
    ORGAN_OWNED_JSON json_t *const mine = rank_json(p, ranks), *const rows = json_array();
    ORGAN_OWNED char *const text = mine ? organ_json_dump(mine, JSON_COMPACT) : NULL;
    if (!text || !rows)
        organ_fail_memory(error, "the plan of the ranks");
    organ_ranks_gather(ranks, "planning", text, text ? strlen(text) : 0, &all, error);
    for (size_t r = 0; r < all.count && !error->status; r++)
        if (json_array_append_new(rows, organ_json_load(all.of[r], all.bytes[r], 0, &fault, &no_memory)))
            organ_fail_memory(error, "the plan of the ranks");
    if (!error->status && !ORGAN_ADD(report, SET_HELD("ranks", rows)))
        organ_fail_memory(error, "the plan of the ranks");
    return error->status;
}

/* `import` is the file from which the topology was read; NULL: it is that of this machine. */
static json_t *plan_document(const machine_plan *p, const char *import)
{
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.topology/1"),
                        SET("machine", ORGAN_OBJECT(SET_BYTES("name", import ? import : "this machine"),
                                                    SET_FLAG("recorded", import != NULL),
                                                    SET_COUNT("cores", organ_topology_cores(p->topology)),
                                                    SET_COUNT("nodes", organ_topology_nodes(p->topology)),
                                                    SET_COUNT("kinds", organ_topology_kinds(p->topology)))),
                        SET_COUNT("threads", p->threads),
                        SET("nodes", organ_json_rows(organ_topology_nodes(p->topology), node_json, p)),
                        SET("workers", organ_json_rows(p->threads, worker_json, p)), SET("left_out", left_out_rows(p)));
}

organ_status organ_machine_plan(const organ_machine_plan_options *options, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_machine_plan_options, options, report, error, NULL))
        return error->status;
    machine_plan p = {0};
    *report = NULL;
    if ((options->import ? organ_topology_import(options->import, &p.topology, error)
                         : organ_topology_discover(&p.topology, error)) != ORGAN_OK)
        return error->status;
    p.threads = options->threads ? options->threads : organ_topology_cores(p.topology);
    p.places = calloc(p.threads, sizeof *p.places);
    if (p.places) {
        organ_topology_place(p.topology, p.threads, p.places);
        *report = plan_document(&p, options->import);
    }
    if (!*report)
        organ_fail_errno(error, ENOMEM, "plan for %zu workers", p.threads);
    else if (options->ranks)
        add_ranks(*report, &p, options->ranks, error);
    free(p.places);
    organ_topology_destroy(p.topology);
    return error->status;
}
