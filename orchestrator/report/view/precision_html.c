/* SPDX-License-Identifier: MIT
 * DEQUANTIZE_REPORT.html and QUANTIZE_REPORT.html: organ.dequantize/1 and organ.quantize/1 as pages. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"
#include "orchestrator/report/view/precision_report.h"
#include "orchestrator/report/view/role_grid.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_TENSORS = 1500, MOST_ROWS = 500, MOST_ROLES = 40, MOST_KINDS = 200 };

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

/* ---- what both have ---- */

static void put_merits(organ_html *html, const json_t *report, const organ_html_figure_of_merit own[2])
{
    char before[16], after[16];
    const organ_html_figure_of_merit figures[] = {
        own[0],
        own[1],
        {organ_quantity_text(organ_json_count(report, "totals.bytes_before"), before), "before"},
        {organ_quantity_text(organ_json_count(report, "totals.bytes_after"), after), is_dry(report) ? "they would become" : "after"}};
    organ_html_figures_of_merit(html, figures, sizeof figures / sizeof *figures);
}

/* One bar pair for each role of the rows, in megabytes. */
static void put_sizes(organ_html *html, const json_t *rows)
{
    organ_ranking_bar bars[MOST_ROLES];
    organ_error error = {0};
    char *svg = NULL;
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        const char *const role = organ_json_text(row, "role");
        size_t at = 0;
        while (at < count && strcmp(bars[at].name, role) != 0)
            at++;
        if (at == MOST_ROLES)
            continue;
        if (at == count)
            bars[count++] = (organ_ranking_bar){.name = role};
        bars[at].value[0] += organ_json_real(row, "bytes_before") / 1e6;
        bars[at].value[1] += organ_json_real(row, "bytes_after") / 1e6;
    }
    if (count == 0)
        return;
    const organ_ranking ranking = {.title = "Bytes by role",
                                   .subtitle = "codes and scales together",
                                   .description = "Bytes of the weights of each role before and after.",
                                   .value_label = "megabytes",
                                   .series = {"before", "after"},
                                   .digits = 3,
                                   .unit = " MB",
                                   .bars = bars,
                                   .count = count};
    organ_ranking_svg(&ranking, &svg, &error);
    organ_html_chart(html, svg, "Plain tensors that stay as they are do not count here.");
}

static void put_list(organ_html *html, const char *title, const json_t *rows, const char *caption)
{
    static const organ_column columns[] = {{"tensor", ORGAN_LEFT, true, true}, {"why", ORGAN_LEFT, false, false}};
    const size_t count = json_array_size(rows);
    if (count == 0)
        return;
    organ_table *const table = organ_table_create(columns, 2);
    for (size_t k = 0; k < count && k < MOST_ROWS; k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_table_cell(table, "%s", organ_json_text(row, "tensor"));
        organ_table_cell(table, json_is_true(json_object_get(row, "dropped")) ? "left out: %s" : "%s", organ_json_text(row, "why"));
    }
    organ_html_section(html, title);
    organ_html_table(html, table, caption);
    organ_html_left_out(html, count, MOST_ROWS, "tensors");
}

static void put_dry(organ_html *html, const json_t *report)
{
    if (is_dry(report))
        organ_html_caution(html, "Dry run, nothing was written.");
}

/* ---- dequantize ---- */

typedef struct kind {
    const char *role, *scheme;
    unsigned long long weights;
} kind;

/* How many weights of each role are in each scheme. */
static organ_table *kinds_table(const json_t *report)
{
    static const organ_column columns[] = {
        {"role", ORGAN_LEFT, false, true}, {"scheme", ORGAN_LEFT, false, false}, {"weights", ORGAN_RIGHT, false, false}};
    const json_t *const rows = organ_json_at(report, "weights");
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    kind kinds[MOST_KINDS];
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const char *const role = organ_json_text(json_array_get(rows, k), "role");
        const char *const scheme = organ_json_text(json_array_get(rows, k), "scheme");
        size_t at = 0;
        while (at < count && (strcmp(kinds[at].role, role) != 0 || strcmp(kinds[at].scheme, scheme) != 0))
            at++;
        if (at == MOST_KINDS)
            continue;
        if (at == count)
            kinds[count++] = (kind){role, scheme, 0};
        kinds[at].weights++;
    }
    for (size_t k = 0; k < count; k++) {
        organ_table_cell(table, "%s", kinds[k].role);
        organ_table_cell(table, "%s", kinds[k].scheme);
        organ_table_count(table, kinds[k].weights);
    }
    return table;
}

static void put_words(FILE *out, const json_t *report, const organ_page *page)
{
    organ_dequantize_not_finite(out, report, page);
    organ_precision_plain(out, report, page);
}

static void put_packed(organ_html *html, const json_t *report)
{
    const json_t *const weights = organ_json_at(report, "weights");
    if (json_array_size(organ_json_at(report, "schemes")) == 0) {
        organ_html_paragraph(html, "No tensor is packed: the model was plain already.");
        return;
    }
    organ_html_table(html, organ_dequantize_schemes_table(report), "Packed weights by scheme");
    if (json_array_size(weights) == 0)
        return;
    put_sizes(html, weights);
    organ_html_table(html, kinds_table(report), "Schemes by role");
}

/* Notes, and values that are not finite, only where there are any: all columns are too many for most screens. */
static size_t columns_for(const json_t *report)
{
    const json_t *const rows = organ_json_at(report, "weights");
    for (size_t k = 0; k < json_array_size(rows); k++)
        if (*organ_json_text(json_array_get(rows, k), "note"))
            return ORGAN_DEQUANTIZE_COLUMNS;
    return organ_json_count(report, "totals.infinite") + organ_json_count(report, "totals.nan") ? ORGAN_DEQUANTIZE_COLUMNS - 1
                                                                                                : ORGAN_DEQUANTIZE_COLUMNS - 3;
}

organ_status organ_dequantize_report_html(const json_t *report, char **html, organ_error *error)
{
    const json_t *const weights = organ_json_at(report, "weights");
    char lead[160], bad[32], packed[32];
    snprintf(lead, sizeof lead, "Packed weights %s %.40s; what is plain keeps its type and its bytes.",
             is_dry(report) ? "would become" : "became", organ_json_text(report, "parameters.dtype"));
    const organ_html_figure_of_merit own[] = {
        {organ_count_text(organ_json_count(report, "totals.weights"), packed), "packed weights"},
        {organ_count_text(organ_json_count(report, "totals.infinite") + organ_json_count(report, "totals.nan"), bad),
         "values that are infinite or NaN"}};
    organ_html *const page = organ_html_create("Dequantisation", organ_json_text(report, "model.name"), lead);
    put_merits(page, report, own);
    organ_evaluation_html(page, report);
    organ_html_section(page, "Schemes");
    put_dry(page, report);
    organ_html_model(page, "Model", organ_json_at(report, "model"));
    organ_html_words(page, put_words, report);
    organ_html_sentences(page, organ_json_at(report, "notes"));
    put_packed(page, report);
    put_list(page, "Tensors of no weight", organ_json_at(report, "strays"), "Tensors that belong to no weight");
    if (json_array_size(weights)) {
        organ_html_section(page, "Weights");
        organ_html_table(page, organ_dequantize_weights_table(report, MOST_TENSORS, columns_for(report)), "Every packed weight");
        organ_html_left_out(page, json_array_size(weights), MOST_TENSORS, "weights");
    }
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}

/* ---- quantize ---- */

static double error_of(const json_t *row, const void *context)
{
    (void)context;
    return organ_json_percent(row, "relative_error");
}

static void extremes(const json_t *tensors, const char *role, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        if (strcmp(organ_json_text(row, "role"), role) != 0 || !isfinite(error_of(row, NULL)))
            continue;
        *low = fmin(*low, error_of(row, NULL));
        *high = fmax(*high, error_of(row, NULL));
    }
}

static void put_errors(organ_html *html, const json_t *report)
{
    static const organ_heat_map map = {.title = "Relative error by layer",
                                       .description = "Relative error of each tensor, by role and layer.",
                                       .value_label = "relative error, percent"};
    const json_t *const roles = organ_json_at(report, "roles"), *const tensors = organ_json_at(report, "tensors");
    const organ_grid_source source = {.rows = tensors, .role_key = "role", .value = error_of};
    organ_ranking_bar bars[MOST_ROLES];
    organ_error error = {0};
    size_t count = 0;
    char *svg = NULL;
    if (!organ_grid_has_values(&source))
        return;
    for (size_t k = 0; k < json_array_size(roles) && count < MOST_ROLES; k++) {
        const char *const role = organ_json_text(json_array_get(roles, k), "role");
        bars[count] = (organ_ranking_bar){.name = role, .value = {error_of(json_array_get(roles, k), NULL), NAN}};
        extremes(tensors, role, &bars[count].low, &bars[count].high);
        count++;
    }
    const organ_ranking ranking = {.title = "Relative error by role",
                                   .subtitle = "norm of the difference beside the norm of the weights; the whisker spans the tensors",
                                   .description = "One bar a role: relative error over all its tensors together.",
                                   .value_label = "relative error, percent",
                                   .series = {"relative error", NULL},
                                   .digits = 4,
                                   .unit = " %",
                                   .bars = bars,
                                   .count = count};
    organ_html_section(html, "What was lost");
    organ_ranking_svg(&ranking, &svg, &error);
    organ_html_chart(html, svg, "The error of weights, which is not the error of answers: organ perplexity --compare measures that.");
    organ_html_role_map(html, &source, &map, "A tensor that stands out has values that its codes do not hold well.");
}

static void put_plain(FILE *out, const json_t *report, const organ_page *page)
{
    organ_precision_plain(out, report, page);
    organ_quantize_clipped(out, report, page);
}

organ_status organ_quantize_report_html(const json_t *report, char **html, organ_error *error)
{
    const json_t *const tensors = organ_json_at(report, "tensors");
    const double lost = organ_json_percent(report, "totals.relative_error");
    char lead[160], count[32], text[40] = "-";
    snprintf(lead, sizeof lead, "Projections %s codes of %.60s, each the nearest to its weight: no calibration, no data.",
             is_dry(report) ? "would become" : "became", organ_json_text(report, "parameters.scheme"));
    if (isfinite(lost))
        snprintf(text, sizeof text, "%.4f %%", lost);
    const organ_html_figure_of_merit own[] = {{text, "relative error of all together"},
                                              {organ_count_text(organ_json_count(report, "totals.tensors"), count),
                                               is_dry(report) ? "tensors to quantise" : "tensors quantised"}};
    organ_html *const page = organ_html_create("Quantisation", organ_json_text(report, "model.name"), lead);
    put_merits(page, report, own);
    put_errors(page, report);
    organ_evaluation_html(page, report);
    organ_html_section(page, "Roles");
    put_dry(page, report);
    organ_html_model(page, "Model", organ_json_at(report, "model"));
    organ_html_words(page, put_plain, report);
    organ_html_table(page, organ_quantize_roles_table(report), "Quantised tensors by role");
    put_sizes(page, organ_json_at(report, "roles"));
    put_list(page, "Targets that stay as they are", organ_json_at(report, "left_alone"),
             "Named in quantization_config as tensors to be left alone");
    organ_html_section(page, "Tensors");
    organ_html_table(page, organ_quantize_tensors_table(report, MOST_TENSORS), "Every quantised tensor");
    organ_html_left_out(page, json_array_size(tensors), MOST_TENSORS, "tensors");
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}
