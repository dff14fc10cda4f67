/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <organ/report.h>
#include <stdlib.h>

const organ_field organ_projection_fields[8] = {
    FIELD_TEXT("projection", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_COUNT("n", "tensors"),
    FIELD_PERCENT("mean", "mean"),
    FIELD_PERCENT("min", "min"),
    FIELD_PERCENT("max", "max"),
    FIELD_COUNT("killed", "killed"),
    FIELD_COUNT("of", "elements"),
    FIELD_PERCENT("percent", "percent")};
const organ_field organ_total_fields[4] = {FIELD_TEXT("denominator", "name", 0), FIELD_COUNT("killed", "killed"),
                                           FIELD_COUNT("of", "elements"), FIELD_PERCENT("percent", "percent")};
const organ_field organ_left_matrix_fields[4] = {FIELD_TEXT("kind", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                                 FIELD_COUNT("tensors", "tensors"), FIELD_COUNT("weights", "elements"),
                                                 FIELD_PERCENT("of all", "percent")};
const organ_field organ_sparse_layer_fields[5] = {FIELD_WORDS("layer", "{label}", 0), FIELD_COUNT("n", "tensors"),
                                                  FIELD_COUNT("killed", "killed"), FIELD_COUNT("of", "elements"),
                                                  FIELD_PERCENT("percent", "percent")};

/* The band is around or below the line. If `style` has a second series, it is a line at `level`. `members` are the
 * rows' members with x, y, and the low and high edge of the band. The caller frees the SVG; NULL if out of memory. */
static char *draw_line(organ_chart style, const json_t *rows, const char *const members[4], double level)
{
    const size_t count = json_array_size(rows);
    /* `count` numbers of each member, then of the second line */
    double *const numbers = calloc(5 * count + 1, sizeof *numbers), *const reference = numbers + 4 * count;
    const double *const lines[] = {numbers + count, reference};
    char *svg = NULL;
    if (!numbers)
        return NULL;
    for (size_t k = 0; k < count; k++) {
        for (size_t m = 0; m < 4; m++)
            numbers[m * count + k] = organ_json_number(organ_json_row_at(rows, k), members[m]);
        reference[k] = level;
    }
    style.panels = &(const organ_chart_panel){
        .count = count, .x = numbers, .y = lines, .band_low = numbers + 2 * count, .band_high = numbers + 3 * count};
    style.panel_count = 1;
    organ_chart_svg(&style, &svg, &(organ_error){0});
    free(numbers);
    return svg;
}

static char *draw_layers(const json_t *report)
{
    static const organ_chart_series series[] = {{"all targets of the layer", 0, false},
                                                {"all targets of the model", 0, true}};
    static const organ_chart style = {
        .title = "Killed weights by layer",
        .description = "A line over the layers: killed weights in percent of the layer's target weights, "
                       "within a band from the lowest to the highest of its tensors. The table below has "
                       "the same numbers.",
        .x_label = "layer",
        .y_label = "killed, percent of target weights",
        .min_span = 1, /* an axis of at least 1 %: smaller differences would look large */
        .whole_x = true,
        .series = series,
        .series_count = 2,
        .band_name = "from its lowest to its highest tensor"};
    return draw_line(style, organ_json_at(report, "fold.layers"),
                     (const char *const[]){"layer", "percent", "low", "high"},
                     organ_json_real(report, "totals.target.percent"));
}

static char *draw_magnitudes(const json_t *report)
{
    static const organ_chart_series series[] = {{"weights of the donor", 0, false}};
    static const organ_chart style = {
        .title = "Magnitudes of the target weights, and the killed part of them",
        .description = "A line over the magnitudes on a logarithmic scale: the number of the donor's target weights of "
                       "each magnitude. The shaded area is the killed part.",
        .x_label = "log2 |w|, in steps of half an octave",
        .y_label = "percent of the weights counted",
        .series = series,
        .series_count = 1,
        .band_name = "killed"};
    return draw_line(style, organ_json_at(report, "fold.bins"),
                     (const char *const[]){"place", "all", "nothing", "killed"}, NAN);
}

/* ---- one tensor ---- */

/* A tile has map."tile" rows and columns of weights, and fewer at the edges of a matrix. The matrices of a stack of
 * experts are one below the other in the map. */
static double tile_weights(const json_t *map, size_t r, size_t c)
{
    const unsigned long long side = organ_json_count(map, "tile"), rows = organ_json_count(map, "matrix_rows"),
                             cols = organ_json_count(map, "matrix_cols"), down = side ? (rows + side - 1) / side : 0;
    const unsigned long long top = down ? r % down * side : 0, left = c * side;
    const double height = rows > top ? fmin((double)(rows - top), (double)side) : 0;
    const double width = cols > left ? fmin((double)(cols - left), (double)side) : 0;
    return height * width;
}

static char *draw_tiles(const json_t *map)
{
    enum { MAX_NUMBERED = 600 };
    const json_t *const killed = json_object_get(map, "killed");
    const size_t rows = (size_t)organ_json_count(map, "rows"), cols = (size_t)organ_json_count(map, "cols");
    ORGAN_OWNED double *const values = calloc(rows * cols, sizeof *values);
    ORGAN_OWNED char *const subtitle = organ_words_text(
        &(organ_scope){map, map},
        "{matrix_rows} x {matrix_cols} weights{matrices>1?, matrix below matrix}, in tiles of {tile} x "
        "{tile}",
        ORGAN_WORDS_PAGE);
    char *svg = NULL;
    for (size_t k = 0; values && k < rows * cols; k++) {
        const double weights = tile_weights(map, k / cols, k % cols),
                     count = json_number_value(organ_json_row_at(killed, k));
        values[k] = weights > 0 ? 100 * count / weights : (double)NAN;
    }
    const organ_heat_map tiles = {
        .title = "Killed weights by tile of one tensor",
        .subtitle = subtitle,
        .description = "A grid of the tiles of the tensor, each with the percentage of its weights that were killed.",
        .row_label = "tile, from the top",
        .column_label = "tile, from the left",
        .value_label = "killed, percent of the weights of the tile",
        .rows = rows,
        .columns = cols,
        .values = values,
        .plain = rows * cols > MAX_NUMBERED};
    if (values && subtitle)
        organ_heat_map_svg(&tiles, &svg, &(organ_error){0});
    return svg;
}

/* ---- blocks ---- */

/* A heat map of the sparsity of projections by layer; `together` is the subtitle. */
#define SPARSITY_MAP(if_, together)                                                                                    \
    MAP(if_, "tensors",                                                                                                \
        .style = {.title = "Killed weights by layer and projection",                                                   \
                  .subtitle = (together),                                                                              \
                  .description = "A grid of cells, one for each projection in each layer, with the percentage of its " \
                                 "weights that were "                                                                  \
                                 "killed. The table of tensors has the same numbers.",                                 \
                  .row_label = "projection",                                                                           \
                  .value_label = "killed, percent of the weights of that projection in that layer"},                   \
        .role = "module", .value = "percent", .weight = "elements",                                                    \
        .caption = "Sparsity of each projection of each layer. The scale spans the lowest to the highest: "            \
                   "small differences are visible, so "                                                                \
                   "also read the numbers.")

const organ_block organ_sparsity_blocks[ORGAN_SPARSITY_BLOCKS] = {
    SECTION(ON_PAGE, NULL, "Killed weights"),
    TOTALS(ON_PAGE, NULL),
    SAY(ON_PAGE, "fold.alike",
        "Every target tensor has the same share of killed weights, {totals.target.percent:percent}, so this page has "
        "no charts by layer or by projection. The charts below show which weights of a tensor were killed."),
    SPARSITY_MAP("tensors&!fold.alike&!tensors.*.expert", NULL),
    SPARSITY_MAP("!fold.alike&tensors.*.expert",
                 "a cell with several experts shows the killed share of all their weights"),
    SECTION(ON_PAGE, NULL, "By projection"),
    BARS("!fold.alike", "fold.bars",
         .style =
             {.title = "Killed weights by projection",
              .subtitle = "the thin line spans the projection's tensors, from the lowest to the highest sparsity",
              .description =
                  "For every projection two bars: killed weights in percent of its own weights, and in percent of all "
                  "weights of the model. The table below has the same numbers.",
              .value_label = "killed, percent of the denominator given by the bar's colour",
              .series = {"target: of the weights of that projection",
                         "full: of all {totals.full.elements:count} weights of the model"},
              .digits = 4,
              .unit = " %"},
         .name = "name", .values = {"percent", "of_full"}, .low = "min", .high = "max",
         .remark = "{killed:count} of {elements:count}",
         .caption = "Each projection over both denominators: its own weights, which are targets, and the whole model. "
                    "The first is its sparsity, the second its share of the model that was killed."),
    PROJECTIONS(ON_PAGE, NULL),
    SECTION(ON_PAGE, "layers&!fold.alike", "By layer"),
    FIGURE("layers&!fold.alike", draw_layers, "Differences between layers. The axis does not start at zero."),
    TABLE(ON_PAGE, "layers&!fold.alike", "fold.layers", FIELDS(organ_sparse_layer_fields),
          .caption = "Killed weights by layer, in percent of the layer's target weights")};

const organ_block organ_magnitude_blocks[ORGAN_MAGNITUDE_BLOCKS] = {
    SECTION(ON_PAGE, NULL, "Killed weights by magnitude"),
    FIGURE(NULL, draw_magnitudes,
           "Pruning by magnitude alone would cut the curve at one magnitude. Where the shaded part includes larger "
           "weights or omits smaller ones, the method used more than magnitude: a weak row or column, or the layer's "
           "inputs."),
    SAY(ON_PAGE, NULL,
        "{magnitudes.every_row>1?The counts cover {magnitudes.weights:count} of the {magnitudes.of:count} target "
        "weights: one row in {magnitudes.every_row} of each tensor, from row 0 on.|The counts cover all "
        "{magnitudes.of:count} target weights.}")};

static const organ_field sparsity_tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                               FIELD_COUNT("layer", "layer"),
                                               FIELD_TEXT("type", "dtype", 0),
                                               FIELD_WORDS("shape", "{shape:shape}", 0),
                                               FIELD_COUNT("zero before", "zero_before"),
                                               FIELD_COUNT("killed", "killed"),
                                               FIELD_IF("schema=organ.audit/1", "changed", "changed", "count", 0),
                                               FIELD_COUNT("of", "elements"),
                                               FIELD_PERCENT("percent", "percent")};
static const organ_block one_tensor[] = {
    SECTION(ON_PAGE, NULL, "One tensor"),
    SAY(ON_PAGE, NULL,
        "{tensor}: {percent:percent} of its weights were killed; no target tensor is farther from the mean, "
        "{mean:percent}."),
    FIGURE(NULL, draw_tiles,
           "Counted from the bytes of donor and copy. An even grid means that no region of the tensor was preferred.")};

const organ_block organ_sparse_tensor_blocks[ORGAN_SPARSE_TENSOR_BLOCKS] = {
    PART(ON_PAGE, "fold.tiles", BLOCKS_OF(one_tensor)), SECTION(ON_PAGE, "tensors", "All target tensors"),
    SAY(ON_PAGE, "tensors>fold.tensors",
        "The {fold.tensors:size} of {tensors:size} tensors whose percentage is farthest from the mean; the JSON report "
        "has all."),
    TABLE(ON_PAGE, "tensors", "fold.tensors", FIELDS(sparsity_tensors),
          .caption = "Target tensors; percent is of the tensor's own elements")};

enum { MAX_TENSORS = 2000 }; /* lines of the table of tensors on a page */

static const json_t *tensors_of(const json_t *report) { return json_object_get(report, "tensors"); }

static json_t *copy_of(const json_t *row)
{
    return json_is_object(row) ? json_copy((json_t *)(uintptr_t)row) : json_object();
}

static double percent_of(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

/* ---- all targets, projections ---- */

/* Reports without "per_tensor" have the mean of each projection, which counts once for each of its tensors. */
static json_t *spread_of_all(const json_t *report)
{
    const json_t *const projections = json_object_get(report, "projections");
    const json_t *const own = json_object_get(report, "per_tensor");
    double mean = 0, min = 100, max = 0;
    unsigned long long tensors = 0;
    if (own)
        return copy_of(own);
    for (size_t k = 0; k < json_array_size(projections); k++) {
        const json_t *const row = organ_json_row_at(projections, k);
        const unsigned long long count = organ_json_count(row, "tensors");
        mean += organ_json_real(row, "mean") * (double)count;
        tensors += count;
        min = fmin(min, organ_json_real(row, "min"));
        max = fmax(max, organ_json_real(row, "max"));
    }
    return ORGAN_OBJECT(SET_COUNT("tensors", tensors), SET_REAL("mean", tensors ? mean / (double)tensors : 0),
                        SET_REAL("min", tensors ? min : 0), SET_REAL("max", max));
}

static json_t *all_targets(const json_t *report)
{
    return organ_json_joined(spread_of_all(report), copy_of(organ_json_at(report, "totals.target")));
}

static json_t *total_row(const void *context, size_t k)
{
    static const char *const totals[][2] = {{"totals.target", "target: every weight of the pruned tensors"},
                                            {"totals.full", "full: every weight of the model"}};
    json_t *const row = copy_of(organ_json_at(context, totals[k][0]));
    ORGAN_ADD(row, SET_TEXT("name", totals[k][1]));
    return row;
}

/* Row k is that of projection k; the row after the last projection is that of all targets. */
static json_t *bar_row(const void *context, size_t k)
{
    const json_t *const report = context, *const projections = json_object_get(report, "projections");
    const bool all = k == json_array_size(projections);
    json_t *const bar = copy_of(all ? organ_json_at(report, "totals.target") : organ_json_row_at(projections, k));
    ORGAN_ADD(bar,
              SET_REAL("of_full", percent_of((double)organ_json_count(bar, "killed"),
                                             organ_json_real(report, "totals.full.elements"))),
              SET_IF(all, "name", json_string("all targets")));
    return bar;
}

/* ---- layers ---- */

/* INFINITY stands for no layer, because rows outside layers are sorted last. */
static double layer_number(const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    return json_is_integer(layer) && json_integer_value(layer) >= 0 ? (double)json_integer_value(layer) : INFINITY;
}

/* low[k] and high[k] are the lowest and highest "percent" of the tensors of layer k; NaN if the row has no layer
 * number, or the layer has no tensor. Layers ascend, so each tensor's layer is found by binary search. */
static void spread_layers(const json_t *report, size_t count, double *low, double *high)
{
    const json_t *const layers = json_object_get(report, "layers"), *const tensors = tensors_of(report);
    for (size_t k = 0; k < count; k++)
        low[k] = high[k] = NAN;
    for (size_t t = 0; t < json_array_size(tensors); t++) {
        const json_t *const row = organ_json_row_at(tensors, t);
        const double percent = organ_json_real(row, "percent"), layer = layer_number(row);
        size_t from = 0, to = count;
        while (from < to) {
            const size_t middle = (from + to) / 2;
            if (layer_number(organ_json_row_at(layers, middle)) < layer)
                from = middle + 1;
            else
                to = middle;
        }
        if (from < count && isfinite(layer) && layer_number(organ_json_row_at(layers, from)) == layer) {
            low[from] = fmin(low[from], percent);
            high[from] = fmax(high[from], percent);
        }
    }
}

static json_t *layer_row(const json_t *layer, double low, double high)
{
    json_t *const row = copy_of(layer);
    const double number = layer_number(layer);
    char label[32] = "none", name[48] = "outside the layers";
    if (isfinite(number)) {
        organ_snprintf(label, sizeof label, "%.0f", number);
        organ_snprintf(name, sizeof name, "layer %.0f", number);
    }
    ORGAN_ADD(row, SET_TEXT("label", label), SET_TEXT("name", name), SET_REAL_OF("low", isfinite(low), low),
              SET_REAL_OF("high", isfinite(high), high));
    return row;
}

static json_t *layers_of(const json_t *report)
{
    const json_t *const layers = json_object_get(report, "layers");
    const size_t count = json_array_size(layers);
    ORGAN_OWNED double *const low = calloc(2 * count + 1, sizeof *low); /* of each layer; then the high ends */
    json_t *const rows = low ? json_array() : NULL;
    if (low)
        spread_layers(report, count, low, low + count);
    for (size_t k = 0; low && k < count; k++)
        json_array_append_new(rows, layer_row(organ_json_row_at(layers, k), low[k], low[count + k]));
    return rows;
}

/* ---- rows in another order ---- */

typedef struct ranked {
    size_t row;
    double by;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(y->by, x->by), ORGAN_ORDER(x->row, y->row));
}

static int by_row(const void *a, const void *b)
{
    const ranked *const x = a, *const y = b;
    return ORGAN_ORDER(x->row, y->row);
}

/* Without `as_listed`: the rows with the highest percent, the highest first. With `as_listed`: those whose percent
 * is farthest from `mean`, in the order of `rows`. NULL if out of memory. */
static json_t *first_by(const json_t *rows, double mean, size_t max, bool as_listed)
{
    const size_t count = json_array_size(rows), shown = count < max ? count : max;
    ORGAN_OWNED ranked *const list = calloc(count + 1, sizeof *list);
    json_t *const first = list ? json_array() : NULL;
    for (size_t k = 0; list && k < count; k++) {
        const double percent = organ_json_real(organ_json_row_at(rows, k), "percent");
        list[k] = (ranked){k, as_listed ? fabs(percent - mean) : percent};
    }
    if (list)
        qsort(list, count, sizeof *list, by_rank);
    if (list && as_listed)
        qsort(list, shown, sizeof *list, by_row);
    for (size_t k = 0; list && k < shown; k++)
        json_array_append(first, organ_json_row_at(rows, list[k].row));
    return first;
}

/* ---- one tensor, magnitudes ---- */

static json_t *tiles_of(const json_t *report)
{
    enum { MAX_TILES = 1 << 20 };
    const json_t *const map = json_object_get(report, "tile_map");
    const unsigned long long rows = organ_json_count(map, "rows"), cols = organ_json_count(map, "cols");
    const bool complete = rows > 0 && cols > 0 && rows <= MAX_TILES && cols <= MAX_TILES / rows &&
                          json_array_size(json_object_get(map, "killed")) == rows * cols;
    return organ_json_held(complete ? map : NULL);
}

/* Returns the row of range k of report.magnitudes, which is `context`. "place" is log2 of the middle of the range.
 * "all" and "killed" are in percent of the weights counted. "nothing" is 0, the lower edge of the area of killed
 * weights. Returns NULL for ranges before the first and after the last that has a weight. */
static json_t *bin_row(const void *context, size_t k)
{
    const json_t *const m = context, *const all = json_object_get(m, "count"),
                        *const killed = json_object_get(m, "killed");
    const double weights = organ_json_real(m, "weights"), per_octave = organ_json_real(m, "per_octave");
    size_t from = 0, to = json_array_size(all);
    while (from < to && json_integer_value(organ_json_row_at(all, from)) == 0)
        from++;
    while (to > from && json_integer_value(organ_json_row_at(all, to - 1)) == 0)
        to--;
    if (k < from || k >= to || !(weights > 0) || !(per_octave > 0))
        return NULL;
    return ORGAN_OBJECT(
        SET_REAL("place", organ_json_real(m, "from_log2") + ((double)k + 0.5) / per_octave),
        SET_REAL("all", percent_of((double)json_integer_value(organ_json_row_at(all, k)), weights)),
        SET_REAL("killed", percent_of((double)json_integer_value(organ_json_row_at(killed, k)), weights)),
        SET_COUNT("nothing", 0));
}

/* ---- the fold ---- */

json_t *organ_sparsity_fold(const json_t *report)
{
    const json_t *const magnitudes = json_object_get(report, "magnitudes");
    const json_t *const projections = json_object_get(report, "projections");
    const double spread = organ_json_real(report, "per_tensor.max") - organ_json_real(report, "per_tensor.min");
    json_t *const layers = layers_of(report), *const densest = first_by(layers, 0, SIZE_MAX, /*as_listed=*/false);
    json_t *const fold = ORGAN_OBJECT(
        SET("all", all_targets(report)), SET("totals", organ_json_rows(2, total_row, report)),
        SET("bars", organ_json_rows(json_array_size(projections) + 1, bar_row, report)), SET("layers", layers),
        SET("densest", densest), SET_HELD("sparsest", organ_json_row_at(densest, json_array_size(densest) - 1)),
        SET("tensors",
            first_by(tensors_of(report), organ_json_real(report, "per_tensor.mean"), MAX_TENSORS, /*as_listed=*/true)),
        SET("bins", organ_json_rows(json_array_size(json_object_get(magnitudes, "count")), bin_row, magnitudes)),
        SET("tiles", tiles_of(report)), SET_FLAG("alike", spread < 0.005), /* tables show two decimals */
        SET_REAL("target_percent", percent_of(organ_json_real(report, "totals.target.elements"),
                                              organ_json_real(report, "totals.full.elements"))));
    return organ_json_joined(copy_of(report), ORGAN_OBJECT(SET("fold", fold)));
}
