/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/noise_pairs_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/noise_fields.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

#define NOISE_FIELDS                                                                                                                       \
    FIELD_COUNT("modules", "modules"), FIELD_ROUNDED("|N_A|/|W|", "noise_a_to_weight", 0),                                                 \
        FIELD_ROUNDED("|N_B|/|W|", "noise_b_to_weight", 0), FIELD_ROUNDED("cosine", "cosine", 4),                                          \
        FIELD_ROUNDED("chance", "chance_std", 4), FIELD_ROUNDED("z", "z", 1), FIELD_WITHIN, FIELD_ROUNDED("R^2", "explained", 4),          \
        FIELD_ROUNDED("factor", "factor", 3), FIELD_ROUNDED("remains", "remains_to_noise_a", 3)

organ_table *organ_noise_pairs_noises(const json_t *report, const char *rows, const char *key)
{
    static const organ_field fields[] = {FIELD_PROJECTION, NOISE_FIELDS}, layers[] = {FIELD_LAYER, NOISE_FIELDS};
    return organ_noise_folds_table(report, rows, strcmp(key, "layer") == 0 ? layers : fields, sizeof fields / sizeof *fields);
}

#define CHANGE_FIELDS                                                                                                                      \
    FIELD_ROUNDED("|D|", "change", 0), FIELD_ROUNDED("|N_A|/|D|", "noise_a_to_change", 0),                                                 \
        FIELD_ROUNDED("|N_B|/|D|", "noise_b_to_change", 0), FIELD_ROUNDED("remains/|D|", "remains_to_change", 0),                          \
        FIELD_ROUNDED("cos N_A", "with_change.noise_a.cosine", 4), FIELD_ROUNDED("z", "with_change.noise_a.z", 1),                         \
        FIELD_ROUNDED("cos N_B", "with_change.noise_b.cosine", 4), FIELD_ROUNDED("z", "with_change.noise_b.z", 1),                         \
        FIELD_ROUNDED("cos remains", "with_change.remains.cosine", 4), FIELD_ROUNDED("z", "with_change.remains.z", 1)

organ_table *organ_noise_pairs_change(const json_t *report, const char *rows, const char *key)
{
    static const organ_field fields[] = {FIELD_PROJECTION, CHANGE_FIELDS}, layers[] = {FIELD_LAYER, CHANGE_FIELDS};
    return organ_noise_folds_table(report, rows, strcmp(key, "layer") == 0 ? layers : fields, sizeof fields / sizeof *fields);
}

organ_table *organ_noise_pairs_modules(const json_t *report, size_t most)
{
    static const organ_field fields[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                         FIELD_ROUNDED("|N_A|", "noise_a", 0),
                                         FIELD_ROUNDED("|N_B|", "noise_b", 0),
                                         FIELD_ROUNDED("cosine", "cosine", 5),
                                         FIELD_ROUNDED("chance", "chance.std_exact", 5),
                                         FIELD_ROUNDED("z", "z_exact", 2),
                                         FIELD_ROUNDED("z signs", "z_signs", 2),
                                         FIELD_ROUNDED("R^2", "explained", 5),
                                         FIELD_ROUNDED("factor", "factor", 4),
                                         FIELD_ROUNDED("remains", "remains_to_noise_a", 4),
                                         FIELD_MAYBE_ROUNDED("|D|", "change", 0),
                                         FIELD_MAYBE_ROUNDED("remains/|D|", "remains_to_change", 0)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "modules"), most);
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
