/* SPDX-License-Identifier: MIT
 * The verbs that take models apart and put them together. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/report/organs_report.h"

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

/* A chimera is a graft under other names: the table puts its options where those of a graft are. */
organ_status organ_run_graft(void *context, organ_error *error)
{
    const organ_call *const call = context;
    organ_terminal terminal;
    const organ_progress progress = open_terminal(call, &terminal);
    const organ_kernels *const kernels = organ_kernels_wanted(error);
    json_t *report = NULL;
    if (kernels)
        organ_graft(&call->graft, kernels, &progress, call->stop, &report, error);
    return show(call, report, organ_graft_report_terminal, error);
}
