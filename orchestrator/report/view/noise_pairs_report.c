/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/noise_pairs_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

/* A number with so many decimals, or (0) with about three digits; "-" where there is none. */
static void cell(organ_table *table, const json_t *row, const char *key, int decimals)
{
    const json_t *const value = organ_json_at(row, key);
    const double x = json_number_value(value), size = fabs(x);
    char text[400];
    if (decimals == 0)
        snprintf(text, sizeof text, size == 0 ? "%.0f" : size < 0.001 || size >= 1e6 ? "%.2e" : size < 100 ? "%.3f" : "%.0f", x);
    else
        snprintf(text, sizeof text, "%.*f", decimals, x);
    const bool nothing = strspn(text, "-0.") == strlen(text); /* no minus before a rounded 0 */
    organ_table_cell(table, "%s", json_is_number(value) ? text + (nothing && *text == '-') : "-");
}

static void noise_cells(organ_table *table, const char *name, const json_t *row)
{
    organ_table_cell(table, "%s", name);
    organ_table_count(table, organ_json_count(row, "modules"));
    cell(table, row, "noise_a_to_weight", 0);
    cell(table, row, "noise_b_to_weight", 0);
    cell(table, row, "cosine", 4);
    cell(table, row, "chance_std", 4);
    cell(table, row, "z", 1);
    organ_table_cell(table, "%llu", organ_json_count(row, "with_cosine") - organ_json_count(row, "beyond"));
    cell(table, row, "explained", 4);
    cell(table, row, "factor", 3);
    cell(table, row, "remains_to_noise_a", 3);
}

static void change_cells(organ_table *table, const char *name, const json_t *row)
{
    organ_table_cell(table, "%s", name);
    cell(table, row, "change", 0);
    cell(table, row, "noise_a_to_change", 0);
    cell(table, row, "noise_b_to_change", 0);
    cell(table, row, "remains_to_change", 0);
    cell(table, row, "with_change.noise_a.cosine", 4);
    cell(table, row, "with_change.noise_a.z", 1);
    cell(table, row, "with_change.noise_b.cosine", 4);
    cell(table, row, "with_change.noise_b.z", 1);
    cell(table, row, "with_change.remains.cosine", 4);
    cell(table, row, "with_change.remains.z", 1);
}

typedef void put_cells(organ_table *table, const char *name, const json_t *row);

/* A row for each of report.`rows`, named by `key`, and the total. */
static organ_table *folds(const json_t *report, const char *rows, const char *key, const organ_column *columns, size_t count,
                          put_cells *put)
{
    organ_table *const table = organ_table_create(columns, count);
    const json_t *const list = organ_json_at(report, rows);
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *const row = json_array_get(list, k), *const name = json_object_get(row, key);
        char layer[24];
        snprintf(layer, sizeof layer, "%lld", (long long)json_integer_value(name));
        put(table, json_is_string(name) ? json_string_value(name) : json_is_integer(name) ? layer : "none", row);
    }
    organ_table_totals(table);
    put(table, "all", organ_json_at(report, "total"));
    return table;
}

#define NUMBER(title)                                                                                                                      \
    {                                                                                                                                      \
        title, ORGAN_RIGHT, false, false                                                                                                   \
    }
#define NOISE_COLUMNS                                                                                                                      \
    NUMBER("modules"), NUMBER("|N_A|/|W|"), NUMBER("|N_B|/|W|"), NUMBER("cosine"), NUMBER("chance"), NUMBER("z"), NUMBER("|z|<=3"),        \
        NUMBER("R^2"), NUMBER("factor"), NUMBER("remains")
#define CHANGE_COLUMNS                                                                                                                     \
    NUMBER("|D|"), NUMBER("|N_A|/|D|"), NUMBER("|N_B|/|D|"), NUMBER("remains/|D|"), NUMBER("cos N_A"), NUMBER("z"), NUMBER("cos N_B"),     \
        NUMBER("z"), NUMBER("cos remains"), NUMBER("z")

organ_table *organ_noise_pairs_noises(const json_t *report, const char *rows, const char *key)
{
    static const organ_column names[] = {{"projection", ORGAN_LEFT, true, true}, NOISE_COLUMNS},
                              layers[] = {NUMBER("layer"), NOISE_COLUMNS};
    return folds(report, rows, key, strcmp(key, "layer") == 0 ? layers : names, sizeof names / sizeof *names, noise_cells);
}

organ_table *organ_noise_pairs_change(const json_t *report, const char *rows, const char *key)
{
    static const organ_column names[] = {{"projection", ORGAN_LEFT, true, true}, CHANGE_COLUMNS},
                              layers[] = {NUMBER("layer"), CHANGE_COLUMNS};
    return folds(report, rows, key, strcmp(key, "layer") == 0 ? layers : names, sizeof names / sizeof *names, change_cells);
}

organ_table *organ_noise_pairs_modules(const json_t *report, size_t most)
{
    static const organ_column columns[] = {{"module", ORGAN_LEFT, false, true},
                                           NUMBER("|N_A|"),
                                           NUMBER("|N_B|"),
                                           NUMBER("cosine"),
                                           NUMBER("chance"),
                                           NUMBER("z"),
                                           NUMBER("z signs"),
                                           NUMBER("R^2"),
                                           NUMBER("factor"),
                                           NUMBER("remains"),
                                           NUMBER("|D|"),
                                           NUMBER("remains/|D|")};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const modules = organ_json_at(report, "modules");
    for (size_t k = 0; k < json_array_size(modules) && k < most; k++) {
        const json_t *const row = json_array_get(modules, k);
        organ_table_cell(table, "%s", organ_json_text(row, "module"));
        cell(table, row, "noise_a", 0);
        cell(table, row, "noise_b", 0);
        cell(table, row, "cosine", 5);
        cell(table, row, "chance.std_exact", 5);
        cell(table, row, "z_exact", 2);
        cell(table, row, "z_signs", 2);
        cell(table, row, "explained", 5);
        cell(table, row, "factor", 4);
        cell(table, row, "remains_to_noise_a", 4);
        cell(table, row, "change", 0);
        cell(table, row, "remains_to_change", 0);
    }
    return table;
}

/* ---- words ---- */

void organ_noise_pairs_name(FILE *out, const json_t *model)
{
    organ_text_visible(out, organ_json_text(model, "name"));
    fputs(" (", out);
    organ_text_visible(out, organ_json_text(model, "stored_as"));
    fputc(')', out);
}

static const char legend[] =
    "chance: standard deviation of the cosine of random matrices. R^2: share of the energy of N_B that the best multiple of "
    "N_A (factor) explains. remains: |N_A - N_B| / |N_A|. D: the change.";

static void put_head(FILE *out, const json_t *report)
{
    static const char *const parts[2][2] = {{"Pair A   clean ", "\n         noisy "}, {"\nPair B   clean ", "\n         noisy "}};
    const json_t *const pairs = organ_json_at(report, "pairs");
    for (size_t p = 0; p < 2; p++) {
        fputs(parts[p][0], out);
        organ_noise_pairs_name(out, organ_json_at(json_array_get(pairs, p), "clean"));
        fputs(parts[p][1], out);
        organ_noise_pairs_name(out, organ_json_at(json_array_get(pairs, p), "noisy"));
    }
    fputs("\nChange   ", out);
    if (*organ_json_text(report, "run.change"))
        organ_text_visible(out, organ_json_text(report, "run.change"));
    else
        fputs("from the clean model of A to that of B", out);
    fprintf(out, "%s, %zu modules\n\n",
            organ_json_at(report, "change.adapter") ? " (adapter)"
            : organ_json_at(report, "change.tuned") ? " (tuned model) less the clean model of A"
                                                    : "",
            json_array_size(organ_json_at(report, "modules")));
}

static void put_end(FILE *out, const json_t *report, const organ_page *page)
{
    char duration[24], bytes[16];
    fputc('\n', out);
    organ_text_say(out, page, "  ", "%s", legend);
    organ_text_say(out, page, "  ", "Time: %s for %s.", organ_duration_text(organ_json_real(report, "run.seconds"), duration),
                   organ_quantity_text(organ_json_count(report, "run.bytes_read"), bytes));
    if (!*organ_json_text(report, "run.output"))
        return;
    fputs("\nReport:  ", out);
    organ_text_visible(out, organ_json_text(report, "run.output"));
    fputs("/NOISE_PAIRS_REPORT.md (and .html)\n", out);
}

organ_status organ_noise_pairs_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    const json_t *const sentences = organ_json_at(report, "verdict.sentences");
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    put_head(out, report);
    fputs("The noises beside each other\n\n", out);
    organ_table_emit(organ_noise_pairs_noises(report, "projections", "projection"), out, page, error);
    fputs("The noises beside the change\n\n", out);
    if (!error->status)
        organ_table_emit(organ_noise_pairs_change(report, "projections", "projection"), out, page, error);
    for (size_t k = 0; k < json_array_size(sentences); k++)
        organ_text_say(out, page, "  ", "%s", json_string_value(json_array_get(sentences, k)));
    put_end(out, report, page);
    return organ_text_end(&buffer, text, error);
}

/* ---- the file ---- */

static organ_status put_tables(FILE *out, const json_t *report, organ_error *error)
{
    static const struct {
        const char *title, *rows, *key;
    } sections[] = {{"By projection", "projections", "projection"}, {"By layer", "layers", "layer"}};
    for (size_t k = 0; k < 2 && !error->status; k++) {
        fprintf(out, "\n## %s\n\n", sections[k].title);
        if (organ_table_emit(organ_noise_pairs_noises(report, sections[k].rows, sections[k].key), out, NULL, error))
            break;
        fputc('\n', out);
        organ_table_emit(organ_noise_pairs_change(report, sections[k].rows, sections[k].key), out, NULL, error);
    }
    if (error->status)
        return error->status;
    fputs("\n## Modules\n\n", out);
    return organ_table_emit(organ_noise_pairs_modules(report, SIZE_MAX), out, NULL, error);
}

static void put_models(FILE *out, const json_t *report)
{
    static const char *const which[] = {"clean", "noisy"};
    const json_t *const pairs = organ_json_at(report, "pairs");
    for (size_t p = 0; p < 2; p++)
        for (size_t k = 0; k < 2; k++) {
            const json_t *const model = organ_json_at(json_array_get(pairs, p), which[k]);
            fprintf(out, "- Pair %c, %s: ", p ? 'B' : 'A', which[k]);
            organ_markdown_text(out, organ_json_text(model, "name"), false);
            fputs(", stored as ", out);
            organ_markdown_text(out, organ_json_text(model, "stored_as"), false);
            fputc('\n', out);
        }
}

organ_status organ_noise_pairs_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    fprintf(out, "# Quantisation noise of two pairs\n\nDefinition %s. The change is that of the %s; %zu modules compared.\n\n",
            organ_json_text(report, "definition"), organ_json_text(report, "change.of"), json_array_size(organ_json_at(report, "modules")));
    put_models(out, report);
    fputs("\n## Verdict\n\n", out);
    organ_sentences_list(out, "- ", organ_json_at(report, "verdict.sentences"));
    fputs("\nAll this is about weights: what a model answers, only a measurement of its answers tells.\n\n", out);
    fprintf(out, "In the tables: %s\n", legend);
    if (put_tables(out, report, error) == ORGAN_OK) {
        organ_definitions_list(out, report);
        fputs("\n## Where the verdicts begin\n\n", out);
        organ_terms_list(out, organ_json_at(report, "thresholds"));
    }
    return organ_text_end(&buffer, markdown, error);
}
