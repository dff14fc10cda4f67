/* SPDX-License-Identifier: MIT
 * Runs of purify on small models in a scratch directory. */
#ifndef PURIFY_RIG_H
#define PURIFY_RIG_H

#include <organ/purify.h>
#include "tests/kit/run_rig.h"

#include <check.h>

/* Differences from the usual run: haar with strength 0.5 on "donor", 2 threads, 64 MiB. */
typedef struct purify_way {
    const char *isa;
    size_t threads;
    uint64_t memory;
    const char *model; /* a path */
    bool nothing;      /* strength 0 */
    organ_purify_options options;
    organ_stop *stop;
} purify_way;

extern json_t *purify_result; /* of the last successful run */

/* Makes the scratch directory with its "donor", a model of two shards. */
void purify_setup(void);
void purify_teardown(void);

/* Purifies to `output`, a name in the scratch directory. */
organ_status purify(const char *output, purify_way way, organ_error *error);
void must_purify(const char *output, purify_way way);

/* Checks that every file of the model is the same in two outputs, and purify.json except for its "run". */
void purify_same(const char *a, const char *b);

Suite *purify_results_suite(void);
Suite *purify_faults_suite(void);

#endif
