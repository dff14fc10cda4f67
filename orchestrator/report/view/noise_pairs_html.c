/* SPDX-License-Identifier: MIT
 * NOISE_PAIRS_REPORT.html: organ.noise_pairs/1 as a page. */
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/noise_pairs_report.h"
#include "orchestrator/report/view/role_grid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_MODULES = 1500 };

static const json_t *model_at(const json_t *report, size_t pair, const char *which)
{
    return organ_json_at(json_array_get(organ_json_at(report, "pairs"), pair), which);
}

/* ---- the head ---- */

static void put_title(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fprintf(out, "%s and %s", organ_json_text(model_at(report, 0, "noisy"), "name"), organ_json_text(model_at(report, 1, "noisy"), "name"));
}

static void put_lead(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fputs(organ_json_text(json_array_get(organ_json_at(report, "verdict.sentences"), 0), ""), out);
}

static void put_merits(organ_html *html, const json_t *report)
{
    static const struct {
        const char *format, *key, *words;
    } rows[] = {{"%.4f", "verdict.cosine", "cosine of both noises"},
                {"%.3g", "verdict.remains_to_noise_a", "what remains of N_A - N_B beside N_A"},
                {"%.3g", "verdict.remains_to_change", "what remains beside the change"}};
    char texts[3][32];
    organ_html_figure_of_merit figures[3];
    size_t count = 0;
    for (size_t k = 0; k < 3; k++) {
        const json_t *const value = organ_json_at(report, rows[k].key);
        if (!json_is_number(value))
            continue;
        snprintf(texts[count], sizeof *texts, rows[k].format, json_number_value(value));
        figures[count] = (organ_html_figure_of_merit){texts[count], rows[k].words};
        count++;
    }
    organ_html_figures_of_merit(html, figures, count);
}

static void put_verdict(organ_html *html, const json_t *report)
{
    static const organ_column columns[] = {
        {"pair", ORGAN_LEFT, false, false}, {"model", ORGAN_LEFT, false, false}, {"stored as", ORGAN_LEFT, false, false}};
    static const char *const which[] = {"clean", "noisy"};
    organ_table *const table = organ_table_create(columns, 3);
    for (size_t p = 0; p < 2; p++)
        for (size_t k = 0; k < 2; k++) {
            organ_table_cell(table, "%c, %s", p ? 'B' : 'A', which[k]);
            organ_table_cell(table, "%s", organ_json_text(model_at(report, p, which[k]), "name"));
            organ_table_cell(table, "%s", organ_json_text(model_at(report, p, which[k]), "stored_as"));
        }
    organ_html_section(html, "Verdict");
    organ_html_list(html, organ_json_at(report, "verdict.sentences"));
    organ_html_caution(html, "All this is about weights: what a model answers, only a measurement of its answers tells.");
    organ_html_table(html, table, "The models");
    organ_html_paragraph(html, "The change is that of the %s.", organ_json_text(report, "change.of"));
}

/* ---- charts ---- */

static double value_of(const json_t *row, const void *key) { return organ_json_number(row, key); }
static double low_of(const json_t *row, const void *key) { return -3 * organ_json_number(row, key); }
static double high_of(const json_t *row, const void *key) { return 3 * organ_json_number(row, key); }
static bool is_beyond(const json_t *row, const void *key) { return fabs(organ_json_number(row, key)) > 3; }

#define SOURCE(get, key)                                                                                                                   \
    {                                                                                                                                      \
        .rows = places, .role_key = "projection", .value = get, .context = key                                                             \
    }

static void put_sizes(organ_html *html, const json_t *places)
{
    const organ_grid_source sources[] = {SOURCE(value_of, "noise_a"), SOURCE(value_of, "noise_b"), SOURCE(value_of, "remains"),
                                         SOURCE(value_of, "change")};
    static const organ_chart_series series[] = {
        {.name = "N_A", .look = 0}, {.name = "N_B", .look = 1}, {.name = "N_A - N_B", .look = 2}, {.name = "change", .look = 3}};
    const organ_chart chart = {.title = "Size of both noises, of what remains, and of the change",
                               .subtitle = "Frobenius norms; noises that cancel leave a remainder far below both",
                               .description =
                                   "Frobenius norms of the noise of each pair, of their difference and of the change for each layer, "
                                   "one panel a projection, logarithmic.",
                               .y_label = "Frobenius norm (log scale)",
                               .log_y = true,
                               .series = series,
                               .series_count = sizeof series / sizeof *series};
    organ_html_role_panels(html, sources, &chart,
                           "Where N_A - N_B lies above the change, an adapter taken from the noisy models is mostly noise.");
}

static void put_cosines(organ_html *html, const json_t *places)
{
    const organ_grid_source sources[] = {SOURCE(value_of, "cosine"), SOURCE(low_of, "chance_std"), SOURCE(high_of, "chance_std")};
    static const organ_chart_series series[] = {{.name = "cosine of N_A and N_B", .look = 0}};
    const organ_chart chart = {.title = "Cosine of both noises",
                               .subtitle = "1: the same direction; 0: unrelated",
                               .description = "Cosine of the noises of both pairs for each layer, one panel a projection, with the band in "
                                              "which random matrices lie.",
                               .y_label = "cosine",
                               .bars = true,
                               .series = series,
                               .series_count = 1,
                               .band_name = "random matrices: 3 standard deviations"};
    organ_html_role_panels(html, sources, &chart, "Bars inside the band are what random matrices have.");
}

static void put_map(organ_html *html, const json_t *places)
{
    const organ_grid_source source = {.rows = places, .role_key = "projection", .value = value_of, .marks = is_beyond, .context = "z"};
    const organ_heat_map map = {.title = "How unusual each cosine is",
                                .subtitle = "z: cosine over its standard deviation by chance; 0 is what random matrices have on average",
                                .description = "z of the cosine of both noises for each projection and layer. Beyond 3 is outlined.",
                                .value_label = "z",
                                .mark_name = "beyond 3: rare by chance",
                                .low = -6,
                                .high = 6,
                                .diverging = true};
    if (organ_grid_has_values(&source))
        organ_html_role_map(html, &source, &map, "Unusual is not large: the cosines themselves are in the chart above.");
}

organ_status organ_noise_pairs_report_html(const json_t *report, char **html, organ_error *error)
{
    const json_t *const places = organ_json_at(report, "places");
    *html = NULL;
    char *const title = organ_report_words(put_title, report, error);
    char *const lead = title ? organ_report_words(put_lead, report, error) : NULL;
    if (lead) {
        organ_html *const page = organ_html_create("Quantisation noise of two pairs", title, lead);
        put_merits(page, report);
        put_verdict(page, report);
        organ_html_section(page, "Layer by layer");
        put_sizes(page, places);
        put_cosines(page, places);
        put_map(page, places);
        organ_html_section(page, "Numbers");
        organ_html_table(page, organ_noise_pairs_noises(report, "projections", "projection"),
                         "The noises beside each other, by projection");
        organ_html_table(page, organ_noise_pairs_change(report, "projections", "projection"), "Beside the change, by projection");
        organ_html_table(page, organ_noise_pairs_noises(report, "layers", "layer"), "The noises beside each other, by layer");
        organ_html_table(page, organ_noise_pairs_change(report, "layers", "layer"), "Beside the change, by layer");
        organ_html_table(page, organ_noise_pairs_modules(report, MOST_MODULES), "Every module");
        organ_html_left_out(page, json_array_size(organ_json_at(report, "modules")), MOST_MODULES, "modules");
        organ_html_thresholds(page, organ_json_at(report, "thresholds"));
        organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
        organ_html_finish(page, html, error);
    }
    free(title);
    free(lead);
    return error->status;
}
