/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/sparsity_html.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/chart.h"
#include "orchestrator/report/svg/heat_map.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PROJECTIONS = 64 };

void organ_sparsity_merits(organ_html *html, const json_t *report)
{
    char target[32], full[32], coverage[32], tensors[32], of_target[96], of_full[96], elements[32];
    snprintf(of_target, sizeof of_target, "of the %s target weights killed",
             organ_count_text(organ_json_count(report, "totals.target.elements"), elements));
    snprintf(of_full, sizeof of_full, "of all %s weights of the model killed",
             organ_count_text(organ_json_count(report, "totals.full.elements"), elements));
    const organ_html_figure_of_merit figures[] = {
        {organ_percent_text(organ_json_real(report, "totals.target.percent"), target), of_target},
        {organ_percent_text(organ_json_real(report, "totals.full.percent"), full), of_full},
        {organ_percent_text(organ_json_real(report, "coverage.percent"), coverage), "of the target weights seen, each once"},
        {organ_count_text(organ_json_count(report, "per_tensor.tensors"), tensors), "target tensors"},
    };
    organ_html_figures_of_merit(html, figures, sizeof figures / sizeof *figures);
}

/* A method that was told a sparsity may reach it in every tensor. */
static bool all_alike(const json_t *report)
{
    return organ_json_real(report, "per_tensor.max") - organ_json_real(report, "per_tensor.min") < 0.005;
}

/* ---- projections ---- */

static double share(unsigned long long part, unsigned long long whole)
{
    return whole ? 100.0 * (double)part / (double)whole : (double)NAN;
}

static organ_status rank_projections(const json_t *report, organ_ranking_bar *bars, char (*remarks)[96], char **svg, organ_error *error)
{
    const json_t *const projections = organ_json_at(report, "projections");
    const unsigned long long full = organ_json_count(report, "totals.full.elements");
    char killed[32], elements[32], of_full[96];
    size_t count = json_array_size(projections);
    for (size_t k = 0; k <= count; k++) {
        const json_t *const row = k < count ? json_array_get(projections, k) : organ_json_at(report, "totals.target");
        snprintf(remarks[k], sizeof *remarks, "%s of %s", organ_count_text(organ_json_count(row, "killed"), killed),
                 organ_count_text(organ_json_count(row, "elements"), elements));
        bars[k] = (organ_ranking_bar){.name = k < count ? organ_json_text(row, "name") : "all targets",
                                      .remark = remarks[k],
                                      .value = {organ_json_real(row, "percent"), share(organ_json_count(row, "killed"), full)},
                                      .low = k < count ? organ_json_real(row, "min") : 0,
                                      .high = k < count ? organ_json_real(row, "max") : 0};
    }
    snprintf(of_full, sizeof of_full, "full: of all %s weights of the model", organ_count_text(full, elements));
    const organ_ranking ranking = {.title = "Killed weights by projection",
                                   .subtitle = "the thin line spans the projection's tensors, from the least pruned to the most",
                                   .description =
                                       "For every projection two bars: killed weights in percent of its own weights, and in percent "
                                       "of all weights of the model. The table below has the same numbers.",
                                   .value_label = "killed, percent of the denominator that the bar's colour names",
                                   .series = {"target: of the weights of that projection", of_full},
                                   .digits = 4,
                                   .unit = " %",
                                   .bars = bars,
                                   .count = count + 1};
    return organ_ranking_svg(&ranking, svg, error);
}

static void put_projections(organ_html *html, const json_t *report)
{
    const size_t count = json_array_size(organ_json_at(report, "projections"));
    organ_ranking_bar *const bars = calloc(count + 1, sizeof *bars);
    char(*const remarks)[96] = calloc(count + 1, sizeof *remarks);
    organ_error ignored = {0};
    char *svg = NULL;
    organ_html_section(html, "By projection");
    if (bars && remarks)
        rank_projections(report, bars, remarks, &svg, &ignored);
    organ_html_chart(html, svg,
                     "Each projection over both denominators: its own weights, which are targets, and the whole model. The first says how "
                     "densely it is pruned, the second how much of the model went with it.");
    organ_html_table(
        html, organ_projections_table(report),
        "Mean, min and max are over the projection's tensors, each in percent of that tensor's elements; the last percent is of "
        "all elements of the projection.");
    free(bars);
    free(remarks);
}

/* ---- layers by projections ---- */

/* Killed weights and elements of one projection in one layer, all experts of it together. */
typedef struct place {
    unsigned long long killed, elements, tensors;
} place;

typedef struct field {
    size_t rows, columns;
    const char *row_names[MOST_PROJECTIONS];
    char (*layer_names)[24];
    const char **column_names;
    long long *layers;
    place *places;
    double *values;
    bool together; /* somewhere several tensors are one cell */
} field;

static int by_number(const void *a, const void *b)
{
    const long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

/* What has no layer comes last. */
static long long layer_of(const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    return json_is_integer(layer) && json_integer_value(layer) >= 0 ? (long long)json_integer_value(layer) : 1LL << 62;
}

static bool collect_layers(const json_t *tensors, field *f)
{
    const size_t count = json_array_size(tensors);
    f->layers = calloc(count + 1, sizeof *f->layers);
    if (!f->layers)
        return false;
    for (size_t k = 0; k < count; k++)
        f->layers[k] = layer_of(json_array_get(tensors, k));
    qsort(f->layers, count, sizeof *f->layers, by_number);
    for (size_t k = 0; k < count; k++)
        if (k == 0 || f->layers[k] != f->layers[f->columns - 1])
            f->layers[f->columns++] = f->layers[k];
    return true;
}

/* The projections in the order of the report; SIZE_MAX for one beyond the most that are shown. */
static size_t row_of(field *f, const char *name)
{
    size_t row = 0;
    while (row < f->rows && strcmp(f->row_names[row], name) != 0)
        row++;
    if (row == f->rows && f->rows < MOST_PROJECTIONS)
        f->row_names[f->rows++] = name;
    return row < f->rows ? row : (size_t)-1;
}

static bool fill_field(const json_t *tensors, field *f)
{
    if (!collect_layers(tensors, f))
        return false;
    f->places = calloc(MOST_PROJECTIONS * (f->columns + 1), sizeof *f->places);
    f->values = calloc(MOST_PROJECTIONS * (f->columns + 1), sizeof *f->values);
    f->column_names = calloc(f->columns + 1, sizeof *f->column_names);
    f->layer_names = calloc(f->columns + 1, sizeof *f->layer_names);
    if (!f->places || !f->values || !f->column_names || !f->layer_names)
        return false;
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        const long long layer = layer_of(row);
        const long long *const column = bsearch(&layer, f->layers, f->columns, sizeof layer, by_number);
        const size_t at = row_of(f, organ_json_text(row, "module"));
        if (at == (size_t)-1)
            continue;
        place *const p = &f->places[at * f->columns + (size_t)(column - f->layers)];
        p->killed += organ_json_count(row, "killed");
        p->elements += organ_json_count(row, "elements");
        f->together = f->together || p->tensors++;
    }
    for (size_t k = 0; k < f->rows * f->columns; k++)
        f->values[k] = share(f->places[k].killed, f->places[k].elements);
    for (size_t c = 0; c < f->columns; c++) {
        snprintf(f->layer_names[c], sizeof *f->layer_names, f->layers[c] == 1LL << 62 ? "none" : "%lld", f->layers[c]);
        f->column_names[c] = f->layer_names[c];
    }
    return true;
}

static void free_field(field *f)
{
    free(f->layer_names);
    free(f->column_names);
    free(f->layers);
    free(f->places);
    free(f->values);
}

static void put_heat_map(organ_html *html, const json_t *report)
{
    const json_t *const tensors = organ_json_at(report, "tensors");
    field f = {0};
    organ_error ignored = {0};
    char *svg = NULL;
    if (fill_field(tensors, &f)) {
        const organ_heat_map map = {
            .title = "Killed weights by layer and projection",
            .subtitle = f.together ? "several tensors in one place (experts) are one cell: all their killed weights of "
                                     "all their weights"
                                   : NULL,
            .description = "A field of cells, one for each projection in each layer, with the percentage of its weights "
                           "that were killed. The table of tensors has the same numbers.",
            .row_label = "projection",
            .column_label = "layer",
            .value_label = "killed, percent of the weights of that projection in that layer",
            .rows = f.rows,
            .columns = f.columns,
            .row_names = f.row_names,
            .column_names = f.column_names,
            .values = f.values};
        organ_heat_map_svg(&map, &svg, &ignored);
    }
    organ_html_chart(html, svg,
                     all_alike(report)
                         ? "All target tensors are pruned equally densely."
                         : "How densely each projection of each layer is pruned. The scale spans from the least to the most: small "
                           "differences show, so read the numbers, too.");
    free_field(&f);
}

/* ---- layers ---- */

/* From the least pruned tensor of each layer to the most; layers ascend. */
static void spread(const json_t *tensors, const double *places, size_t count, double *low, double *high)
{
    for (size_t t = 0; t < json_array_size(tensors); t++) {
        const json_t *const row = json_array_get(tensors, t);
        const double percent = organ_json_real(row, "percent"), layer = (double)layer_of(row);
        size_t from = 0, to = count;
        while (from < to) {
            const size_t middle = (from + to) / 2;
            if (places[middle] < layer)
                from = middle + 1;
            else
                to = middle;
        }
        if (from < count && places[from] == layer) {
            low[from] = fmin(low[from], percent);
            high[from] = fmax(high[from], percent);
        }
    }
}

static organ_status draw_layers(const json_t *report, double *places, char **svg, organ_error *error)
{
    const json_t *const layers = organ_json_at(report, "layers"), *const tensors = organ_json_at(report, "tensors");
    const size_t count = json_array_size(layers);
    double *const percents = places + count, *const mean = percents + count, *const low = mean + count, *const high = low + count;
    const double *const lines[] = {percents, mean};
    static const organ_chart_series series[] = {{"all targets of the layer", 0, false}, {"all targets of the model", 0, true}};
    for (size_t k = 0; k < count; k++) {
        const json_t *const layer = json_array_get(layers, k);
        places[k] = organ_json_real(layer, "layer");
        percents[k] = organ_json_real(layer, "percent");
        mean[k] = organ_json_real(report, "totals.target.percent");
        low[k] = high[k] = (double)NAN;
    }
    spread(tensors, places, count, low, high);
    const organ_chart_panel panel = {.count = count, .x = places, .y = lines, .band_low = low, .band_high = high};
    const organ_chart chart = {.title = "Killed weights by layer",
                               .description =
                                   "A line over the layers: killed weights in percent of the layer's target weights, within a band "
                                   "from the least pruned of its tensors to the most. The table below has the same numbers.",
                               .x_label = "layer",
                               .y_label = "killed, percent of target weights",
                               .least_span = 1, /* a hundredth of a percent is no landscape */
                               .whole_x = true,
                               .series = series,
                               .series_count = 2,
                               .band_name = "from its least pruned tensor to its most",
                               .panels = &panel,
                               .panel_count = 1};
    return organ_chart_svg(&chart, svg, error);
}

static organ_table *layers_table(const json_t *layers)
{
    static const organ_field fields[] = {FIELD_COUNT("layer", "layer"), FIELD_COUNT("tensors", "tensors"), FIELD_COUNT("killed", "killed"),
                                         FIELD_COUNT("of", "elements"), FIELD_PERCENT("percent", "percent")};
    return organ_field_table(FIELD_LIST(fields), layers, SIZE_MAX);
}

static void put_layers(organ_html *html, const json_t *report)
{
    const json_t *const layers = organ_json_at(report, "layers");
    const size_t count = json_array_size(layers);
    double *const numbers = calloc(5 * count + 1, sizeof *numbers);
    organ_error ignored = {0};
    char *svg = NULL;
    if (count) {
        organ_html_section(html, "By layer");
        if (numbers && !all_alike(report))
            draw_layers(report, numbers, &svg, &ignored);
        if (!all_alike(report))
            organ_html_chart(html, svg, "Whether layers differ. The axis does not begin at zero.");
        organ_html_table(html, layers_table(layers), "Killed weights by layer, in percent of the layer's target weights");
    }
    free(numbers);
}

void organ_sparsity_sections(organ_html *html, const json_t *report)
{
    organ_html_section(html, "Killed weights");
    organ_html_table(html, organ_totals_table(report), "Killed weights over both denominators");
    if (json_array_size(organ_json_at(report, "tensors")))
        put_heat_map(html, report);
    put_projections(html, report);
    put_layers(html, report);
}
