/* SPDX-License-Identifier: MIT
 * A directory of mlx-lm, whose tensors are shown as transformers stores them: config.json, separator, header of a
 * safetensors file, separator, data. The bytes of the shown files open as a model with the same tensors and values. */
#include "tests/fuzz/targets.h"

#include <organ/models.h>
#include "formats/model/composed.h"

#include <string.h>

/* The data of an input have at most 64 KiB, and each value of 2 bits becomes one of 32. */
enum { MAX_FILE = 2 << 20 };

static void check_tensors(const organ_model *model)
{
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        uint64_t elements = 1;
        for (unsigned d = 0; d < t->rank; d++)
            elements *= t->shape[d];
        fuzz_require(elements == t->elements, "shape and elements agree");
        fuzz_require(t->offset <= model->files[t->file].size && t->bytes <= model->files[t->file].size - t->offset,
                     "a tensor lies in its file");
        for (size_t other = 0; other < k; other++)
            fuzz_require(strcmp(model->tensors[other].name, t->name) != 0, "tensors have different names");
    }
}

/* Reads the whole shown file; returns its size, or 0 if a read is refused or it is long. */
static size_t read_file(const organ_model *model, unsigned char *all)
{
    organ_error error = {0};
    const size_t size = model->files[0].size <= MAX_FILE ? (size_t)model->files[0].size : 0;
    for (size_t at = 0; at < size && !error.status; at += 1000)
        organ_model_read(model, 0, all + at, size - at < 1000 ? size - at : 1000, at, &error);
    fuzz_check_verdict(error.status, &error);
    return error.status ? 0 : size;
}

/* Without the config, which would have mlx-lm's names sought again. */
static void check_shown(const organ_model *model)
{
    static unsigned char all[MAX_FILE], again[MAX_FILE];
    organ_error error = {0};
    organ_model *plain = NULL;
    const size_t size = read_file(model, all);
    if (size == 0)
        return;
    fuzz_put("shown/model.safetensors", all, size);
    fuzz_put("shown/config.json", "{}", 2);
    fuzz_require(organ_model_open(fuzz_folder("shown"), &plain, &error) == ORGAN_OK, "the shown file opens");
    fuzz_require(plain->tensor_count == model->tensor_count, "the shown file has all tensors");
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        size_t n = 0;
        while (n < plain->tensor_count && strcmp(plain->tensors[n].name, t->name) != 0)
            n++;
        fuzz_require(n < plain->tensor_count && plain->tensors[n].bytes == t->bytes &&
                         plain->tensors[n].rank == t->rank,
                     "a shown tensor is in the file");
        fuzz_require(organ_model_read(model, 0, again, (size_t)t->bytes, t->offset, &error) == ORGAN_OK &&
                         memcmp(again, all + plain->tensors[n].offset, (size_t)t->bytes) == 0,
                     "a shown tensor has the same bytes each time");
    }
    organ_model_close(plain);
}

void fuzz_mlx(const uint8_t *data, size_t size)
{
    fuzz_part rest = {data, size};
    const fuzz_part config = fuzz_next_part(&rest), header = fuzz_next_part(&rest);
    organ_error error = {0};
    organ_model *model;
    fuzz_put("mlx/config.json", config.data, config.size);
    fuzz_put_tensors("mlx/model.safetensors", header, rest);
    fuzz_check_verdict(organ_model_open(fuzz_folder("mlx"), &model, &error), &error);
    if (model) {
        check_tensors(model);
        if (organ_model_is_composed(model))
            check_shown(model);
    }
    organ_model_close(model);
}
