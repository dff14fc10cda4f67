/* SPDX-License-Identifier: MIT
 * A model and its weights: config.json, separator, header of a safetensors file, separator, data; or a GGUF file. Rows
 * of each weight are decoded by the scalar kernels and by the best of this CPU, which must give the same bits. */
#include <organ/weights.h>
#include "tests/fuzz/targets.h"
#include <organ/stream.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = 1 << 14 };

/* Reads the first rows into a separate allocation; *size is 0 if there are none or too many columns. */
static float *read_rows(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                        size_t *size)
{
    organ_error error = {0};
    organ_weight_reader *reader;
    char note[256];
    float *values = NULL;
    *size = 0;
    const organ_status status = organ_weight_reader_open(model, weight, kernels, note, &reader, &error);
    fuzz_check_verdict(status, &error);
    if (status != ORGAN_OK)
        return NULL;
    const uint64_t rows = organ_weight_reader_rows(reader), cols = organ_weight_reader_cols(reader);
    if (rows && cols && cols <= MAX_VALUES) {
        const uint64_t max = MAX_VALUES / cols;
        const size_t count = (size_t)(rows < max ? rows : max);
        void *const scratch = aligned_alloc(64, organ_weight_reader_scratch(reader, count) + 64);
        *size = count * (size_t)cols * sizeof *values;
        values = aligned_alloc(64, (*size + 63) / 64 * 64);
        fuzz_require(scratch && values, "there is memory");
        if (organ_weight_read(reader, 0, count, ORGAN_F32, values, scratch, &error) != ORGAN_OK)
            *size = 0;
        fuzz_check_verdict(error.status, &error);
        free(scratch);
    }
    organ_weight_reader_close(reader);
    return values;
}

/* Compares bits, except those of NaN: if both operands are NaN, the compiler chooses which one is the result. */
static bool same_values(const float *a, const float *b, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (memcmp(&a[k], &b[k], sizeof *a) != 0 && !(isnan(a[k]) && isnan(b[k]))) {
            fprintf(stderr, "value %zu is %a, and %a\n", k, (double)a[k], (double)b[k]);
            return false;
        }
    return true;
}

static void check_weight(const organ_model *model, const organ_weight *weight)
{
    char text[160];
    const char *why;
    size_t plain_size, best_size;
    const organ_cpu cpu = organ_cpu_detect();
    fuzz_require(strlen(organ_weight_text(weight, text, sizeof text)) < sizeof text, "a weight has a text");
    const organ_matrices m = organ_weight_matrices(weight);
    fuzz_require(m.count * m.rows * m.cols == weight->elements, "shape and elements of a weight agree");
    float *const plain = read_rows(model, weight, organ_kernels_choose(cpu, "scalar", &why), &plain_size);
    float *const best = read_rows(model, weight, organ_kernels_choose(cpu, getenv("ORGAN_ISA"), &why), &best_size);
    fuzz_require(plain_size == best_size && same_values(plain, best, plain_size / sizeof *plain),
                 "all kernels decode the same");
    free(plain);
    free(best);
}

void fuzz_weights(const uint8_t *data, size_t size)
{
    fuzz_part rest = {data, size};
    const bool gguf = size >= 4 && memcmp(data, "GGUF", 4) == 0;
    fuzz_put("weights/model.gguf", gguf ? data : NULL, size);
    if (gguf) {
        fuzz_put("weights/model.safetensors", NULL, 0);
        fuzz_put("weights/config.json", NULL, 0);
    } else {
        const fuzz_part config = fuzz_next_part(&rest), header = fuzz_next_part(&rest);
        fuzz_put("weights/config.json", config.data, config.size);
        fuzz_put_tensors("weights/model.safetensors", header, rest);
    }
    organ_error error = {0};
    organ_model *model;
    organ_weights *weights = NULL;
    fuzz_check_verdict(organ_model_open(fuzz_folder("weights"), &model, &error), &error);
    if (model) {
        fuzz_check_verdict(organ_weights_find(model, &weights, &error), &error);
        for (size_t k = 0; weights && k < weights->count; k++) {
            fuzz_require(organ_weights_named(weights, weights->weights[k].name) != NULL,
                         "a weight is found by its name");
            check_weight(model, &weights->weights[k]);
        }
    }
    organ_weights_free(weights);
    organ_model_close(model);
}
