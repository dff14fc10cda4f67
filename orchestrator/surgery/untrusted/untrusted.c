/* SPDX-License-Identifier: MIT */
#include <organ/inspect.h>

#include <organ/base.h>
#include "formats/remote/remote.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/untrusted/folder_walk.h"

static json_t *untrusted_document_of(const organ_untrusted_options *options, const organ_findings *findings,
                                     const organ_scanned_folder *scanned)
{
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.untrusted/1"), SET_TEXT("organ", ORGAN_VERSION),
        SET("model", ORGAN_OBJECT(SET("name", organ_name_json(options->model)))),
        SET_TEXT("verdict", organ_findings_count(findings) > 0 ? "findings" : "clean"),
        SET("looked_at",
            ORGAN_OBJECT(SET_COUNT("files", scanned->files), SET_COUNT("bytes", scanned->bytes),
                         SET_COUNT("weights", scanned->weights), SET_COUNT("directories", scanned->directories),
                         SET_COUNT("links", scanned->links), SET_COUNT("passed_over", scanned->git_directories))),
        SET_COUNT("findings_in_all", organ_findings_count(findings)), SET("kinds", organ_findings_kinds(findings)),
        SET_HELD("findings", findings->list), SET("run", ORGAN_OBJECT(SET_BYTES("model", options->model))));
}

static organ_status scan_and_report(const organ_untrusted_options *options, organ_findings *findings, json_t **report,
                                    organ_error *error)
{
    organ_scanned_folder scanned = {0};
    if (organ_scan_folder(options->model, findings, &scanned, error) != ORGAN_OK)
        return error->status;
    if (findings->failure.status) {
        organ_fail(error, ORGAN_IO, "%s%s%s", scanned.directories ? options->model : "",
                   scanned.directories ? ": " : "", findings->failure.message);
        error->errnum = findings->failure.errnum;
        return error->status;
    }
    findings->file = ".";
    if (scanned.weights == 0)
        organ_findings_add(findings, ORGAN_FINDING_NO_WEIGHTS, "", "no file of weights could be examined");
    *report = untrusted_document_of(options, findings, &scanned);
    const size_t count = organ_findings_count(findings);
    if (!*report)
        return organ_fail_memory(error, options->model);
    if (count == 0)
        return ORGAN_OK;
    const json_t *const first = json_array_get(findings->list, 0);
    return organ_fail(error, ORGAN_CHECK_FAILED, "%s: %zu finding%s, the first: %s: %s", options->model, count,
                      count > 1 ? "s" : "", organ_json_text(first, "file"), organ_json_text(first, "what"));
}

organ_status organ_untrusted(const organ_untrusted_options *options, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_untrusted_options, options, report, error, "model", options->model))
        return error->status;
    const organ_report_work work = organ_report_begin(report);
    organ_findings findings = {.list = json_array(), .file = "."};
    if (organ_http_is_url(options->model))
        organ_fail(error, ORGAN_USAGE, "--untrusted examines local files, but the model is at a URL");
    else
        scan_and_report(options, &findings, report, error);
    json_decref(findings.list);
    return organ_report_end_partial(&work, options->model, error);
}
