/* SPDX-License-Identifier: MIT
 * The view of organ.measure/1, the report of `organ measure`. */
#include "orchestrator/report/view/view_parts.h"

#include <organ/models.h>
#include "orchestrator/report/text/report_text.h"

#include <math.h>

/* A well (gravitational well) is a tensor whose theta is lower than that of its neighbours in the layers before and
 * after. */
enum {
    MAX_POINTS = 1200,     /* tensors that charts show as points; if there are more, charts show means */
    MAX_SAID = 20,         /* tensors without theta that are named on a terminal and in a Markdown file */
    MAX_SAID_OF_PAGE = 50, /* tensors without theta that are named on a page */
    MAX_DIPS = 200,        /* wells in the table of the page of one model */
    MAX_DIPS_OF_MANY = 8,  /* wells in the section of one of several models */
    MAX_LAYERS = 600       /* lines of the table of layers on a page */
};

/* ---- tables ---- */

/* Words for the levels (distinct values) of a tensor, "1,234", and of several tensors from the fewest to the most,
 * "123-4,567". ">" before a number: counting stopped there. */
#define LEVELS      "{levels?{more_levels?>}{levels}|-}"
#define LEVEL_RANGE "{levels_max?{levels_min=levels_max?|{levels_min}-}{more_levels?>}{levels_max}|-}"

static const organ_field roles[] = {
    FIELD_TEXT("role", "role", 0),           FIELD_COUNT("tensors", "tensors"),
    FIELD_FIXED("theta", "theta_mean", 2),   FIELD_FIXED("by elements", "theta_weighted", 2),
    FIELD_FIXED("min", "theta_min", 2),      FIELD_FIXED("max", "theta_max", 2),
    FIELD_FIXED("signal", "signal_mean", 3), FIELD_WORDS("levels", LEVEL_RANGE, 0)};
static const organ_field layers[] = {
    FIELD_COUNT("layer", "layer"),           FIELD_COUNT("tensors", "tensors"),
    FIELD_FIXED("theta", "theta_mean", 2),   FIELD_FIXED("by elements", "theta_weighted", 2),
    FIELD_FIXED("attention", "skeleton", 2), FIELD_FIXED("feed-forward", "organ", 2),
    FIELD_FIXED("norm", "norm", 2)};
static const organ_field dips[] = {FIELD_TEXT("well", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                   FIELD_TEXT("role", "role", 0),
                                   FIELD_FIXED("theta", "theta", 2),
                                   FIELD_FIXED("before", "before", 2),
                                   FIELD_FIXED("after", "after", 2),
                                   FIELD_FIXED("std of role", "std", 2)};
static const organ_field tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_WORDS("stored as", "{stored?{stored}|{dtype}}", ORGAN_FIELD_LEFT),
                                      FIELD_FIXED("theta", "theta", 2),
                                      FIELD_TEXT("", "rating", 0),
                                      FIELD_FIXED("E", "E", 3),
                                      FIELD_FIXED("K", "K", 3),
                                      FIELD_FIXED("C", "C", 3),
                                      FIELD_FIXED("dI/dlog2s", "dI_dlog2s", 3),
                                      FIELD_WORDS("levels", LEVELS, 0)};
static const organ_field others[] = {OTHERS_FIELDS};

/* Columns for statistics over tensors by the older measure, seed/1. They are members of the row, or of its member
 * "seed" if `object` is "seed.". */
#define FOLD_FIELDS(object)                                                                                            \
    FIELD_COUNT("tensors", object "tensors"), FIELD_FIXED("seed theta", object "theta_mean", 2),                       \
        FIELD_FIXED("min", object "theta_min", 2), FIELD_FIXED("max", object "theta_max", 2),                          \
        FIELD_FIXED("signal", object "signal_mean", 3), FIELD_FIXED("z/1 theta", object "z_theta_mean", 2)
static const organ_field seed_roles[] = {FIELD_TEXT("seed/1 by role", "role", 0), FOLD_FIELDS("")};
static const organ_field seed_ranking[] = {FIELD_TEXT("seed/1 of model", "model.name", ORGAN_FIELD_SHORTENS),
                                           FOLD_FIELDS("seed.")};
static const organ_field seed_tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                           FIELD_FIXED("seed theta", "theta", 2),
                                           FIELD_FIXED("E", "E", 3),
                                           FIELD_FIXED("K", "K", 3),
                                           FIELD_FIXED("C", "C", 3),
                                           FIELD_FIXED("dI/dlog2s", "dI_dlog2s", 3),
                                           FIELD_FIXED("z/1 theta", "z_theta", 2)};

/* A table of roles, then of groups and the model; `said` is the caption. */
#define ROLES_TABLE(where, said)                                                                                       \
    TABLE(where, "roles", "roles", FIELDS(roles), .sums = "groups", .sums_name = "group", .total = "all",              \
          .total_row = ".", .caption = (said))
/* Words over a model: the number of tensors of each rating. */
#define RATINGS                                                                                                        \
    "{ratings.***} tensors from 85 degrees (***), {ratings.**} from 60 (**), {ratings.*} from 30 (*), {ratings.none} " \
    "below"                                                                                                            \
    "{tensors>with_theta?; {tensors:-with_theta} without theta}."
/* A table of the wells, of at most `at_max` (0: no limit). */
#define DIPS_TABLE(where, at_max)                                                                                      \
    TABLE(where, "wells", "wells", FIELDS(dips), .max = (at_max), .what = "wells",                                     \
          .caption = "Theta of each well, of its neighbours in the layers before and after, and how much theta "       \
                     "varies within its role.")

/* ---- a model as text ---- */

static const organ_block reasons[] = {SAY_AFTER(ON_TERMINAL, NULL, "  no theta  ", "{name}: {reason}"),
                                      ITEM(ON_MARKDOWN, NULL, "No theta: {name:code}, {reason}."),
                                      SAY(ON_PAGE, NULL, "No theta: {name}, {reason}.")};

static const organ_block matrices[] = {MATRICES_SHARE("", "measured weights are"), MATRICES_LEFT("", "not measured")};

static const organ_block text_blocks[] = {
    LINES(NULL, "Z-measure of {model:model}\n\n"),
    SAY(ON_MARKDOWN, NULL, "## {model.name}"),
    SAY(ON_MARKDOWN, "roles", "### Roles and groups"),
    ROLES_TABLE(ON_TEXT, NULL),
    SAY(ON_MARKDOWN, "layers", "### Layers"),
    TABLE(ON_TEXT, "layers", "layers", FIELDS(layers)),
    SAY(ON_MARKDOWN, "wells", "### Gravitational wells"),
    DIPS_TABLE(ON_TEXT, 0),
    TABLE(ON_TENSORS, "per_tensor", "per_tensor", FIELDS(tensors)),
    LINES(NULL, "  " RATINGS "\n"),
    SAY(ON_MARKDOWN, NULL, RATINGS),
    PART(ON_TEXT, ".", BLOCKS_OF(matrices)),
    EACH_IF(ON_TEXT, NULL, "per_tensor", BLOCKS_OF(reasons), .where = "reason", .max = MAX_SAID),
    GAP("seed"),
    SAY(ON_MARKDOWN, "seed", "### The older measure, seed/1"),
    TABLE(ON_TEXT, "seed", "seed.roles", FIELDS(seed_roles), .sums = "seed.groups", .sums_name = "group",
          .total = "all", .total_row = "seed"),
    TABLE(ON_TENSORS, "seed", "seed.per_tensor", FIELDS(seed_tensors)),
    GAP(NULL),
};

/* ---- a model on a page ---- */

static const organ_item highlights[] = {
    {NULL, "mean theta of {with_theta} tensor{with_theta:s}", "{with_theta?{theta_mean:.2f}°|–}"},
    {NULL, "the same weighted by elements", "{with_theta?{theta_weighted:.2f}°|–}"},
    {NULL, "tensors with a star, theta of 30° and more", "{with_theta:-ratings.none} of {with_theta}"},
    {NULL, "gravitational wells", "{wells:size}"}};

/* A row is {"name": the role, "group", "E", "K", "C"} of a cell (a role in a layer). maps[0], [1] and [2] have the
 * means of E, K and C in each cell. Cells without a mean are left out; of the others, every `step`-th has a row. */
static json_t *cells_of(organ_layer_map *const maps[3], size_t step)
{
    json_t *const rows = json_array();
    const size_t cells = maps[0]->layers * maps[0]->roles;
    for (size_t k = 0, met = 0; k < cells; k++) {
        const char *const role = maps[0]->role[k / maps[0]->layers];
        const organ_role known = organ_anatomy_row_role(organ_anatomy_row_named(role));
        if (isfinite(maps[0]->value[k]) && met++ % step == 0)
            json_array_append_new(rows,
                                  ORGAN_OBJECT(SET_TEXT("name", role),
                                               SET_TEXT("group", organ_group_name(organ_role_describe(known)->group)),
                                               SET_REAL("E", maps[0]->value[k]), SET_REAL("K", maps[1]->value[k]),
                                               SET_REAL("C", maps[2]->value[k])));
    }
    return rows;
}

static size_t finite_cells(const organ_layer_map *map)
{
    size_t count = 0;
    for (size_t k = 0; k < map->layers * map->roles; k++)
        count += isfinite(map->value[k]);
    return count;
}

/* A model with too many tensors for a point each gets rows with the means over the tensors of a role in a layer. If
 * there would be more than about 3 * MAX_POINTS rows, only every "step"-th is kept. */
static json_t *means_of(const json_t *model)
{
    static const char *const keys[] = {"E", "K", "C"};
    const json_t *const all = json_object_get(model, "per_tensor");
    organ_layer_map *maps[3];
    json_t *made = NULL;
    for (size_t m = 0; m < 3; m++) {
        maps[m] = organ_layer_map_create();
        for (size_t k = 0; k < json_array_size(all); k++) {
            const json_t *const row = organ_json_row_at(all, k), *const layer = json_object_get(row, "layer");
            organ_layer_map_add(maps[m], json_is_integer(layer) ? json_integer_value(layer) : -1,
                                organ_json_text(row, "role"), organ_json_number(row, keys[m]), 1);
        }
        organ_layer_map_finish(maps[m]);
    }
    if (maps[0] && maps[1] && maps[2] && !maps[0]->failed && !maps[1]->failed && !maps[2]->failed) {
        const size_t step = 1 + finite_cells(maps[0]) / (3 * (size_t)MAX_POINTS);
        made = ORGAN_OBJECT(SET("rows", cells_of(maps, step)), SET_COUNT("step", step));
    }
    for (size_t m = 0; m < 3; m++)
        organ_layer_map_destroy(maps[m]); /* names of roles are not freed: they are the report's */
    return made;
}

static const char *const groups[] = {"attention", "feed-forward", "embed", "norm", "other", NULL};

/* INDICATOR is a scatter chart of the indicator `key` ("K", from the `label` "kurtosis", or "C") over E, with a point
 * for each row at `path` that satisfies the condition `only`; `said` is the subtitle, `seen` the caption. INDICATORS
 * are the charts of K and C. */
#define INDICATOR(key, label, path, only, said, seen)                                                                  \
    POINTS(NULL, path, only,                                                                                           \
           .style =                                                                                                    \
               {.title = "E and " key,                                                                                 \
                .listed = true,                                                                                        \
                .subtitle = said,                                                                                      \
                .description =                                                                                         \
                    "Indicators of the Z-measure against each other, both from 0 (noise) to 1, by part of the model. " \
                    "The table of tensors has the numbers.",                                                           \
                .x_label = "E, from the entropy",                                                                      \
                .y_label = key ", from the " label,                                                                    \
                .kinds = groups},                                                                                      \
           .name = "name", .x = "E", .y = key, .kind = "group", .named = 3, .caption = (seen))
#define INDICATORS(path, only, said)                                                                                   \
    INDICATOR("K", "kurtosis", path, only, said,                                                                       \
              "Noise is at the lower left. Tensors with a few large values are at the top."),                          \
        INDICATOR("C", "spacings of the quantiles", path, only, said,                                                  \
                  "Tensors whose values do not concentrate around their mean as noise does are at the upper right.")

/* A heat map of theta by layer and role; `said` is the caption. */
#define THETA_MAP(said)                                                                                                \
    MAP("layers", "per_tensor",                                                                                        \
        .style =                                                                                                       \
            {.title = "Theta by layer and role",                                                                       \
             .description =                                                                                            \
                 "Mean theta of the tensors of each role in each layer, in degrees; wells are outlined. The table of " \
                 "tensors has the numbers.",                                                                           \
             .value_label = "theta, degrees",                                                                          \
             .mark_name = "gravitational well",                                                                        \
             .high = 90},                                                                                              \
        .role = "role", .value = "theta", .mean = true, .marks = "wells", .step = 15, .floor = 30, .layers = true,     \
        .caption = (said))

/* A chart titled `name_` with a line of theta over the layers for each role whose tensors satisfy the condition
 * `which`; `said` is the caption. */
#define ROLE_LINES(name_, which, said)                                                                                 \
    CURVES("layers>1&!layers>600", "per_tensor",                                                                       \
           .style = {.title = (name_),                                                                                 \
                     .subtitle = "theta, mean over the tensors of a role",                                             \
                     .description = "A line for each role: its mean theta in every layer, in degrees.",                \
                     .y_label = "theta, degrees"},                                                                     \
           .name = "role", .value = "theta", .only = (which), .caption = (said))

static const organ_block page_blocks[] = {
    HIGHLIGHTS(NULL, highlights),
    SAY(ON_PAGE, NULL, "Measured: {model:model}."),
    WARN(ON_PAGE, NULL, MEASURE_CAUTION),
    SECTION(ON_PAGE, "layers", "Layers and roles"),
    THETA_MAP("Every cell is the mean theta of the tensors of one role in one layer. {wells?An outline marks a "
              "gravitational well: a tensor whose theta is lower than that of its neighbours in the layers before and "
              "after. }Tensors outside the layers are below, among the roles."),
    ROLE_LINES("Attention through the layers", "group=skeleton&!role=bias",
               "The roles of the attention, from the first layer to the last."),
    ROLE_LINES("Feed-forward through the layers", "group=organ&!role=bias", "The roles of the feed-forward network."),
    ROLE_LINES("Norms and the rest", "role=bias|!group=skeleton&!group=organ",
               "Norms and the other tensors of a layer."),
    TABLE(ON_PAGE, "layers", "layers", FIELDS(layers), .max = MAX_LAYERS, .what = "layers",
          .caption = "Theta of every layer in degrees: the mean over its tensors, that weighted by elements, and the "
                     "mean of its attention, "
                     "feed-forward and norms."),
    SECTION(ON_PAGE, NULL, "Roles"),
    BARS_WHERE(NULL, "roles", "theta_mean>-1",
               .style = {.title = "Theta by role",
                         .subtitle = "mean over the tensors; the whisker spans the lowest to the highest",
                         .description = "A bar for each role: the mean theta of its tensors in degrees.",
                         .value_label = "theta, degrees",
                         .series = {"mean theta", NULL},
                         .digits = 3,
                         .unit = "°"},
               .name = "role", .values = {"theta_mean"}, .low = "theta_min", .high = "theta_max",
               .caption = "Mean theta of every role; the whisker spans its lowest to its highest tensor."),
    ROLES_TABLE(ON_PAGE, "Theta in degrees by role, then by part of the model. Levels are distinct values of a tensor: "
                         "few levels indicate quantisation, not signal."),
    SECTION(ON_PAGE, "with_theta", "Entropy, kurtosis and coherence"),
    SAY(ON_PAGE, "with_theta",
        "Theta combines three indicators between 0 and 1, each less its sampling noise: E measures how much less "
        "entropy the values have than noise of the same variance, K how heavy their tails are, C how far the spacings "
        "of their quantiles are from those of noise. theta = asin √((E + K + C) / 3)."),
    PART_IF(ON_PAGE, "with_theta&!per_tensor>1200", ".",
            BLOCKS(INDICATORS("per_tensor", "theta>-1", "a point for each tensor"))),
    PART_IF(ON_PAGE, "with_theta&per_tensor>1200", ".",
            BLOCKS(MADE(ON_PAGE, "per_tensor>1200", means_of,
                        BLOCKS(INDICATORS("rows", NULL,
                                          "means over the tensors of a role in a layer{step>1?, one of {step}}"))))),
    SECTION(ON_PAGE, NULL, "Gravitational wells"),
    SAY(ON_PAGE, "!wells", "None: no tensor is that far below both of its neighbours."),
    DIPS_TABLE(ON_PAGE, MAX_DIPS),
    SECTION(ON_PAGE, NULL, "Tensors"),
    SAY(ON_PAGE, NULL, RATINGS),
    PART(ON_PAGE, ".", BLOCKS_OF(matrices)),
    TABLE(ON_PAGE, NULL, "per_tensor", FIELDS(tensors), .max = EVERY_TENSOR, .what = "tensors",
          .caption = "Theta in degrees with its stars, the three indicators, the change of information per doubling of "
                     "scale, distinct "
                     "values."),
    EACH_IF(ON_PAGE, NULL, "per_tensor", BLOCKS_OF(reasons), .where = "reason", .max = MAX_SAID_OF_PAGE,
            .rest = "And {more} more without theta; the JSON report has all."),
};

/* ---- a section for each of several models ---- */

enum {
    MAX_SECTIONS = 20, /* models with a section on the page; others are only in tables and charts */
    /* cells of the heat maps of all sections: with more, the page would be larger than a megabyte */
    MAX_CELLS = 1600
};

static const organ_block section_blocks[] = {
    SECTION(ON_PAGE, NULL, "{model.name}"),
    SAY(ON_PAGE, NULL, "Measured: {model:model}."),
    SAY(ON_PAGE, NULL, RATINGS),
    PART(ON_PAGE, ".", BLOCKS_OF(matrices)),
};
static const organ_block section_rest[] = {ROLES_TABLE(ON_PAGE, "Theta in degrees by role, then by part of the model."),
                                           DIPS_TABLE(ON_PAGE, MAX_DIPS_OF_MANY)};

static const organ_block small_model[] = {
    PART(ON_PAGE, ".", BLOCKS_OF(section_blocks)),
    PART(ON_PAGE, ".", BLOCKS(THETA_MAP("Mean theta by layer and role; wells are outlined."))),
    PART(ON_PAGE, ".", BLOCKS_OF(section_rest))};
static const organ_block large_model[] = {
    PART(ON_PAGE, ".", BLOCKS_OF(section_blocks)),
    PART(ON_PAGE, ".",
         BLOCKS(CURVES(
             "layers>1", "layers",
             .style =
                 {.title = "Theta through the layers",
                  .description =
                      "Three lines: the mean theta of attention, feed-forward and norms in every layer, in degrees.",
                  .y_label = "theta, degrees"},
             .values = {"skeleton", "organ", "norm"},
             .caption = "Mean theta of attention, feed-forward and norms through the layers."))),
    PART(ON_PAGE, ".", BLOCKS_OF(section_rest))};
/* Prints the blocks `list` for each model, at most MAX_SECTIONS. */
#define SECTIONS(if_, list)                                                                                            \
    EACH_IF(ON_PAGE, if_, "models", BLOCKS_OF(list), .max = MAX_SECTIONS,                                              \
            .rest = "The first {most} of {all} models have sections of their own; the JSON report has all.")

/* "many_cells" is true if the heat maps of all models would have more than MAX_CELLS cells; line charts then replace
 * them. */
static json_t *with_many_cells(const json_t *report)
{
    const json_t *const models = json_object_get(report, "models");
    size_t cells = 0;
    for (size_t k = 0; k < json_array_size(models); k++)
        cells += json_array_size(json_object_get(organ_json_row_at(models, k), "layers")) *
                 json_array_size(json_object_get(organ_json_row_at(models, k), "roles"));
    return ORGAN_OBJECT(SET_HELD("models", models), SET_FLAG("many_cells", cells > MAX_CELLS));
}

const organ_block organ_measure_models_blocks[ORGAN_MEASURE_MODELS_BLOCKS] = {MADE(
    ON_PAGE, NULL, with_many_cells, BLOCKS(SECTIONS("!many_cells", small_model), SECTIONS("many_cells", large_model)))};

/* ---- the whole report ---- */

static const organ_block blocks[] = {
    HEADING("Z-measure"),
    WARNINGS,
    SAY(ON_MARKDOWN, NULL, "> **Note.** " MEASURE_CAUTION),
    SAY(ON_MARKDOWN, NULL,
        "Definition {definition}; organ {organ}. The JSON file in the same directory has all tensors."),
    SAY(ON_MARKDOWN, NULL, "### Models"),
    TABLE(ON_MARKDOWN, NULL, "models", .fields = organ_ranking_fields, .count = ORGAN_RANKING_FIELDS),
    TABLE(ON_TERMINAL, "models>1", "models", .fields = organ_ranking_fields, .count = ORGAN_RANKING_FIELDS),
    SAY(ON_MARKDOWN, "models", "### Mean theta by group"),
    TABLE(ON_MARKDOWN, "models", "models", .fields = organ_group_fields, .count = ORGAN_GROUP_FIELDS),
    TABLE(ON_TERMINAL, "models>1", "models", .fields = organ_group_fields, .count = ORGAN_GROUP_FIELDS),
    SAY(ON_MARKDOWN, "models.0.seed", "### The older measure, seed/1"),
    TABLE(ON_MARKDOWN, "models.0.seed", "models", FIELDS(seed_ranking)),
    TABLE(ON_TERMINAL, "models.0.seed&models>1", "models", FIELDS(seed_ranking)),
    EACH(ON_MARKDOWN, "models", BLOCKS_OF(text_blocks)),
    EACH_IF(ON_TERMINAL, "models=1", "models", BLOCKS_OF(text_blocks)),
    EACH_IF(ON_TENSORS, "models>1", "models", BLOCKS_OF(text_blocks)),
    SAY_AFTER(ON_TERMINAL, NULL, "", MEASURE_CAUTION),
    EACH_IF(ON_PAGE, "models=1", "models", BLOCKS_OF(page_blocks)),
    PART_IF(ON_PAGE, "!models=1", ".", BLOCKS_OF(organ_measure_highlight_blocks)),
    WARN(ON_PAGE, "!models=1", MEASURE_CAUTION),
    PART_IF(ON_PAGE, "!models=1", ".", BLOCKS_OF(organ_measure_fleet_blocks)),
    PART_IF(ON_PAGE, "!models=1", ".", BLOCKS_OF(organ_measure_models_blocks)),
    SECTION(ON_PAGE, "models.0.seed", "The older measure, seed/1"),
    WARN(ON_PAGE, "models.0.seed",
         "seed/1 is a reconstruction and depends on the grid of the storage type: quantisation alone changes it."),
    TABLE(ON_PAGE, "models.0.seed", "models", FIELDS(seed_ranking), .caption = "Models"),
    TABLE(ON_PAGE, "models.0.seed&models=1", "models.0.seed.roles", FIELDS(seed_roles), .sums = "models.0.seed.groups",
          .sums_name = "group", .total = "all", .total_row = "models.0.seed", .caption = "By role and group"),
    SECTION(ON_MARKDOWN, "others", "Files that are not models"),
    SAY(ON_MARKDOWN, "others", "Files among the models that are not models are neither measured nor ranked."),
    TABLE(ON_MARKDOWN, "others", "others", FIELDS(others)),
    SECTION(ON_FILES, NULL, "Definitions"),
    SAY(ON_PAGE, NULL, "Definition {definition}."),
    EACH(ON_FILES, "definitions", BLOCKS(ITEM(ON_MARKDOWN, NULL, "{.}"), SAY(ON_PAGE, NULL, "{.}"))),
};

const organ_view organ_measure_view = {
    .schema = "organ.measure/1",
    .kind = "Z-measure",
    .title = "{models=1?{models.0.model.name}|{models:size} models}",
    .lead =
        "{models=1?{models.0.with_theta?How far each of {models.0.tensors} tensor{models.0.tensors:s} is from noise: "
        "{models.0.theta_min:.2f}° to {models.0.theta_max:.2f}°.|How far the weights are from noise: none of "
        "{models.0.tensors} tensor{models.0.tensors:s} has a theta.}|How far the weights of {models:size} models are "
        "from noise, measured over {models:sum.tensors} tensors.}",
    .files = {"z_report.json", "Z_MEASURE_REPORT.md", NULL},
    BLOCKS_OF(blocks)};
