/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/orthogonality_charts.h"

#include "orchestrator/report/svg/chart.h"
#include "orchestrator/report/text/document.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES = 3, COLUMNS = SERIES + 3 }; /* x, both edges of the band */

/* What the panels of one chart point to. */
typedef struct plot {
    organ_noise_chart which;
    const json_t *noises;
    size_t noise_count, series_count, panel_count;
    double *values; /* COLUMNS arrays of `room` */
    size_t room, used;
    organ_chart_panel *panels;
    const double *(*y)[SERIES];
    organ_chart_series series[SERIES];
    char names[SERIES][160];
} plot;

const char *organ_orthogonality_chart_name(organ_noise_chart which)
{
    static const char *const names[] = {"magnitude.svg", "cosine.svg", "leakage.svg"};
    return names[which];
}

static double number(const json_t *row, const char *key)
{
    const json_t *const value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double *column(const plot *p, size_t c) { return p->values + c * p->room; }

/* What series `s` shows of the place at `index` of all noises. */
static double value_of(const plot *p, size_t s, size_t index)
{
    static const char *const keys[] = {"noise_norm", "cosine", "leakage"};
    const size_t noise = s < p->noise_count ? s : 0;
    const json_t *const row = json_array_get(organ_json_at(json_array_get(p->noises, noise), "places"), index);
    if (s < p->noise_count)
        return number(row, keys[p->which]);
    return number(row, p->which == ORGAN_NOISE_MAGNITUDE ? "change_norm" : "leakage_expected");
}

/* The panel of one projection, of its places in layers. */
static void add_panel(plot *p, const char *projection)
{
    const json_t *const places = organ_json_at(json_array_get(p->noises, 0), "places");
    organ_chart_panel *const panel = &p->panels[p->panel_count];
    const double **const y = p->y[p->panel_count];
    const size_t from = p->used;
    for (size_t k = 0; k < json_array_size(places) && p->used < p->room; k++) { /* a projection that is told twice has no room */
        const json_t *const row = json_array_get(places, k);
        if (strcmp(organ_json_text(row, "projection"), projection) != 0 || !json_is_integer(json_object_get(row, "layer")))
            continue;
        column(p, SERIES)[p->used] = organ_json_real(row, "layer");
        for (size_t s = 0; s < p->series_count; s++)
            column(p, s)[p->used] = value_of(p, s, k);
        column(p, SERIES + 1)[p->used] = -3 * number(row, "chance_std");
        column(p, SERIES + 2)[p->used++] = 3 * number(row, "chance_std");
    }
    if (p->used == from)
        return;
    for (size_t s = 0; s < p->series_count; s++)
        y[s] = column(p, s) + from;
    *panel = (organ_chart_panel){.title = projection, .count = p->used - from, .x = column(p, SERIES) + from, .y = y};
    if (p->which == ORGAN_NOISE_COSINE) {
        panel->band_low = column(p, SERIES + 1) + from;
        panel->band_high = column(p, SERIES + 2) + from;
    }
    p->panel_count++;
}

static void name_series(plot *p)
{
    static const char *const what[] = {"noise of", "cosine of the noise of", "leakage of the noise of"};
    for (size_t n = 0; n < p->noise_count; n++) {
        snprintf(p->names[n], sizeof p->names[n], "%s %.120s", what[p->which], organ_json_text(json_array_get(p->noises, n), "noisy.name"));
        p->series[n] = (organ_chart_series){.name = p->names[n], .look = (unsigned)n};
    }
    p->series_count = p->noise_count;
    if (p->which == ORGAN_NOISE_MAGNITUDE)
        p->series[p->series_count++] = (organ_chart_series){.name = "change by the adapter", .look = 2};
    if (p->which == ORGAN_NOISE_LEAKAGE)
        p->series[p->series_count++] = (organ_chart_series){.name = "expected of noise without direction", .reference = true};
}

static organ_status gather(plot *p, const json_t *report, organ_error *error)
{
    p->noises = organ_json_at(report, "noises");
    p->noise_count = json_array_size(p->noises) > 1 ? 2 : 1;
    const json_t *const first = json_array_get(p->noises, 0), *const projections = organ_json_at(first, "projections");
    const size_t count = json_array_size(projections);
    p->room = json_array_size(organ_json_at(first, "places")) + 1;
    p->values = calloc(p->room * COLUMNS, sizeof *p->values);
    p->panels = calloc(count + 1, sizeof *p->panels);
    p->y = calloc(count + 1, sizeof *p->y);
    if (!p->values || !p->panels || !p->y)
        return organ_fail_errno(error, ENOMEM, "a plot");
    name_series(p);
    for (size_t k = 0; k < count; k++)
        add_panel(p, organ_json_text(json_array_get(projections, k), "projection"));
    if (p->panel_count == 0) /* nothing in any layer: an empty panel says so */
        p->panels[p->panel_count++] = (organ_chart_panel){.y = p->y[0]};
    return ORGAN_OK;
}

organ_status organ_orthogonality_chart(const json_t *report, organ_noise_chart which, char **svg, organ_error *error)
{
    static const organ_chart charts[] = {
        {.title = "Size of noise and adapter",
         .subtitle = "Frobenius norms; where the adapter lies above the noise, its change is larger than what quantisation took",
         .description = "Frobenius norm of the quantisation noise and of the adapter's change for each layer, one panel a projection, "
                        "logarithmic.",
         .y_label = "Frobenius norm (log scale)",
         .log_y = true},
        {.title = "Cosine between noise and adapter",
         .subtitle = "0: unrelated; above the band the adapter goes with what quantisation took, below against it",
         .description = "Cosine between quantisation noise and the adapter's change for each layer, one panel a projection, with the band "
                        "in which random matrices lie.",
         .y_label = "cosine",
         .bars = true,
         .band_name = "random matrices: 3 standard deviations"},
        {.title = "Noise in the adapter's output directions",
         .subtitle = "share of the noise's norm; the dashed line is what noise without any direction has",
         .description = "Share of the quantisation noise that lies in the output directions of the adapter for each layer, one panel a "
                        "projection, with its expectation.",
         .y_label = "leakage"},
    };
    plot p = {.which = which};
    *svg = NULL;
    if (gather(&p, report, error) == ORGAN_OK) {
        organ_chart chart = charts[which];
        chart.x_label = "layer";
        chart.whole_x = true;
        chart.series = p.series;
        chart.series_count = p.series_count;
        chart.panels = p.panels;
        chart.panel_count = p.panel_count;
        organ_chart_svg(&chart, svg, error);
    }
    free(p.values);
    free(p.panels);
    free((void *)p.y);
    return error->status;
}
