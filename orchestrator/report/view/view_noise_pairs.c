/* SPDX-License-Identifier: MIT
 * The view of organ.noise_pairs/1. A and B are two pairs of models; N_A and N_B are their quantisation noises, clean
 * minus noisy weights. The report compares both noises with each other and with a change D. */
#include "orchestrator/report/view/view_noise.h"
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

#define LEGEND                                                                                                         \
    "chance: standard deviation of the cosine of random matrices. R^2: share of the energy of N_B that the best "      \
    "multiple of N_A (factor) "                                                                                        \
    "explains. remains: |N_A - N_B| / |N_A|. D: the change."

static const organ_item highlights[] = {
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
static const organ_field modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
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
static const organ_panels_of cosines = {
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

static const organ_block sentence[] = {SAY(ON_TERMINAL, NULL, "{.}"), ITEM(ON_FILES, NULL, "{.}")};
static const organ_item models[] = {{NULL, "A, clean", OF_PAIR("pairs.0.clean")},
                                    {NULL, "A, noisy", OF_PAIR("pairs.0.noisy")},
                                    {NULL, "B, clean", OF_PAIR("pairs.1.clean")},
                                    {NULL, "B, noisy", OF_PAIR("pairs.1.noisy")}};

static const organ_block blocks[] = {
    LINES(NULL,
          "Pair A   clean " OF_PAIR("pairs.0.clean") "\n         noisy " OF_PAIR(
              "pairs.0.noisy") "\nPair B   clean " OF_PAIR("pairs.1.clean") "\n         noisy " OF_PAIR("pairs.1."
                                                                                                        "noisy") "\n"),
    LINES(NULL, "Change   {run.change?{run.change}|from the clean model of A to that of B}"
                "{change.adapter? (adapter)|{change.tuned? (tuned model) less the clean model of A}}, "
                "{modules:size} modules\n\n"),
    HEADING("Quantisation noise of two pairs"),
    SAY(ON_MARKDOWN, NULL,
        "Definition {definition}. The change is that of the {change.of}; {modules:size} modules compared."),
    ITEM(ON_MARKDOWN, NULL, "Pair A, clean: {pairs.0.clean.name}, stored as {pairs.0.clean.stored_as}"),
    ITEM(ON_MARKDOWN, NULL, "Pair A, noisy: {pairs.0.noisy.name}, stored as {pairs.0.noisy.stored_as}"),
    ITEM(ON_MARKDOWN, NULL, "Pair B, clean: {pairs.1.clean.name}, stored as {pairs.1.clean.stored_as}"),
    ITEM(ON_MARKDOWN, NULL, "Pair B, noisy: {pairs.1.noisy.name}, stored as {pairs.1.noisy.stored_as}"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_FILES, NULL, "Verdict"),
    EACH(ON_FILES, "verdict.sentences", BLOCKS_OF(sentence)),
    WARN(ON_PAGE, NULL, ABOUT_WEIGHTS),
    SAY(ON_MARKDOWN, NULL, ABOUT_WEIGHTS),
    ITEMS(ON_PAGE, NULL, .name = "pair", .value = "model and storage type", ITEM_LIST(models), .caption = "The models"),
    SAY(ON_PAGE, NULL, "The change is that of the {change.of}."),
    SAY(ON_MARKDOWN, NULL, "In the tables: " LEGEND),
    SECTION(ON_PAGE, NULL, "Layer by layer"),
    PANELS("places", &sizes),
    PANELS("places", &cosines),
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
    EACH(ON_TERMINAL, "verdict.sentences", BLOCKS_OF(sentence)),
    MATRICES_SHARE("", "compared weights are"),
    MATRICES_LEFT("", "not compared"),
    SECTION(ON_MARKDOWN, NULL, "By layer"),
    TABLE(ON_FILES, NULL, "layers", FIELDS(noises_by_layer), .total = "all", .total_row = "total",
          .caption = "The noises compared, by layer"),
    TABLE(ON_FILES, NULL, "layers", FIELDS(change_by_layer), .total = "all", .total_row = "total",
          .caption = "Compared with the change, by layer"),
    SECTION(ON_MARKDOWN, NULL, "Modules"),
    TABLE(ON_FILES, NULL, "modules", FIELDS(modules), .max = EVERY_NOISE_MODULE, .what = "modules",
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
                                           BLOCKS_OF(blocks)};
