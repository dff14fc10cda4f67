/* SPDX-License-Identifier: MIT
 * LORA_SANITIZE_REPORT.html and LORA_RESIZE_REPORT.html: organ.lora_sanitize/1 and organ.lora_resize/1 as pages. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/adapter_report.h"
#include "orchestrator/report/view/share_html.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_MODULES = 2000, MOST_FINDINGS = 500 };

static void put_modules(organ_html *html, const json_t *report)
{
    organ_html_section(html, "Modules");
    organ_html_table(html, organ_adapter_roles_table(report),
                     "By role: explained is the share of the squared norm of scale B A that is kept");
    organ_html_table(html, organ_adapter_modules_table(report, MOST_MODULES), "Every module");
    organ_html_left_out(html, json_array_size(organ_json_at(report, "modules")), MOST_MODULES, "modules");
}

static void put_kept(organ_html *html, const json_t *report)
{
    const organ_share_view view = {
        .modules = organ_json_at(report, "modules"), .share = "explained", .norm = "norm", .spectrum = "sigma", .word = "kept"};
    organ_html_section(html, "How much is kept");
    organ_html_shares(html, &view, "Share of each change that is kept", "What is cut away is the best that could be spared at this rank.");
    organ_html_rank_curves(html, &view, "From the singular values of scale B A, all of them: what any rank would keep.");
    organ_html_ranks(html, &view);
}

/* ---- sanitize ---- */

static organ_table *findings_table(const json_t *report)
{
    static const organ_column columns[] = {{"where", ORGAN_LEFT, true, true}, {"why a server refuses it", ORGAN_LEFT, false, false}};
    return organ_pairs_table(columns, organ_json_at(report, "findings"), "where", "text", MOST_FINDINGS);
}

static void put_findings(organ_html *html, const json_t *report, bool check)
{
    const size_t count = json_array_size(organ_json_at(report, "findings"));
    organ_html_section(html, check ? "What a server would refuse" : "What a server would have refused");
    if (count)
        organ_html_table(html, findings_table(report), check ? NULL : "In the adapter as it was");
    else
        organ_html_paragraph(html, "Nothing that a server would refuse.");
    organ_html_left_out(html, count, MOST_FINDINGS, "findings");
}

organ_status organ_sanitize_report_html(const json_t *report, char **html, organ_error *error)
{
    const bool check = json_is_true(organ_json_at(report, "check"));
    const size_t count = json_array_size(organ_json_at(report, "findings"));
    char lead[128], findings[32], modules[32], dropped[32], rank[32];
    const organ_html_figure_of_merit figures[] = {
        {organ_count_text(count, findings), check ? "things in it that a server would refuse" : "things a server would have refused"},
        {organ_count_text(organ_json_count(report, "totals.modules"), modules), check ? "modules to keep" : "modules kept"},
        {organ_count_text(json_array_size(organ_json_at(report, "dropped")), dropped), check ? "tensors to leave out" : "tensors left out"},
        {organ_count_text(organ_json_count(report, "output.r"), rank), "rank, the same of all modules"}};
    if (check && count)
        snprintf(lead, sizeof lead, "Not as a server takes it: %s thing%s in it would be refused.", findings, count == 1 ? "" : "s");
    else
        snprintf(lead, sizeof lead, check ? "A server takes it as it is." : "A server takes what was made of it.");
    organ_html *const page =
        organ_html_create(check ? "Check of an adapter" : "A sanitised adapter", organ_json_text(report, "adapter.name"), lead);
    organ_html_figures_of_merit(page, figures, sizeof figures / sizeof *figures);
    put_findings(page, report, check);
    organ_html_section(page, check ? "What sanitising would do" : "What was done");
    if (json_is_object(organ_json_at(report, "base")))
        organ_html_model(page, "Against", organ_json_at(report, "base"));
    if (!check)
        organ_html_words(page, organ_adapter_changes, report);
    organ_html_words(page, organ_adapter_served, report);
    if (json_array_size(organ_json_at(report, "dropped")))
        organ_html_table(page, organ_adapter_dropped_table(report), "Left out, with the size of what is lost");
    if (organ_json_count(report, "totals.cut"))
        put_kept(page, report);
    put_modules(page, report);
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}

/* ---- resize ---- */

static void put_what(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fprintf(out, "To rank %llu", organ_json_count(report, "asked_rank"));
    if (organ_json_real(report, "asked_energy") > 0)
        fprintf(out, " at most, keeping %.6g of the energy of every module", organ_json_real(report, "asked_energy"));
    fputc('.', out);
}

organ_status organ_resize_report_html(const json_t *report, char **html, organ_error *error)
{
    const double worst = organ_json_number(report, "totals.worst_residual");
    char explained[32], least[32], rank[32], was[32], size[16];
    *html = NULL;
    char *const lead = organ_report_words(put_what, report, error);
    if (!lead)
        return error->status;
    const organ_html_figure_of_merit figures[] = {
        {organ_percent_text(organ_json_percent(report, "totals.explained"), explained), "of the squared change is kept"},
        {organ_percent_text(100 * (1 - worst * worst), least), "in the module that it is least of"},
        {organ_count_text(organ_json_count(report, "r"), rank), "rank now"},
        {organ_count_text(organ_json_count(report, "totals.rank_before"), was), "rank before"},
        {organ_quantity_text(organ_json_count(report, "totals.bytes"), size), "of factors"}};
    organ_html *const page = organ_html_create("An adapter of another rank", organ_json_text(report, "adapter.name"), lead);
    organ_html_figures_of_merit(page, figures, sizeof figures / sizeof *figures);
    put_kept(page, report);
    organ_html_words(page, organ_adapter_notes, report);
    put_modules(page, report);
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    free(lead);
    return organ_html_finish(page, html, error);
}
