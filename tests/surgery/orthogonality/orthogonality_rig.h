/* SPDX-License-Identifier: MIT
 * Small models, noisy copies and adapters with values that a test chooses, and runs of the comparison over them. */
#ifndef ORTHOGONALITY_RIG_H
#define ORTHOGONALITY_RIG_H

#include "orchestrator/surgery/orthogonality/orthogonality.h"
#include "tests/kit/run_rig.h"

#include <check.h>

/* The weight of a module, its quantised copies, and the factors of its adapter, row by row. */
typedef struct rig_module {
    const char *name;
    size_t rows, cols, rank;
    float *clean, *noisy[2]; /* rows x cols */
    float *b, *a;            /* rows x rank, rank x cols */
    bool embedding; /* the weight is (B A)^T, as lora_embedding_A and _B: `b` and `a` still give the weight as it is
                       stored */
} rig_module;

enum { RIG_MODULES = 8 };
extern rig_module rig_modules[RIG_MODULES];
extern size_t rig_count;
extern json_t *rig_result; /* of the last successful run */

void rig_setup(void);
void rig_teardown(void);

/* A module with normal values: weights of deviation 0.05, noises of 0.01, factors of 0.1. */
rig_module *rig_add(const char *name, size_t rows, size_t cols, size_t rank);

/* Writes clean.safetensors, noisy.safetensors, noisy2.safetensors and the adapter; `config` adds members to
 * adapter_config.json, NULL: none. lora_alpha is `alpha`, r that of the first module. */
void rig_write(double alpha, const char *config);

/* The usual run: what rig_write wrote, 2 threads, 64 MiB, 100 draws; members of `options` that are not 0 take
 * precedence. */
typedef struct rig_way {
    organ_orthogonality_options options;
    size_t threads;
    uint64_t memory;
    organ_stop *stop;
} rig_way;
organ_status rig_run(rig_way way, organ_error *error);
void rig_must(rig_way way);

/* rig_result.modules[m].noise[n] */
const json_t *rig_noise(size_t m, size_t n);
double rig_number(const json_t *row, const char *key); /* fails where there is none */

/* Normal values from a generator of its own. */
double rig_normal(void);

Suite *orthogonality_faults_suite(void);
Suite *noise_pairs_suite(void);

#endif
