/* SPDX-License-Identifier: MIT
 * Reads rows of a layer's weights from the file in Hugging Face's order. Matrices that the file stores as in_features x
 * out_features (slot->transposed) are transposed, except crossed ones: a crossed matrix is one that the loaded layer
 * keeps as in_features x out_features. */
#ifndef ORGAN_FORWARD_LAYER_H
#define ORGAN_FORWARD_LAYER_H

#include "orchestrator/forward/forward_parts.h"

/* Reads rows [first, first + rows) of a slot that is not packed. `values` is the address of row 0 of the slot;
 * `scratch` has plan->reading bytes. A transposed slot is read by whole matrices: `first` is a matrix's first row. */
organ_status organ_forward_read_rows(const organ_layer *layer, const forward_slot *slot,
                                     const organ_weight_reader *reader, size_t first, size_t rows,
                                     unsigned char *values, unsigned char *scratch, organ_error *error);
/* Returns true if the loaded layer keeps the slot's matrices as in_features x out_features. */
static inline bool organ_forward_is_crossed(const organ_layer *layer, const forward_slot *slot)
{
    return layer->as_stored && slot->transposed && !slot->decoded;
}
/* Returns the loaded values of a slot from row `row` on. For a crossed slot the result ends with the matrix that has
 * this row, and is a transposed factor. */
organ_product_operand organ_forward_rows_of(const organ_layer *layer, const forward_slot *slot, uint64_t row);
/* Returns the bytes of a row of the slot's values. */
size_t organ_forward_row_bytes(const forward_slot *slot);
/* Returns how many rows one call of organ_forward_read_rows reads; plan->reading is the scratch for them. */
size_t organ_forward_piece_rows(const forward_slot *slot);

#endif
