/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/orthogonality_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/orthogonality_charts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

/* A number with so many decimals, or (0) with about three digits; "-" where there is none. */
static void cell(organ_table *table, const json_t *row, const char *key, int decimals)
{
    const json_t *const value = json_object_get(row, key);
    const double x = json_number_value(value), size = fabs(x);
    char text[400];
    if (decimals == 0)
        snprintf(text, sizeof text, size == 0 ? "%.0f" : size < 0.001 || size >= 1e6 ? "%.2e" : size < 100 ? "%.3f" : "%.0f", x);
    else
        snprintf(text, sizeof text, "%.*f", decimals, x);
    const bool nothing = strspn(text, "-0.") == strlen(text); /* no minus before a rounded 0 */
    organ_table_cell(table, "%s", json_is_number(value) ? text + (nothing && *text == '-') : "-");
}

static void fold_cells(organ_table *table, const char *name, const json_t *row, bool agreement)
{
    organ_table_cell(table, "%s", name);
    organ_table_count(table, organ_json_count(row, "modules"));
    cell(table, row, "ratio", 0);
    cell(table, row, "cosine", 4);
    cell(table, row, "chance_std", 4);
    cell(table, row, "z", 1);
    organ_table_cell(table, "%llu", organ_json_count(row, "with_cosine") - organ_json_count(row, "beyond"));
    if (agreement)
        return;
    cell(table, row, "leakage", 3);
    cell(table, row, "leakage_expected", 3);
}

/* Columns behind the name of a row: those of a comparison of noises, and two more of one with an adapter. */
#define COMPARISON(ratio)                                                                                                                  \
    {"modules", ORGAN_RIGHT, false, false}, {ratio, ORGAN_RIGHT, false, false}, {"cosine", ORGAN_RIGHT, false, false},                     \
        {"chance", ORGAN_RIGHT, false, false}, {"z", ORGAN_RIGHT, false, false},                                                           \
    {                                                                                                                                      \
        "|z|<=3", ORGAN_RIGHT, false, false                                                                                                \
    }
#define LEAKAGE                                                                                                                            \
    {"leakage", ORGAN_RIGHT, false, false}, { "expected", ORGAN_RIGHT, false, false }

static const organ_column noise_columns[] = {{"projection", ORGAN_LEFT, true, true}, COMPARISON("|N|/|K|"), LEAKAGE};
static const organ_column layer_columns[] = {{"layer", ORGAN_RIGHT, false, false}, COMPARISON("|N|/|K|"), LEAKAGE};
static const organ_column agreement_columns[] = {{"projection", ORGAN_LEFT, true, true}, COMPARISON("|N1|/|N2|")};
#define COLUMNS(list) list, sizeof list / sizeof *list

/* A row for each of `rows`, named by `key`, and the total. */
static organ_table *folds_table(organ_table *table, const json_t *rows, const char *key, const json_t *total, bool agreement)
{
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k), *const name = json_object_get(row, key);
        char layer[24];
        snprintf(layer, sizeof layer, "%lld", (long long)json_integer_value(name));
        fold_cells(table, json_is_string(name) ? json_string_value(name) : json_is_integer(name) ? layer : "none", row, agreement);
    }
    organ_table_totals(table);
    fold_cells(table, "all", total, agreement);
    return table;
}

organ_table *organ_orthogonality_projections(const json_t *noise)
{
    return folds_table(organ_table_create(COLUMNS(noise_columns)), organ_json_at(noise, "projections"), "projection",
                       organ_json_at(noise, "total"), false);
}

organ_table *organ_orthogonality_layers(const json_t *noise)
{
    return folds_table(organ_table_create(COLUMNS(layer_columns)), organ_json_at(noise, "layers"), "layer", organ_json_at(noise, "total"),
                       false);
}

organ_table *organ_orthogonality_agreement(const json_t *agreement)
{
    return folds_table(organ_table_create(COLUMNS(agreement_columns)), organ_json_at(agreement, "projections"), "projection",
                       organ_json_at(agreement, "total"), true);
}

/* ---- extremes ---- */

static double size_of(const json_t *row, const char *key)
{
    const json_t *const value = json_object_get(row, key);
    return json_is_number(value) ? fabs(json_number_value(value)) : -1;
}

/* The module in which a number of noise n is largest in size; NULL if no module has it. */
static const json_t *most(const json_t *report, size_t n, const char *key)
{
    const json_t *const modules = organ_json_at(report, "modules"), *best = NULL;
    double largest = -1;
    for (size_t k = 0; k < json_array_size(modules); k++) {
        const json_t *const row = json_array_get(modules, k);
        const double size = size_of(json_array_get(organ_json_at(row, "noise"), n), key);
        if (size > largest) {
            largest = size;
            best = row;
        }
    }
    return best;
}

void organ_orthogonality_extremes(FILE *out, const json_t *report, size_t n, const organ_page *page, const char *lead)
{
    static const struct {
        const char *key, *words;
    } rows[] = {
        {"cosine", "Largest cosine"}, {"ratio", "Most noise for its adapter"}, {"leakage_over_expected", "Most leakage over expectation"}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const json_t *const module = most(report, n, rows[k].key);
        const json_t *const noise = json_array_get(organ_json_at(module, "noise"), n);
        if (!module)
            continue;
        const double value = organ_json_real(noise, rows[k].key);
        if (k == 0)
            organ_text_say(out, page, lead, "%s: %s, %.4f (z %.1f).", rows[k].words, organ_json_text(module, "module"), value,
                           organ_json_real(noise, "z_exact"));
        else
            organ_text_say(out, page, lead, "%s: %s, %.3g x.", rows[k].words, organ_json_text(module, "module"), value);
    }
}

/* ---- words ---- */

static void put_sentences(FILE *out, const json_t *verdict, const organ_page *page, const char *lead)
{
    const json_t *const sentences = organ_json_at(verdict, "sentences");
    for (size_t k = 0; k < json_array_size(sentences); k++)
        organ_text_say(out, page, lead, "%s", json_string_value(json_array_get(sentences, k)));
}

static void put_noise_name(FILE *out, const json_t *noise)
{
    organ_text_visible(out, organ_json_text(noise, "noisy.name"));
    fputs(" (", out);
    organ_text_visible(out, organ_json_text(noise, "stored_as"));
    fputc(')', out);
}

static void put_head(FILE *out, const json_t *report)
{
    const json_t *const noises = organ_json_at(report, "noises");
    fputs("Clean    ", out);
    organ_model_line(out, organ_json_at(report, "clean"));
    for (size_t n = 0; n < json_array_size(noises); n++) {
        fputs(n ? "\nNoisy 2  " : "\nNoisy    ", out);
        put_noise_name(out, json_array_get(noises, n));
    }
    fprintf(out, "\nAdapter  ");
    organ_text_visible(out, organ_json_text(report, "run.adapter"));
    fprintf(out, ", rank %llu, %zu of %llu modules\n\n", organ_json_count(report, "adapter.r"),
            json_array_size(organ_json_at(report, "modules")), organ_json_count(report, "adapter.modules"));
}

static void put_end(FILE *out, const json_t *report, const organ_page *page)
{
    char duration[24], bytes[16];
    fputc('\n', out);
    organ_text_say(out, page, "  ",
                   "chance: standard deviation of the cosine of random matrices. expected: leakage of noise without direction.");
    organ_text_say(out, page, "  ", "Time: %s for %s.", organ_duration_text(organ_json_real(report, "run.seconds"), duration),
                   organ_quantity_text(organ_json_count(report, "run.bytes_read"), bytes));
    if (!*organ_json_text(report, "run.output"))
        return;
    fputs("\nReport:  ", out);
    organ_text_visible(out, organ_json_text(report, "run.output"));
    fputs("/ORTHOGONALITY_REPORT.md (and .html)\n", out);
}

organ_status organ_orthogonality_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    const json_t *const noises = organ_json_at(report, "noises"), *const agreement = organ_json_at(report, "agreement");
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    put_head(out, report);
    for (size_t n = 0; n < json_array_size(noises) && !error->status; n++) {
        const json_t *const noise = json_array_get(noises, n);
        fputs(n ? "\nThe noise of " : "The noise of ", out);
        put_noise_name(out, noise);
        fputs("\n\n", out);
        organ_table_emit(organ_orthogonality_projections(noise), out, page, error);
        put_sentences(out, organ_json_at(noise, "verdict"), page, "  ");
        organ_orthogonality_extremes(out, report, n, page, "  ");
    }
    if (!error->status && json_is_object(agreement)) {
        fputs("\nThe two noises beside each other\n\n", out);
        organ_table_emit(organ_orthogonality_agreement(agreement), out, page, error);
        put_sentences(out, organ_json_at(agreement, "verdict"), page, "  ");
    }
    if (error->status) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_end(out, report, page);
    return organ_text_finish(&buffer, text, error);
}

/* ---- the file ---- */

static organ_table *modules_table(const json_t *report, size_t n)
{
    static const organ_column columns[] = {
        {"module", ORGAN_LEFT, false, true},      {"N", ORGAN_RIGHT, false, false},       {"K", ORGAN_RIGHT, false, false},
        {"N/K", ORGAN_RIGHT, false, false},       {"cosine", ORGAN_RIGHT, false, false},  {"chance", ORGAN_RIGHT, false, false},
        {"z", ORGAN_RIGHT, false, false},         {"z signs", ORGAN_RIGHT, false, false}, {"draws mean", ORGAN_RIGHT, false, false},
        {"draws std", ORGAN_RIGHT, false, false}, {"z draws", ORGAN_RIGHT, false, false}, {"k", ORGAN_RIGHT, false, false},
        {"leakage", ORGAN_RIGHT, false, false},   {"expected", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const modules = organ_json_at(report, "modules");
    for (size_t k = 0; k < json_array_size(modules); k++) {
        const json_t *const row = json_array_get(modules, k), *const noise = json_array_get(organ_json_at(row, "noise"), n);
        organ_table_cell(table, "%s", organ_json_text(row, "module"));
        cell(table, noise, "norm", 0);
        cell(table, row, "change_norm", 0);
        cell(table, noise, "ratio", 0);
        cell(table, noise, "cosine", 5);
        cell(table, organ_json_at(row, "chance"), "std_exact", 5);
        cell(table, noise, "z_exact", 2);
        cell(table, noise, "z_signs", 2);
        cell(table, organ_json_at(row, "chance"), "mean", 5);
        cell(table, organ_json_at(row, "chance"), "std", 5);
        cell(table, noise, "z", 2);
        organ_table_count(table, organ_json_count(row, "k"));
        cell(table, noise, "leakage", 4);
        cell(table, noise, "leakage_expected", 4);
    }
    return table;
}

static organ_status put_noise(FILE *out, const json_t *report, size_t n, organ_error *error)
{
    const json_t *const noise = json_array_get(organ_json_at(report, "noises"), n);
    fputs("\n## The noise of ", out);
    organ_markdown_text(out, organ_json_text(noise, "noisy.name"), false);
    fputs("\n\nStored as ", out);
    organ_markdown_text(out, organ_json_text(noise, "stored_as"), false);
    fputs(".\n\n", out);
    organ_sentences_list(out, "- ", organ_json_at(noise, "verdict.sentences"));
    fputc('\n', out);
    if (organ_table_emit(organ_orthogonality_projections(noise), out, NULL, error))
        return error->status;
    fputs("\n### Layers\n\n", out);
    if (organ_table_emit(organ_orthogonality_layers(noise), out, NULL, error))
        return error->status;
    fputs("\n### Modules\n\n", out);
    return organ_table_emit(modules_table(report, n), out, NULL, error);
}

static organ_status put_agreement(FILE *out, const json_t *agreement, organ_error *error)
{
    if (!json_is_object(agreement))
        return ORGAN_OK;
    fputs("\n## The two noises beside each other\n\n", out);
    organ_sentences_list(out, "- ", organ_json_at(agreement, "verdict.sentences"));
    fputc('\n', out);
    return organ_table_emit(organ_orthogonality_agreement(agreement), out, NULL, error);
}

static void put_plots(FILE *out)
{
    static const char *const alternatives[] = {"Size of noise and adapter per layer", "Cosine between noise and adapter per layer",
                                               "Leakage of noise into the adapter's output directions per layer"};
    fputs("\n## Plots\n\n", out);
    for (organ_noise_chart k = 0; k < ORGAN_NOISE_CHARTS; k++)
        fprintf(out, "![%s](%s)\n\n", alternatives[k], organ_orthogonality_chart_name(k));
}

organ_status organ_orthogonality_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    fputs("# Quantisation noise against the adapter: ", out);
    organ_markdown_text(out, organ_json_text(report, "clean.name"), false);
    fprintf(out, "\n\nDefinition %s. Adapter of rank %llu, %zu modules compared.\n", organ_json_text(report, "definition"),
            organ_json_count(report, "adapter.r"), json_array_size(organ_json_at(report, "modules")));
    put_plots(out);
    for (size_t n = 0; n < json_array_size(organ_json_at(report, "noises")) && !error->status; n++)
        put_noise(out, report, n, error);
    if (!error->status)
        put_agreement(out, organ_json_at(report, "agreement"), error);
    if (error->status) {
        organ_text_discard(&buffer);
        return error->status;
    }
    organ_definitions_list(out, report);
    fputs("\n## Where the verdicts begin\n\n", out);
    organ_terms_list(out, organ_json_at(report, "thresholds"));
    return organ_text_finish(&buffer, markdown, error);
}
