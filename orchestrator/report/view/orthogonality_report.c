/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/orthogonality_report.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/noise_fields.h"
#include "orchestrator/report/view/orthogonality_charts.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

/* A comparison of noises, and what one with an adapter has beside it. */
#define COMPARISON(ratio)                                                                                                                  \
    FIELD_COUNT("modules", "modules"), FIELD_ROUNDED(ratio, "ratio", 0), FIELD_ROUNDED("cosine", "cosine", 4),                             \
        FIELD_ROUNDED("chance", "chance_std", 4), FIELD_ROUNDED("z", "z", 1), FIELD_WITHIN
#define LEAKAGE FIELD_ROUNDED("leakage", "leakage", 3), FIELD_ROUNDED("expected", "leakage_expected", 3)

organ_table *organ_orthogonality_projections(const json_t *noise)
{
    static const organ_field fields[] = {FIELD_PROJECTION, COMPARISON("|N|/|K|"), LEAKAGE};
    return organ_noise_folds_table(noise, "projections", FIELD_LIST(fields));
}

organ_table *organ_orthogonality_layers(const json_t *noise)
{
    static const organ_field fields[] = {FIELD_LAYER, COMPARISON("|N|/|K|"), LEAKAGE};
    return organ_noise_folds_table(noise, "layers", FIELD_LIST(fields));
}

organ_table *organ_orthogonality_agreement(const json_t *agreement)
{
    static const organ_field fields[] = {FIELD_PROJECTION, COMPARISON("|N1|/|N2|")};
    return organ_noise_folds_table(agreement, "projections", FIELD_LIST(fields));
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

/* The modules, each with what noise n has of it as its member "this"; NULL without memory. */
static json_t *modules_of_noise(const json_t *report, size_t n)
{
    const json_t *const modules = organ_json_at(report, "modules");
    json_t *const rows = json_array();
    bool whole = rows != NULL;
    for (size_t k = 0; k < json_array_size(modules) && whole; k++) {
        json_t *const module = json_array_get(modules, k), *const row = json_copy(module);
        whole = row && json_object_set(row, "this", json_array_get(organ_json_at(module, "noise"), n)) == 0;
        whole = json_array_append_new(rows, row) == 0 && whole;
    }
    if (whole)
        return rows;
    organ_memory_refused();
    json_decref(rows);
    return NULL;
}

static organ_table *modules_table(const json_t *report, size_t n)
{
    static const organ_field fields[] = {
        FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),    FIELD_MAYBE_ROUNDED("N", "this.norm", 0),
        FIELD_MAYBE_ROUNDED("K", "change_norm", 0),          FIELD_MAYBE_ROUNDED("N/K", "this.ratio", 0),
        FIELD_MAYBE_ROUNDED("cosine", "this.cosine", 5),     FIELD_MAYBE_ROUNDED("chance", "chance.std_exact", 5),
        FIELD_MAYBE_ROUNDED("z", "this.z_exact", 2),         FIELD_MAYBE_ROUNDED("z signs", "this.z_signs", 2),
        FIELD_MAYBE_ROUNDED("draws mean", "chance.mean", 5), FIELD_MAYBE_ROUNDED("draws std", "chance.std", 5),
        FIELD_MAYBE_ROUNDED("z draws", "this.z", 2),         FIELD_COUNT("k", "k"),
        FIELD_MAYBE_ROUNDED("leakage", "this.leakage", 4),   FIELD_MAYBE_ROUNDED("expected", "this.leakage_expected", 4)};
    json_t *const rows = modules_of_noise(report, n);
    organ_table *const table = organ_field_table(FIELD_LIST(fields), rows, SIZE_MAX);
    if (!rows)
        organ_table_fail(table);
    json_decref(rows);
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
