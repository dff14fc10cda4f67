/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/remake/row_pass.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/widen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define TILE_ROWS 8 /* fixed: sums of tiles are added in their order */

typedef struct row_walk {
    const organ_row_pass *pass;
    organ_unit_run *run;
    organ_pass_item *items;
    size_t *todo; /* which of the tensors that are replaced each item is */
    size_t count;
    size_t floats; /* that stand before the scratch */
    XXH3_state_t *hash;
} row_walk;

void organ_row_store(const organ_row *row)
{
    organ_narrow(row->kernels, row->tensor->dtype, row->values, row->data, row->units);
    organ_widen(row->kernels, row->tensor->dtype, row->data, row->values, row->units);
}

static void work_rows(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const row_walk *const w = context;
    const organ_row_pass *const pass = w->pass;
    const organ_tensor *const tensor = w->items[tile->item].tensor;
    const organ_dtype_info *const type = organ_dtype_describe(tensor->dtype);
    organ_row row = {.kernels = pass->engine->kernels,
                     .index = w->todo[tile->item],
                     .tensor = tensor,
                     .units = tile->cols,
                     .values = scratch,
                     .cols = tile->cols * type->elements,
                     .scratch = (float *)scratch + w->floats,
                     .sums = result};
    for (size_t r = 0; r < tile->rows; r++) {
        row.data = (char *)tile->data + r * tile->stride * type->bytes;
        organ_widen(row.kernels, tensor->dtype, row.data, row.values, row.units);
        pass->rows->row(pass->context, &row);
    }
}

static json_t *result_json(const organ_row_result *result)
{
    json_t *const sums = json_array();
    for (size_t k = 0; k < ORGAN_ROW_SUMS; k++)
        json_array_append_new(sums, organ_exact_json(result->sums[k]));
    return ORGAN_OBJECT(SET("sums", sums), SET_TEXT("xxh3", result->xxh3));
}

bool organ_row_pass_recall(const organ_row_work *rows, size_t index, const json_t *line)
{
    organ_row_result *const result = &rows->results[index];
    const char *const digest = json_string_value(json_object_get(line, "xxh3"));
    bool whole = digest && strlen(digest) + 1 == sizeof result->xxh3;
    for (size_t k = 0; k < ORGAN_ROW_SUMS && whole; k++)
        whole = organ_exact_value(json_array_get(json_object_get(line, "sums"), k), &result->sums[k]);
    if (whole)
        memcpy(result->xxh3, digest, sizeof result->xxh3);
    return whole;
}

static organ_status finish_tensor(const row_walk *w, size_t index, const organ_tensor *tensor, organ_error *error)
{
    const organ_row_work *const rows = w->pass->rows;
    char remark[64] = "";
    snprintf(rows->results[index].xxh3, sizeof rows->results[index].xxh3, "%016llx", (unsigned long long)XXH3_64bits_digest(w->hash));
    XXH3_64bits_reset(w->hash);
    if (organ_unit_run_finish(w->run, index, result_json(&rows->results[index]), error))
        return error->status;
    if (rows->remark)
        rows->remark(w->pass->context, index, remark);
    organ_progress_advance(w->pass->progress, 0, tensor->name, remark);
    return ORGAN_OK;
}

static organ_status retire_rows(void *context, const organ_band *band, organ_error *error)
{
    const row_walk *const w = context;
    const organ_row_work *const rows = w->pass->rows;
    const size_t index = w->todo[band->item];
    const organ_tensor *const tensor = w->items[band->item].tensor;
    double *const sums = rows->results[index].sums;
    for (size_t t = 0; t < band->tiles; t++)
        for (size_t k = 0; k < ORGAN_ROW_SUMS; k++)
            sums[k] += ((const double *)band->results)[t * ORGAN_ROW_SUMS + k];
    if ((rows->judge && rows->judge(w->pass->context, index, sums, error)) ||
        organ_unit_run_put(w->run, index, band->data, band->bytes, band->offset - tensor->offset, NULL, error))
        return error->status;
    XXH3_64bits_update(w->hash, band->data, band->bytes);
    organ_progress_advance(w->pass->progress, band->bytes, NULL, NULL);
    return band->last ? finish_tensor(w, index, tensor, error) : ORGAN_OK;
}

size_t organ_row_longest(const organ_model *model, const bool *chosen)
{
    uint64_t cols = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const uint64_t here = chosen[t] ? organ_tensor_matrices(&model->tensors[t]).cols : 0;
        cols = here > cols ? here : cols;
    }
    return (size_t)cols;
}

/* The tensors that are not done. */
static void list_rows(row_walk *w)
{
    const organ_model *const model = w->pass->model;
    for (size_t t = 0, index = 0; t < model->tensor_count; t++) {
        if (!w->pass->replaced[t])
            continue;
        if (!w->run->units[index].done) {
            w->todo[w->count] = index;
            w->items[w->count++].tensor = &model->tensors[t];
        }
        index++;
    }
}

organ_status organ_row_pass_run(const organ_row_pass *pass, organ_unit_run *run, organ_error *error)
{
    const size_t room = pass->model->tensor_count + 1;
    row_walk w = {.pass = pass,
                  .run = run,
                  .items = calloc(room, sizeof *w.items),
                  .todo = calloc(room, sizeof *w.todo),
                  .floats = (organ_row_longest(pass->model, pass->replaced) + 15) / 16 * 16, /* whole cache lines */
                  .hash = XXH3_createState()};
    if (w.items && w.todo && w.hash)
        list_rows(&w);
    else
        organ_fail_memory(error, pass->model->path);
    const organ_pass bands = {.model = pass->model,
                              .items = w.items,
                              .item_count = w.count,
                              .tile_rows = TILE_ROWS,
                              .scratch_bytes = w.floats * sizeof(float) + pass->rows->scratch_bytes,
                              .result_bytes = ORGAN_ROW_SUMS * sizeof(double),
                              .least = pass->rows->least,
                              .context = &w,
                              .work = work_rows,
                              .retire = retire_rows};
    if (w.count) {
        XXH3_64bits_reset(w.hash);
        organ_pass_run(&bands, pass->engine, error);
    }
    XXH3_freeState(w.hash);
    free(w.todo);
    free(w.items);
    return error->status;
}
