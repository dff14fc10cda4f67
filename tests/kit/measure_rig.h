/* SPDX-License-Identifier: MIT
 * Measures small models that are written into a scratch directory. */
#ifndef ORGAN_TEST_MEASURE_RIG_H
#define ORGAN_TEST_MEASURE_RIG_H

#include <organ/measure.h>
#include "tests/kit/run_rig.h"

#include <check.h>

/* Differences from the usual run: the best ISA, 2 threads, 64 MiB. */
typedef struct way {
    const char *isa;
    size_t threads;
    uint64_t memory;
    organ_stop *stop;
    const organ_z_options *options;
} way;

/* A safetensors file to which tensors are added; values are stored as BF16, F16 or F32. For any other type: `raw`
 * bytes. */
typedef struct model_text {
    char *header;
    size_t header_size;
    unsigned char *data;
    size_t data_size, tensors;
} model_text;
void text_floats(model_text *text, const char *name, organ_dtype dtype, uint64_t rows, uint64_t cols,
                 const float *values);
void text_raw(model_text *text, const char *name, organ_dtype dtype, uint64_t count, const void *bytes, size_t size);
void text_write(model_text *text, const char *path); /* writes the file and frees the memory */

organ_model *must_open(const char *path);

/* Measures an open model; the caller frees the result. */
organ_z *must_measure(const organ_model *model, way w);
organ_status measure(const organ_model *model, way w, organ_z *out, organ_error *error);

/* Runs organ_measure with a new engine. */
organ_status measure_models(const organ_measure_options *options, way w, json_t **report, organ_error *error);

/* Returns the result of the tensor `name`, with theta if it has one. */
const organ_z *z_of(const organ_model *model, const organ_z *z, const char *name);

Suite *measure_reports_suite(void);

#endif
