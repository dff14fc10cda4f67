/* SPDX-License-Identifier: MIT
 * The verbs that take models apart and put them together. */
#include "orchestrator/cli/verbs.h"

#include "orchestrator/cli/engine_room.h"
#include "orchestrator/report/view/organs_report.h"

/* The terminal alone: these verbs only move bytes. */
static organ_progress open_terminal(const organ_call *call, organ_terminal *terminal)
{
    organ_terminal_open(terminal, stderr, call->progress, call->quiet);
    return organ_terminal_progress(terminal);
}

static organ_status show(const organ_call *call, json_t *report, organ_render *render, organ_error *error)
{
    if (report)
        organ_show(call, report, render, error);
    json_decref(report);
    return error->status;
}

organ_status organ_run_extract(void *context, organ_error *error)
{
    const organ_call *const call = context;
    organ_terminal terminal;
    const organ_progress progress = open_terminal(call, &terminal);
    json_t *report = NULL;
    organ_extract(&call->extract, &progress, call->stop, &report, error);
    return show(call, report, organ_extract_report_terminal, error);
}

organ_status organ_run_assemble(void *context, organ_error *error)
{
    const organ_call *const call = context;
    organ_terminal terminal;
    const organ_progress progress = open_terminal(call, &terminal);
    json_t *report = NULL;
    organ_assemble(&call->assemble, &progress, call->stop, &report, error);
    return show(call, report, organ_assemble_report_terminal, error);
}

/* A graft itself only moves bytes: what its engine has of threads and memory is for the evaluation. */
static organ_status graft(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                          organ_error *error)
{
    organ_graft_options options = call->graft;
    options.engine = engine;
    if (organ_call_evaluation(call, &options.evaluate, error) != ORGAN_OK)
        return error->status;
    return organ_graft(&options, engine->kernels, progress, call->stop, report, error);
}

/* A chimera is a graft under other names: the table puts its options where those of a graft are. */
organ_status organ_run_graft(void *call, organ_error *error) { return organ_run_work(call, graft, organ_graft_report_terminal, error); }
