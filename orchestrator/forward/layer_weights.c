/* SPDX-License-Identifier: MIT
 * Reads and writes the matrices of a loaded layer by their names. */
#include "orchestrator/forward/layer.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <string.h>

/* `tensor` may be "NAME[E]", matrix E of a stack; *matrix becomes E, else 0. */
static bool is_named(const forward_slot *slot, const char *tensor, uint64_t *matrix)
{
    const char *name = slot->weight->name;
    const size_t length = strlen(name);
    *matrix = 0;
    if (strncmp(tensor, name, length))
        return false;
    if (tensor[length] == 0)
        return true;
    char *end;
    if (tensor[length] != '[' || tensor[length + 1] < '0' || tensor[length + 1] > '9')
        return false;
    *matrix = strtoull(tensor + length + 1, &end, 10);
    return strcmp(end, "]") == 0 && *matrix < slot->matrices && slot->matrices > 1;
}

/* `tensor` is "NAME", or "NAME[E]" for matrix E of a stack. *first is the first row of the named matrix or stack. */
static const forward_slot *find_slot(const organ_layer *layer, const char *tensor, uint64_t *first, uint64_t *rows,
                                     uint64_t *cols)
{
    for (size_t k = 0; k < layer->plan->count; k++) {
        const forward_slot *const slot = &layer->plan->slots[k];
        uint64_t matrix;
        if (!is_named(slot, tensor, &matrix))
            continue;
        *rows = tensor[strlen(slot->weight->name)] ? slot->rows / slot->matrices : slot->rows;
        *first = matrix * *rows;
        *cols = slot->cols;
        return slot;
    }
    return NULL;
}

bool organ_layer_matrix(const organ_layer *layer, const char *tensor, uint64_t *rows, uint64_t *cols,
                        organ_product_operand *values)
{
    uint64_t first;
    const forward_slot *const slot = find_slot(layer, tensor, &first, rows, cols);
    if (slot && !slot->packed)
        *values = organ_forward_rows_of(layer, slot, first);
    return slot && !slot->packed;
}

/* Returns the type of the GGUF blocks in which the layer keeps the slot; NULL if it does not. */
static const organ_dtype_info *blocks_of(const forward_slot *slot)
{
    const organ_dtype_info *const type = organ_dtype_describe(slot->weight->codes->dtype);
    return slot->packed && type->elements > 1 && type->ggml >= 0 ? type : NULL;
}

/* `row` is a number in the order of the forward pass; the file may store rows in another order. */
static unsigned char *row_blocks(const organ_layer *layer, const forward_slot *slot, uint64_t row)
{
    const organ_dtype_info *const type = blocks_of(slot);
    const uint64_t stored = organ_turned_stored(slot->turned, row);
    return layer->values + slot->at + stored * (slot->cols / type->elements * type->bytes);
}

static void decode_blocks(const organ_layer *layer, const forward_slot *slot, uint64_t first, uint64_t rows,
                          float *values)
{
    const organ_kernels *const kernels = layer->forward->engine->kernels;
    const organ_dtype_info *const type = blocks_of(slot);
    for (uint64_t r = 0; type && r < rows; r++)
        kernels->dequantize[type->ggml](row_blocks(layer, slot, first + r), values + r * slot->cols,
                                        (size_t)slot->cols / type->elements);
}

/* Does nothing for packed types other than GGUF blocks, and for block types that have no encoder in kernels->fit. */
static void encode_blocks(organ_layer *layer, const forward_slot *slot, uint64_t first, uint64_t rows,
                          const float *values)
{
    const organ_kernels *const kernels = layer->forward->engine->kernels;
    const organ_dtype_info *const type = blocks_of(slot);
    const size_t cols = (size_t)slot->cols;
    for (uint64_t r = 0; type && kernels->fit[type->ggml] && r < rows; r++)
        kernels->fit[type->ggml](values + r * cols, NULL, cols, row_blocks(layer, slot, first + r),
                                 cols / type->elements);
}

#define ROWS_AT_ONCE ((uint64_t)16) /* rows of a matrix that a worker converts at a time */

typedef struct layer_values {
    organ_layer *layer;
    const forward_slot *slot;
    uint64_t first, rows, cols; /* rows [first, first + rows) of the slot */
    float *to;                  /* values that read_values writes */
    const float *from;          /* values that write_values reads */
} layer_values;

static void share_values(layer_values *v, void (*task)(void *context, size_t index, size_t worker))
{
    const double each = v->slot->packed ? ORGAN_SHARE_HARD : ORGAN_SHARE_NUMBER;
    organ_share_work(v->layer->forward->engine, NULL, (size_t)organ_pieces_of(v->rows, ROWS_AT_ONCE),
                     (double)v->rows * (double)v->cols * each, task, v);
}

/* Values of a crossed slot have the same order as those of its FP32 copy. */
static void *row_values(const layer_values *v, uint64_t row)
{
    return v->layer->values + v->slot->at + (v->first + row) * organ_forward_row_bytes(v->slot);
}

static void read_values(void *context, size_t index, size_t worker)
{
    const layer_values *const v = context;
    const forward_slot *const slot = v->slot;
    const organ_kernels *const kernels = v->layer->forward->engine->kernels;
    const uint64_t skipped = index * ROWS_AT_ONCE, rows = organ_min(ROWS_AT_ONCE, v->rows - skipped);
    const void *const from = row_values(v, skipped);
    float *const values = v->to + skipped * v->cols;
    const size_t count = (size_t)(rows * v->cols);
    (void)worker;
    if (slot->packed)
        decode_blocks(v->layer, slot, v->first + skipped, rows, values);
    else if (slot->type == ORGAN_REAL_F32)
        memcpy(values, from, count * sizeof *values);
    else
        (slot->type == ORGAN_REAL_BF16 ? kernels->bf16_to_f32 : kernels->f16_to_f32)(from, values, count);
}

void organ_layer_read(const organ_layer *layer, const char *tensor, float *values)
{
    /* read_values does not change the layer */
    layer_values v = {.layer = (organ_layer *)(uintptr_t)layer, .to = values};
    v.slot = find_slot(layer, tensor, &v.first, &v.rows, &v.cols);
    if (v.slot)
        share_values(&v, read_values);
}

void *organ_layer_values(organ_layer *layer, const char *tensor, uint64_t *bytes)
{
    uint64_t first, rows, cols;
    const forward_slot *const slot = find_slot(layer, tensor, &first, &rows, &cols);
    if (!slot || slot->packed)
        return NULL;
    *bytes = rows * organ_forward_row_bytes(slot);
    return layer->values + slot->at + first * organ_forward_row_bytes(slot);
}

void *organ_layer_blocks(organ_layer *layer, const char *tensor, uint64_t *bytes)
{
    uint64_t first, rows, cols;
    const forward_slot *const slot = find_slot(layer, tensor, &first, &rows, &cols);
    if (!slot || !blocks_of(slot))
        return NULL;
    *bytes = slot->weight->codes->bytes / slot->rows * rows;
    return layer->values + slot->at + slot->weight->codes->bytes / slot->rows * first;
}

static void write_values(void *context, size_t index, size_t worker)
{
    const layer_values *const v = context;
    const forward_slot *const slot = v->slot;
    const organ_kernels *const kernels = v->layer->forward->engine->kernels;
    const uint64_t skipped = index * ROWS_AT_ONCE, rows = organ_min(ROWS_AT_ONCE, v->rows - skipped);
    const float *const values = v->from + skipped * v->cols;
    const size_t count = (size_t)(rows * v->cols);
    (void)worker;
    if (slot->packed) {
        encode_blocks(v->layer, slot, v->first + skipped, rows, values);
        return;
    }
    void *const to = row_values(v, skipped);
    if (slot->type == ORGAN_REAL_F32)
        memcpy(to, values, count * sizeof *values);
    else
        (slot->type == ORGAN_REAL_BF16 ? kernels->f32_to_bf16 : kernels->f32_to_f16)(values, to, count);
}

void organ_layer_write(organ_layer *layer, const char *tensor, const float *values)
{
    layer_values v = {.layer = layer, .from = values};
    v.slot = find_slot(layer, tensor, &v.first, &v.rows, &v.cols);
    if (v.slot)
        share_values(&v, write_values);
}
