/* SPDX-License-Identifier: MIT
 * Measuring small models that are written into a scratch directory. */
#ifndef ORGAN_TEST_MEASURE_RIG_H
#define ORGAN_TEST_MEASURE_RIG_H

#include "orchestrator/surgery/measure/measure.h"
#include "tests/kit/run_rig.h"

#include <check.h>

/* How a run differs from the usual: the best ISA, 2 threads, 64 MiB. */
typedef struct way {
    const char *isa;
    size_t threads;
    uint64_t memory;
    organ_stop *stop;
    const organ_z_options *options;
} way;

/* A safetensors file that grows tensor by tensor; values are narrowed to BF16 or F16, or stay F32. Any other type:
 * `raw` bytes. */
typedef struct model_text {
    char *header;
    size_t header_size;
    unsigned char *data;
    size_t data_size, tensors;
} model_text;
void text_floats(model_text *text, const char *name, organ_dtype dtype, uint64_t rows, uint64_t cols,
                 const float *values);
void text_raw(model_text *text, const char *name, organ_dtype dtype, uint64_t count, const void *bytes, size_t size);
void text_write(model_text *text, const char *path); /* and frees */

organ_model *must_open(const char *path);

/* Measures an open model; to be freed. */
organ_z *must_measure(const organ_model *model, way w);
organ_status measure(const organ_model *model, way w, organ_z *out, organ_error *error);

/* Runs organ_measure on a fresh engine. */
organ_status measure_models(const organ_measure_options *options, way w, json_t **report, organ_error *error);

/* Theta where there is one. */
const organ_z *z_of(const organ_model *model, const organ_z *z, const char *name);

Suite *measure_reports_suite(void);

#endif
