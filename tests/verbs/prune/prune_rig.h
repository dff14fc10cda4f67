/* SPDX-License-Identifier: MIT
 * Runs of prune and audit on a small model in a scratch directory. */
#ifndef ORGAN_TEST_PRUNE_RIG_H
#define ORGAN_TEST_PRUNE_RIG_H

#include <organ/prune.h>
#include "tests/kit/run_rig.h"

#include <check.h>

/* Differences from the usual run. */
typedef struct way {
    const char *isa, *machine;
    size_t threads;
    uint64_t memory;
    organ_prune_options options;
    organ_stop *stop;
} way;

extern json_t *last_report; /* of the last successful run */
extern char notes[4096];    /* of the last run */

/* Makes the scratch directory with its "donor". */
void rig_setup(void);
void rig_teardown(void);

/* Prunes to `output`, a name in the scratch directory. Members that are 0 get values that make a run short. */
organ_status prune(const char *output, way w, organ_error *error);
void must_prune(const char *output, way w);
organ_status audit(const char *output, organ_error *error);

/* Checks that every file of two outputs is the same, and prune.json except for its "run". */
void same_outputs(const char *a, const char *b);

long long number_at(const json_t *json, const char *a, const char *b, const char *c);

Suite *results_suite(void);
Suite *faults_suite(void);
Suite *tile_map_suite(void);

#endif
