/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/remake/row_pass.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/cache/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row_walk {
    const organ_row_pass *pass;
    organ_unit_run *run;
    organ_pass_item *items;
    size_t *todo; /* which of the stretches each item is */
    size_t count;
    size_t floats; /* that stand before the scratch */
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
                     .index = pass->cuts->list[w->todo[tile->item]].of,
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

/* The digest of a tensor stands where all of it was made at once. */
bool organ_row_pass_recall(const organ_row_work *rows, organ_cuts *cuts, size_t cut, const json_t *line)
{
    organ_row_result *const result = &rows->results[cut];
    const char *const digest = json_string_value(json_object_get(line, "xxh3"));
    bool whole = digest && (strlen(digest) + 1 == sizeof result->xxh3 || !organ_cuts_is_whole(cuts, cut));
    for (size_t k = 0; k < ORGAN_ROW_SUMS && whole; k++)
        whole = organ_exact_value(json_array_get(json_object_get(line, "sums"), k), &result->sums[k]);
    if (whole && organ_cuts_is_whole(cuts, cut))
        memcpy(cuts->xxh3[cuts->list[cut].of], digest, sizeof result->xxh3);
    return whole;
}

void organ_row_pass_fold(organ_row_work *rows, const organ_cuts *cuts)
{
    for (size_t t = 0; t < cuts->tensor_count; t++) {
        organ_row_result all = rows->results[cuts->first[t]];
        for (size_t cut = cuts->first[t] + 1; cut < cuts->first[t + 1]; cut++)
            for (size_t k = 0; k < ORGAN_ROW_SUMS; k++)
                all.sums[k] += rows->results[cut].sums[k];
        memcpy(all.xxh3, cuts->xxh3[t], sizeof all.xxh3);
        rows->results[t] =
            all; /* a tensor has a stretch at least: those that follow are not overwritten before they are read */
    }
}

static organ_status finish_stretch(const row_walk *w, size_t cut, organ_error *error)
{
    const organ_row_work *const rows = w->pass->rows;
    const organ_cuts *const cuts = w->pass->cuts;
    organ_row_result *const result = &rows->results[cut];
    char remark[64] = "";
    if (organ_cuts_is_whole(cuts, cut))
        memcpy(result->xxh3, cuts->xxh3[cuts->list[cut].of], sizeof result->xxh3);
    if (organ_unit_run_finish(w->run, cut, result_json(result), error))
        return error->status;
    if (rows->remark)
        rows->remark(result->sums, remark);
    organ_progress_advance(w->pass->progress, 0, cuts->list[cut].unit, remark);
    return ORGAN_OK;
}

static organ_status retire_rows(void *context, const organ_band *band, organ_error *error)
{
    const row_walk *const w = context;
    const organ_row_work *const rows = w->pass->rows;
    const size_t cut = w->todo[band->item];
    const uint64_t at = band->offset - w->items[band->item].tensor->offset;
    double *const sums = rows->results[cut].sums;
    for (size_t t = 0; t < band->tiles; t++)
        for (size_t k = 0; k < ORGAN_ROW_SUMS; k++)
            sums[k] += ((const double *)band->results)[t * ORGAN_ROW_SUMS + k];
    if ((rows->judge && rows->judge(w->pass->context, w->pass->cuts->list[cut].of, sums, error)) ||
        organ_unit_run_put(w->run, cut, band->data, band->bytes, at, NULL, error))
        return error->status;
    organ_cuts_see(w->pass->cuts, cut, band->data, band->bytes, at);
    organ_progress_advance(w->pass->progress, band->bytes, NULL, NULL);
    return band->last ? finish_stretch(w, cut, error) : ORGAN_OK;
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

/* The stretches that are not done. */
static void list_rows(row_walk *w)
{
    const organ_cuts *const cuts = w->pass->cuts;
    for (size_t k = 0; k < cuts->count; k++)
        if (!w->run->units[k].done) {
            w->todo[w->count] = k;
            w->items[w->count++].tensor = &cuts->list[k].tensor;
        }
}

organ_status organ_row_pass_run(const organ_row_pass *pass, organ_unit_run *run, organ_error *error)
{
    const size_t room = pass->cuts->count + 1;
    row_walk w = {.pass = pass,
                  .run = run,
                  .items = calloc(room, sizeof *w.items),
                  .todo = calloc(room, sizeof *w.todo),
                  .floats = (organ_row_longest(pass->model, pass->replaced) + 15) / 16 * 16}; /* whole cache lines */
    if (w.items && w.todo)
        list_rows(&w);
    else
        organ_fail_memory(error, pass->model->path);
    const organ_pass bands = {.model = pass->model,
                              .items = w.items,
                              .item_count = w.count,
                              .tile_rows = ORGAN_ROWS_CUT,
                              .scratch_bytes = w.floats * sizeof(float) + pass->rows->scratch_bytes,
                              .result_bytes = ORGAN_ROW_SUMS * sizeof(double),
                              .least = pass->rows->least,
                              .context = &w,
                              .work = work_rows,
                              .retire = retire_rows};
    if (w.count)
        organ_pass_run(&bands, pass->engine, error);
    free(w.todo);
    free(w.items);
    return error->status;
}
