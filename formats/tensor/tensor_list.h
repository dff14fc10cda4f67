/* SPDX-License-Identifier: MIT
 * The list of tensors to which the readers of all files of a model append, with a table of names. */
#ifndef ORGAN_TENSOR_LIST_H
#define ORGAN_TENSOR_LIST_H

#include "formats/base/arena.h"
#include "formats/base/name_table.h"
#include "formats/base/status.h"
#include "formats/tensor/tensor.h"

/* A list whose members are all zero is empty. */
typedef struct organ_tensor_list {
    organ_tensor *tensors;
    size_t count, capacity;
    organ_arena arena;      /* memory of names and shapes */
    organ_name_table names; /* name -> index into tensors */
} organ_tensor_list;

/* Appends the tensor but does not enter its name into `names`. ORGAN_IO if there is no memory. */
organ_status organ_tensor_list_append(organ_tensor_list *list, const organ_tensor *tensor, organ_error *error);

/* Moves the list to a file if it is large. Afterwards the caller must not append. Addresses of tensors are valid only
 * from this call on. */
void organ_tensor_list_to_file(organ_tensor_list *list);

void organ_tensor_list_release(organ_tensor_list *list);

#endif
