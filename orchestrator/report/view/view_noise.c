/* SPDX-License-Identifier: MIT
 * The view of organ.orthogonality/1, the report that compares the noise of one or two quantised models with the change
 * by an adapter. */
#include "orchestrator/report/view/view_noise.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <string.h>

/* ---- also used by view_noise_pairs.c ---- */

void organ_noise_within_cell(organ_table *table, const json_t *row)
{
    organ_table_cell(table, "%llu", organ_json_count(row, "with_cosine") - organ_json_count(row, "beyond"));
}

/* ---- plots ---- */

/* Two series of a chart, one for each noise: the member `member` of its modules, named `what` and the noisy model. */
#define NOISE_SERIES(what, member)                                                                                     \
    {what " {noises.0.noisy.name}", "noises.0.places", (member), 0, false},                                            \
    {                                                                                                                  \
        what " {noises.1.noisy.name}", "noises.1.places", (member), 1, false                                           \
    }

static const organ_panels_of magnitudes = {
    .style = {.title = "Size of noise and adapter",
              .subtitle = "Frobenius norms; if the line of the adapter is above that of the noise, its change is "
                          "larger than the quantisation error",
              .description = "Frobenius norm of the quantisation noise and of the adapter's change for each layer, one "
                             "panel a projection, "
                             "logarithmic.",
              .y_label = "Frobenius norm (log scale)",
              .log_y = true},
    .role = "projection",
    .series = {NOISE_SERIES("noise of", "noise_norm"),
               {"change by the adapter", "noises.0.places", "change_norm", 2, false}},
    .caption =
        "Where the adapter's line is above that of the noise, its change is larger than the quantisation error."};
static const organ_panels_of cosines = {
    .style = {.title = "Cosine between noise and adapter",
              .subtitle = "0: unrelated; above the band the adapter restores part of what quantisation removed, below "
                          "it adds to the error",
              .description = "Cosine between quantisation noise and the adapter's change for each layer, one panel a "
                             "projection, with the band of random matrices.",
              .y_label = "cosine",
              .bars = true,
              .band_name = "random matrices: 3 standard deviations"},
    .role = "projection",
    .series = {NOISE_SERIES("cosine of the noise of", "cosine")},
    .band = "chance_std",
    .band_factor = 3,
    .caption = "Bars inside the band are typical of random matrices: noise and adapter share no direction there."};
static const organ_panels_of leakages = {
    .style = {.title = "Noise in the adapter's output directions",
              .subtitle = "share of the noise's norm; the dashed line is the value for noise without any direction",
              .description = "Share of the quantisation noise in the output directions of the adapter for each layer, "
                             "one panel per projection, with its expectation.",
              .y_label = "leakage"},
    .role = "projection",
    .series = {NOISE_SERIES("leakage of the noise of", "leakage"),
               {"expected for noise without a direction", "noises.0.places", "leakage_expected", 0, true}},
    .caption = "At the dashed line the noise has no preference for the adapter's output directions; above it, it "
               "prefers them."};

const organ_noise_plot organ_noise_plots[ORGAN_NOISE_PLOTS] = {
    {"magnitude.svg", &magnitudes}, {"cosine.svg", &cosines}, {"leakage.svg", &leakages}};

/* ---- rows: a noise with its modules ---- */

static double absolute_member(const json_t *row, const char *key) { return fabs(organ_json_number(row, key)); }

/* Returns {"what", "module", "value", "z"} for the module whose figure `key` has the largest absolute value; null if
 * no module has this figure. `modules` have figures in their member "this"; `what` is the name of the figure for
 * readers. Only the cosine has a "z". */
static json_t *extreme_of(const json_t *modules, const char *key, const char *what)
{
    const json_t *best = NULL;
    for (size_t k = 0; k < json_array_size(modules); k++) {
        const json_t *const row = organ_json_row_at(modules, k), *const this = json_object_get(row, "this");
        if (isfinite(absolute_member(this, key)) &&
            (!best || absolute_member(this, key) > absolute_member(json_object_get(best, "this"), key)))
            best = row;
    }
    const json_t *const this = json_object_get(best, "this");
    return best ? json_pack("{s:s, s:s, s:O, s:O?}", "what", what, "module", organ_json_text(best, "module"), "value",
                            json_object_get(this, key), "z",
                            strcmp(key, "cosine") == 0 ? json_object_get(this, "z_exact") : NULL)
                : json_null();
}

static json_t *modules_of_noise(const json_t *report, size_t n)
{
    const json_t *const modules = organ_json_at(report, "modules");
    json_t *const rows = json_array();
    for (size_t k = 0; k < json_array_size(modules); k++) {
        json_t *const row = json_copy(organ_json_row_at(modules, k)), *const this = organ_json_row_at(
                                                                          organ_json_at(row, "noise"), n);
        ORGAN_ADD(row, SET_IF(this, "this", json_incref(this)));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* The copies of report.noises have three more members: "modules" (modules_of_noise); "extremes", extreme_of for
 * three figures; and "second", false for the first noise only. */
static json_t *noises_of(const json_t *report)
{
    const json_t *const found = organ_json_at(report, "noises");
    json_t *const noises = json_array();
    for (size_t n = 0; n < json_array_size(found); n++) {
        json_t *const noise = json_copy(organ_json_row_at(found, n)), *const modules = modules_of_noise(report, n);
        ORGAN_ADD(
            noise,
            SET("extremes", json_pack("[o, o, o]", extreme_of(modules, "cosine", "Largest cosine"),
                                      extreme_of(modules, "ratio", "Largest noise / change"),
                                      extreme_of(modules, "leakage_over_expected", "Largest leakage / expected"))),
            SET("modules", modules), SET_FLAG("second", n > 0));
        json_array_append_new(noises, noise);
    }
    return ORGAN_OBJECT(SET("noises", noises));
}

/* ---- the view ---- */

/* Main results of noise `n`, "0" or "1". */
#define NOISE_HIGHLIGHTS(n)                                                                                            \
    {"noises." n ".total.cosine>-2", "cosine of noise and adapter, {noises." n ".noisy.name}",                         \
     "{noises." n ".total.cosine:.4f}"},                                                                               \
        {"noises." n ".total.ratio>-2", "noise relative to the adapter's change, {noises." n ".noisy.name}",           \
         "{noises." n ".total.ratio:.3g}"},                                                                            \
    {                                                                                                                  \
        "noises." n ".total.leakage_over_expected>-2",                                                                 \
            "leakage relative to its expectation, {noises." n ".noisy.name}",                                          \
            "{noises." n ".total.leakage_over_expected:.3g}"                                                           \
    }
static const organ_item stored[] = {{NULL, NULL, "Stored as {stored_as}."}};
static const organ_item highlights[] = {NOISE_HIGHLIGHTS("0"), NOISE_HIGHLIGHTS("1")};

/* Columns for a comparison of a noise with the adapter, or of two noises, whose rows have the same members; `ratio` is
 * the title of the column with the ratio of norms. */
#define COMPARISON(ratio)                                                                                              \
    FIELD_COUNT("modules", "modules"), FIELD_ROUNDED(ratio, "ratio", 0), FIELD_ROUNDED("cosine", "cosine", 4),         \
        FIELD_ROUNDED("chance", "chance_std", 4), FIELD_ROUNDED("z", "z", 1), FIELD_WITHIN
#define LEAKAGE FIELD_ROUNDED("leakage", "leakage", 3), FIELD_ROUNDED("expected", "leakage_expected", 3)

static const organ_field projections[] = {FIELD_PROJECTION, COMPARISON("|N|/|K|"), LEAKAGE};
static const organ_field layers[] = {FIELD_LAYER, COMPARISON("|N|/|K|"), LEAKAGE};
static const organ_field agreement_fields[] = {FIELD_PROJECTION, COMPARISON("|N1|/|N2|")};
static const organ_field modules[] = {
    FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),    FIELD_MAYBE_ROUNDED("N", "this.norm", 0),
    FIELD_MAYBE_ROUNDED("K", "change_norm", 0),          FIELD_MAYBE_ROUNDED("N/K", "this.ratio", 0),
    FIELD_MAYBE_ROUNDED("cosine", "this.cosine", 5),     FIELD_MAYBE_ROUNDED("chance", "chance.std_exact", 5),
    FIELD_MAYBE_ROUNDED("z", "this.z_exact", 2),         FIELD_MAYBE_ROUNDED("z signs", "this.z_signs", 2),
    FIELD_MAYBE_ROUNDED("draws mean", "chance.mean", 5), FIELD_MAYBE_ROUNDED("draws std", "chance.std", 5),
    FIELD_MAYBE_ROUNDED("z draws", "this.z", 2),         FIELD_COUNT("k", "k"),
    FIELD_MAYBE_ROUNDED("leakage", "this.leakage", 4),   FIELD_MAYBE_ROUNDED("expected", "this.leakage_expected", 4)};
static const organ_field page_modules[] = {
    FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),  FIELD_MAYBE_GENERAL("|N|/|K|", "this.ratio", 3),
    FIELD_MAYBE_ROUNDED("cosine", "this.cosine", 5),   FIELD_MAYBE_ROUNDED("chance", "chance.std_exact", 5),
    FIELD_MAYBE_ROUNDED("z", "this.z_exact", 2),       FIELD_COUNT("k", "k"),
    FIELD_MAYBE_ROUNDED("leakage", "this.leakage", 4), FIELD_MAYBE_ROUNDED("expected", "this.leakage_expected", 4)};

#define NOISY "{noisy.name} ({stored_as})"

static const organ_block sentence[] = {SAY(ON_TERMINAL | ON_PAGE, NULL, "{.}"), ITEM(ON_MARKDOWN, NULL, "{.}")};
static const organ_block extreme[] = {
    SAY(ON_TERMINAL | ON_PAGE, "what", "{what}: {module}, {z?{value:.4f} (z {z:.1f})|{value:.3g} x}.")};

static const organ_block noise[] = {
    LINES(NULL, "{second?\n}The noise of " NOISY "\n\n"),
    SECTION(ON_FILES, NULL, "The noise of {noisy.name}"),
    SAY(ON_MARKDOWN, NULL, "Stored as {stored_as}."),
    EACH(ON_MARKDOWN, "verdict.sentences", BLOCKS_OF(sentence)),
    Z_MAP("Significance of each cosine: the noise of {noisy.name}", "between noise and adapter",
          "The sign is the direction: above 0 the adapter restores part of what quantisation removed, below 0 it adds "
          "to the error. A significant cosine can be small: the chart above has the cosines themselves."),
    EACH(ON_PAGE, "extremes", BLOCKS_OF(extreme)),
    TABLE(ON_ALL, NULL, "projections", FIELDS(projections), .total = "all", .total_row = "total",
          .caption = "By projection; chance: standard deviation of the cosine of random matrices, expected: leakage of "
                     "noise without direction"),
    EACH(ON_TERMINAL, "verdict.sentences", BLOCKS_OF(sentence)),
    EACH(ON_TERMINAL, "extremes", BLOCKS_OF(extreme)),
    SAY(ON_MARKDOWN, NULL, "### Layers"),
    TABLE(ON_FILES, NULL, "layers", FIELDS(layers), .total = "all", .total_row = "total", .caption = "By layer"),
    SAY(ON_MARKDOWN, NULL, "### Modules"),
    TABLE(ON_MARKDOWN, NULL, "modules", FIELDS(modules)),
    TABLE(ON_PAGE, NULL, "modules", FIELDS(page_modules), .max = EVERY_NOISE_MODULE, .what = "modules",
          .caption = "Every module"),
};

static const organ_block agreement[] = {
    LINES(NULL, "\nThe two noises compared\n\n"),
    SECTION(ON_FILES, NULL, "The two noises compared"),
    EACH(ON_FILES, "verdict.sentences", BLOCKS_OF(sentence)),
    TABLE(ON_ALL, NULL, "projections", FIELDS(agreement_fields), .total = "all", .total_row = "total",
          .caption = "By projection"),
    EACH(ON_TERMINAL, "verdict.sentences", BLOCKS_OF(sentence)),
};

static const organ_block blocks[] = {
    LINES(NULL, "Clean    {clean:model}"),
    MADE(ON_TERMINAL, NULL, noises_of,
         BLOCKS(EACH(ON_TERMINAL, "noises", BLOCKS(LINES(NULL, "{second?\nNoisy 2  |\nNoisy    }" NOISY))))),
    LINES(NULL, "\nAdapter  {run.adapter}, rank {adapter.r}, {modules:size} of {adapter.modules} modules\n\n"),
    HEADING("Quantisation noise against the adapter: {clean.name}"),
    SAY(ON_MARKDOWN, NULL, "Definition {definition}. Adapter of rank {adapter.r}, {modules:size} modules compared."),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Verdict"),
    ITEMS(ON_PAGE, "noises", .of = "noises", .value = "{noisy.name}", ITEM_LIST(stored), .list = "verdict.sentences",
          .caption = "Verdict on each noise"),
    WARN(ON_PAGE, NULL, ABOUT_WEIGHTS),
    SAY(ON_PAGE, NULL, "Clean: {clean:model}."),
    SAY(ON_PAGE, NULL,
        "Adapter: {run.adapter}, rank {adapter.r}, {modules:size} of {adapter.modules} modules compared."),
    SECTION(ON_MARKDOWN, NULL, "Plots"),
    SAY(ON_MARKDOWN, NULL, "![Size of noise and adapter per layer](magnitude.svg)"),
    SAY(ON_MARKDOWN, NULL, "![Cosine between noise and adapter per layer](cosine.svg)"),
    SAY(ON_MARKDOWN, NULL, "![Leakage of noise into the adapter's output directions per layer](leakage.svg)"),
    SECTION(ON_PAGE, NULL, "Layer by layer"),
    PANELS(NULL, &magnitudes),
    PANELS(NULL, &cosines),
    PANELS(NULL, &leakages),
    MADE(ON_ALL, NULL, noises_of, BLOCKS(EACH(ON_ALL, "noises", BLOCKS_OF(noise)))),
    PART(ON_ALL, "agreement", BLOCKS_OF(agreement)),
    MATRICES_SHARE("", "compared weights are"),
    MATRICES_LEFT("", "not compared"),
    GAP(NULL),
    SAY(ON_TERMINAL, NULL,
        "chance: standard deviation of the cosine of random matrices. expected: leakage of noise without direction."),
    SAY(ON_TERMINAL, NULL, "Time: {run.seconds:time} for {run.bytes_read:bytes}."),
    LINES("run.output", "\nReport:  {run.output}/ORTHOGONALITY_REPORT.md (and .html)\n"),
    DEFINITIONS,
    THRESHOLDS,
};

const organ_view organ_orthogonality_view = {
    .schema = "organ.orthogonality/1",
    .kind = "Quantisation noise and adapter",
    .title = "{clean.name} against {noises.0.noisy.name}{noises.1? and {noises.1.noisy.name}}",
    .lead = "{noises.1?{noises.0.noisy.name}: }{noises.0.verdict.sentences.0}{noises.1? {noises.1.noisy.name}: "
            "{noises.1.verdict.sentences.0}}",
    BLOCKS_OF(blocks)};
