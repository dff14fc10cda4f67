/* SPDX-License-Identifier: MIT
 * The list of a model's tensors, to which the readers of its files append, with a hash table of their names. */
#ifndef ORGAN_TENSOR_LIST_H
#define ORGAN_TENSOR_LIST_H

#include "formats/base/arena.h"
#include "formats/base/name_table.h"
#include <organ/base.h>
#include <organ/models.h>

#include <stdbool.h>

/* A list whose members are all zero is empty. */
typedef struct organ_tensor_list {
    organ_tensor *tensors;
    size_t count, capacity;
    organ_arena arena;      /* memory of names and shapes */
    organ_name_table names; /* name -> index into tensors */
    size_t wrapped;         /* number of tensors whose names in the file have words that organ_tensor_unwrap removed */
} organ_tensor_list;

/* Appends a copy of *tensor, whose name and shape must outlive the list or be in its arena. Does not enter the name
 * into `names`. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_tensor_list_append(organ_tensor_list *list, const organ_tensor *tensor, organ_error *error);

/* Removes from `name` the words that wrappers of PyTorch put into the names of a model's tensors: "_orig_mod."
 * (torch.compile), "_fsdp_wrapped_module." and "_checkpoint_wrapped_module." at the beginning and after each '.',
 * "module." (DataParallel) at the beginning. Returns whether the name had such a word. */
bool organ_tensor_unwrap(char *name);

/* Moves `tensors` to a memory-mapped file if the list is large (organ_rows_to_file). The caller must not append
 * afterwards. The addresses of the tensors may change, so pointers from before the call are invalid. */
void organ_tensor_list_to_file(organ_tensor_list *list);

/* Frees the tensors, their names and shapes in the arena, and the hash table; the list is then empty. */
void organ_tensor_list_release(organ_tensor_list *list);

#endif
