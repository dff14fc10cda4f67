/* SPDX-License-Identifier: MIT
 * The tensors of an adapter that have a row, or a column, for each token of its base: factors of embedding and head,
 * and these if they are stored whole. */
#ifndef ORGAN_SURGERY_ADAPTER_ADAPTER_ROWS_H
#define ORGAN_SURGERY_ADAPTER_ADAPTER_ROWS_H

#include "orchestrator/surgery/vocabulary/token_tables.h"

typedef struct organ_adapter_tensor {
    const organ_tensor *tensor;
    organ_token_use use;
    organ_row_layout layout; /* ORGAN_ROWS_NONE: the tensor has no rows of tokens */
} organ_adapter_tensor;

typedef struct organ_adapter_rows {
    organ_adapter_tensor *list; /* all tensors of the adapter, those of wider elements first */
    size_t count, tables;       /* of `list`, and those with rows of tokens */
} organ_adapter_rows;

/* Lists the tensors of an adapter whose base has an embedding of `rows` rows, as `source` states. Returns
 * ORGAN_BAD_INPUT, naming the tensor, for an embedding or a head of another number of rows and for a tensor that may
 * have rows of tokens but is not known; for an adapter in which no tensor has them; and for trainable_token_indices.
 * The caller releases *tensors in any case. */
organ_status organ_adapter_rows_find(const organ_adapter *adapter, uint64_t rows, const char *source,
                                     organ_adapter_rows *tensors, organ_error *error);
void organ_adapter_rows_release(organ_adapter_rows *tensors);

#endif
