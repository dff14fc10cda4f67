/* SPDX-License-Identifier: MIT
 * LORA_REPORT.html: organ.lora_extract/1 as a page. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/lora_report.h"
#include "orchestrator/report/view/share_html.h"

#include <stdint.h>
#include <stdio.h>

enum { MOST_MODULES = 2000, MOST_OTHERS = 500 };

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

static void put_merits(organ_html *html, const json_t *report)
{
    char explained[32], least[32], modules[32], rank[64], change[32];
    const unsigned long long from = organ_json_count(report, "totals.rank_from"), to = organ_json_count(report, "totals.rank_to");
    organ_html_figure_of_merit figures[5];
    size_t count = 0;
    if (!is_dry(report)) {
        organ_percent_text(organ_json_percent(report, "totals.explained"), explained);
        organ_percent_text(organ_json_percent(report, "totals.least_explained"), least);
        organ_percent_text(organ_json_percent(report, "totals.change"), change);
        figures[count++] = (organ_html_figure_of_merit){explained, "of the squared change is explained"};
        figures[count++] = (organ_html_figure_of_merit){least, "in the module that it is least of"};
        figures[count++] = (organ_html_figure_of_merit){change, "of the base's norm is the change"};
    }
    organ_count_text(organ_json_count(report, "totals.modules"), modules);
    snprintf(rank, sizeof rank, from == to ? "%llu" : "%llu to %llu", from, to);
    figures[count++] = (organ_html_figure_of_merit){rank, is_dry(report) ? "rank, at most" : "rank"};
    figures[count++] = (organ_html_figure_of_merit){modules, "modules"};
    organ_html_figures_of_merit(html, figures, count);
}

static void put_explained(organ_html *html, const json_t *report)
{
    const organ_share_view view = {.modules = organ_json_at(report, "modules"),
                                   .share = "explained",
                                   .norm = "change_norm",
                                   .spectrum = "spectrum",
                                   .word = "explained"};
    organ_html_section(html, "How much is explained");
    organ_html_shares(html, &view, "Explained share of the change",
                      "Measured with the factors as they are stored. What is not explained stays away from the tuned model.");
    organ_html_rank_curves(html, &view,
                           "From the singular values that were kept: where a curve is still steep at its end, a higher rank explains more; "
                           "where it is flat, a lower one would do. A module that has fewer ranks stays where it ended. "
                           "Factors rounded to their type explain a little less than this.");
    organ_html_ranks(html, &view);
}

static void put_rest(organ_html *html, const json_t *report)
{
    const json_t *const others = organ_json_at(report, "not_extracted");
    const size_t count = json_array_size(others);
    if (organ_json_count(report, "totals.unchanged"))
        organ_html_paragraph(html, "Unchanged, without factors: %llu linear layers.", organ_json_count(report, "totals.unchanged"));
    if (count == 0)
        return;
    organ_html_section(html, is_dry(report) ? "Not to be compared" : "Changed, without factors");
    organ_html_table(html, organ_lora_others_table(report, MOST_OTHERS),
                     "Tensors that are no linear layers; kept whole only with --save-full");
    organ_html_left_out(html, count, MOST_OTHERS, "tensors");
}

static void put_tables(organ_html *html, const json_t *report)
{
    organ_html_section(html, "Projections");
    organ_html_table(html, organ_lora_roles_table(report), "Modules by projection");
    if (!is_dry(report)) {
        organ_html_section(html, "Modules");
        organ_html_table(html, organ_lora_modules_table(report, MOST_MODULES),
                         "\"Change\" is the norm of W_tuned - W_base beside that of W_base, \"explained\" the share of its square that B A "
                         "has, \"residual\" the norm of what is left beside that of the change");
        organ_html_left_out(html, json_array_size(organ_json_at(report, "modules")), MOST_MODULES, "modules");
    }
    put_rest(html, report);
}

organ_status organ_lora_report_html(const json_t *report, char **html, organ_error *error)
{
    const json_t *const warnings = organ_json_at(report, "warnings");
    organ_html *const page = organ_html_create(is_dry(report) ? "LoRA extraction, dry run" : "LoRA extraction",
                                               organ_json_text(report, "tuned.name"), organ_json_text(report, "method.text"));
    put_merits(page, report);
    organ_html_section(page, "What it was made of");
    if (is_dry(report))
        organ_html_caution(page, "Dry run, nothing was written and nothing compared.");
    for (size_t k = 0; k < json_array_size(warnings); k++)
        organ_html_caution(page, "%s", organ_json_text(json_array_get(warnings, k), ""));
    organ_html_model(page, "Tuned", organ_json_at(report, "tuned"));
    organ_html_model(page, "Base", organ_json_at(report, "base"));
    organ_html_sentences(page, organ_json_at(report, "notes"));
    if (json_is_integer(organ_json_at(report, "adapter.vllm_max_lora_rank")))
        organ_html_paragraph(page, "vLLM serves it with --max-lora-rank %llu.", organ_json_count(report, "adapter.vllm_max_lora_rank"));
    if (!is_dry(report))
        put_explained(page, report);
    put_tables(page, report);
    json_t *const run = json_copy((json_t *)(uintptr_t)json_object_get(report, "run"));
    if (json_object_get(report, "run") && !run)
        organ_html_fail(page);
    json_object_del(run, "module_seconds"); /* as many numbers as modules, which tell a reader nothing */
    organ_html_ending(page, json_object_get(report, "definitions"), run);
    json_decref(run);
    return organ_html_finish(page, html, error);
}
