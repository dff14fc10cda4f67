/* SPDX-License-Identifier: MIT
 * Small models, noisy copies and adapters with values that a test chooses, and runs of the comparison. */
#ifndef ORTHOGONALITY_RIG_H
#define ORTHOGONALITY_RIG_H

#include <organ/inspect.h>
#include "tests/kit/run_rig.h"

#include <check.h>

/* The weight of a module, its quantised copies, and the factors of its adapter, row-major. */
typedef struct rig_module {
    const char *name;
    size_t rows, cols, rank;
    float *clean, *noisy[2]; /* rows x cols */
    float *b, *a;            /* rows x rank, rank x cols */
    bool embedding;          /* weight is (B A)^T, as for lora_embedding_A; b and a fit the stored weight */
} rig_module;

enum { RIG_MODULES = 8 };
extern rig_module rig_modules[RIG_MODULES];
extern size_t rig_count;
extern json_t *rig_result; /* of the last successful run */

void rig_setup(void);
void rig_teardown(void);

/* Adds a module with normal values: weights of deviation 0.05, noises of 0.01, factors of 0.1. */
rig_module *rig_add(const char *name, size_t rows, size_t cols, size_t rank);

/* Writes clean.safetensors, noisy.safetensors, noisy2.safetensors and the adapter; `config` adds members to
 * adapter_config.json (NULL: none). lora_alpha is `alpha`, r that of the first module. */
void rig_write(double alpha, const char *config);

/* The usual run uses the files of rig_write, 2 threads, 64 MiB, 100 draws; members of `options` that are not 0 take
 * precedence. */
typedef struct rig_way {
    organ_orthogonality_options options;
    size_t threads;
    uint64_t memory;
    organ_stop *stop;
} rig_way;
organ_status rig_run(rig_way way, organ_error *error);
void rig_must(rig_way way);

/* Returns rig_result.modules[m].noise[n]. */
const json_t *rig_noise(size_t m, size_t n);
double rig_number(const json_t *row, const char *key); /* fails the test if there is none */

/* Returns normal values of a separate generator. */
double rig_normal(void);

Suite *orthogonality_faults_suite(void);
Suite *noise_pairs_suite(void);

#endif
