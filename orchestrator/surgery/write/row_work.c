/* SPDX-License-Identifier: MIT
 * Runs the work on rows of replaced tensors. organ_pass_run reads each row range in bands, which are as
 * many rows as a buffer takes; workers call the verb on the rows of a band, in tiles of ORGAN_STRETCH_ROWS rows, and
 * write the new rows. The sums are added up in the order of the rows. */
#include "orchestrator/surgery/write/writing.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/pass_parts.h"

#include <stdlib.h>
#include <string.h>

typedef struct row_walk {
    organ_writing *w;
    organ_pass_item *items; /* the row ranges, for organ_pass_run */
    size_t *todo;           /* index of each item's row range in w->stretches->list */
    size_t count;           /* number of items */
    size_t floats; /* floats at the start of a worker's buffer for the row's values; the verb's scratch follows them */
} row_walk;

void organ_row_store(const organ_row *row)
{
    organ_narrow(row->kernels, row->tensor->dtype, row->values, row->data, row->units);
    organ_widen(row->kernels, row->tensor->dtype, row->data, row->values, row->units);
}

/* `result` is the tile's array of ORGAN_ROW_SUMS sums, which the verb's `row` adds to on a worker thread. */
static void work_rows(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const row_walk *const walk = context;
    const organ_write *const m = walk->w->write;
    const organ_tensor *const tensor = walk->items[tile->item].tensor;
    const organ_dtype_info *const type = organ_dtype_describe(tensor->dtype);
    const organ_stretch *const stretch = &walk->w->stretches->list[walk->todo[tile->item]];
    organ_row row = {.kernels = m->engine->kernels,
                     .index = stretch->of,
                     .tensor = tensor,
                     .number = (stretch->at + tile->at) / (tile->cols * type->bytes),
                     .units = tile->cols,
                     .values = scratch,
                     .cols = tile->cols * type->elements,
                     .scratch = (float *)scratch + walk->floats,
                     .sums = result};
    for (size_t r = 0; r < tile->rows; r++, row.number++) {
        row.data = (char *)tile->data + r * tile->stride * type->bytes;
        organ_widen(row.kernels, tensor->dtype, row.data, row.values, row.units);
        m->replaced.rows->row(m->context, &row);
    }
}

static json_t *result_json(const organ_row_result *result)
{
    json_t *const sums = json_array();
    for (size_t k = 0; k < ORGAN_ROW_SUMS; k++)
        json_array_append_new(sums, organ_exact_json(result->sums[k]));
    return ORGAN_OBJECT(SET("sums", sums), SET_TEXT("xxh3", result->xxh3));
}

/* If the range is a whole tensor, stretches->xxh3 gets its digest. */
bool organ_row_work_recall(organ_writing *w, size_t stretch, const json_t *line)
{
    organ_stretches *const stretches = w->stretches;
    organ_row_result *const result = &w->write->replaced.rows->results[stretch];
    const char *const digest = json_string_value(json_object_get(line, "xxh3"));
    bool complete =
        digest && (strlen(digest) + 1 == sizeof result->xxh3 || !organ_stretches_is_whole(stretches, stretch));
    for (size_t k = 0; k < ORGAN_ROW_SUMS && complete; k++)
        complete = organ_exact_value(json_array_get(json_object_get(line, "sums"), k), &result->sums[k]);
    if (complete && organ_stretches_is_whole(stretches, stretch))
        memcpy(stretches->xxh3[stretches->list[stretch].of], digest, sizeof result->xxh3);
    return complete;
}

/* The function works in place: the ranges of tensor t begin at index t or later, so results[t] is overwritten only
 * after it was read. The digest of the tensor is set too. */
void organ_row_work_fold(const organ_writing *w)
{
    const organ_row_work *const rows = w->write->replaced.rows;
    const organ_stretches *const stretches = w->stretches;
    for (size_t t = 0; t < stretches->tensor_count; t++) {
        organ_row_result all = rows->results[stretches->first[t]];
        for (size_t stretch = stretches->first[t] + 1; stretch < stretches->first[t + 1]; stretch++)
            for (size_t k = 0; k < ORGAN_ROW_SUMS; k++)
                all.sums[k] += rows->results[stretch].sums[k];
        memcpy(all.xxh3, stretches->xxh3[t], sizeof all.xxh3);
        rows->results[t] = all;
    }
}

static organ_status finish_row_range(organ_writing *w, size_t stretch, organ_error *error)
{
    const organ_row_work *const rows = w->write->replaced.rows;
    const organ_stretches *const stretches = w->stretches;
    organ_row_result *const result = &rows->results[stretch];
    if (organ_stretches_is_whole(stretches, stretch))
        memcpy(result->xxh3, stretches->xxh3[stretches->list[stretch].of], sizeof result->xxh3);
    return organ_write_finish(w, stretch, result_json(result), error);
}

static uint64_t place_of_rows(const row_walk *walk, const organ_band *band)
{
    return band->offset - walk->items[band->item].tensor->offset;
}

static organ_status store_rows(void *context, const organ_band *band, organ_error *error)
{
    const row_walk *const walk = context;
    return organ_write_digest(walk->w, walk->todo[band->item], band->data, band->bytes, place_of_rows(walk, band),
                              error);
}

static organ_status write_rows(void *context, const organ_band *band, organ_error *error)
{
    const row_walk *const walk = context;
    return organ_write_bytes(walk->w, walk->todo[band->item], band->data, band->bytes, place_of_rows(walk, band),
                             error);
}

/* A tensor is digested in the order of its row ranges. */
static bool rows_follow(const void *context, size_t item)
{
    const row_walk *const walk = context;
    const organ_stretch *const list = walk->w->stretches->list;
    return list[walk->todo[item]].of == list[walk->todo[item - 1]].of;
}

/* The bands come in order of the rows of a tensor. The verb checks the new sums of the row range. */
static organ_status retire_rows(void *context, const organ_band *band, organ_error *error)
{
    const row_walk *const walk = context;
    organ_writing *const w = walk->w;
    const organ_row_work *const rows = w->write->replaced.rows;
    const size_t stretch = walk->todo[band->item];
    double *const sums = rows->results[stretch].sums;
    for (size_t t = 0; t < band->tiles; t++)
        for (size_t k = 0; k < ORGAN_ROW_SUMS; k++)
            sums[k] += ((const double *)band->results)[t * ORGAN_ROW_SUMS + k];
    if (rows->judge && rows->judge(w->write->context, w->stretches->list[stretch].of, sums, error))
        return error->status;
    return organ_stretches_digest(w->stretches, stretch, band->data, band->bytes, place_of_rows(walk, band), error);
}

static organ_status rows_finish(void *context, size_t item, organ_error *error)
{
    const row_walk *const walk = context;
    return finish_row_range(walk->w, walk->todo[item], error);
}

static void rows_tell(void *context, size_t item)
{
    const row_walk *const walk = context;
    const organ_row_work *const rows = walk->w->write->replaced.rows;
    const size_t stretch = walk->todo[item];
    char remark[64] = "";
    if (rows->remark)
        rows->remark(rows->results[stretch].sums, remark);
    organ_progress_advance(walk->w->write->progress, 0, walk->w->stretches->list[stretch].unit, remark);
}

static void advance_rows(void *context, uint64_t bytes)
{
    const row_walk *const walk = context;
    organ_progress_advance(walk->w->write->progress, bytes, NULL, NULL);
}

size_t organ_row_longest(const organ_model *model, const bool *chosen)
{
    uint64_t cols = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        cols = organ_max(cols, chosen[t] ? organ_tensor_matrices(&model->tensors[t]).cols : 0);
    return (size_t)cols;
}

static void list_rows(row_walk *walk)
{
    const organ_stretches *const stretches = walk->w->stretches;
    for (size_t k = 0; k < stretches->count; k++)
        if (!walk->w->plan->pieces[k].done) {
            walk->todo[walk->count] = k;
            walk->items[walk->count++].tensor = &stretches->list[k].tensor;
        }
}

/* `enough` NULL: processes the rows. Else sets it to the least memory for that. */
static organ_status walk_rows(organ_writing *w, uint64_t *enough, organ_error *error)
{
    const organ_write *const m = w->write;
    const size_t capacity = w->stretches->count + 1;
    row_walk walk = {.w = w,
                     .items = calloc(capacity, sizeof *walk.items),
                     .todo = calloc(capacity, sizeof *walk.todo),
                     .floats =
                         (organ_row_longest(m->model, m->replaced.chosen) + 15) / 16 * 16}; /* whole cache lines */
    if (walk.items && walk.todo)
        list_rows(&walk);
    else
        organ_fail_memory(error, m->model->path);
    organ_pass bands = {.model = m->model,
                        .items = walk.items,
                        .item_count = walk.count,
                        .tile_rows = ORGAN_STRETCH_ROWS,
                        .scratch_bytes = walk.floats * sizeof(float) + m->replaced.rows->scratch_bytes,
                        .result_bytes = ORGAN_ROW_SUMS * sizeof(double),
                        .least = m->replaced.rows->least,
                        .context = &walk,
                        .work = work_rows,
                        .retire = retire_rows,
                        .follows = rows_follow,
                        .store = store_rows,
                        .write = write_rows,
                        .finish = rows_finish,
                        .tell = rows_tell,
                        .advance = advance_rows};
    if (walk.count && enough && !error->status) {
        const uint64_t least = organ_band_plan_enough(&bands, organ_workers_count(m->engine->workers));
        *enough = organ_max(least, m->replaced.rows->least);
    } else if (walk.count && !error->status) {
        bands.moves = organ_write_moves(w, &bands.behind);
        organ_pass_run(&bands, m->engine, error);
    }
    free(walk.todo);
    free(walk.items);
    return error->status;
}

organ_status organ_row_work_run(organ_writing *w, organ_error *error) { return walk_rows(w, /*enough=*/NULL, error); }

uint64_t organ_row_work_enough(organ_writing *w, organ_error *error)
{
    uint64_t enough = 0;
    walk_rows(w, &enough, error);
    return enough;
}
