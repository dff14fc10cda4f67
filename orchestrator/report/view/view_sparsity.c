/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_sparsity.h"

#include "orchestrator/report/svg/svg.h"
#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

#include <math.h>
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
    double *const values = calloc(rows * cols, sizeof *values);
    char *const subtitle = organ_words_text(
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
    free(subtitle);
    free(values);
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

static const organ_field tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
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
    TABLE(ON_PAGE, "tensors", "fold.tensors", FIELDS(tensors),
          .caption = "Target tensors; percent is of the tensor's own elements")};
