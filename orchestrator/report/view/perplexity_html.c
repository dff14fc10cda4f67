/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/svg/scatter.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/perplexity_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KINDS = 24 };

static bool is_evaluation(const json_t *report) { return strcmp(organ_json_text(report, "schema"), "organ.evaluate/1") == 0; }
static bool is_lm_eval(const json_t *report) { return strcmp(organ_json_text(report, "experiment.style"), "lm-eval") == 0; }
static const json_t *models_of(const json_t *report) { return organ_json_at(report, "models"); }
static const json_t *model_at(const json_t *report, size_t m) { return json_array_get(models_of(report), m); }

/* As organ_measured_text, with the sign that stands for "give or take". */
static const char *measured(const json_t *row, const char *key, const char *error_key, double scale, bool sign, char out[64])
{
    char text[64];
    organ_measured_text(row, key, error_key, scale, sign, text);
    const char *const between = strstr(text, "+-");
    if (between)
        snprintf(out, 64, "%.*s\u00b1%s", (int)(between - text), text, between + 2);
    else
        snprintf(out, 64, "%s", text);
    return out;
}

/* ---- the experiment ---- */

static void row(organ_table *table, const char *what, const char *here)
{
    organ_table_cell(table, "%s", what);
    organ_table_cell(table, "%s", here);
}

organ_table *organ_experiment_table(const json_t *e)
{
    static const organ_column columns[] = {{"what", ORGAN_LEFT, false, false}, {"here", ORGAN_LEFT, false, false}};
    organ_table *const table = organ_table_create(columns, 2);
    char a[32], b[32];
    organ_table_cell(table, "text");
    organ_table_cell(table, "%s, %s bytes, %s tokens", organ_json_text(e, "text.name"),
                     organ_count_text(organ_json_count(e, "text.bytes"), a), organ_count_text(organ_json_count(e, "text.tokens"), b));
    row(table, "digest of the text (XXH3)", organ_json_text(e, "text.xxh3"));
    organ_table_cell(table, "tokenizer");
    organ_table_cell(table, "%s of %s", organ_json_text(e, "tokenizer.kind"),
                     organ_count_text(organ_json_count(e, "tokenizer.vocabulary"), a));
    row(table, "digest of the tokenizer", organ_json_text(e, "tokenizer.digest"));
    organ_table_cell(table, "style");
    organ_table_cell(table, "%s; %s", organ_json_text(e, "style"), organ_json_text(e, "bos"));
    organ_table_cell(table, "context");
    organ_table_cell(table, "%s tokens", organ_count_text(organ_json_count(e, "context"), a));
    const unsigned long long windows = organ_json_count(e, "windows");
    organ_table_cell(table, "scored");
    organ_table_cell(table, "%s of the first %s tokens, in %llu window%s", organ_count_text(organ_json_count(e, "tokens_scored"), a),
                     organ_count_text(organ_json_count(e, "tokens_used"), b), windows, windows == 1 ? "" : "s");
    return table;
}

static void put_experiment(organ_html *html, const json_t *report)
{
    organ_html_section(html, "The experiment");
    organ_html_caution(html,
                       "The same model has other perplexities by other protocols. %s Errors are standard errors; tokens are taken as "
                       "independent.",
                       organ_json_text(report, "definitions.same experiment"));
    if (json_is_false(organ_json_at(report, "experiment.text.utf8")))
        organ_html_caution(html, "Not all of the text is UTF-8: what is not is read as U+FFFD.");
    organ_html_table(html, organ_experiment_table(organ_json_at(report, "experiment")),
                     "What has to be the same wherever these numbers are set beside others");
}

/* ---- charts of an evaluation ---- */

/* The kind of a model in charts: its experiment where that has a name, else its method. */
static const char *kind_name(const json_t *model)
{
    const char *const method = organ_json_text(model, "method"), *const name = organ_json_text(model, "experiment.name");
    return *name ? name : *method ? method : "no log";
}

/* Points of all models but the first, and of the first once a method and once as itself. */
typedef struct cloud {
    const json_t *report;
    const char *kinds[MOST_KINDS];
    size_t kind_count, count;
    organ_point *points;
} cloud;

static int by_sparsity(const void *a, const void *b)
{
    const organ_point *const p = a, *const q = b;
    if (p->kind != q->kind)
        return p->kind < q->kind ? -1 : 1;
    return p->x < q->x ? -1 : p->x > q->x;
}

static void name_kinds(cloud *c)
{
    for (size_t m = 1; m < json_array_size(models_of(c->report)); m++) {
        const char *const method = kind_name(model_at(c->report, m));
        size_t k = 0;
        while (k < c->kind_count && strcmp(c->kinds[k], method) != 0)
            k++;
        if (k == c->kind_count && k + 1 < MOST_KINDS)
            c->kinds[c->kind_count++] = method;
    }
}

/* Methods beyond those that have a kind of their own share the last one. */
static unsigned kind_of(const cloud *c, const json_t *model)
{
    unsigned k = 0;
    while (k + 1 < c->kind_count && strcmp(c->kinds[k], kind_name(model)) != 0)
        k++;
    return k;
}

/* With `origin` the lines of all methods begin in the donor, which is the last kind: the same method looks the same in both charts. */
static bool gather(cloud *c, const char *key, bool origin)
{
    const size_t models = json_array_size(models_of(c->report));
    const json_t *const donor = model_at(c->report, 0);
    name_kinds(c);
    c->points = calloc(models + c->kind_count + 1, sizeof *c->points);
    if (!c->points)
        return false;
    for (size_t m = 1; m < models; m++) {
        const json_t *const model = model_at(c->report, m);
        const double x = organ_json_number(model, "sparsity.target.percent");
        if (isfinite(x))
            c->points[c->count++] = (organ_point){
                .x = x, .y = organ_json_number(model, key), .kind = kind_of(c, model), .name = organ_json_text(model, "model.name")};
    }
    for (unsigned k = 0; k < c->kind_count && origin; k++)
        c->points[c->count++] = (organ_point){.y = organ_json_number(donor, key), .kind = k};
    qsort(c->points, c->count, sizeof *c->points, by_sparsity);
    for (size_t k = 1; k < c->count; k++)
        c->points[k].joined = c->points[k].kind == c->points[k - 1].kind && c->points[k].x > c->points[k - 1].x;
    if (!origin)
        return true;
    c->kinds[c->kind_count] = "the donor"; /* its point comes last and so stands above the ends of the lines */
    c->points[c->count++] =
        (organ_point){.y = organ_json_number(donor, key), .kind = (unsigned)c->kind_count++, .name = organ_json_text(donor, "model.name")};
    return true;
}

static bool is_wide(const cloud *c)
{
    double least = INFINITY, most = 0;
    for (size_t k = 0; k < c->count; k++)
        if (c->points[k].y > 0 && isfinite(c->points[k].y)) {
            least = fmin(least, c->points[k].y);
            most = fmax(most, c->points[k].y);
        }
    return most > 8 * least;
}

static void put_cloud(organ_html *html, const json_t *report, const char *key, bool origin, const organ_scatter *chart,
                      const char *const y_labels[2], const char *caption)
{
    cloud c = {.report = report};
    organ_error error = {0};
    char *svg = NULL;
    if (!gather(&c, key, origin)) {
        organ_html_fail(html);
        return;
    }
    organ_scatter whole = *chart;
    whole.kinds = c.kinds;
    whole.kind_count = c.kind_count;
    whole.points = c.points;
    whole.count = c.count;
    whole.log_y = is_wide(&c);
    whole.y_label = y_labels[whole.log_y];
    organ_scatter_svg(&whole, &svg, &error);
    organ_html_chart(html, svg, caption);
    free(c.points);
}

static bool has_sparsity(const json_t *report)
{
    for (size_t m = 1; m < json_array_size(models_of(report)); m++)
        if (json_is_number(organ_json_at(model_at(report, m), "sparsity.target.percent")))
            return true;
    return false;
}

static void put_clouds(organ_html *html, const json_t *report)
{
    static const organ_scatter perplexity = {.title = "Perplexity against sparsity",
                                             .subtitle = "lower is better; each line is a method and begins in the donor",
                                             .description = "Perplexity of each pruned model over the share of killed weights, one line a "
                                                            "method, beginning in the donor.",
                                             .x_label = "killed, percent of the target weights"};
    static const organ_scatter divergence = {.title = "How far the predictions moved",
                                             .subtitle = "KL divergence from the donor: 0 is the donor's own predictions",
                                             .description = "KL divergence of each pruned model from the donor over the share of killed "
                                                            "weights, one line a method.",
                                             .x_label = "killed, percent of the target weights"};
    static const char *const perplexities[] = {"perplexity", "perplexity (log scale)"};
    static const char *const divergences[] = {"KL divergence, nats per token", "KL divergence, nats per token (log scale)"};
    put_cloud(html, report, "figures.perplexity", true, &perplexity, perplexities,
              "Only models at the same sparsity compare methods; how sure the differences are is in the next chart.");
    put_cloud(html, report, "comparison.kl_divergence", false, &divergence, divergences,
              "Separates methods where perplexity hardly does: it counts every change of the predictions, for better or worse.");
}

static int by_value(const void *a, const void *b)
{
    const double x = ((const organ_ranking_bar *)a)->value[0], y = ((const organ_ranking_bar *)b)->value[0];
    return isnan(x) || isnan(y) ? isnan(x) - isnan(y) : x < y ? -1 : x > y;
}

enum { REMARK = 96 };

/* One bar a model but the first; false without memory. */
static bool gather_bars(const json_t *report, organ_ranking_bar **bars, char (**remarks)[REMARK], size_t *count)
{
    const size_t models = json_array_size(models_of(report));
    *bars = calloc(models + 1, sizeof **bars);
    *remarks = calloc(models + 1, sizeof **remarks);
    *count = 0;
    if (!*bars || !*remarks)
        return false;
    for (size_t m = 1; m < models; m++, (*count)++) {
        const json_t *const model = model_at(report, m);
        const double value = organ_json_number(model, "comparison.difference");
        const double deviation = organ_json_number(model, "comparison.difference_error");
        const double sparsity = organ_json_number(model, "sparsity.target.percent");
        organ_ranking_bar *const bar = &(*bars)[*count];
        *bar = (organ_ranking_bar){.name = organ_json_text(model, "model.name"), .value = {value, NAN}};
        if (deviation > 0) {
            bar->low = value - deviation;
            bar->high = value + deviation;
        }
        if (isfinite(sparsity)) {
            snprintf((*remarks)[*count], REMARK, "%.60s, %.4g %% killed", kind_name(model), sparsity);
            bar->remark = (*remarks)[*count];
        }
    }
    qsort(*bars, *count, sizeof **bars, by_value);
    return true;
}

static void put_differences(organ_html *html, const json_t *report)
{
    organ_ranking_bar *bars;
    char(*remarks)[REMARK];
    organ_error error = {0};
    size_t count;
    char *svg = NULL;
    const bool made = gather_bars(report, &bars, &remarks, &count);
    const organ_ranking ranking = {.title = "What it cost in perplexity",
                                   .subtitle =
                                       "perplexity less that of the donor, on the same tokens, with one standard error to each side",
                                   .description = "Difference in perplexity of each model to the donor, from the least to the most.",
                                   .value_label = "difference in perplexity",
                                   .series = {"difference to the donor", NULL},
                                   .digits = 5,
                                   .bars = bars,
                                   .count = count};
    if (made)
        organ_ranking_svg(&ranking, &svg, &error);
    organ_html_chart(html, svg, "Errors are those of paired tokens, which are much smaller than those of each perplexity by itself.");
    free(bars);
    free(remarks);
}

/* ---- tables ---- */

static void percent_cell(organ_table *table, const json_t *row, const char *key, double scale)
{
    const double value = scale * organ_json_number(row, key);
    organ_table_cell(table, isfinite(value) ? "%.2f" : "-", value);
}

static void put_method(organ_table *table, const json_t *model, bool first)
{
    const char *const method = organ_json_text(model, "method"), *const name = organ_json_text(model, "experiment.name");
    organ_table_cell(table, "%s%s%s", name, *name ? ": " : "", first ? "donor" : *method ? method : "no log");
}

static organ_table *models_table(const json_t *report)
{
    static const organ_column columns[] = {
        {"model", ORGAN_LEFT, true, true},        {"method", ORGAN_LEFT, true, false},       {"% target", ORGAN_RIGHT, false, false},
        {"% full", ORGAN_RIGHT, false, false},    {"perplexity", ORGAN_RIGHT, false, false}, {"difference", ORGAN_RIGHT, false, false},
        {"bits/byte", ORGAN_RIGHT, false, false}, {"KL", ORGAN_RIGHT, false, false},         {"top-1 %", ORGAN_RIGHT, false, false},
        {"per word", ORGAN_RIGHT, false, false},  {"per byte", ORGAN_RIGHT, false, false}};
    const bool words = is_lm_eval(report);
    organ_table *const table = organ_table_create(columns, words ? 11 : 9);
    for (size_t m = 0; m < json_array_size(models_of(report)); m++) {
        const json_t *const model = model_at(report, m);
        char text[64];
        organ_table_cell(table, "%s", organ_json_text(model, "model.name"));
        put_method(table, model, m == 0);
        percent_cell(table, model, "sparsity.target.percent", 1);
        percent_cell(table, model, "sparsity.full.percent", 1);
        organ_table_cell(table, "%s", measured(model, "figures.perplexity", "figures.perplexity_error", 1, false, text));
        organ_table_cell(table, "%s",
                         m == 0 ? "-" : measured(model, "comparison.difference", "comparison.difference_error", 1, true, text));
        organ_table_cell(table, "%.4f", organ_json_real(model, "figures.bits_per_byte"));
        organ_table_cell(table, m == 0 ? "-" : "%.5f", organ_json_real(model, "comparison.kl_divergence"));
        percent_cell(table, model, "comparison.top1_agreement", 100);
        if (!words)
            continue;
        organ_table_cell(table, "%.4f", organ_json_real(model, "figures.word_perplexity"));
        organ_table_cell(table, "%.6f", organ_json_real(model, "figures.byte_perplexity"));
    }
    return table;
}

static void figure_row(organ_table *table, const json_t *report, const char *name, const char *key, const char *error, double scale)
{
    char text[64];
    organ_table_cell(table, "%s", name);
    for (size_t m = 0; m < json_array_size(models_of(report)) && m < 2; m++) {
        const bool nothing = m == 0 && strncmp(key, "comparison.", 11) == 0;
        organ_table_cell(table, "%s",
                         nothing ? "" : measured(model_at(report, m), key, error, scale, strstr(key, ".difference") != NULL, text));
    }
}

/* One model, or two beside each other. */
static void put_figures_table(organ_html *html, const json_t *report)
{
    const bool two = json_array_size(models_of(report)) > 1;
    const organ_column columns[] = {{"figure", ORGAN_LEFT, false, false},
                                    {organ_json_text(model_at(report, 0), "model.name"), ORGAN_RIGHT, false, false},
                                    {organ_json_text(model_at(report, 1), "model.name"), ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, two ? 3 : 2);
    figure_row(table, report, "perplexity", "figures.perplexity", "figures.perplexity_error", 1);
    figure_row(table, report, "mean -ln p", "figures.nll", "figures.nll_error", 1);
    figure_row(table, report, "bits per byte", "figures.bits_per_byte", "figures.bits_per_byte_error", 1);
    if (is_lm_eval(report)) {
        figure_row(table, report, "perplexity per word", "figures.word_perplexity", "", 1);
        figure_row(table, report, "perplexity per byte", "figures.byte_perplexity", "", 1);
    }
    if (two) {
        figure_row(table, report, "difference to the first", "comparison.difference", "comparison.difference_error", 1);
        figure_row(table, report, "ratio to the first", "comparison.ratio", "comparison.ratio_error", 1);
        figure_row(table, report, "KL divergence from the first, nats per token", "comparison.kl_divergence",
                   "comparison.kl_divergence_error", 1);
        figure_row(table, report, "same top token, %", "comparison.top1_agreement", "comparison.top1_agreement_error", 100);
    }
    organ_html_table(html, table, "What was measured, with standard errors");
}

/* ---- the page ---- */

/* A number, and what it is with its error. */
typedef struct merit {
    char value[64], meaning[128];
} merit;

static organ_html_figure_of_merit merit_of(merit *m, const json_t *model, const char *key, const char *error_key, const char *what)
{
    measured(model, key, error_key, 1, strstr(key, ".difference") != NULL, m->value);
    char *const between = strstr(m->value, " \u00b1 ");
    snprintf(m->meaning, sizeof m->meaning, "%s%s%.40s", what, between ? "," : "", between ? between : "");
    if (between)
        *between = '\0';
    return (organ_html_figure_of_merit){m->value, m->meaning};
}

static void put_merits(organ_html *html, const json_t *report)
{
    const json_t *const first = model_at(report, 0), *const second = is_evaluation(report) ? NULL : model_at(report, 1);
    organ_html_figure_of_merit figures[4];
    merit merits[3];
    char tokens[32];
    size_t count = 0;
    figures[count++] = merit_of(&merits[0], first, "figures.perplexity", "figures.perplexity_error",
                                is_evaluation(report) ? "perplexity of the donor"
                                : second              ? "perplexity of the first"
                                                      : "perplexity");
    if (second) {
        figures[count++] = merit_of(&merits[1], second, "figures.perplexity", "figures.perplexity_error", "perplexity of the second");
        figures[count++] =
            merit_of(&merits[2], second, "comparison.difference", "comparison.difference_error", "difference, on the same tokens");
    } else
        figures[count++] = merit_of(&merits[1], first, "figures.bits_per_byte", "figures.bits_per_byte_error", "bits per byte");
    organ_count_text(organ_json_count(report, "experiment.tokens_scored"), tokens);
    figures[count++] = (organ_html_figure_of_merit){tokens, "tokens scored"};
    organ_html_figures_of_merit(html, figures, count);
}

static void put_evaluation(organ_html *html, const json_t *report)
{
    organ_html_section(html, "Models");
    organ_html_table(
        html, models_table(report),
        "% target and % full: killed weights, counted from the bytes, of the target tensors and of the full model; difference, KL "
        "(nats per token) and top-1 (share of tokens for which both find the same one likeliest) are to the donor");
    organ_html_words(html, organ_perplexity_not_counted, report);
    organ_html_section(html, "What it cost");
    if (has_sparsity(report))
        put_clouds(html, report);
    put_differences(html, report);
}

static void put_title(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fputs(organ_json_text(model_at(report, 0), "model.name"), out);
    if (!is_evaluation(report) && model_at(report, 1))
        fprintf(out, " beside %s", organ_json_text(model_at(report, 1), "model.name"));
}

organ_status organ_perplexity_report_html(const json_t *report, char **html, organ_error *error)
{
    const char *const lead = is_evaluation(report)
                                 ? "What was done to the donor, and what it cost: all models scored the same tokens in one run."
                             : model_at(report, 1) ? "Two models beside each other: both scored the same tokens in one run."
                                                   : NULL;
    *html = NULL;
    char *const title = organ_report_words(put_title, report, error);
    if (!title)
        return error->status;
    organ_html *const page = organ_html_create(is_evaluation(report) ? "Evaluation" : "Perplexity", title, lead);
    free(title);
    put_merits(page, report);
    organ_html_cautions(page, "Read this first", organ_json_at(report, "errata"));
    put_experiment(page, report);
    if (is_evaluation(report))
        put_evaluation(page, report);
    else {
        organ_html_section(page, "Figures");
        for (size_t m = 0; m < json_array_size(models_of(report)); m++)
            organ_html_model(page, m ? "Beside" : "Model", organ_json_at(model_at(report, m), "model"));
        put_figures_table(page, report);
    }
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}
