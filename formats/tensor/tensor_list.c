/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor_list.h"

#include <errno.h>
#include <stdlib.h>

organ_status organ_tensor_list_append(organ_tensor_list *list, const organ_tensor *tensor, organ_error *error)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? list->capacity * 2 : 256;
        organ_tensor *larger = realloc(list->tensors, capacity * sizeof *larger);
        if (!larger)
            return organ_fail_errno(error, ENOMEM, "a list of %zu tensors", capacity);
        list->tensors = larger;
        list->capacity = capacity;
    }
    list->tensors[list->count++] = *tensor;
    return ORGAN_OK;
}

void organ_tensor_list_release(organ_tensor_list *list)
{
    free(list->tensors);
    organ_arena_release(&list->arena);
    organ_name_table_release(&list->names);
    *list = (organ_tensor_list){0};
}
