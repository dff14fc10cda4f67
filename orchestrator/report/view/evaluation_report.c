/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/evaluation_report.h"

#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/perplexity_report.h"

#include <stdlib.h>
#include <string.h>

static const json_t *evaluation_of(const json_t *report)
{
    const json_t *const evaluation = organ_json_at(report, "evaluation");
    return json_is_object(evaluation) ? evaluation : NULL;
}

static bool is_scored(const json_t *evaluation) { return json_is_object(organ_json_at(evaluation, "comparison")); }

/* ---- the table ---- */

static void measured_cell(organ_table *table, const json_t *row, const char *key, const char *error_key, double scale, bool sign)
{
    char text[64];
    organ_table_cell(table, "%s", organ_measured_text(row, key, error_key, scale, sign, text));
}

static void figure_cells(organ_table *table, const json_t *row, bool words)
{
    measured_cell(table, row, "figures.perplexity", "figures.perplexity_error", 1, false);
    measured_cell(table, row, "figures.bits_per_byte", "", 1, false);
    if (!words)
        return;
    measured_cell(table, row, "figures.word_perplexity", "", 1, false);
    measured_cell(table, row, "figures.byte_perplexity", "", 1, false);
}

static organ_table *models_table(const json_t *evaluation)
{
    static const organ_column columns[] = {{"model", ORGAN_LEFT, true, false},
                                           {"perplexity", ORGAN_RIGHT, false, false},
                                           {"bits/byte", ORGAN_RIGHT, false, false},
                                           {"per word", ORGAN_RIGHT, false, false},
                                           {"per byte", ORGAN_RIGHT, false, false}};
    const bool words = strcmp(organ_json_text(evaluation, "experiment.style"), "lm-eval") == 0;
    organ_table *const table = organ_table_create(columns, words ? 5 : 3);
    organ_table_cell(table, "before: %s %s", organ_json_text(evaluation, "before.is"), organ_json_text(evaluation, "before.model.name"));
    figure_cells(table, organ_json_at(evaluation, "before"), words);
    organ_table_cell(table, "after");
    figure_cells(table, organ_json_at(evaluation, "after"), words);
    return table;
}

static organ_table *comparison_table(const json_t *evaluation)
{
    static const organ_column columns[] = {{"after beside before", ORGAN_LEFT, false, false}, {"value", ORGAN_RIGHT, false, false}};
    static const struct {
        const char *name, *key, *error;
        double scale;
        bool sign;
    } rows[] = {{"difference in perplexity", "difference", "difference_error", 1, true},
                {"ratio of perplexities", "ratio", "ratio_error", 1, false},
                {"KL divergence, nats per token", "kl_divergence", "kl_divergence_error", 1, false},
                {"same top token, %", "top1_agreement", "top1_agreement_error", 100, false}};
    organ_table *const table = organ_table_create(columns, 2);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        organ_table_cell(table, "%s", rows[k].name);
        measured_cell(table, organ_json_at(evaluation, "comparison"), rows[k].key, rows[k].error, rows[k].scale, rows[k].sign);
    }
    return table;
}

/* ---- terminal ---- */

organ_status organ_evaluation_terminal(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    const json_t *const e = evaluation_of(report);
    const char *const why = organ_json_text(e, "not_evaluated");
    char *const experiment = e ? organ_experiment_text(organ_json_at(e, "experiment"), error) : NULL;
    if (!experiment)
        return error->status;
    fputc('\n', out);
    if (*why)
        organ_text_say(out, page, "  NOT EVALUATED  ", "The output is whole, but: %s", why);
    else if (is_scored(e) && organ_table_emit(models_table(e), out, page, error) == ORGAN_OK)
        organ_table_emit(comparison_table(e), out, page, error);
    if (!error->status)
        organ_text_say(out, page, "  ", "%s%s", is_scored(e) || *why ? "" : "Would be evaluated before and after, on the same tokens. ",
                       experiment);
    free(experiment);
    return error->status;
}

/* ---- Markdown ---- */

organ_status organ_evaluation_markdown(FILE *out, const json_t *report, organ_error *error)
{
    const json_t *const e = evaluation_of(report);
    const char *const why = organ_json_text(e, "not_evaluated");
    char *const experiment = e ? organ_experiment_text(organ_json_at(e, "experiment"), error) : NULL;
    if (!experiment)
        return error->status;
    fputs("\n## Evaluation\n\n", out);
    if (*why) {
        fputs("> **Not evaluated.** The output is whole, but: ", out);
        organ_markdown_text(out, why, false);
        fputs("\n\n", out);
    }
    organ_markdown_text(out, experiment, false);
    fputs("\n\n", out);
    free(experiment);
    if (is_scored(e) && organ_table_emit(models_table(e), out, NULL, error) == ORGAN_OK) {
        fputc('\n', out);
        organ_table_emit(comparison_table(e), out, NULL, error);
        fputs("\nErrors are standard errors; tokens are taken as independent.\n\n", out);
    }
    if (!error->status)
        organ_terms_list(out, organ_json_at(e, "definitions"));
    return error->status;
}

/* ---- the page ---- */

void organ_evaluation_html(organ_html *html, const json_t *report)
{
    const json_t *const e = evaluation_of(report);
    const char *const why = organ_json_text(e, "not_evaluated");
    if (!e)
        return;
    organ_html_section(html, "Evaluation");
    if (*why)
        organ_html_caution(html, "The output is whole, but it was not evaluated: %s", why);
    if (is_scored(e)) {
        organ_html_table(html, models_table(e), "Perplexity before and after, on the same tokens, with standard errors");
        organ_html_table(html, comparison_table(e), "What changed; errors are those of paired tokens");
    }
    organ_html_table(html, organ_experiment_table(organ_json_at(e, "experiment")),
                     "What has to be the same wherever these numbers are set beside others");
    if (json_is_false(organ_json_at(e, "experiment.text.utf8")))
        organ_html_caution(html, "Not all of the text is UTF-8: what is not is read as U+FFFD.");
}
