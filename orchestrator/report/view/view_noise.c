/* SPDX-License-Identifier: MIT
 * The view of organ.orthogonality/1, the report that compares the noise of one or two quantised models with the change
 * by an adapter. */
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <string.h>

/* ---- both views ---- */

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
static const organ_panels_of noise_cosines = {
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
    {"magnitude.svg", &magnitudes}, {"cosine.svg", &noise_cosines}, {"leakage.svg", &leakages}};

/* ---- rows: a noise with its modules ---- */

static double absolute_member(const json_t *row, const char *key) { return fabs(organ_json_number(row, key)); }

/* Returns {"what", "module", "value", "z"} for the module whose figure `key` has the largest absolute value; null if
 * no module has this figure. `modules` have figures in their member "this"; `what` is the name of the figure for
 * readers. Only the cosine has a "z". */
static json_t *extreme_of(const json_t *noise_modules, const char *key, const char *what)
{
    const json_t *best = NULL;
    for (size_t k = 0; k < json_array_size(noise_modules); k++) {
        const json_t *const row = organ_json_row_at(noise_modules, k), *const this = json_object_get(row, "this");
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
    const json_t *const noise_modules = organ_json_at(report, "modules");
    json_t *const rows = json_array();
    for (size_t k = 0; k < json_array_size(noise_modules); k++) {
        json_t *const row = json_copy(organ_json_row_at(noise_modules, k));
        json_t *const this = organ_json_row_at(organ_json_at(row, "noise"), n);
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
        json_t *const noise = json_copy(organ_json_row_at(found, n));
        json_t *const noise_modules = modules_of_noise(report, n);
        ORGAN_ADD(noise,
                  SET("extremes",
                      json_pack("[o, o, o]", extreme_of(noise_modules, "cosine", "Largest cosine"),
                                extreme_of(noise_modules, "ratio", "Largest noise / change"),
                                extreme_of(noise_modules, "leakage_over_expected", "Largest leakage / expected"))),
                  SET("modules", noise_modules), SET_FLAG("second", n > 0));
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
static const organ_item noise_highlights[] = {NOISE_HIGHLIGHTS("0"), NOISE_HIGHLIGHTS("1")};

/* Columns for a comparison of a noise with the adapter, or of two noises, whose rows have the same members; `ratio` is
 * the title of the column with the ratio of norms. */
#define COMPARISON(ratio)                                                                                              \
    FIELD_COUNT("modules", "modules"), FIELD_ROUNDED(ratio, "ratio", 0), FIELD_ROUNDED("cosine", "cosine", 4),         \
        FIELD_ROUNDED("chance", "chance_std", 4), FIELD_ROUNDED("z", "z", 1), FIELD_WITHIN
#define LEAKAGE FIELD_ROUNDED("leakage", "leakage", 3), FIELD_ROUNDED("expected", "leakage_expected", 3)

static const organ_field projections[] = {FIELD_PROJECTION, COMPARISON("|N|/|K|"), LEAKAGE};
static const organ_field layers[] = {FIELD_LAYER, COMPARISON("|N|/|K|"), LEAKAGE};
static const organ_field agreement_fields[] = {FIELD_PROJECTION, COMPARISON("|N1|/|N2|")};
static const organ_field noise_modules[] = {
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

static const organ_block noise_sentence[] = {SAY(ON_TERMINAL | ON_PAGE, NULL, "{.}"), ITEM(ON_MARKDOWN, NULL, "{.}")};
static const organ_block extreme[] = {
    SAY(ON_TERMINAL | ON_PAGE, "what", "{what}: {module}, {z?{value:.4f} (z {z:.1f})|{value:.3g} x}.")};

static const organ_block noise[] = {
    LINES(NULL, "{second?\n}The noise of " NOISY "\n\n"),
    SECTION(ON_FILES, NULL, "The noise of {noisy.name}"),
    SAY(ON_MARKDOWN, NULL, "Stored as {stored_as}."),
    EACH(ON_MARKDOWN, "verdict.sentences", BLOCKS_OF(noise_sentence)),
    Z_MAP("Significance of each cosine: the noise of {noisy.name}", "between noise and adapter",
          "The sign is the direction: above 0 the adapter restores part of what quantisation removed, below 0 it adds "
          "to the error. A significant cosine can be small: the chart above has the cosines themselves."),
    EACH(ON_PAGE, "extremes", BLOCKS_OF(extreme)),
    TABLE(ON_ALL, NULL, "projections", FIELDS(projections), .total = "all", .total_row = "total",
          .caption = "By projection; chance: standard deviation of the cosine of random matrices, expected: leakage of "
                     "noise without direction"),
    EACH(ON_TERMINAL, "verdict.sentences", BLOCKS_OF(noise_sentence)),
    EACH(ON_TERMINAL, "extremes", BLOCKS_OF(extreme)),
    SAY(ON_MARKDOWN, NULL, "### Layers"),
    TABLE(ON_FILES, NULL, "layers", FIELDS(layers), .total = "all", .total_row = "total", .caption = "By layer"),
    SAY(ON_MARKDOWN, NULL, "### Modules"),
    TABLE(ON_MARKDOWN, NULL, "modules", FIELDS(noise_modules)),
    TABLE(ON_PAGE, NULL, "modules", FIELDS(page_modules), .max = EVERY_NOISE_MODULE, .what = "modules",
          .caption = "Every module"),
};

static const organ_block agreement[] = {
    LINES(NULL, "\nThe two noises compared\n\n"),
    SECTION(ON_FILES, NULL, "The two noises compared"),
    EACH(ON_FILES, "verdict.sentences", BLOCKS_OF(noise_sentence)),
    TABLE(ON_ALL, NULL, "projections", FIELDS(agreement_fields), .total = "all", .total_row = "total",
          .caption = "By projection"),
    EACH(ON_TERMINAL, "verdict.sentences", BLOCKS_OF(noise_sentence)),
};

static const organ_block noise_blocks[] = {
    LINES(NULL, "Clean    {clean:model}"),
    MADE(ON_TERMINAL, NULL, noises_of,
         BLOCKS(EACH(ON_TERMINAL, "noises", BLOCKS(LINES(NULL, "{second?\nNoisy 2  |\nNoisy    }" NOISY))))),
    LINES(NULL, "\nAdapter  {run.adapter}, rank {adapter.r}, {modules:size} of {adapter.modules} modules\n\n"),
    HEADING("Quantisation noise against the adapter: {clean.name}"),
    WARNINGS,
    SAY(ON_MARKDOWN, NULL, "Definition {definition}. Adapter of rank {adapter.r}, {modules:size} modules compared."),
    HIGHLIGHTS(NULL, noise_highlights),
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
    PANELS(NULL, &noise_cosines),
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
    .files = {"orthogonality.json", "ORTHOGONALITY_REPORT.md", NULL},
    BLOCKS_OF(noise_blocks)};

/* ---- organ.noise_pairs/1 ---- */

/* The view of organ.noise_pairs/1. A and B are two pairs of models; N_A and N_B are their quantisation noises, clean
 * minus noisy weights. The report compares both noises with each other and with a change D. */

#define LEGEND                                                                                                         \
    "chance: standard deviation of the cosine of random matrices. R^2: share of the energy of N_B that the best "      \
    "multiple of N_A (factor) "                                                                                        \
    "explains. remains: |N_A - N_B| / |N_A|. D: the change."

static const organ_item noise_pairs_highlights[] = {
    {"verdict.cosine>-2", "cosine of both noises", "{verdict.cosine:.4f}"},
    {"verdict.remains_to_noise_a>-2", "|N_A - N_B| relative to |N_A|", "{verdict.remains_to_noise_a:.3g}"},
    {"verdict.remains_to_change>-2", "|N_A - N_B| relative to the change", "{verdict.remains_to_change:.3g}"}};

/* Columns that compare both noises, and columns that compare the noises with the change. */
#define NOISE_FIELDS                                                                                                   \
    FIELD_COUNT("modules", "modules"), FIELD_ROUNDED("|N_A|/|W|", "noise_a_to_weight", 0),                             \
        FIELD_ROUNDED("|N_B|/|W|", "noise_b_to_weight", 0), FIELD_ROUNDED("cosine", "cosine", 4),                      \
        FIELD_ROUNDED("chance", "chance_std", 4), FIELD_ROUNDED("z", "z", 1), FIELD_WITHIN,                            \
        FIELD_ROUNDED("R^2", "explained", 4), FIELD_ROUNDED("factor", "factor", 3),                                    \
        FIELD_ROUNDED("remains", "remains_to_noise_a", 3)
#define CHANGE_FIELDS                                                                                                  \
    FIELD_ROUNDED("|D|", "change", 0), FIELD_ROUNDED("|N_A|/|D|", "noise_a_to_change", 0),                             \
        FIELD_ROUNDED("|N_B|/|D|", "noise_b_to_change", 0), FIELD_ROUNDED("remains/|D|", "remains_to_change", 0),      \
        FIELD_ROUNDED("cos N_A", "with_change.noise_a.cosine", 4), FIELD_ROUNDED("z", "with_change.noise_a.z", 1),     \
        FIELD_ROUNDED("cos N_B", "with_change.noise_b.cosine", 4), FIELD_ROUNDED("z", "with_change.noise_b.z", 1),     \
        FIELD_ROUNDED("cos remains", "with_change.remains.cosine", 4), FIELD_ROUNDED("z", "with_change.remains.z", 1)

static const organ_field noises_by_projection[] = {FIELD_PROJECTION, NOISE_FIELDS},
                         noises_by_layer[] = {FIELD_LAYER, NOISE_FIELDS};
static const organ_field change_by_projection[] = {FIELD_PROJECTION, CHANGE_FIELDS},
                         change_by_layer[] = {FIELD_LAYER, CHANGE_FIELDS};
static const organ_field noise_pairs_modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
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

static const organ_panels_of sizes = {
    .style = {.title = "Norms of both noises, of their difference and of the change",
              .subtitle = "Frobenius norms; noises that cancel leave a remainder far below both",
              .description =
                  "Frobenius norms of the noise of each pair, of their difference and of the change for each "
                  "layer, one panel a "
                  "projection, logarithmic.",
              .y_label = "Frobenius norm (log scale)",
              .log_y = true},
    .role = "projection",
    .series = {{"N_A", "places", "noise_a", 0, false},
               {"N_B", "places", "noise_b", 1, false},
               {"N_A - N_B", "places", "remains", 2, false},
               {"change", "places", "change", 3, false}},
    .caption = "Where N_A - N_B is above the change, an adapter extracted from the noisy models is mostly noise."};
static const organ_panels_of noise_pairs_cosines = {
    .style = {.title = "Cosine of both noises",
              .subtitle = "1: the same direction; 0: unrelated",
              .description =
                  "Cosine of the noises of both pairs for each layer, one panel per projection, with the band "
                  "of random matrices.",
              .y_label = "cosine",
              .bars = true,
              .band_name = "random matrices: 3 standard deviations"},
    .role = "projection",
    .series = {{"cosine of N_A and N_B", "places", "cosine", 0, false}},
    .band = "chance_std",
    .band_factor = 3,
    .caption = "Bars inside the band are typical of random matrices."};

#define OF_PAIR(which) "{" which ".name} ({" which ".stored_as})"

static const organ_block noise_pairs_sentence[] = {SAY(ON_TERMINAL, NULL, "{.}"), ITEM(ON_FILES, NULL, "{.}")};
static const organ_item models[] = {{NULL, "A, clean", OF_PAIR("pairs.0.clean")},
                                    {NULL, "A, noisy", OF_PAIR("pairs.0.noisy")},
                                    {NULL, "B, clean", OF_PAIR("pairs.1.clean")},
                                    {NULL, "B, noisy", OF_PAIR("pairs.1.noisy")}};

static const organ_block noise_pairs_blocks[] = {
    LINES(NULL,
          "Pair A   clean " OF_PAIR("pairs.0.clean") "\n         noisy " OF_PAIR(
              "pairs.0.noisy") "\nPair B   clean " OF_PAIR("pairs.1.clean") "\n         noisy " OF_PAIR("pairs.1."
                                                                                                        "noisy") "\n"),
    LINES(NULL, "Change   {run.change?{run.change}|from the clean model of A to that of B}"
                "{change.adapter? (adapter)|{change.tuned? (tuned model) less the clean model of A}}, "
                "{modules:size} modules\n\n"),
    HEADING("Quantisation noise of two pairs"),
    WARNINGS,
    SAY(ON_MARKDOWN, NULL,
        "Definition {definition}. The change is that of the {change.of}; {modules:size} modules compared."),
    ITEM(ON_MARKDOWN, NULL, "Pair A, clean: {pairs.0.clean.name}, stored as {pairs.0.clean.stored_as}"),
    ITEM(ON_MARKDOWN, NULL, "Pair A, noisy: {pairs.0.noisy.name}, stored as {pairs.0.noisy.stored_as}"),
    ITEM(ON_MARKDOWN, NULL, "Pair B, clean: {pairs.1.clean.name}, stored as {pairs.1.clean.stored_as}"),
    ITEM(ON_MARKDOWN, NULL, "Pair B, noisy: {pairs.1.noisy.name}, stored as {pairs.1.noisy.stored_as}"),
    HIGHLIGHTS(NULL, noise_pairs_highlights),
    SECTION(ON_FILES, NULL, "Verdict"),
    EACH(ON_FILES, "verdict.sentences", BLOCKS_OF(noise_pairs_sentence)),
    WARN(ON_PAGE, NULL, ABOUT_WEIGHTS),
    SAY(ON_MARKDOWN, NULL, ABOUT_WEIGHTS),
    ITEMS(ON_PAGE, NULL, .name = "pair", .value = "model and storage type", ITEM_LIST(models), .caption = "The models"),
    SAY(ON_PAGE, NULL, "The change is that of the {change.of}."),
    SAY(ON_MARKDOWN, NULL, "In the tables: " LEGEND),
    SECTION(ON_PAGE, NULL, "Layer by layer"),
    PANELS("places", &sizes),
    PANELS("places", &noise_pairs_cosines),
    Z_MAP("Significance of each cosine", "of both noises",
          "A significant cosine can be small: the chart above has the cosines themselves."),
    SECTION(ON_PAGE, NULL, "Numbers"),
    SECTION(ON_MARKDOWN, NULL, "By projection"),
    LINES(NULL, "The noises compared\n\n"),
    TABLE(ON_ALL, NULL, "projections", FIELDS(noises_by_projection), .total = "all", .total_row = "total",
          .caption = "The noises compared, by projection"),
    LINES(NULL, "The noises compared with the change\n\n"),
    TABLE(ON_ALL, NULL, "projections", FIELDS(change_by_projection), .total = "all", .total_row = "total",
          .caption = "Compared with the change, by projection"),
    EACH(ON_TERMINAL, "verdict.sentences", BLOCKS_OF(noise_pairs_sentence)),
    MATRICES_SHARE("", "compared weights are"),
    MATRICES_LEFT("", "not compared"),
    SECTION(ON_MARKDOWN, NULL, "By layer"),
    TABLE(ON_FILES, NULL, "layers", FIELDS(noises_by_layer), .total = "all", .total_row = "total",
          .caption = "The noises compared, by layer"),
    TABLE(ON_FILES, NULL, "layers", FIELDS(change_by_layer), .total = "all", .total_row = "total",
          .caption = "Compared with the change, by layer"),
    SECTION(ON_MARKDOWN, NULL, "Modules"),
    TABLE(ON_FILES, NULL, "modules", FIELDS(noise_pairs_modules), .max = EVERY_NOISE_MODULE, .what = "modules",
          .caption = "Every module"),
    GAP(NULL),
    SAY(ON_TERMINAL, NULL, LEGEND),
    SAY(ON_TERMINAL, NULL, "Time: {run.seconds:time} for {run.bytes_read:bytes}."),
    LINES("run.output", "\nReport:  {run.output}/NOISE_PAIRS_REPORT.md (and .html)\n"),
    DEFINITIONS,
    THRESHOLDS,
};

const organ_view organ_noise_pairs_view = {.schema = "organ.noise_pairs/1",
                                           .kind = "Quantisation noise of two pairs",
                                           .title = "{pairs.0.noisy.name} and {pairs.1.noisy.name}",
                                           .lead = "{verdict.sentences.0}",
                                           .files = {"noise_pairs.json", "NOISE_PAIRS_REPORT.md", NULL},
                                           BLOCKS_OF(noise_pairs_blocks)};
