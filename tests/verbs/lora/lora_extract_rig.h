/* SPDX-License-Identifier: MIT
 * Tuned models made from bases, and runs of lora extract on them in a scratch directory. */
#ifndef LORA_EXTRACT_RIG_H
#define LORA_EXTRACT_RIG_H

#include <organ/weights.h>
#include <organ/lora.h>
#include "tests/kit/run_rig.h"

#include <check.h>

#define L0 "model.layers.0."
#define L1 "model.layers.1."

/* Differences from the usual run: rank 8 in F32 from "base.safetensors" and "tuned.safetensors", 2 threads, 64 MiB. */
typedef struct lora_way {
    size_t threads;
    uint64_t memory;
    const char *base, *tuned; /* paths */
    bool bf16;
    organ_lora_extract_options options;
    organ_stop *stop;
} lora_way;

extern json_t *lora_result; /* of the last successful run */

/* Makes the scratch directory with base.safetensors (two layers of odd shapes and types with embedding, norm, bias and
 * stacked experts) and tuned.safetensors (the same with a change of rank 3 and 10 % in each projection). */
void lora_setup(void);
void lora_teardown(void);

/* Changes every matrix whose name contains `part` in all safetensors files at `path` (a file or a directory): adds a
 * product of that rank with `size` times the norm of the matrix, and white noise with `noise` times it. */
void lora_tune(const char *path, const char *part, size_t rank, double size, double noise);

/* Multiplies the values of one tensor by `factor`. */
void lora_scale(const char *path, const char *tensor, float factor);
/* Sets one value of a tensor. */
void lora_poke(const char *path, const char *tensor, size_t at, float value);

/* Reads a tensor of any type in FP32; the caller frees it. */
float *lora_values(const char *path, const char *tensor, size_t *rows, size_t *cols);
float *lora_weight(const char *path, const char *weight, size_t *rows, size_t *cols);

/* Extracts to `output`, a name in the scratch directory. */
organ_status lora_extract(const char *output, lora_way way, organ_error *error);
void must_lora_extract(const char *output, lora_way way);
organ_adapter *lora_open(const char *output);

/* Returns ||W_tuned - (W_base + scale B A)|| and ||W_tuned - W_base||. */
double lora_gap(const char *base, const char *tuned, const organ_adapter *adapter, const char *module, double *change);

/* Returns the row with that name of lora_result.modules or .not_extracted. */
const json_t *lora_row(const char *list, const char *key, const char *name);

Suite *lora_results_suite(void);
Suite *lora_faults_suite(void);
Suite *lora_methods_suite(void);
Suite *lora_targets_suite(void);

#endif
