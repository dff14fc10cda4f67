/* SPDX-License-Identifier: MIT
 * Reads pieces of a weight that is not packed: rows that llama.cpp has reordered are put back into the order of Hugging
 * Face, and matrices stored as in_features x out_features are transposed. */
#include "orchestrator/forward/layer_rows.h"

#include "orchestrator/machine/extent.h"

#include <string.h>

#define PIECE_BYTES ((size_t)4 << 20) /* bytes of values in one read of a worker */

size_t organ_forward_row_bytes(const forward_slot *slot) { return (size_t)slot->cols * organ_real_bytes(slot->type); }

/* A piece is a whole matrix if the file has it transposed; all rows of a packed weight; else about PIECE_BYTES, in
 * whole heads if llama.cpp has reordered the rows. */
size_t organ_forward_piece_rows(const forward_slot *slot)
{
    if (slot->transposed)
        return (size_t)(slot->rows / slot->matrices);
    const size_t step = slot->turned_head_dim ? slot->turned_head_dim : 1;
    const size_t rows = PIECE_BYTES / organ_max(organ_forward_row_bytes(slot), 1) / step * step;
    return slot->packed ? (size_t)slot->rows : organ_min(organ_max(rows, step), (size_t)slot->rows);
}

static size_t transposed_rows(const forward_slot *slot)
{
    const size_t row = (size_t)(slot->rows / slot->matrices) * organ_real_bytes(slot->type);
    return organ_min(organ_max(PIECE_BYTES / organ_max(row, 1), 1), (size_t)slot->cols);
}

/* The buffer has values in their stored order, from which they are reordered or transposed to their place. Slots
 * that need neither have none. */
static size_t transpose_bytes(const forward_slot *slot)
{
    if (slot->transposed)
        return organ_to_line(transposed_rows(slot) * organ_forward_piece_rows(slot) * organ_real_bytes(slot->type));
    return slot->turned_head_dim ? organ_to_line(organ_forward_piece_rows(slot) * organ_forward_row_bytes(slot)) : 0;
}

organ_status organ_forward_load_size(const organ_forward *f, const forward_slot *slot, size_t *bytes,
                                     organ_error *error)
{
    *bytes = 0;
    const size_t rows = slot->transposed ? transposed_rows(slot) : organ_forward_piece_rows(slot);
    if (!slot->packed &&
        organ_weight_reader_size(f->model, slot->weight, f->engine->kernels, rows, bytes, error) == ORGAN_OK)
        *bytes += transpose_bytes(slot);
    return error->status;
}

/* Items are rows, or numbers of a bias. `from` begins with item `first`, `to` with item 0. */
static void reorder_items(const forward_slot *slot, const unsigned char *from, unsigned char *to, size_t first,
                          size_t count, size_t bytes)
{
    for (size_t k = 0; k < count; k++) {
        const size_t stored = (size_t)organ_forward_stored_row(slot->turned_head_dim, first + k) - first;
        memcpy(to + (first + k) * bytes, from + stored * bytes, bytes);
    }
}

/* Items have 2 or 4 bytes; rows of `to` begin `stride` items apart. Works in blocks of 32 rows, so that the cache
 * lines that it reads and writes stay in the cache. */
static void transpose_items(const unsigned char *from, unsigned char *to, size_t rows, size_t cols, size_t stride,
                            size_t bytes)
{
    enum { BLOCK = 32 };
    if (bytes == sizeof(uint32_t)) {
        organ_transpose_u32((const uint32_t *)(const void *)from, cols, (uint32_t *)(void *)to, stride, rows, cols);
        return;
    }
    const uint16_t *const source = (const uint16_t *)(const void *)from;
    uint16_t *const result = (uint16_t *)(void *)to;
    for (size_t row = 0; row < rows; row += BLOCK)
        for (size_t col = 0; col < cols; col++)
            for (size_t r = row; r < organ_min(row + BLOCK, rows); r++)
                result[col * stride + r] = source[r * cols + col];
}

/* A slot that the file stores as in_features x out_features is transposed, unless the layer keeps it as stored
 * (organ_forward_is_crossed). */
static organ_status read_transposed(const organ_layer *layer, const forward_slot *slot,
                                    const organ_weight_reader *reader, size_t first, unsigned char *values,
                                    unsigned char *scratch, organ_error *error)
{
    const size_t out = organ_forward_piece_rows(slot), in = (size_t)slot->cols, bytes = organ_real_bytes(slot->type);
    const size_t stored = first / out * in, max = transposed_rows(slot);
    const organ_dtype as = organ_forward_dtype(slot->type);
    for (size_t row = 0; row < in && !error->status; row += max) {
        const size_t rows = organ_min(max, in - row);
        if (organ_forward_is_crossed(layer, slot))
            organ_weight_read(reader, stored + row, rows, as, values + (stored + row) * out * bytes, scratch, error);
        else if (organ_weight_read(reader, stored + row, rows, as, scratch, scratch + transpose_bytes(slot), error) ==
                 ORGAN_OK)
            transpose_items(scratch, values + (first * in + row) * bytes, rows, out, in, bytes);
    }
    return error->status;
}

/* Rows of rotated heads that llama.cpp has reordered (turned_head_dim) are put back into the order of Hugging Face. */
organ_status organ_forward_read_rows(const organ_layer *layer, const forward_slot *slot,
                                     const organ_weight_reader *reader, size_t first, size_t rows,
                                     unsigned char *values, unsigned char *scratch, organ_error *error)
{
    const size_t row = organ_forward_row_bytes(slot);
    const organ_dtype as = organ_forward_dtype(slot->type);
    if (slot->transposed)
        return read_transposed(layer, slot, reader, first, values, scratch, error);
    if (!slot->turned_head_dim)
        return organ_weight_read(reader, first, rows, as, values + first * row, scratch, error);
    if (organ_weight_read(reader, first, rows, as, scratch, scratch + transpose_bytes(slot), error))
        return error->status;
    if (slot->weight->rank < 2) /* a bias: its columns are the rows of the matrix */
        reorder_items(slot, scratch, values, 0, (size_t)slot->cols, sizeof(float));
    else
        reorder_items(slot, scratch, values, first, rows, row);
    return ORGAN_OK;
}
