/* SPDX-License-Identifier: MIT
 * REPORT.html: organ.prune/1 as a page, in the order of REPORT.md. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/page.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"
#include "orchestrator/report/view/prune_report.h"
#include "orchestrator/report/view/sparsity_html.h"

#include <stdlib.h>

static void put_audit(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    organ_audit_command(out, report);
}

static void put_check(organ_html *page, const json_t *report)
{
    organ_error fault = {0};
    organ_html_paragraph(page, "To check this run:");
    char *const command = organ_report_words(put_audit, report, &fault);
    if (command)
        organ_html_command(page, command);
    else
        organ_html_fail(page);
    free(command);
}

static organ_html *begin(const json_t *report)
{
    char killed[32], target[32], elements[32], percent[32], full[32], of_full[32], lead[400];
    const json_t *const all = organ_json_at(report, "totals.full"), *const targets = organ_json_at(report, "totals.target");
    if (json_is_true(organ_json_at(report, "dry_run")))
        snprintf(lead, sizeof lead, "A dry run: nothing was written. %s of the model's %s weights would be gone through.",
                 organ_count_text(organ_json_count(targets, "elements"), elements),
                 organ_count_text(organ_json_count(all, "elements"), full));
    else
        snprintf(lead, sizeof lead, "%.40s set %s weights to zero: %s of the %s target weights, %s of all %s weights of the model.",
                 organ_json_text(report, "parameters.method"), organ_count_text(organ_json_count(targets, "killed"), killed),
                 organ_percent_text(organ_json_real(targets, "percent"), target),
                 organ_count_text(organ_json_count(targets, "elements"), elements),
                 organ_percent_text(organ_json_real(all, "percent"), percent),
                 organ_count_text(organ_json_count(all, "elements"), of_full));
    return organ_html_create("Surgery report: pruning", organ_json_text(report, "donor.name"), lead);
}

static void put_plan(organ_html *page, const json_t *report)
{
    organ_html_section(page, "What would be pruned");
    organ_html_table(page, organ_prune_plan_table(report), "Target tensors by projection");
    organ_evaluation_html(page, report);
    organ_html_section(page, "Inputs and outputs");
    organ_html_table(page, organ_prune_inputs_table(report), NULL);
}

static void put_result(organ_html *page, const json_t *report)
{
    organ_sparsity_sections(page, report);
    organ_magnitudes_section(page, report);
    organ_sparsity_tiles(page, report);
    organ_sparsity_tensors(page, report);
    organ_html_section(page, "Counts");
    organ_html_table(page, organ_prune_counts_table(report), NULL);
    organ_evaluation_html(page, report);
    organ_html_section(page, "Output integrity");
    organ_html_checks(page, organ_json_at(report, "integrity"));
    organ_html_section(page, "Inputs and outputs");
    organ_html_table(page, organ_prune_inputs_table(report), NULL);
    organ_html_section(page, "How to check it");
    organ_html_paragraph(
        page, json_is_true(organ_json_at(report, "compensates"))
                  ? "organ audit DONOR OUTPUT --compensated reads both models anew, never this report or its log, and counts again "
                    "what is zero and what was changed; it fails if a tensor that was not a target differs in a single byte."
                  : "organ audit DONOR OUTPUT reads both models anew, never this report or its log, and counts again what was "
                    "killed; it fails if any weight was changed other than to zero, or if a tensor that was not a target differs "
                    "in a single byte.");
    organ_html_paragraph(page,
                         "The command for this run stands at the end of this page. The log of every tensor is prune.jsonl, the numbers "
                         "of this page are prune.json, both beside it.");
    organ_html_section(page, "What is not in this report");
    organ_html_list(page, organ_json_at(report, "not_in_this_report"));
}

organ_status organ_prune_report_html(const json_t *report, char **html, organ_error *error)
{
    const bool dry = json_is_true(organ_json_at(report, "dry_run"));
    organ_html *const page = begin(report);
    if (!dry)
        organ_sparsity_merits(page, report);
    organ_html_cautions(page, "Read this first", organ_json_at(report, "errata"));
    (dry ? put_plan : put_result)(page, report);
    organ_html_ending(page, organ_json_at(report, "definitions"), organ_json_at(report, "run"));
    if (!dry)
        put_check(page, report);
    return organ_html_finish(page, html, error);
}
