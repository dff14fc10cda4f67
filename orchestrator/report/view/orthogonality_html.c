/* SPDX-License-Identifier: MIT
 * ORTHOGONALITY_REPORT.html: organ.orthogonality/1 as a page. */
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/orthogonality_charts.h"
#include "orchestrator/report/view/orthogonality_report.h"
#include "orchestrator/report/view/role_grid.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NOISES = 2, MOST_MODULES = 1500 };

static const json_t *noise_at(const json_t *report, size_t n) { return json_array_get(organ_json_at(report, "noises"), n); }

static size_t noise_count(const json_t *report)
{
    const size_t count = json_array_size(organ_json_at(report, "noises"));
    return count > MOST_NOISES ? MOST_NOISES : count;
}

/* ---- the head ---- */

static void put_title(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fputs(organ_json_text(report, "clean.name"), out);
    for (size_t n = 0; n < noise_count(report); n++)
        fprintf(out, "%s%s", n ? " and " : " against ", organ_json_text(noise_at(report, n), "noisy.name"));
}

static void put_lead(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    for (size_t n = 0; n < noise_count(report); n++) {
        const json_t *const noise = noise_at(report, n);
        const char *const sentence = organ_json_text(json_array_get(organ_json_at(noise, "verdict.sentences"), 0), "");
        fprintf(out, noise_count(report) > 1 ? "%s%s: %s" : "%s%.0s%s", n ? " " : "", organ_json_text(noise, "noisy.name"), sentence);
    }
}

static void put_merits(organ_html *html, const json_t *report)
{
    char texts[MOST_NOISES * 3][32], words[MOST_NOISES * 3][96];
    organ_html_figure_of_merit figures[MOST_NOISES * 3];
    size_t count = 0;
    for (size_t n = 0; n < noise_count(report); n++) {
        const json_t *const noise = noise_at(report, n);
        const char *const name = organ_json_text(noise, "noisy.name");
        const struct {
            const char *format, *key, *words;
        } rows[] = {{"%.4f", "total.cosine", "cosine of noise and adapter, %.40s"},
                    {"%.3g", "total.ratio", "noise beside the change by the adapter, %.40s"},
                    {"%.3g", "total.leakage_over_expected", "leakage beside its expectation, %.40s"}};
        for (size_t k = 0; k < 3; k++) {
            const double value = organ_json_number(noise, rows[k].key);
            if (!isfinite(value))
                continue;
            snprintf(texts[count], sizeof *texts, rows[k].format, value);
            snprintf(words[count], sizeof *words, rows[k].words, name);
            figures[count] = (organ_html_figure_of_merit){texts[count], words[count]};
            count++;
        }
    }
    organ_html_figures_of_merit(html, figures, count);
}

/* What each noise was found to be, side by side. */
static void put_verdict_table(organ_html *html, const json_t *report)
{
    char names[MOST_NOISES][200];
    organ_column columns[MOST_NOISES];
    size_t rows = 0;
    for (size_t n = 0; n < noise_count(report); n++) {
        const json_t *const noise = noise_at(report, n);
        const size_t sentences = json_array_size(organ_json_at(noise, "verdict.sentences"));
        snprintf(names[n], sizeof *names, "the noise of %.80s", organ_json_text(noise, "noisy.name"));
        columns[n] = (organ_column){names[n], ORGAN_LEFT, false, false};
        rows = sentences > rows ? sentences : rows;
    }
    organ_table *const table = organ_table_create(columns, noise_count(report));
    for (size_t n = 0; n < noise_count(report); n++)
        organ_table_cell(table, "Stored as %s.", organ_json_text(noise_at(report, n), "stored_as"));
    for (size_t k = 0; k < rows; k++)
        for (size_t n = 0; n < noise_count(report); n++)
            organ_table_cell(table, "%s", organ_json_text(json_array_get(organ_json_at(noise_at(report, n), "verdict.sentences"), k), ""));
    organ_html_table(html, table, NULL);
}

static void put_verdicts(organ_html *html, const json_t *report)
{
    organ_html_section(html, "Verdict");
    if (noise_count(report))
        put_verdict_table(html, report);
    organ_html_caution(html, "All this is about weights: what a model answers, only a measurement of its answers tells.");
    organ_html_model(html, "Clean", organ_json_at(report, "clean"));
    organ_html_paragraph(html, "Adapter: %s, rank %llu, %zu of %llu modules compared.", organ_json_text(report, "run.adapter"),
                         organ_json_count(report, "adapter.r"), json_array_size(organ_json_at(report, "modules")),
                         organ_json_count(report, "adapter.modules"));
}

/* ---- charts ---- */

static void put_charts(organ_html *html, const json_t *report)
{
    static const char *const captions[] = {
        "Where the adapter's line lies above that of the noise, what the adapter changes is larger than what quantisation took.",
        "Bars inside the band are what random matrices have: there noise and adapter have no direction in common.",
        "At the dashed line the noise has no preference for the directions that the adapter writes into; above it has."};
    organ_html_section(html, "Layer by layer");
    for (organ_noise_chart k = 0; k < ORGAN_NOISE_CHARTS; k++) {
        organ_error error = {0};
        char *svg = NULL;
        organ_orthogonality_chart(report, k, &svg, &error);
        organ_html_chart(html, svg, captions[k]);
    }
}

static double z_of(const json_t *row, const void *context)
{
    (void)context;
    return organ_json_number(row, "z");
}

static bool is_beyond(const json_t *row, const void *context) { return fabs(z_of(row, context)) > 3; }

static void put_map(organ_html *html, const json_t *noise)
{
    char title[160];
    const organ_grid_source source = {.rows = organ_json_at(noise, "places"), .role_key = "projection", .value = z_of, .marks = is_beyond};
    snprintf(title, sizeof title, "How unusual each cosine is: the noise of %.80s", organ_json_text(noise, "noisy.name"));
    const organ_heat_map map = {.title = title,
                                .subtitle = "z: cosine over its standard deviation by chance; 0 is what random matrices have on average",
                                .description = "z of the cosine between noise and adapter for each projection and layer. Beyond 3 is "
                                               "outlined.",
                                .value_label = "z",
                                .mark_name = "beyond 3: rare by chance",
                                .low = -6,
                                .high = 6,
                                .diverging = true};
    if (organ_grid_has_values(&source))
        organ_html_role_map(html, &source, &map,
                            "The sign is the direction: above 0 the adapter goes with what quantisation took, below against it. Unusual is "
                            "not large: the cosines themselves are in the chart above.");
}

/* ---- tables ---- */

static void real_cell(organ_table *table, const char *format, double value)
{
    char text[40] = "-";
    if (isfinite(value)) {
        snprintf(text, sizeof text, format, value);
        if (*text == '-' && value > -1 && !text[1 + strspn(text + 1, "0.")])
            memmove(text, text + 1, strlen(text));
    }
    organ_table_cell(table, "%s", text);
}

/* Fewer columns than Markdown has: what the draws gave is in JSON. */
static organ_table *modules_table(const json_t *report, size_t n)
{
    static const organ_column columns[] = {{"module", ORGAN_LEFT, false, true},    {"|N|/|K|", ORGAN_RIGHT, false, false},
                                           {"cosine", ORGAN_RIGHT, false, false},  {"chance", ORGAN_RIGHT, false, false},
                                           {"z", ORGAN_RIGHT, false, false},       {"k", ORGAN_RIGHT, false, false},
                                           {"leakage", ORGAN_RIGHT, false, false}, {"expected", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const modules = organ_json_at(report, "modules");
    for (size_t k = 0; k < json_array_size(modules) && k < MOST_MODULES; k++) {
        const json_t *const row = json_array_get(modules, k), *const noise = json_array_get(organ_json_at(row, "noise"), n);
        organ_table_cell(table, "%s", organ_json_text(row, "module"));
        real_cell(table, "%.3g", organ_json_number(noise, "ratio"));
        real_cell(table, "%.5f", organ_json_number(noise, "cosine"));
        real_cell(table, "%.5f", organ_json_number(row, "chance.std_exact"));
        real_cell(table, "%.2f", organ_json_number(noise, "z_exact"));
        organ_table_count(table, organ_json_count(row, "k"));
        real_cell(table, "%.4f", organ_json_number(noise, "leakage"));
        real_cell(table, "%.4f", organ_json_number(noise, "leakage_expected"));
    }
    return table;
}

static void put_extremes(FILE *out, const json_t *report, const organ_page *page)
{
    organ_orthogonality_extremes(out, report, 0, page, "");
}
static void put_extremes2(FILE *out, const json_t *report, const organ_page *page)
{
    organ_orthogonality_extremes(out, report, 1, page, "");
}

static void put_noise(organ_html *html, const json_t *report, size_t n)
{
    const json_t *const noise = noise_at(report, n);
    char title[200];
    snprintf(title, sizeof title, "The noise of %.160s", organ_json_text(noise, "noisy.name"));
    organ_html_section(html, title);
    put_map(html, noise);
    organ_html_words(html, n ? put_extremes2 : put_extremes, report);
    organ_html_table(html, organ_orthogonality_projections(noise),
                     "By projection; chance: standard deviation of the cosine of random matrices, expected: leakage of noise without "
                     "direction");
    organ_html_table(html, organ_orthogonality_layers(noise), "By layer");
    organ_html_table(html, modules_table(report, n), "Every module");
    organ_html_left_out(html, json_array_size(organ_json_at(report, "modules")), MOST_MODULES, "modules");
}

static void put_agreement(organ_html *html, const json_t *agreement)
{
    if (!json_is_object(agreement))
        return;
    organ_html_section(html, "The two noises beside each other");
    organ_html_sentences(html, organ_json_at(agreement, "verdict.sentences"));
    organ_html_table(html, organ_orthogonality_agreement(agreement), "By projection");
}

organ_status organ_orthogonality_report_html(const json_t *report, char **html, organ_error *error)
{
    *html = NULL;
    char *const title = organ_report_words(put_title, report, error);
    char *const lead = title ? organ_report_words(put_lead, report, error) : NULL;
    if (lead) {
        organ_html *const page = organ_html_create("Quantisation noise and adapter", title, lead);
        put_merits(page, report);
        put_verdicts(page, report);
        put_charts(page, report);
        for (size_t n = 0; n < noise_count(report); n++)
            put_noise(page, report, n);
        put_agreement(page, organ_json_at(report, "agreement"));
        organ_html_thresholds(page, organ_json_at(report, "thresholds"));
        organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
        organ_html_finish(page, html, error);
    }
    free(title);
    free(lead);
    return error->status;
}
