/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/engine_room.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/cli/html_file.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/html_report.h"

#include <stdlib.h>

/* The page comes before what is shown, but that it cannot be written hides nothing: what the run made is there, and is told. */
static void write_page(const organ_call *call, const json_t *report, organ_error *fault)
{
    organ_error page = {0};
    if (organ_html_file_check(call->html, &page) == ORGAN_OK)
        organ_html_report_write(call->html, report, &page);
    /* Not wrong usage: the place was right when the run began. The message may end with a command, which nothing must follow. */
    if (page.status != ORGAN_OK)
        organ_fail(fault, ORGAN_IO, "all but the page is done: %s", page.message);
}

void organ_show(const organ_call *call, const json_t *report, organ_render *render, organ_error *error)
{
    const organ_page page = organ_terminal_page(stdout);
    organ_error fault = {0}, unwritten = {0};
    char *text = NULL;
    if (organ_memory_work_check("the report", &fault) != ORGAN_OK) {
        *error = fault;
        return;
    }
    if (call->html)
        write_page(call, report, &unwritten);
    if (call->json)
        organ_document_print(report, stdout, &fault);
    else if (render(report, &page, &text, &fault) == ORGAN_OK && organ_memory_work_check("the report", &fault) == ORGAN_OK)
        organ_text_fold(stdout, text, &page);
    free(text);
    if (fault.status != ORGAN_OK || unwritten.status != ORGAN_OK)
        *error = fault.status != ORGAN_OK ? fault : unwritten;
}

const organ_kernels *organ_kernels_wanted(organ_error *error)
{
    const char *const wanted = getenv("ORGAN_ISA");
    const char *why = "";
    const organ_kernels *const kernels = organ_kernels_choose(organ_cpu_detect(), wanted, &why);
    if (!kernels)
        organ_fail(error, ORGAN_USAGE, "ORGAN_ISA is '%s': %s", wanted ? wanted : "", why);
    return kernels;
}

void organ_engine_close(organ_engine_room *room) { organ_engine_destroy(room->engine); }

organ_status organ_engine_open(const organ_call *call, organ_engine_room *room, organ_error *error)
{
    *room = (organ_engine_room){0};
    organ_terminal_open(&room->terminal, stderr, call->progress, call->quiet);
    room->progress = organ_terminal_progress(&room->terminal);
    const organ_kernels *const kernels = organ_kernels_wanted(error);
    if (!kernels || organ_engine_create(kernels, call->threads, call->memory, &room->engine, error) != ORGAN_OK)
        return error->status;
    room->engine->stop = call->stop;
    const size_t count = organ_workers_count(room->engine->workers), pinned = organ_workers_pinned(room->engine->workers);
    if (pinned < count)
        organ_progress_note(&room->progress, "%zu of %zu threads could not be pinned to their cores; this may cost speed", count - pinned,
                            count);
    return ORGAN_OK;
}

organ_status organ_call_evaluation(const organ_call *call, const organ_experiment_options **evaluate, organ_error *error)
{
    const organ_experiment_options *const asked = &call->evaluation;
    *evaluate = asked->text ? asked : NULL;
    if (*evaluate || !(asked->style || asked->context || asked->max_tokens))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE, "--evaluate-%s has no meaning without --evaluate FILE",
                      asked->style     ? "style"
                      : asked->context ? "context"
                                       : "max-tokens");
}

organ_status organ_run_work(const organ_call *call, organ_work *work, organ_render *render, organ_error *error)
{
    organ_engine_room room;
    json_t *report = NULL;
    if (organ_engine_open(call, &room, error) != ORGAN_OK)
        return error->status;
    work(call, room.engine, &room.progress, &report, error);
    organ_engine_close(&room);
    if (report)
        organ_show(call, report, render, error);
    json_decref(report);
    return error->status;
}
