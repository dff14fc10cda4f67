/* SPDX-License-Identifier: MIT
 * Compares several measured models on a page: ranking, groups, layers, and which models share tensors.
 * A chimera is a model whose tensors are all found in two other models together, but not all in one
 * of these. The one with most of the tensors is the body of the chimera, the other is its donor. */
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_parts.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_NAMED = 30 }; /* limit of points with names in a chart */

/* ---- tables ---- */

/* Prints three significant digits: "1.24M". */
static void params_cell(organ_table *table, const json_t *model)
{
    static const char units[] = {'K', 'M', 'B', 'T'};
    const unsigned long long elements = organ_json_count(model, "elements");
    double amount = (double)elements;
    size_t unit = 0;
    for (amount /= 1000; amount >= 999.5 && unit + 1 < sizeof units; amount /= 1000)
        unit++;
    if (elements < 1000)
        organ_table_cell(table, "%llu", elements);
    else /* two, one or no decimals */
        organ_table_cell(table, "%.*f%c", (amount < 9.995) + (amount < 99.95), amount, units[unit]);
}

/* The path, in a measured model, of the mean theta of a group; a column with it. */
#define THETA_OF(group)           "groups.@" group ".theta_mean"
#define FIELD_GROUP(title, group) FIELD_MAYBE_FIXED(title, THETA_OF(group), 2)

const organ_field organ_ranking_fields[ORGAN_RANKING_FIELDS] = {FIELD_NUMBER("#"),
                                                                FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS),
                                                                FIELD_BY("params", params_cell, 0),
                                                                FIELD_FIXED("theta mean", "theta_mean", 2),
                                                                FIELD_FIXED("by elements", "theta_weighted", 2),
                                                                FIELD_FIXED("signal", "signal_mean", 3),
                                                                FIELD_COUNT("tensors", "with_theta")};
const organ_field organ_group_fields[ORGAN_GROUP_FIELDS] = {FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS),
                                                            FIELD_GROUP("attention", "skeleton"),
                                                            FIELD_GROUP("feed-forward", "organ"),
                                                            FIELD_GROUP("embed", "embed"),
                                                            FIELD_GROUP("norm", "norm"),
                                                            FIELD_GROUP("other", "other")};
static const organ_field lineage_fields[] = {FIELD_TEXT("model", "model", ORGAN_FIELD_SHORTENS),
                                             FIELD_TEXT("relation", "relation", 0),
                                             FIELD_TEXT("other model", "of", ORGAN_FIELD_SHORTENS),
                                             FIELD_COUNT("shared tensors", "shared"), FIELD_COUNT("of", "tensors")};

/* ---- which models share tensors ---- */

static const char *measure_fleet_name_of(const json_t *models, size_t k)
{
    return organ_json_text(organ_json_row_at(models, k), "model.name");
}

static json_t *lineage_row(const json_t *models, size_t model, const char *what, size_t of, size_t shared,
                           size_t tensors)
{
    return ORGAN_OBJECT(SET_TEXT("model", measure_fleet_name_of(models, model)), SET_TEXT("relation", what),
                        SET_TEXT("of", measure_fleet_name_of(models, of)), SET_COUNT("shared", shared),
                        SET_COUNT("tensors", tensors));
}

/* A chimera has two rows, for its body and its donor. Another model has one row, for the model that shares the most
 * tensors with it, or none if no model shares any. */
static void add_lineage(json_t *rows, const json_t *models, const organ_lineage *own, size_t model)
{
    if (own->body != ORGAN_LINEAGE_NONE) {
        json_array_append_new(rows,
                              lineage_row(models, model, "graft, target", own->body, own->from_body, own->tensors));
        json_array_append_new(rows,
                              lineage_row(models, model, "graft, source", own->donor, own->from_donor, own->tensors));
    } else if (own->like != ORGAN_LINEAGE_NONE) {
        json_array_append_new(rows, lineage_row(models, model,
                                                own->shared == own->tensors ? "same tensors as" : "shares tensors with",
                                                own->like, own->shared, own->tensors));
    }
}

/* Returns an array by number of layer, with null for layers without a row; layers from MAX on are left out. */
static json_t *layer_thetas(const json_t *model)
{
    enum { MAX = 1024 };
    const json_t *const layers = json_object_get(model, "layers");
    json_t *const thetas = json_array();
    for (size_t k = 0; k < json_array_size(layers); k++) {
        const json_t *const row = organ_json_row_at(layers, k);
        const unsigned long long layer = organ_json_count(row, "layer");
        if (layer >= MAX)
            continue;
        for (size_t depth = json_array_size(thetas); depth <= layer; depth++)
            json_array_append_new(thetas, json_null());
        json_array_set_new(thetas, (size_t)layer, organ_json_held(json_object_get(row, "theta_mean")));
    }
    return thetas;
}

static json_t *model_row(const json_t *models, const organ_lineage *own, size_t model)
{
    const json_t *const entry = organ_json_row_at(models, model);
    const bool chimera = own->body != ORGAN_LINEAGE_NONE;
    json_t *const row = ORGAN_OBJECT(
        SET_TEXT("name", measure_fleet_name_of(models, model)), SET_TEXT("kind", chimera ? "graft" : "model"),
        SET_HELD("theta_mean", json_object_get(entry, "theta_mean")),
        SET_HELD("theta_weighted", json_object_get(entry, "theta_weighted")),
        SET_HELD("elements", json_object_get(entry, "elements")), SET_COUNT("depth", own->depth),
        SET("layers", layer_thetas(entry)), SET_IF(chimera, "from_donor", json_integer((json_int_t)own->from_donor)),
        SET_IF(chimera, "donor", json_string(measure_fleet_name_of(models, chimera ? own->donor : 0))));
    static const char *const groups[][2] = {{"skeleton", THETA_OF("skeleton")},
                                            {"organ", THETA_OF("organ")},
                                            {"embed", THETA_OF("embed")},
                                            {"norm", THETA_OF("norm")},
                                            {"other", THETA_OF("other")}};
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        ORGAN_ADD(row, SET_REAL_OF(groups[g][0], /*there=*/true, organ_json_number(entry, groups[g][1])));
    return row;
}

/* ends[0] becomes the least number `key` above 0, INFINITY if no model has one; ends[1] the greatest, at least 0. */
static void ends_of(const json_t *models, const char *key, double ends[2])
{
    ends[0] = INFINITY;
    ends[1] = 0;
    for (size_t k = 0; k < json_array_size(models); k++) {
        const double value = organ_json_number(organ_json_row_at(models, k), key);
        ends[0] = value > 0 ? fmin(ends[0], value) : ends[0];
        ends[1] = fmax(ends[1], value);
    }
}

/* Returns the row of fleet_blocks. `lineage` and `order` are the results of organ_measure_lineage.
 *
 *   models         the measured models
 *   ordered        a row (model_row) for each model, with chimeras below their bodies
 *   shown          the first ORGAN_LINEAGE_MAX rows of `ordered`
 *   points         the rows of `ordered`, in the order of the report
 *   kin            the rows of the table of shared tensors (add_lineage)
 *   sizes_differ   whether the largest model has over 10 % more elements than the smallest */
static json_t *fleet_of(const json_t *models, const organ_lineage *lineage, const size_t *order)
{
    json_t *const ordered = json_array(), *const shown = json_array(), *const points = json_array(),
                  *const rows = json_array();
    double sizes[2];
    ends_of(models, "elements", sizes);
    for (size_t k = 0; k < json_array_size(models); k++) {
        json_array_append_new(ordered, model_row(models, &lineage[order[k]], order[k]));
        if (k < ORGAN_LINEAGE_MAX)
            json_array_append(shown, organ_json_row_at(ordered, k));
        json_array_append_new(points, model_row(models, &lineage[k], k));
        add_lineage(rows, models, &lineage[order[k]], order[k]);
    }
    return ORGAN_OBJECT(SET_HELD("models", models), SET("ordered", ordered), SET("shown", shown), SET("points", points),
                        SET("kin", rows), SET_FLAG("sizes_differ", sizes[1] > 1.1 * sizes[0]));
}

static json_t *with_lineage(const json_t *report)
{
    const json_t *const models = json_object_get(report, "models");
    ORGAN_OWNED organ_lineage *const lineage = calloc(json_array_size(models) + 1, sizeof *lineage);
    ORGAN_OWNED size_t *const order = calloc(json_array_size(models) + 1, sizeof *order);
    if (!lineage || !order || organ_measure_lineage(models, lineage, order, &(organ_error){0}) != ORGAN_OK)
        return NULL;
    return fleet_of(models, lineage, order);
}

static json_t *with_ends(const json_t *report)
{
    const json_t *const models = json_object_get(report, "models");
    double ends[2];
    ends_of(models, "theta_mean", ends);
    return ORGAN_OBJECT(SET_HELD("models", models), SET_REAL("least", isfinite(ends[0]) ? ends[0] : 0),
                        SET_REAL("most", ends[1]));
}

/* ---- the page ---- */

static const organ_item highlights[] = {{NULL, "mean theta", "{least:.2f}° to {most:.2f}°"},
                                        {NULL, "models", "{models:size}"},
                                        {NULL, "tensors with a theta", "{models:sum.with_theta}"},
                                        {NULL, "gravitational wells", "{models:sum.wells}"}};
const organ_block organ_measure_highlight_blocks[ORGAN_MEASURE_HIGHLIGHT_BLOCKS] = {
    MADE(ON_PAGE, NULL, with_ends, BLOCKS(HIGHLIGHTS(NULL, highlights)))};

static const char *const parts[] = {"skeleton", "organ", "embed", "norm", "other", NULL}, *const kinds[] = {
                                                                                              "model", "graft", NULL};

/* Members of a grid of theta: the scale ends at a multiple of 15 degrees, at 30 or above. */
#define THETA_GRID .name = "name", .step = 15, .floor = 30
static const organ_block fleet_blocks[] = {
    SECTION(ON_PAGE, NULL, "Ranking"),
    BARS(NULL, "ordered",
         .style =
             {.title = "Models by mean theta",
              .subtitle = "{ordered.*.donor?grafts are indented below the model that most of their tensors come from}",
              .description =
                  "Two bars for each model, in degrees: the mean theta over its tensors, and that weighted by their "
                  "elements. The table below has the numbers.",
              .value_label = "theta, degrees",
              .series = {"each tensor counted once", "by elements"},
              .digits = 4,
              .unit = "°"},
         .name = "name", .values = {"theta_mean", "theta_weighted"}, .depth = "depth",
         .remark = "{donor?with {from_donor} of {donor}}",
         .caption =
             "The models by their mean theta; a graft is listed below the model that most of its tensors come from."),
    TABLE(ON_PAGE, NULL, "models", .fields = organ_ranking_fields, .count = ORGAN_RANKING_FIELDS,
          .caption = "Theta in degrees; signal is its sine. Tensors: those with a theta."),
    SECTION(ON_PAGE, NULL, "Parts and layers"),
    GRID(NULL, "shown",
         .style = {.title = "Theta by part of the model",
                   .description =
                       "Mean theta of attention, feed-forward, embedding and norms of every model, in degrees. The "
                       "table below has the "
                       "numbers.",
                   .row_label = "model",
                   .column_label = "part",
                   .value_label = "theta, degrees",
                   .high = 90},
         .members = parts, THETA_GRID, .caption = "Mean theta of attention, feed-forward, embedding and norms."),
    TABLE(ON_PAGE, NULL, "models", .fields = organ_group_fields, .count = ORGAN_GROUP_FIELDS,
          .caption = "The same in numbers, degrees."),
    GRID(NULL, "shown",
         .style = {.title = "Theta by layer",
                   .description = "Mean theta of the tensors of every layer of every model, in degrees.",
                   .row_label = "model",
                   .column_label = "layer",
                   .value_label = "theta, degrees",
                   .high = 90},
         .values = "layers", THETA_GRID, .caption = "Mean theta of every layer, from the first on the left."),
    POINTS(NULL, "points", NULL,
           .style = {.title = "Attention and feed-forward",
                     .subtitle = "a point for each model",
                     .description =
                         "Mean theta of the attention of every model against that of its feed-forward, in degrees.",
                     .x_label = "theta of the attention, degrees",
                     .y_label = "theta of the feed-forward, degrees",
                     .kinds = kinds},
           .name = "name", .x = "skeleton", .y = "organ", .kind = "kind", .named = MAX_NAMED,
           .caption = "Theta of attention against theta of feed-forward: a graft moves a model along one axis."),
    POINTS("sizes_differ", "points", NULL,
           .style = {.title = "Theta and size",
                     .subtitle = "a point for each model",
                     .description = "Mean theta of every model, in degrees, against the number of its parameters.",
                     .x_label = "parameters, millions",
                     .y_label = "mean theta, degrees",
                     .log_x = true,
                     .kinds = kinds},
           .name = "name", .x = "elements", .x_factor = 1e-6, .y = "theta_mean", .kind = "kind", .named = MAX_NAMED,
           .caption = "Theta against the number of parameters. A trend among these files is not a general law."),
    SECTION(ON_PAGE, "kin", "Models that share tensors"),
    SAY(ON_PAGE, "kin",
        "Two tensors with the same number of elements, mean, standard deviation, least and greatest value, kurtosis "
        "and share of zeros are counted as the same tensor. A model whose tensors are all found in two others, and in "
        "neither of them alone, is a graft; the one with more of them is its target. Constant tensors do not count, "
        "and tensors that a graft converted to another type are not recognised."),
    TABLE(ON_PAGE, "kin", "kin", FIELDS(lineage_fields), .caption = "Which models share tensors, and how many."),
};

const organ_block organ_measure_fleet_blocks[ORGAN_MEASURE_FLEET_BLOCKS] = {
    SAY(ON_PAGE, "!models", "No model was measured."), MADE(ON_PAGE, "models", with_lineage, BLOCKS_OF(fleet_blocks))};
