/* SPDX-License-Identifier: MIT
 * Scores of experts by fixtures/make_experts_golden.py: of tiny-moe, and of the model with logistic routers. */
#ifndef TESTS_EXPERTS_TABLE_H
#define TESTS_EXPERTS_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum { LAYERS = 4, EXPERTS = 16, USED = 4, STEPS = EXPERTS - USED }; /* of tiny-moe */
/* The texts. */
enum {
    GOLDEN_SAMPLES = 6,
    GOLDEN_CONTEXT = 96,
    PLAIN_SAMPLES = 3,
    PLAIN_CONTEXT = 64,
    LOGISTIC_SAMPLES = 6,
    LOGISTIC_CONTEXT = 48
};

/* Scores of a layer with a router. */
typedef struct expert_row {
    char routers[16]; /* how their weights become gates: "divided", "plain", "logistic" */
    uint64_t frequency[EXPERTS];
    double sum[EXPERTS], power;
    uint32_t removed[STEPS];
    double loss[STEPS];
    uint32_t kept[16]; /* by loss, reap, sum and frequency; only of "logistic" */
} expert_row;

typedef struct expert_table {
    size_t dense, layers, experts, steps; /* dense layers come first and have no rows */
    expert_row of[2 * LAYERS];
} expert_table;

/* Returns the rows of a model with these routers. */
expert_table expert_table_of(const char *routers);

#endif
