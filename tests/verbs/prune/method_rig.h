/* SPDX-License-Identifier: MIT
 * For tests of pruning methods: one run on a model, and checks of a failed run. */
#ifndef ORGAN_TEST_METHOD_RIG_H
#define ORGAN_TEST_METHOD_RIG_H

#include <organ/prune.h>

#include <check.h>
#include <jansson.h>

extern json_t *last_report; /* report of the last run, NULL if it failed; released by method_teardown */

/* Makes the scratch directory and removes all simulated failures. */
void method_setup(void);
void method_teardown(void);

typedef struct method_way {
    const char *donor, *targets;
    double sparsity;
    bool resume, force;
    unsigned threads;
    uint64_t memory; /* 0: plenty */
    const char *moments;
    const organ_stop *stop;
    organ_prune_calibrated_options options;
} method_way;

/* Makes "donor", the model fixtures/forward/KIND (a directory or a .gguf) with a tokenizer of single characters, and a
 * "text" for it. */
void method_make_donor(const char *kind);

/* Prunes to `output`, a name in the scratch directory. */
organ_status method_prune(const char *output, const method_way *w, organ_error *error);

/* Fails the test unless a run to "out" ended with this status, with `told` in its message, and left nothing. */
void method_must_have_failed(organ_status got, organ_status status, const organ_error *error, const char *told);

Suite *prune_resume_suite(void);
Suite *prune_allocation_suite(void);

#endif
