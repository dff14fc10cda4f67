/* SPDX-License-Identifier: MIT
 * Safetensors files. A first byte '0' to '9' means a header with that many hundred bytes of data after it; otherwise
 * the input is a whole file. */
#include "formats/safetensors/safetensors.h"
#include "tests/fuzz/targets.h"

#include <string.h>

/* Checks the guarantees of the reader. */
static void check_tensors(const organ_model_file *file, const organ_tensor_list *list)
{
    uint64_t end = file->data_offset;
    for (size_t k = 0; k < list->count; k++) {
        const organ_tensor *t = &list->tensors[k];
        uint64_t elements = 1, bytes;
        char module[64];
        fuzz_require(t->offset == end, "tensors follow each other");
        end += t->bytes;
        for (unsigned d = 0; d < t->rank; d++)
            elements *= t->shape[d];
        fuzz_require(elements == t->elements && organ_dtype_bytes(t->dtype, elements, &bytes) && bytes == t->bytes,
                     "shape, dtype and bytes agree");
        const size_t *found = organ_name_table_find(&list->names, t->name);
        fuzz_require(found && *found == k, "tensors are found by name");
        organ_anatomy_module(t->name, module, sizeof module);
        fuzz_require(strlen(module) < sizeof module, "modules are cut");
    }
    fuzz_require(end == file->size, "tensors reach to the end of the file");
}

void fuzz_safetensors(const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    organ_error error = {0};
    organ_tensor_list list = {0};
    uint8_t length[8];
    const bool headed = data[0] >= '0' && data[0] <= '9';
    const size_t behind = headed ? (size_t)(data[0] - '0') * 100 : 0, head = headed ? sizeof length : 0;
    for (int k = 0; k < 8; k++)
        length[k] = (uint8_t)((uint64_t)(size - 1) >> 8 * k);
    const int fd = fuzz_file(length, head, data + 1, size - 1, behind);
    organ_model_file file = {.name = "fuzz", .fd = fd, .size = head + size - 1 + behind};
    const organ_status status = organ_safetensors_read(&file, 0, &list, &error);
    fuzz_check_verdict(status, &error);
    if (status == ORGAN_OK)
        check_tensors(&file, &list);
    organ_tensor_list_release(&list);
}
