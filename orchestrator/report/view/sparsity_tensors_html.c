/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/heat_map.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/sparsity_html.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_ROWS = 2000, MOST_NUMBERED = 600, MOST_TILES = 1 << 20 };

/* ---- one tensor ---- */

/* Weights of the tile in row `r` and column `c` of the map: less at the edges of a matrix. */
static double tile_weights(const json_t *map, unsigned long long r, unsigned long long c)
{
    const unsigned long long side = organ_json_count(map, "tile"), rows = organ_json_count(map, "matrix_rows"),
                             cols = organ_json_count(map, "matrix_cols"), down = side ? (rows + side - 1) / side : 0;
    const unsigned long long top = down ? r % down * side : 0, left = c * side;
    const double height = rows > top ? fmin((double)(rows - top), (double)side) : 0;
    const double width = cols > left ? fmin((double)(cols - left), (double)side) : 0;
    return height * width;
}

static organ_status draw_tiles(const json_t *map, const char *subtitle, double *values, char **svg, organ_error *error)
{
    const json_t *const killed = organ_json_at(map, "killed");
    const size_t rows = (size_t)organ_json_count(map, "rows"), cols = (size_t)organ_json_count(map, "cols");
    for (size_t k = 0; k < rows * cols; k++) {
        const double weights = tile_weights(map, k / cols, k % cols), count = json_number_value(json_array_get(killed, k));
        values[k] = weights > 0 ? 100 * count / weights : (double)NAN;
    }
    const organ_heat_map tiles = {.title = "Killed weights by tile of one tensor",
                                  .subtitle = subtitle,
                                  .description = "A field of tiles as they lie in the tensor, each with the percentage of its weights that "
                                                 "were killed.",
                                  .row_label = "tile, from the top",
                                  .column_label = "tile, from the left",
                                  .value_label = "killed, percent of the weights of the tile",
                                  .rows = rows,
                                  .columns = cols,
                                  .values = values,
                                  .plain = rows * cols > MOST_NUMBERED};
    return organ_heat_map_svg(&tiles, svg, error);
}

void organ_sparsity_tiles(organ_html *html, const json_t *report)
{
    const json_t *const map = organ_json_at(report, "tile_map");
    const unsigned long long rows = organ_json_count(map, "rows"), cols = organ_json_count(map, "cols"),
                             side = organ_json_count(map, "tile");
    const unsigned long long matrices = organ_json_count(map, "matrices");
    char subtitle[200], percent[32], mean[32];
    organ_error ignored = {0};
    char *svg = NULL;
    if (rows == 0 || cols == 0 || rows > MOST_TILES || cols > MOST_TILES / rows ||
        json_array_size(organ_json_at(map, "killed")) != rows * cols)
        return;
    double *const values = calloc(rows * cols, sizeof *values);
    organ_html_section(html, "One tensor");
    organ_html_paragraph(html, "%s: %s of its weights were killed; over all target tensors the mean is %s, and none is farther from it.",
                         organ_json_text(map, "tensor"), organ_percent_text(organ_json_real(map, "percent"), percent),
                         organ_percent_text(organ_json_real(map, "mean"), mean));
    snprintf(subtitle, sizeof subtitle, "%llu x %llu weights%s, in tiles of %llu x %llu", organ_json_count(map, "matrix_rows"),
             organ_json_count(map, "matrix_cols"), matrices > 1 ? ", matrix below matrix" : "", side, side);
    if (values)
        draw_tiles(map, subtitle, values, &svg, &ignored);
    organ_html_chart(html, svg, "Counted from the bytes of donor and copy. An even field says that no region of the tensor was favoured.");
    free(values);
}

/* ---- all tensors ---- */

typedef struct listed {
    size_t row;
    double off; /* from the mean */
} listed;

static int by_distance(const void *a, const void *b)
{
    const listed *const x = a, *const y = b;
    return x->off != y->off ? (x->off < y->off) - (x->off > y->off) : (x->row > y->row) - (x->row < y->row);
}

static int by_row(const void *a, const void *b)
{
    const listed *const x = a, *const y = b;
    return (x->row > y->row) - (x->row < y->row);
}

static void tensor_row(organ_table *table, const json_t *row, bool changed)
{
    char shape[96] = "", percent[32];
    const json_t *const dims = json_object_get(row, "shape"), *const layer = json_object_get(row, "layer");
    size_t length = 0;
    for (size_t k = 0; k < json_array_size(dims) && length < sizeof shape; k++)
        length += (size_t)snprintf(shape + length, sizeof shape - length, "%s%llu", k ? " x " : "",
                                   organ_json_count(json_array_get(dims, k), ""));
    organ_table_cell(table, "%s", organ_json_text(row, "name"));
    organ_table_cell(table, json_is_integer(layer) ? "%lld" : "-", (long long)json_integer_value(layer));
    organ_table_cell(table, "%s", organ_json_text(row, "dtype"));
    organ_table_cell(table, "%s", shape);
    organ_table_count(table, organ_json_count(row, "zero_before"));
    organ_table_count(table, organ_json_count(row, "killed"));
    if (changed)
        organ_table_count(table, organ_json_count(row, "changed"));
    organ_table_count(table, organ_json_count(row, "elements"));
    organ_table_cell(table, "%s", organ_percent_text(organ_json_real(row, "percent"), percent));
}

static organ_table *tensors_table(const json_t *tensors, const listed *list, size_t count)
{
    static const organ_column plain[] = {{"tensor", ORGAN_LEFT, true, true},         {"layer", ORGAN_RIGHT, false, false},
                                         {"type", ORGAN_LEFT, false, false},         {"shape", ORGAN_RIGHT, false, false},
                                         {"zero before", ORGAN_RIGHT, false, false}, {"killed", ORGAN_RIGHT, false, false},
                                         {"of", ORGAN_RIGHT, false, false},          {"percent", ORGAN_RIGHT, false, false}};
    static const organ_column audited[] = {
        {"tensor", ORGAN_LEFT, true, true},     {"layer", ORGAN_RIGHT, false, false},       {"type", ORGAN_LEFT, false, false},
        {"shape", ORGAN_RIGHT, false, false},   {"zero before", ORGAN_RIGHT, false, false}, {"killed", ORGAN_RIGHT, false, false},
        {"changed", ORGAN_RIGHT, false, false}, {"of", ORGAN_RIGHT, false, false},          {"percent", ORGAN_RIGHT, false, false}};
    const bool changed = json_object_get(json_array_get(tensors, 0), "changed") != NULL;
    organ_table *const table =
        changed ? organ_table_create(audited, sizeof audited / sizeof *audited) : organ_table_create(plain, sizeof plain / sizeof *plain);
    for (size_t k = 0; k < count; k++)
        tensor_row(table, json_array_get(tensors, list[k].row), changed);
    return table;
}

void organ_sparsity_tensors(organ_html *html, const json_t *report)
{
    const json_t *const tensors = organ_json_at(report, "tensors");
    const size_t count = json_array_size(tensors), shown = count < MOST_ROWS ? count : MOST_ROWS;
    const double mean = organ_json_real(report, "per_tensor.mean");
    listed *const list = calloc(count + 1, sizeof *list);
    if (count == 0) {
        free(list);
        return;
    }
    organ_html_section(html, "All target tensors");
    for (size_t k = 0; list && k < count; k++)
        list[k] = (listed){k, fabs(organ_json_real(json_array_get(tensors, k), "percent") - mean)};
    if (list && shown < count) {
        qsort(list, count, sizeof *list, by_distance);
        qsort(list, shown, sizeof *list, by_row);
        organ_html_paragraph(html, "Of %zu tensors the %zu whose percentage is farthest from the mean; the document in JSON has all.",
                             count, shown);
    }
    organ_html_table(html, list ? tensors_table(tensors, list, shown) : NULL, "Target tensors; percent is of the tensor's own elements");
    free(list);
}
