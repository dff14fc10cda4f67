/* SPDX-License-Identifier: MIT
 * organ.audit/1 as a page. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/page.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/audit_report.h"
#include "orchestrator/report/view/sparsity_html.h"

#include <stdlib.h>

static const char *verdict(const json_t *report, char out[160])
{
    const size_t problems = json_array_size(organ_json_at(report, "problems"));
    char changed[32];
    if (problems)
        snprintf(out, 160, "It does NOT hold: %zu problem%s.", problems, problems == 1 ? "" : "s");
    else if (json_is_integer(organ_json_at(report, "compensated")))
        snprintf(out, 160, "It holds: the copy is the donor but for its target weights, of which some are zero and %s were changed.",
                 organ_count_text(organ_json_count(report, "compensated"), changed));
    else
        snprintf(out, 160, "It holds: the copy is the donor with the killed weights set to zero, and nothing else.");
    return out;
}

static void put_command(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fputs("organ audit ", out);
    organ_shell_word(out, organ_json_text(report, "run.donor"));
    fputc(' ', out);
    organ_shell_word(out, organ_json_text(report, "run.pruned"));
    if (*organ_json_text(report, "parameters.targets")) {
        fputs(" --targets ", out);
        organ_shell_word(out, organ_json_text(report, "parameters.targets"));
    }
    if (json_is_integer(organ_json_at(report, "compensated")))
        fputs(" --compensated", out);
}

organ_status organ_audit_report_html(const json_t *report, char **html, organ_error *error)
{
    char text[160], zero[32], tensors[32], identical[32];
    organ_html *const page = organ_html_create("Audit of a pruning", organ_json_text(report, "donor.name"), verdict(report, text));
    organ_sparsity_merits(page, report);
    organ_html_cautions(page, "Read this first", organ_json_at(report, "errata"));
    organ_html_section(page, "Checks");
    organ_html_paragraph(page, "Both models were read anew and compared weight by weight; no report and no log was believed.");
    organ_html_cautions(page, "What does not hold", organ_json_at(report, "problems"));
    organ_html_checks(page, organ_json_at(report, "checks"));
    organ_html_model(page, "Donor", organ_json_at(report, "donor"));
    organ_html_paragraph(page,
                         "Zero before: %s target weights, not counted as killed. Not targets: %s tensors, %s of them identical byte for "
                         "byte.",
                         organ_count_text(organ_json_count(report, "zero_before"), zero),
                         organ_count_text(organ_json_count(report, "untouched.tensors"), tensors),
                         organ_count_text(organ_json_count(report, "untouched.identical"), identical));
    organ_sparsity_sections(page, report);
    organ_sparsity_tiles(page, report);
    organ_sparsity_tensors(page, report);
    organ_html_ending(page, organ_json_at(report, "definitions"), organ_json_at(report, "run"));
    organ_html_paragraph(page, "To audit again:");
    organ_error fault = {0};
    char *const command = organ_report_words(put_command, report, &fault);
    if (command)
        organ_html_command(page, command);
    else
        organ_html_fail(page);
    free(command);
    return organ_html_finish(page, html, error);
}
