/* SPDX-License-Identifier: MIT
 * Tensors as they are read from one file after the other, found by name. */
#ifndef ORGAN_TENSOR_LIST_H
#define ORGAN_TENSOR_LIST_H

#include "formats/base/arena.h"
#include "formats/base/name_table.h"
#include "formats/base/status.h"
#include "formats/tensor/tensor.h"

/* All zero is an empty list. */
typedef struct organ_tensor_list {
    organ_tensor *tensors;
    size_t count, capacity;
    organ_arena arena;      /* holds names and shapes */
    organ_name_table names; /* name -> index into tensors */
} organ_tensor_list;

/* Appends; the name is not yet entered into the table. ORGAN_IO if there is no memory. */
organ_status organ_tensor_list_append(organ_tensor_list *list, const organ_tensor *tensor, organ_error *error);

/* Moves the list to a file if it is large. The caller appends no more, and takes addresses of tensors only afterwards.
 */
void organ_tensor_list_settle(organ_tensor_list *list);

void organ_tensor_list_release(organ_tensor_list *list);

#endif
