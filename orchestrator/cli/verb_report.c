/* SPDX-License-Identifier: MIT
 * report: converts a saved report to a page. */
#include "formats/base/input_file.h"
#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/html_file.h"
#include "orchestrator/cli/verb_parts.h"
#include <organ/report.h>

#include <jansson.h>
#include <stdlib.h>

typedef struct report_call {
    organ_call call;
    const char *saved_report, *saved_page; /* FILE -o PAGE */
} report_call;
#define CALL report_call

/* Largest size in bytes of a report that organ reads. */
#define LARGEST_REPORT ((size_t)64 << 20)

static json_t *load_report(const char *path, organ_error *error)
{
    json_error_t fault;
    char *bytes = NULL;
    size_t length = 0;
    if (organ_input_load_rows(path, path, LARGEST_REPORT, &bytes, &length, error) != ORGAN_OK)
        return NULL;
    bool no_memory;
    json_t *const report = organ_json_load(bytes, length, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    organ_rows_free(bytes);
    if (no_memory)
        organ_fail(error, ORGAN_IO, "%s: no memory for the report", path);
    else if (!report)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: line %d, column %d: %s", path, fault.line, fault.column, fault.text);
    /* The seal (formats/model/seal.h) is of the file; it is no figure of the report. */
    json_object_del(json_object_get(report, "run"), "seal");
    json_object_del(report, "seal");
    return report;
}

static organ_status write_page(const CALL *own, organ_error *error)
{
    json_t *const report = load_report(own->saved_report, error);
    char *html = NULL;
    if (report && organ_html_report(report, &html, error) != ORGAN_OK && error->status == ORGAN_BAD_INPUT) {
        const organ_error fault = *error;
        *error = (organ_error){0};
        organ_fail(error, fault.status, "%s: %s", own->saved_report, fault.message);
    }
    if (html)
        organ_text_write(own->saved_page, html, error);
    free(html);
    json_decref(report);
    return error->status;
}

/* organ_engine_room_open allows organ to keep the rows of a large report in a temporary file
 * (formats/base/json_spool.h). */
static organ_status run_report(void *context, organ_error *error)
{
    const CALL *const own = context;
    organ_engine_room room;
    if (organ_html_file_check(own->saved_page, error) != ORGAN_OK ||
        organ_engine_room_open(&room, &own->call, false, error) != ORGAN_OK)
        return error->status;
    write_page(own, error);
    return organ_engine_room_close(&room, NULL, error);
}

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    OUTPUT("PAGE", saved_page, "the page; an existing file is replaced only if it is a page of organ",
                               .required = true)};

const organ_verb organ_report_verb = {
    .name = "report",
    .summary = "convert a saved report to a web page",
    .about = "Converts the JSON report of any verb to the web page that --html writes. The page contains its "
             "styles, charts and scripts and loads nothing from a network.",
    OPERANDS(OPERAND("FILE", INPUT, saved_report,
                     "a saved report: prune.json, z_report.json, or the output of --json")),
    GROUPS(GROUP("Options", options), HELP_GROUP("Output")),
    EXAMPLES({"organ report OUT/organ/prune.json -o prune.html", "Writes the page of a pruning."},
             {"organ audit DONOR OUT --json >a.json; organ report a.json -o a.html",
              "Saves the report of an audit and converts it to a page."}),
    .exits = "0 done; 2 wrong usage, or PAGE exists and is not a page of organ; 3 FILE is not a report, or has no "
             "page; 4 FILE cannot be read, or the page cannot be written.",
    .run = run_report};
