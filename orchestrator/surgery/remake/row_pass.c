/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/remake/row_pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define TILE_ROWS 8 /* fixed: results of tiles are added in their order */

typedef struct row_walk {
    const organ_row_pass *pass;
    organ_unit_run *run;
    size_t *todo; /* tensors that are not done, by the items of the pass */
    XXH3_state_t *hash;
} row_walk;

size_t organ_row_floats(size_t cols) { return (cols + 15) / 16 * 16; }

static void work_rows(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const row_walk *const w = context;
    const size_t tensor = w->todo[tile->item];
    const organ_dtype_info *const type = organ_dtype_describe(w->pass->tensors[tensor]->dtype);
    for (size_t r = 0; r < tile->rows; r++)
        w->pass->row(w->pass->context, tensor, (char *)tile->data + r * tile->stride * type->bytes, tile->cols, tile->cols * type->elements,
                     scratch, result);
}

static organ_status finish_tensor(const row_walk *w, size_t tensor, organ_error *error)
{
    char xxh3[17], remark[64] = "";
    snprintf(xxh3, sizeof xxh3, "%016llx", (unsigned long long)XXH3_64bits_digest(w->hash));
    XXH3_64bits_reset(w->hash);
    if (organ_unit_run_finish(w->run, tensor, w->pass->finish(w->pass->context, tensor, xxh3, remark), error))
        return error->status;
    organ_progress_advance(w->pass->progress, 0, w->pass->tensors[tensor]->name, remark);
    return ORGAN_OK;
}

static organ_status retire_band(void *context, const organ_band *band, organ_error *error)
{
    const row_walk *const w = context;
    const size_t tensor = w->todo[band->item];
    if ((w->pass->fold && w->pass->fold(w->pass->context, tensor, band->results, band->tiles, error)) ||
        organ_unit_run_put(w->run, tensor, band->data, band->bytes, band->offset - w->pass->tensors[tensor]->offset, NULL, error))
        return error->status;
    XXH3_64bits_update(w->hash, band->data, band->bytes);
    organ_progress_advance(w->pass->progress, band->bytes, NULL, NULL);
    return band->last ? finish_tensor(w, tensor, error) : ORGAN_OK;
}

size_t organ_row_longest(const organ_tensor *const *tensors, size_t count)
{
    uint64_t cols = 0;
    for (size_t k = 0; k < count; k++) {
        const uint64_t here = organ_tensor_matrices(tensors[k]).cols;
        cols = here > cols ? here : cols;
    }
    return (size_t)cols;
}

organ_status organ_row_pass_run(const organ_row_pass *pass, organ_unit_run *run, organ_error *error)
{
    row_walk w = {.pass = pass, .run = run, .todo = calloc(pass->count + 1, sizeof *w.todo), .hash = XXH3_createState()};
    organ_pass_item *const items = calloc(pass->count + 1, sizeof *items);
    size_t count = 0;
    if (!items || !w.todo || !w.hash)
        organ_fail_memory(error, pass->model->path);
    for (size_t k = 0; k < pass->count && !error->status; k++)
        if (!run->units[k].done) {
            w.todo[count] = k;
            items[count++].tensor = pass->tensors[k];
        }
    const organ_pass bands = {.model = pass->model,
                              .items = items,
                              .item_count = count,
                              .tile_rows = TILE_ROWS,
                              .scratch_bytes =
                                  organ_row_floats(organ_row_longest(pass->tensors, pass->count)) * sizeof(float) + pass->scratch_bytes,
                              .result_bytes = pass->result_bytes,
                              .least = pass->least,
                              .context = &w,
                              .work = work_rows,
                              .retire = retire_band};
    if (count && !error->status) {
        XXH3_64bits_reset(w.hash);
        organ_pass_run(&bands, pass->engine, error);
    }
    XXH3_freeState(w.hash);
    free(w.todo);
    free(items);
    return error->status;
}
