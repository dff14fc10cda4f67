/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "formats/base/files.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <organ/report.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Checks that the page can be created in the directory of `path`. */
static organ_status check_page_directory(const char *path, organ_error *error)
{
    const char *const slash = strrchr(path, '/');
    ORGAN_OWNED char *const directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    struct stat info;
    if (!directory)
        return organ_fail_errno(error, ENOMEM, "%s", path);
    if (stat(directory, &info) || !S_ISDIR(info.st_mode))
        organ_fail(error, ORGAN_IO, "%s: there is no directory %s to write the page into", path, directory);
    else if (access(directory, W_OK | X_OK))
        organ_fail_errno(error, errno, "%s: cannot write into %s", path, directory);
    return error->status;
}

organ_status organ_html_file_check(const char *path, organ_error *error)
{
    struct stat info;
    if (organ_check_report_place(path, error))
        return error->status;
    if (lstat(path, &info) == 0 && info.st_size > 0 && !organ_is_page_start_at(AT_FDCWD, path, error) && !error->status)
        organ_fail(error, ORGAN_USAGE, "%s: exists and is a report, but not a page of organ: it is not overwritten",
                   path);
    return error->status ? error->status : check_page_directory(path, error);
}

/* A page next to a model that is a single file is allowed. `model` may be NULL (not given). */
static organ_status check_outside_model(const char *path, const char *model, organ_error *error)
{
    struct stat info;
    const char *const slash = strrchr(path, '/');
    ORGAN_OWNED char *const directory = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    if (!directory)
        organ_fail_errno(error, ENOMEM, "%s", path);
    else if (model && stat(model, &info) == 0 && S_ISDIR(info.st_mode))
        organ_output_check_distinct(directory, model, error);
    return error->status;
}

organ_status organ_html_file_check_distinct(const char *path, const organ_verb *verb, const void *values,
                                            organ_error *error)
{
    organ_verb_text text;
    for (size_t n = 0; !error->status && organ_verb_text_at(verb, values, n, &text); n++)
        if (text.argument.names == ORGAN_NAMES_MODEL)
            check_outside_model(path, *text.word, error);
    return error->status;
}

/* `fault` is a failure to print the report. If `error` is already set (a failed check), `fault` replaces it. If it
 * is not, organ_fail keeps the note that an output is complete (organ_error_set_output) in the message. */
static void put_fault(const organ_error *fault, organ_error *error)
{
    if (error->status != ORGAN_OK)
        *error = *fault;
    organ_fail(error, fault->status, "%s", fault->message);
    error->errnum = fault->errnum;
}

/* An error goes to `fault`, because the caller prints the report in any case. */
static void write_html_page(const organ_call *call, const json_t *report, organ_error *fault)
{
    organ_error page = {0};
    if (organ_html_file_check(call->html, &page) == ORGAN_OK)
        organ_html_report_write(call->html, report, &page);
    /* The status is ORGAN_IO, because the path was valid when the run began. The message of `page` may end with a
     * command, so text is only put before it. */
    if (page.status != ORGAN_OK)
        organ_fail(fault, ORGAN_IO, "everything except the page is done: %s", page.message);
}

/* Prints the report also if the page fails; if both fail, `error` gets the failure on stdout. Writes nothing if
 * memory ran out while the report was built, because it may be incomplete. */
static void show_report(const organ_call *call, const json_t *report, organ_error *error)
{
    const organ_page page = organ_terminal_page(stdout);
    organ_error print_error = {0}, page_error = {0};
    ORGAN_OWNED char *text = NULL;
    if (organ_memory_work_check("the report", &print_error) != ORGAN_OK) {
        put_fault(&print_error, error);
        return;
    }
    if (call->html)
        write_html_page(call, report, &page_error);
    if (call->html && page_error.status == ORGAN_OK)
        organ_error_set_output(error, call->html);
    if (call->json)
        organ_document_print(report, stdout, &print_error);
    else if (call->csv)
        organ_report_csv(report, stdout, &print_error);
    else if ((call->tensors ? organ_report_tensors : organ_report_terminal)(report, &page, &text, &print_error) ==
                 ORGAN_OK &&
             organ_memory_work_check("the report", &print_error) == ORGAN_OK)
        organ_text_fold(stdout, text, &page);
    if (print_error.status != ORGAN_OK || page_error.status != ORGAN_OK)
        put_fault(print_error.status != ORGAN_OK ? &print_error : &page_error, error);
}

const organ_kernels *organ_kernels_selected(organ_error *error)
{
    const char *const requested = getenv("ORGAN_ISA");
    const char *why = "";
    const organ_kernels *const kernels = organ_kernels_choose(organ_cpu_detect(), requested, &why);
    if (!kernels)
        organ_fail(error, ORGAN_USAGE, "ORGAN_ISA is '%s': %s", requested ? requested : "", why);
    return kernels;
}

/* Times two implementations of the tile: which one is faster differs among CPUs. */
const organ_kernels *organ_kernels_for_tiles(const organ_engine *engine)
{
    const char *const requested = getenv("ORGAN_ISA");
    return requested && *requested ? engine->kernels : organ_engine_choose_tile(engine);
}

/* The server sets the variable for each of its jobs. */
static organ_status read_memory_limit(uint64_t *limit, organ_error *error)
{
    const char *const text = getenv(ORGAN_MEMORY_VARIABLE);
    *limit = 0;
    return !text || organ_quantity_parse(text, limit)
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, ORGAN_MEMORY_VARIABLE " is '%s', but must be an amount of memory",
                            text);
}

/* After an error *engine is NULL or must be destroyed. */
static organ_status open_engine(const organ_call *call, const organ_progress *progress, organ_engine **engine,
                                organ_error *error)
{
    const double began = organ_seconds_now();
    const organ_kernels *const kernels = organ_kernels_selected(error);
    uint64_t limit;
    if (!kernels || read_memory_limit(&limit, error) != ORGAN_OK ||
        organ_engine_create(kernels, call->threads, call->memory, engine, error) != ORGAN_OK ||
        organ_ranks_divide_memory(call->ranks, *engine, limit, error) != ORGAN_OK)
        return error->status;
    (*engine)->stop = call->stop;
    (*engine)->ranks = call->ranks;
    (*engine)->readers = call->readers;
    (*engine)->began = began;
    organ_engine with_compute = **engine; /* so that the message names the option of --evaluate */
    if (call->evaluation.compute &&
        organ_engine_compute(&with_compute, "evaluation.compute", call->evaluation.compute, error))
        return error->status;
    const size_t count = organ_workers_count((*engine)->workers), pinned = organ_workers_pinned((*engine)->workers);
    if (pinned < count)
        organ_progress_warn(progress, "%zu of %zu threads could not be pinned to their cores; this may cost speed",
                            count - pinned, count);
    return ORGAN_OK;
}

/* Says that rows of the report were kept in memory because no temporary file could be made for them. */
static void note_unspooled(const organ_progress *progress)
{
    const char *folder;
    const int fault = organ_unnamed_files_fault(&folder);
    if (fault)
        organ_progress_warn(progress,
                            "the rows of the report needed memory in addition to --memory: no file in %s (%s); set "
                            "TMPDIR to another directory",
                            folder, strerror(fault));
}

#define SCORING(path, ...) ORGAN_REQUIREMENT(organ_call, evaluation.path, __VA_ARGS__)
#define OF_TEXT            .with = "evaluation.text"
static const organ_requirement rows[] = {SCORING(text), SCORING(style, OF_TEXT), SCORING(context, OF_TEXT),
                                         SCORING(max_tokens, OF_TEXT), SCORING(compute, OF_TEXT)};
static const organ_requirements requirements = {rows, COUNT(rows), NULL};

organ_status organ_engine_room_open(organ_engine_room *room, const organ_call *call, bool with_engine,
                                    organ_error *error)
{
    *room = (organ_engine_room){.call = call};
    if (organ_requirements_check(&requirements, call, &(organ_call){0}, error))
        return error->status;
    if (call->csv && (call->json || call->html))
        return organ_fail(error, ORGAN_USAGE, "--csv and --%s exclude each other: --csv prints the rows of one table",
                          call->json ? "json" : "html");
    organ_terminal_open(&room->terminal, stderr, call->progress, call->quiet);
    room->terminal.verb = call->verb;
    room->shown = organ_terminal_progress(&room->terminal);
    room->progress = organ_ranks_progress(call->ranks, &room->shown);
    if (with_engine && open_engine(call, room->progress, &room->engine, error) != ORGAN_OK)
        organ_engine_destroy(room->engine);
    else
        organ_unnamed_files_use(/*use=*/true);
    return error->status;
}

/* Destroys the engine before it writes the report: its tables or page can then use the memory that the engine had.
 * Only rank 0 writes the report. */
organ_status organ_engine_room_close(organ_engine_room *room, json_t *report, organ_error *error)
{
    note_unspooled(room->progress);
    organ_engine_destroy(room->engine);
    if (report && organ_ranks_first(room->call->ranks))
        show_report(room->call, report, error);
    json_decref(report);
    return error->status;
}
