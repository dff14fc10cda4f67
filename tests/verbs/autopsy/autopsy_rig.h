/* SPDX-License-Identifier: MIT
 * Autopsies of small models whose values a test chooses, in a scratch directory. */
#ifndef AUTOPSY_RIG_H
#define AUTOPSY_RIG_H

#include <organ/inspect.h>
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

/* A tensor with given bytes. */
typedef struct rig_tensor {
    const char *name;
    organ_dtype dtype;
    unsigned rank;
    uint64_t shape[3];
    const void *data; /* of the size of the tensor */
} rig_tensor;
void rig_write(const char *path, const rig_tensor *tensors, size_t count);

/* Makes n normal values of that standard deviation, which the caller frees; equal seeds give equal values. */
float *rig_normal(uint64_t seed, size_t n, float std);
/* Rounds them to BF16; the caller frees both arrays. */
uint16_t *rig_bf16(const float *values, size_t n);

/* Copies a model to `name` in the scratch directory. */
void rig_copy(const char *model, const char *name);
/* Quantises a model to "q" in the scratch directory. */
void rig_quantise(const char *model, const char *scheme);
/* Edits each tensor of that model whose name matches the shell pattern. `rows` is the first dimension. */
void rig_edit(const char *pattern, void (*edit)(float *values, size_t rows, size_t cols));

typedef struct autopsy_way {
    const char *isa;
    unsigned threads;
    uint64_t memory;
    organ_stop *stop;
    const char *other, *ranges, *match, *output, *text;
} autopsy_way;

extern json_t *autopsy_result; /* of the last successful run */

/* Setup and teardown of a test: make and remove the scratch directory, and discard the result. */
void autopsy_setup(void);
void autopsy_teardown(void);

organ_status autopsy(const char *model, autopsy_way way, organ_error *error);

/* Returns the kinds of findings (or remarks) of the tensor in order, separated by blanks: "codes", "flat few_levels",
 * "". */
const char *found(const char *tensor);
const char *remarked(const char *tensor);
/* Returns the first finding (or remark) of that kind; fails the test if there is none. */
const json_t *finding_of(const char *tensor, const char *kind);
/* Returns the row of the tensor. */
const json_t *numbers_of(const char *tensor);

Suite *autopsy_changes_suite(void);
Suite *autopsy_faults_suite(void);
Suite *autopsy_packed_suite(void);
Suite *autopsy_scales_suite(void);

#endif
