/* SPDX-License-Identifier: MIT */
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/view/view_sparsity.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { MAX_TENSORS = 2000 }; /* lines of the table of tensors on a page */

static const json_t *tensors_of(const json_t *report) { return json_object_get(report, "tensors"); }

static json_t *copy_of(const json_t *row)
{
    return json_is_object(row) ? json_copy((json_t *)(uintptr_t)row) : json_object();
}

static double percent_of(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

/* ---- all targets, projections ---- */

static json_t *spread_of_all(const json_t *report)
{
    const json_t *const projections = json_object_get(report, "projections"), *const own =
                                                                                  json_object_get(report, "per_tensor");
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
    double *const low = calloc(2 * count + 1, sizeof *low);
    json_t *const rows = low ? json_array() : NULL;
    if (low)
        spread_layers(report, count, low, low + count);
    for (size_t k = 0; low && k < count; k++)
        json_array_append_new(rows, layer_row(organ_json_row_at(layers, k), low[k], low[count + k]));
    free(low);
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
    return x->by != y->by ? (x->by < y->by) - (x->by > y->by) : (x->row > y->row) - (x->row < y->row);
}

static int by_row(const void *a, const void *b)
{
    const ranked *const x = a, *const y = b;
    return (x->row > y->row) - (x->row < y->row);
}

/* Without `as_listed`: the rows with the highest percent, the highest first. With `as_listed`: those whose percent
 * is farthest from `mean`, in the order of `rows`. NULL if out of memory. */
static json_t *first_by(const json_t *rows, double mean, size_t max, bool as_listed)
{
    const size_t count = json_array_size(rows), shown = count < max ? count : max;
    ranked *const list = calloc(count + 1, sizeof *list);
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
    free(list);
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
    const json_t *const magnitudes = json_object_get(report, "magnitudes"), *const projections =
                                                                                json_object_get(report, "projections");
    const double spread = organ_json_real(report, "per_tensor.max") - organ_json_real(report, "per_tensor.min");
    json_t *const layers = layers_of(report), *const densest = first_by(layers, 0, SIZE_MAX, false);
    json_t *const fold = ORGAN_OBJECT(
        SET("all", all_targets(report)), SET("totals", organ_json_rows(2, total_row, report)),
        SET("bars", organ_json_rows(json_array_size(projections) + 1, bar_row, report)), SET("layers", layers),
        SET("densest", densest), SET_HELD("sparsest", organ_json_row_at(densest, json_array_size(densest) - 1)),
        SET("tensors", first_by(tensors_of(report), organ_json_real(report, "per_tensor.mean"), MAX_TENSORS, true)),
        SET("bins", organ_json_rows(json_array_size(json_object_get(magnitudes, "count")), bin_row, magnitudes)),
        SET("tiles", tiles_of(report)), SET_FLAG("alike", spread < 0.005), /* tables show two decimals */
        SET_REAL("target_percent", percent_of(organ_json_real(report, "totals.target.elements"),
                                              organ_json_real(report, "totals.full.elements"))),
        SET_REAL("memory_mib", (double)organ_json_count(report, "run.memory") / 1048576));
    return organ_json_joined(copy_of(report), ORGAN_OBJECT(SET("fold", fold)));
}
