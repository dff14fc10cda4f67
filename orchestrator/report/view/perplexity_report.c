/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/perplexity_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- cells ---- */

/* Decimals that show two digits of an error: 4 to 6, of a percentage 2 to 4. */
static int decimals_for(double error, bool percent)
{
    const int digits = error > 0 && isfinite(error) ? 1 - (int)floor(log10(error)) : 0, least = percent ? 2 : 4;
    return digits < least ? least : digits > least + 2 ? least + 2 : digits;
}

const char *organ_measured_text(const json_t *row, const char *key, const char *error_key, double scale, bool sign, char out[64])
{
    const json_t *const value = organ_json_at(row, key), *const error = organ_json_at(row, error_key);
    const double x = scale * json_number_value(value), e = scale * json_number_value(error);
    const int decimals = decimals_for(e, scale > 1);
    if (!json_is_number(value))
        snprintf(out, 64, "too large");
    else if (fabs(x) >= 1e6)
        snprintf(out, 64, sign ? "%+.4g" : "%.4g", x);
    else if (!json_is_number(error))
        snprintf(out, 64, sign ? "%+.4f" : "%.4f", x);
    else
        snprintf(out, 64, sign ? "%+.*f +- %.*f" : "%.*f +- %.*f", decimals, x, decimals, e);
    return out;
}

static bool is_evaluation(const json_t *report) { return strcmp(organ_json_text(report, "schema"), "organ.evaluate/1") == 0; }
static const json_t *models_of(const json_t *report) { return organ_json_at(report, "models"); }

static void plain_cell(organ_table *table, const json_t *row, const char *key, int decimals)
{
    const json_t *const value = organ_json_at(row, key);
    if (!json_is_number(value))
        organ_table_cell(table, "-");
    else
        organ_table_cell(table, "%.*f", decimals, json_number_value(value));
}

/* ---- perplexity: one model, or two ---- */

static void figure_rows(organ_table *table, const json_t *model, bool lm_eval)
{
    static const char *const rows[][3] = {{"perplexity", "figures.perplexity", "figures.perplexity_error"},
                                          {"mean -ln p", "figures.nll", "figures.nll_error"},
                                          {"bits per byte", "figures.bits_per_byte", "figures.bits_per_byte_error"},
                                          {"perplexity per word", "figures.word_perplexity", ""},
                                          {"perplexity per byte", "figures.byte_perplexity", ""}};
    char text[64];
    for (size_t k = 0; k < (lm_eval ? 5 : 3); k++) {
        organ_table_cell(table, "%s", rows[k][0]);
        organ_table_cell(table, "%s", organ_measured_text(model, rows[k][1], rows[k][2], 1, false, text));
    }
}

static void comparison_rows(organ_table *table, const json_t *model)
{
    static const struct {
        const char *name, *key, *error;
        double scale;
        bool sign;
    } rows[] = {{"difference", "comparison.difference", "comparison.difference_error", 1, true},
                {"ratio", "comparison.ratio", "comparison.ratio_error", 1, false},
                {"KL divergence", "comparison.kl_divergence", "comparison.kl_divergence_error", 1, false},
                {"same top token, %", "comparison.top1_agreement", "comparison.top1_agreement_error", 100, false}};
    char text[64];
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        organ_table_cell(table, "%s", rows[k].name);
        organ_table_cell(table, "%s", organ_measured_text(model, rows[k].key, rows[k].error, rows[k].scale, rows[k].sign, text));
    }
}

static organ_status put_model(FILE *out, const json_t *report, size_t m, const organ_page *page, organ_error *error)
{
    static const organ_column columns[] = {{"figure", ORGAN_LEFT, false, false}, {"value", ORGAN_RIGHT, false, false}};
    const json_t *const model = json_array_get(models_of(report), m);
    organ_table *const table = organ_table_create(columns, 2);
    figure_rows(table, model, strcmp(organ_json_text(report, "experiment.style"), "lm-eval") == 0);
    if (m)
        comparison_rows(table, model);
    return organ_table_emit(table, out, page, error);
}

/* ---- evaluate: one table ---- */

static bool is_named(const json_t *report)
{
    for (size_t m = 0; m < json_array_size(models_of(report)); m++)
        if (*organ_json_text(json_array_get(models_of(report), m), "experiment.name"))
            return true;
    return false;
}

/* What of it a table shows: a narrow screen gets two of them. */
typedef enum evaluation_part { PART_METHOD = 1, PART_FIGURES = 2, PART_ALL = 3 } evaluation_part;

static void evaluation_row(organ_table *table, const json_t *model, bool first, evaluation_part part, bool named)
{
    char text[64];
    const char *const method = organ_json_text(model, "method"), *const name = organ_json_text(model, "experiment.name");
    organ_table_cell(table, "%s", organ_json_text(model, "model.name"));
    if (named)
        organ_table_cell(table, "%s", *name ? name : "-");
    if (part & PART_METHOD) {
        organ_table_cell(table, "%s", first ? "donor" : *method ? method : "-");
        plain_cell(table, model, "sparsity.target.percent", 2);
        plain_cell(table, model, "sparsity.full.percent", 2);
    }
    if (!(part & PART_FIGURES))
        return;
    organ_table_cell(table, "%s", organ_measured_text(model, "figures.perplexity", "figures.perplexity_error", 1, false, text));
    organ_table_cell(table, "%s",
                     first ? "-" : organ_measured_text(model, "comparison.difference", "comparison.difference_error", 1, true, text));
    plain_cell(table, model, "figures.bits_per_byte", 4);
    plain_cell(table, model, "comparison.kl_divergence", 4);
    if (first)
        organ_table_cell(table, "-");
    else
        organ_table_cell(table, "%.2f", 100 * organ_json_real(model, "comparison.top1_agreement"));
}

enum { MOST_COLUMNS = 10 };

/* The name of an experiment stands beside killed weights, where there are names. `row` gets the columns and must outlive the table. */
static organ_table *evaluation_table(const json_t *report, evaluation_part part, organ_column row[MOST_COLUMNS])
{
    static const organ_column models = {"model", ORGAN_LEFT, true, true}, names = {"experiment", ORGAN_LEFT, true, false};
    static const organ_column method[] = {
        {"method", ORGAN_LEFT, true, false}, {"% target", ORGAN_RIGHT, false, false}, {"% full", ORGAN_RIGHT, false, false}};
    static const organ_column figures[] = {{"perplexity", ORGAN_RIGHT, false, false},
                                           {"difference", ORGAN_RIGHT, false, false},
                                           {"bits/byte", ORGAN_RIGHT, false, false},
                                           {"KL", ORGAN_RIGHT, false, false},
                                           {"top-1 %", ORGAN_RIGHT, false, false}};
    const bool named = (part & PART_METHOD) && is_named(report);
    size_t count = 0;
    row[count++] = models;
    if (named)
        row[count++] = names;
    for (size_t k = 0; k < 3 && (part & PART_METHOD); k++)
        row[count++] = method[k];
    for (size_t k = 0; k < 5 && (part & PART_FIGURES); k++)
        row[count++] = figures[k];
    organ_table *const table = organ_table_create(row, count);
    for (size_t m = 0; m < json_array_size(models_of(report)); m++)
        evaluation_row(table, json_array_get(models_of(report), m), m == 0, part, named);
    return table;
}

/* On a screen that holds no more, what was done stands above what it cost. */
static organ_status put_evaluation(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    enum { ONE_TABLE = 112 };
    organ_column columns[MOST_COLUMNS];
    if (!page || page->width == 0 || page->width >= ONE_TABLE)
        return organ_table_emit(evaluation_table(report, PART_ALL, columns), out, page, error);
    if (organ_table_emit(evaluation_table(report, PART_METHOD, columns), out, page, error) != ORGAN_OK)
        return error->status;
    return organ_table_emit(evaluation_table(report, PART_FIGURES, columns), out, page, error);
}

/* Words that stand alone per word, for a table of models scored the lm-eval way. */
static organ_status put_words_table(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    static const organ_column columns[] = {
        {"model", ORGAN_LEFT, true, true}, {"per word", ORGAN_RIGHT, false, false}, {"per byte", ORGAN_RIGHT, false, false}};
    if (strcmp(organ_json_text(report, "experiment.style"), "lm-eval") != 0)
        return ORGAN_OK;
    if (!page)
        fputc('\n', out);
    organ_table *const table = organ_table_create(columns, 3);
    for (size_t m = 0; m < json_array_size(models_of(report)); m++) {
        const json_t *const model = json_array_get(models_of(report), m);
        organ_table_cell(table, "%s", organ_json_text(model, "model.name"));
        plain_cell(table, model, "figures.word_perplexity", 4);
        plain_cell(table, model, "figures.byte_perplexity", 6);
    }
    return organ_table_emit(table, out, page, error);
}

/* ---- sentences ---- */

static void say_experiment(FILE *out, const json_t *e)
{
    char tokens[32], used[32], scored[32], bytes[32], windows[32];
    fprintf(out, "Text %s: %s bytes, %s tokens%s%s%s, XXH3 %s. ", organ_json_text(e, "text.name"),
            organ_count_text(organ_json_count(e, "text.bytes"), bytes), organ_count_text(organ_json_count(e, "text.tokens"), tokens),
            organ_json_count(e, "tokens_used") < organ_json_count(e, "text.tokens") ? " (the first " : "",
            organ_json_count(e, "tokens_used") < organ_json_count(e, "text.tokens")
                ? organ_count_text(organ_json_count(e, "tokens_used"), used)
                : "",
            organ_json_count(e, "tokens_used") < organ_json_count(e, "text.tokens") ? " are used)" : "", organ_json_text(e, "text.xxh3"));
    if (!json_is_true(organ_json_at(e, "text.utf8")))
        fputs("Not all of it is UTF-8: what is not is read as U+FFFD. ", out);
    fprintf(out, "Tokenizer: %s of %llu, digest %s. ", organ_json_text(e, "tokenizer.kind"), organ_json_count(e, "tokenizer.vocabulary"),
            organ_json_text(e, "tokenizer.digest"));
    fprintf(out, "Style %s, context %llu: %s window%s, %s token%s scored; %s.", organ_json_text(e, "style"), organ_json_count(e, "context"),
            organ_count_text(organ_json_count(e, "windows"), windows), organ_json_count(e, "windows") == 1 ? "" : "s",
            organ_count_text(organ_json_count(e, "tokens_scored"), scored), organ_json_count(e, "tokens_scored") == 1 ? "" : "s",
            organ_json_text(e, "bos"));
}

char *organ_experiment_text(const json_t *experiment, organ_error *error)
{
    organ_text buffer;
    char *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return NULL;
    say_experiment(buffer.out, experiment);
    organ_text_finish(&buffer, &text, error);
    return text;
}

void organ_perplexity_not_counted(FILE *out, const json_t *report, const organ_page *page)
{
    bool told = page != NULL;
    for (size_t m = 0; m < json_array_size(models_of(report)); m++) {
        const json_t *const model = json_array_get(models_of(report), m);
        const char *const why = organ_json_text(model, "not_counted");
        if (*why && page)
            organ_text_say(out, page, "  ", "No sparsity for %s: %s.", organ_json_text(model, "model.name"), why);
        else if (*why) {
            fputs(told ? "- No sparsity for " : "\n- No sparsity for ", out);
            told = true;
            organ_markdown_text(out, organ_json_text(model, "model.name"), true);
            fputs(": ", out);
            organ_markdown_text(out, why, false);
            fputs("\n", out);
        }
    }
}

static void put_end(FILE *out, const json_t *report, const organ_page *page)
{
    char duration[24];
    const bool two = json_array_size(models_of(report)) > 1;
    if (two && !is_evaluation(report))
        organ_text_say(out, page, "  ",
                       "Difference and ratio: the second model beside the first. KL divergence: of the second from the "
                       "first, in nats per token.");
    if (is_evaluation(report))
        organ_text_say(out, page, "  ",
                       "%% target and %% full: killed weights, counted from the bytes, of the target tensors and of the "
                       "full model. KL in nats per token from the donor.");
    organ_text_say(out, page, "  ", "Errors are standard errors; tokens are taken as independent.");
    organ_text_say(out, page, "  ", "Time: %s, %.0f tokens/s.", organ_duration_text(organ_json_real(report, "run.seconds"), duration),
                   organ_json_real(report, "run.tokens_per_second"));
    if (!*organ_json_text(report, "run.output"))
        return;
    fputs("\nReport:  ", out);
    organ_text_visible(out, organ_json_text(report, "run.output"));
    fputs(is_evaluation(report) ? "/EVALUATION_REPORT.md (and .html)\n" : "/PERPLEXITY_REPORT.md (and .html)\n", out);
}

organ_status organ_perplexity_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    static const char *const titles[] = {"Model:   ", "Beside:  "};
    organ_text buffer;
    *text = NULL;
    char *const experiment = organ_experiment_text(organ_json_at(report, "experiment"), error);
    if (error->status || organ_text_open(&buffer, error) != ORGAN_OK) {
        free(experiment);
        return error->status;
    }
    FILE *const out = buffer.out;
    organ_text_say(out, page, "", "%s", experiment);
    fputc('\n', out);
    free(experiment);
    if (is_evaluation(report)) {
        put_evaluation(out, report, page, error);
        put_words_table(out, report, page, error);
        organ_perplexity_not_counted(out, report, page);
        organ_errata_put(out, report, page);
    }
    for (size_t m = 0; !is_evaluation(report) && m < json_array_size(models_of(report)) && !error->status; m++) {
        fputs(titles[m > 0], out);
        organ_model_line(out, organ_json_at(json_array_get(models_of(report), m), "model"));
        fputs("\n\n", out);
        put_model(out, report, m, page, error);
    }
    if (error->status) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_end(out, report, page);
    return organ_text_finish(&buffer, text, error);
}

/* ---- the file ---- */

static void put_definitions(FILE *out, const json_t *definitions)
{
    const char *term;
    json_t *sentence;
    fputs("\n## Definitions\n\n", out);
    json_object_foreach((json_t *)definitions, term, sentence)
    {
        fputs("- **", out);
        organ_markdown_text(out, term, false);
        fputs("**: ", out);
        organ_markdown_text(out, json_string_value(sentence), false);
        fputc('\n', out);
    }
}

static void put_run(FILE *out, const json_t *report)
{
    char duration[24];
    fprintf(out, "\n## Run\n\n%s, %.0f tokens/s, %llu threads, %s.\n",
            organ_duration_text(organ_json_real(report, "run.seconds"), duration), organ_json_real(report, "run.tokens_per_second"),
            organ_json_count(report, "run.threads"), organ_json_text(report, "run.cpu_isa"));
}

static void put_models(FILE *out, const json_t *report, organ_error *error)
{
    for (size_t m = 0; m < json_array_size(models_of(report)) && !error->status; m++) {
        fputs("\n## ", out);
        organ_markdown_text(out, organ_json_text(json_array_get(models_of(report), m), "model.name"), false);
        fputs("\n\n", out);
        put_model(out, report, m, NULL, error);
    }
}

organ_status organ_perplexity_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    organ_text buffer;
    *markdown = NULL;
    char *const experiment = organ_experiment_text(organ_json_at(report, "experiment"), error);
    if (error->status || organ_text_open(&buffer, error) != ORGAN_OK) {
        free(experiment);
        return error->status;
    }
    FILE *const out = buffer.out;
    fputs(is_evaluation(report) ? "# Evaluation: what was done to " : "# Perplexity of ", out);
    organ_markdown_text(out, organ_json_text(json_array_get(models_of(report), 0), "model.name"), false);
    fputs("\n", out);
    organ_errata_put(out, report, NULL);
    fputs("\n", out);
    organ_markdown_text(out, experiment, false);
    fputs("\n", out);
    free(experiment);
    if (is_evaluation(report)) {
        fputc('\n', out);
        put_evaluation(out, report, NULL, error);
        put_words_table(out, report, NULL, error);
        organ_perplexity_not_counted(out, report, NULL);
    } else
        put_models(out, report, error);
    if (error->status) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_definitions(out, organ_json_at(report, "definitions"));
    put_run(out, report);
    return organ_text_finish(&buffer, markdown, error);
}
