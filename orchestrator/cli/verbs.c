/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/verbs.h"

#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/help.h"
#include "orchestrator/cli/terminal.h"
#include "orchestrator/report/view/audit_report.h"
#include "orchestrator/report/view/fleet_report.h"
#include "orchestrator/report/view/inspect_report.h"
#include "orchestrator/report/view/measure_report.h"
#include "orchestrator/report/view/prune_report.h"
#include "orchestrator/report/view/purify_report.h"
#include "orchestrator/version.h"

#include <stdlib.h>
#include <string.h>

/* ---- verbs ---- */

organ_status organ_run_inspect(void *context, organ_error *error)
{
    const organ_call *const call = context;
    json_t *report = NULL;
    organ_inspect(&call->inspect, &report, error);
    if (report)
        organ_show(call, report, organ_inspect_report_terminal, error);
    json_decref(report);
    return error->status;
}

static organ_status prune(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                          organ_error *error)
{
    organ_prune_options options = call->prune;
    if (organ_call_evaluation(call, &options.evaluate, error) != ORGAN_OK)
        return error->status;
    return organ_prune_by_method(&options, &call->calibrated, engine, progress, report, error);
}

organ_status organ_run_prune(void *call, organ_error *error) { return organ_run_work(call, prune, organ_prune_report_terminal, error); }

static organ_status audit(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                          organ_error *error)
{
    return organ_audit(&call->audit, engine, progress, report, error);
}

organ_status organ_run_audit(void *call, organ_error *error) { return organ_run_work(call, audit, organ_audit_report_terminal, error); }

static organ_status fleet(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                          organ_error *error)
{
    return organ_fleet(&call->fleet, engine, progress, report, error);
}

organ_status organ_run_fleet(void *call, organ_error *error) { return organ_run_work(call, fleet, organ_fleet_report_terminal, error); }

static organ_status purify(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                           organ_error *error)
{
    organ_purify_options options = call->purify;
    if (organ_call_evaluation(call, &options.evaluate, error) != ORGAN_OK)
        return error->status;
    return organ_purify(&options, engine, progress, report, error);
}

organ_status organ_run_purify(void *call, organ_error *error) { return organ_run_work(call, purify, organ_purify_report_terminal, error); }

static organ_status measure(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                            organ_error *error)
{
    organ_measure_options options = call->measure;
    options.seed = strcmp(call->definition, "seed") == 0;
    options.models = call->models.word;
    options.model_count = call->models.count;
    options.headers = call->access.headers;
    options.header_count = call->access.header_count;
    options.patience = call->access.patience;
    return organ_measure(&options, engine, progress, report, error);
}

organ_status organ_run_measure(void *context, organ_error *error)
{
    const organ_call *const call = context;
    return organ_run_work(call, measure, call->tensors ? organ_measure_report_tensors : organ_measure_report_terminal, error);
}

organ_status organ_run_version(void *context, organ_error *error)
{
    (void)context;
    const char *const wanted = getenv("ORGAN_ISA");
    const organ_kernels *const chosen = organ_kernels_wanted(error);
    const organ_kernels *const best = chosen ? organ_kernels_choose(organ_cpu_detect(), NULL, &(const char *){0}) : NULL;
    organ_topology *topology = NULL;
    if (!chosen || organ_topology_discover(&topology, error) != ORGAN_OK)
        return error->status;
    printf("organ %s\n", ORGAN_VERSION);
    if (wanted && *wanted)
        printf("kernels  %s, as ORGAN_ISA asks; the best for this CPU is %s\n", chosen->isa, best->isa);
    else
        printf("kernels  %s, the best for this CPU\n", chosen->isa);
    fputs("usable  ", stdout);
    static const char *const names[] = {"scalar", "neon", "avx2", "avx512"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (organ_kernels_choose(organ_cpu_detect(), names[k], &(const char *){0}))
            printf(" %s", names[k]);
    const size_t cores = organ_topology_cores(topology), nodes = organ_topology_nodes(topology);
    printf("\nmachine  %zu core%s on %zu memory node%s\n", cores, cores == 1 ? "" : "s", nodes, nodes == 1 ? "" : "s");
    organ_topology_destroy(topology);
    return ORGAN_OK;
}

organ_status organ_run_help(void *context, organ_error *error)
{
    const organ_call *const call = context;
    const organ_page page = organ_terminal_page(stdout);
    if (call->topic && !call->topic_second && organ_help_family(stdout, call->table, call->topic, &page))
        return ORGAN_OK;
    const organ_verb *const verb = call->topic ? organ_verb_topic(call->table, call->topic, call->topic_second, "help", error) : NULL;
    if (verb)
        organ_help_verb(stdout, verb, &page);
    else if (!call->topic)
        organ_help_overview(stdout, call->table, &page);
    return error->status;
}
