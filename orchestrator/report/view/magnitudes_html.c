/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/chart.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/sparsity_html.h"

#include <math.h>
#include <stdlib.h>

#define MOST_BINS 256

/* The bins from the first with a weight to the last, and what they hold in percent of the weights counted. */
typedef struct histogram {
    size_t bins;
    double place[MOST_BINS], all[MOST_BINS], killed[MOST_BINS], zero[MOST_BINS];
} histogram;

static void read_bins(const json_t *m, histogram *h)
{
    const json_t *const all = organ_json_at(m, "count"), *const killed = organ_json_at(m, "killed");
    const double weights = organ_json_real(m, "weights"), per_octave = organ_json_real(m, "per_octave");
    size_t from = 0, to = json_array_size(all);
    while (from < to && json_integer_value(json_array_get(all, from)) == 0)
        from++;
    while (to > from && json_integer_value(json_array_get(all, to - 1)) == 0)
        to--;
    for (size_t k = from; k < to && h->bins < MOST_BINS && per_octave > 0 && weights > 0; k++, h->bins++) {
        h->place[h->bins] = organ_json_real(m, "from_log2") + ((double)k + 0.5) / per_octave;
        h->all[h->bins] = 100 * (double)json_integer_value(json_array_get(all, k)) / weights;
        h->killed[h->bins] = 100 * (double)json_integer_value(json_array_get(killed, k)) / weights;
        h->zero[h->bins] = 0;
    }
}

static char *draw(const histogram *h)
{
    static const organ_chart_series series[] = {{"weights of the donor", 0, false}};
    const double *const lines[] = {h->all};
    const organ_chart_panel panel = {.count = h->bins, .x = h->place, .y = lines, .band_low = h->zero, .band_high = h->killed};
    const organ_chart chart = {.title = "Magnitudes of the target weights, and the killed part of them",
                               .description =
                                   "A line over the magnitudes on a logarithmic scale: how many of the donor's target weights are "
                                   "that large. The area under it is the part that was killed.",
                               .x_label = "log2 |w|, in steps of half an octave",
                               .y_label = "percent of the weights counted",
                               .series = series,
                               .series_count = 1,
                               .band_name = "killed",
                               .panels = &panel,
                               .panel_count = 1};
    organ_error ignored = {0};
    char *svg = NULL;
    organ_chart_svg(&chart, &svg, &ignored);
    return svg;
}

void organ_magnitudes_section(organ_html *html, const json_t *report)
{
    const json_t *const m = organ_json_at(report, "magnitudes");
    histogram h = {0};
    char counted[32], of[32];
    if (m)
        read_bins(m, &h);
    if (h.bins == 0)
        return;
    organ_html_section(html, "What was killed, by magnitude");
    organ_html_chart(html, draw(&h),
                     "A pruning by magnitude alone would cut the curve at one place. Where the shaded part reaches into larger weights, or "
                     "leaves smaller ones, the method saw more than magnitude: a weak row or column, or what the layer does.");
    const unsigned long long step = organ_json_count(m, "every_row");
    organ_count_text(organ_json_count(m, "weights"), counted), organ_count_text(organ_json_count(m, "of"), of);
    if (step > 1)
        organ_html_paragraph(html, "Counted are %s of the %s target weights: row 0, %llu, %llu and so on of each tensor.", counted, of,
                             step, 2 * step);
    else
        organ_html_paragraph(html, "Counted are all %s target weights.", of);
}
