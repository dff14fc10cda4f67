/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor_list.h"

#include "formats/base/paged_rows.h"

#include <errno.h>
#include <string.h>

bool organ_tensor_unwrap(char *name)
{
    static const char *const words[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                        "module."};
    enum { WORDS = sizeof words / sizeof *words, FIRST_ONLY = WORDS - 1 };
    bool found = false;
    for (char *at = name; at;) {
        size_t k = 0;
        while (k < WORDS && (strncmp(at, words[k], strlen(words[k])) || (k == FIRST_ONLY && at != name)))
            k++;
        if (k < WORDS) {
            const size_t length = strlen(words[k]);
            memmove(at, at + length, strlen(at + length) + 1);
            found = true;
        } else {
            char *const dot = strchr(at, '.');
            at = dot ? dot + 1 : NULL;
        }
    }
    return found;
}

organ_status organ_tensor_list_append(organ_tensor_list *list, const organ_tensor *tensor, organ_error *error)
{
    if (!organ_grow(&list->tensors, list->count, &list->capacity, sizeof *list->tensors))
        return organ_fail_errno(error, ENOMEM, "a list of more than %zu tensors", list->count);
    list->tensors[list->count++] = *tensor;
    return ORGAN_OK;
}

void organ_tensor_list_to_file(organ_tensor_list *list)
{
    list->tensors = organ_rows_to_file(list->tensors, list->count * sizeof *list->tensors);
}

void organ_tensor_list_release(organ_tensor_list *list)
{
    organ_rows_free(list->tensors);
    organ_arena_release(&list->arena);
    organ_name_table_release(&list->names);
    *list = (organ_tensor_list){0};
}
