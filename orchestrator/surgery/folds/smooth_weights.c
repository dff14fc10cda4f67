/* SPDX-License-Identifier: MIT
 * Reads the weights of the tensors of a fold from the loaded layer: the greatest magnitude of each channel's weights,
 * and the powers of two by which they can be multiplied without rounding. */
#include "orchestrator/surgery/folds/smooth_parts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_AT_ONCE ((uint64_t)64)

typedef struct fold_reading {
    const organ_smooth_walk *walk;
    const organ_fold_side *side;
    organ_product_operand values; /* of all matrices, one below the other */
    organ_channel_weights *weights;
    pthread_mutex_t lock; /* of `weights` */
    organ_first_fault fault;
} fold_reading;

const float *organ_smooth_row(const organ_smooth_walk *walk, const organ_fold_side *side,
                              const organ_product_operand *values, uint64_t row, float *buffer)
{
    const organ_kernels *const kernels = walk->engine->kernels;
    const size_t cols = (size_t)side->cols;
    const char *const at = (const char *)values->values + row * values->stride * organ_real_bytes(values->type);
    if (values->type == ORGAN_REAL_F32)
        return (const float *)(const void *)at;
    (values->type == ORGAN_REAL_BF16 ? kernels->bf16_to_f32 : kernels->f16_to_f32)((const uint16_t *)(const void *)at,
                                                                                   buffer, cols);
    return buffer;
}

organ_status organ_smooth_values(const organ_layer *layer, const organ_fold_side *side, organ_product_operand *values,
                                 uint64_t *rows, organ_error *error)
{
    const char *const name = side->weight->name;
    uint64_t cols;
    return organ_layer_matrix(layer, name, rows, &cols, values)
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its values are not in the layer", name);
}

static const float *row_values(const fold_reading *r, uint64_t row, float *buffer)
{
    return organ_smooth_row(r->walk, r->side, &r->values, row, buffer);
}

/* `least` and `most` are the least and the greatest magnitude of values of the channel; zeros do not count as least. */
static void note_channel(fold_reading *r, uint64_t channel, float least, float most)
{
    organ_channel_weights *const w = &r->weights[channel];
    if (!r->side->divided)
        w->reader = fmaxf(w->reader, most * fabsf(r->side->times));
    organ_channel_narrow(&w->range, least, most, r->side->weight->codes->dtype, r->side->divided);
}

static void note_value(float value, float *least, float *most)
{
    const float magnitude = fabsf(value);
    *most = magnitude > *most ? magnitude : *most;
    *least = magnitude > 0 && magnitude < *least ? magnitude : *least;
}

static void note_rows(fold_reading *r, uint64_t from, uint64_t until, float *buffer)
{
    for (uint64_t row = from; row < until; row++) {
        const uint64_t channel = organ_fold_channel(r->side, row / r->side->rows, row % r->side->rows);
        float least = INFINITY, most = 0;
        if (channel == ORGAN_NO_CHANNEL)
            continue;
        const float *const values = row_values(r, row, buffer);
        for (uint64_t c = 0; c < r->side->cols; c++)
            note_value(values[c], &least, &most);
        ORGAN_LOCKED(&r->lock);
        note_channel(r, channel, least, most);
    }
}

/* All rows are of one matrix. `buffer` has three times as many values as a row. */
static void note_columns(fold_reading *r, uint64_t from, uint64_t until, float *buffer)
{
    const size_t cols = (size_t)r->side->cols;
    float *const least = buffer + cols, *const most = least + cols;
    for (size_t c = 0; c < cols; c++) {
        least[c] = INFINITY;
        most[c] = 0;
    }
    for (uint64_t row = from; row < until; row++) {
        const float *const values = row_values(r, row, buffer);
        for (size_t c = 0; c < cols; c++)
            note_value(values[c], &least[c], &most[c]);
    }
    ORGAN_LOCKED(&r->lock);
    for (size_t c = 0; c < cols; c++) {
        const uint64_t channel = organ_fold_channel(r->side, from / r->side->rows, c);
        if (channel != ORGAN_NO_CHANNEL)
            note_channel(r, channel, least[c], most[c]);
    }
}

static void read_piece(void *context, size_t index, size_t worker)
{
    fold_reading *const r = context;
    const organ_fold_side *const side = r->side;
    const uint64_t pieces = organ_pieces_of(side->rows, ROWS_AT_ONCE), matrix = index / pieces,
                   skipped = index % pieces * ROWS_AT_ONCE, from = matrix * side->rows + skipped,
                   until = from + (ROWS_AT_ONCE < side->rows - skipped ? ROWS_AT_ONCE : side->rows - skipped);
    ORGAN_OWNED float *const buffer = malloc(3 * (size_t)side->cols * sizeof *buffer);
    organ_error error = {0};
    (void)worker;
    if (!buffer) {
        organ_fail_memory(&error, side->weight->name);
        organ_fault_keep(&r->fault, &error);
        return;
    }
    (side->of_rows ? note_rows : note_columns)(r, from, until, buffer);
}

/* `buffer` has the values of a row. */
static void note_norm(const fold_reading *r, float *buffer)
{
    const float *const values = row_values(r, 0, buffer);
    for (uint64_t c = 0; c < r->side->cols; c++) {
        organ_channel_range *const range = &r->weights[c].range;
        range->norm = true;
        range->weight = values[c];
        range->added = r->side->plus;
        range->dtype = r->side->weight->codes->dtype;
    }
}

static organ_status note_side(fold_reading *r, bool norm, organ_error *error)
{
    const organ_fold_side *const side = r->side;
    if (norm) {
        ORGAN_OWNED float *const buffer = malloc((size_t)side->cols * sizeof *buffer);
        if (!buffer)
            return organ_fail_memory(error, side->weight->name);
        note_norm(r, buffer);
    }
    if (side->plus == 0)
        organ_share_work(r->walk->engine, r->walk->engine->stop,
                         (size_t)(side->matrices * organ_pieces_of(side->rows, ROWS_AT_ONCE)),
                         (double)side->matrices * (double)side->rows * (double)side->cols * ORGAN_SHARE_NUMBER,
                         read_piece, r);
    return error->status;
}

organ_status organ_smooth_read_weights(const organ_smooth_walk *walk, const organ_layer *layer, const organ_fold *fold,
                                       organ_channel_weights *weights, organ_error *error)
{
    for (uint64_t c = 0; c < fold->channels; c++)
        weights[c] =
            (organ_channel_weights){.range = {.least = -ORGAN_SMOOTH_EXPONENTS, .most = ORGAN_SMOOTH_EXPONENTS}};
    for (size_t k = fold->first; k < fold->first + fold->count && !error->status; k++) {
        fold_reading r = {.walk = walk,
                          .side = &walk->scaling->folds.sides[k],
                          .weights = weights,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .fault = {error, false}};
        uint64_t rows;
        if (organ_smooth_values(layer, r.side, &r.values, &rows, error) == ORGAN_OK)
            note_side(&r, fold->kind == ORGAN_FOLD_NORM && k == fold->first, error);
    }
    return error->status;
}
