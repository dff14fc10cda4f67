/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/audit_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

static void print_checks(const json_t *report, FILE *out, const organ_page *page)
{
    const json_t *const checks = organ_json_at(report, "checks");
    for (size_t k = 0; k < json_array_size(checks); k++) {
        const json_t *const check = json_array_get(checks, k);
        organ_text_say(out, page, json_is_true(json_object_get(check, "ok")) ? "  ok      " : "  FAILED  ", "%s: %s",
                       organ_json_text(check, "check"), organ_json_text(check, "detail"));
    }
}

static void print_counts(const json_t *report, FILE *out, const organ_page *page)
{
    char processed[32], elements[32], percent[32], zero[32], tensors[32], identical[32];
    organ_text_say(out, page, "  ", "Coverage: %s of %s target weights (%s) compared.",
                   organ_count_text(organ_json_count(report, "coverage.processed_elements"), processed),
                   organ_count_text(organ_json_count(report, "coverage.target_elements"), elements),
                   organ_percent_text(organ_json_real(report, "coverage.percent"), percent));
    organ_text_say(out, page, "  ", "Zero before: %s, not counted as killed.",
                   organ_count_text(organ_json_count(report, "zero_before"), zero));
    if (json_is_integer(organ_json_at(report, "compensated")))
        organ_text_say(out, page, "  ", "Changed: %s (compensated), counted among the kept.",
                       organ_count_text(organ_json_count(report, "compensated"), zero));
    organ_text_say(out, page, "  ", "Not targets: %s tensors, %s of them identical byte for byte.",
                   organ_count_text(organ_json_count(report, "untouched.tensors"), tensors),
                   organ_count_text(organ_json_count(report, "untouched.identical"), identical));
}

static void print_verdict(const json_t *report, FILE *out, const organ_page *page)
{
    const json_t *const problems = organ_json_at(report, "problems");
    const size_t count = json_array_size(problems);
    fputc('\n', out);
    for (size_t k = 0; k < count; k++)
        organ_text_say(out, page, "  PROBLEM  ", "%s", organ_json_text(json_array_get(problems, k), ""));
    if (count == 0 && json_is_integer(organ_json_at(report, "compensated")))
        organ_text_say(out, page, "",
                       "It holds: the copy is the donor but for its target weights, of which so many are zero and so many changed.");
    else if (count == 0)
        organ_text_say(out, page, "", "It holds: the copy is the donor with the killed weights set to zero, and nothing else.");
    else
        organ_text_say(out, page, "", "It does NOT hold: %zu problem%s.", count, count == 1 ? "" : "s");
}

organ_status organ_audit_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    fputs("Audit of ", buffer.out);
    organ_text_visible(buffer.out, organ_json_text(report, "run.pruned"));
    fputs("\nagainst  ", buffer.out);
    organ_model_line(buffer.out, organ_json_at(report, "donor"));
    fputs("\n\n", buffer.out);
    if (organ_table_emit(organ_projections_table(report), buffer.out, page, error) != ORGAN_OK ||
        organ_table_emit(organ_totals_table(report), buffer.out, page, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    organ_errata_put(buffer.out, report, page);
    print_checks(report, buffer.out, page);
    print_counts(report, buffer.out, page);
    print_verdict(report, buffer.out, page);
    return organ_text_finish(&buffer, text, error);
}
