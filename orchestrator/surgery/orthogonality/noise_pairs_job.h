/* SPDX-License-Identifier: MIT
 * Declarations that the sources of noise_pairs.h share. */
#ifndef ORGAN_NOISE_PAIRS_JOB_H
#define ORGAN_NOISE_PAIRS_JOB_H

#include "orchestrator/surgery/orthogonality/noise_job.h"

/* Thresholds of the verdict on the premise; every report states them. */
#define ORGAN_ASSUMPTION_HOLDS 0.5  /* |N_A - N_B| / |N_A|: a quarter of the energy of N_A is left */
#define ORGAN_FACTOR_ROOM      0.25 /* sizes whose quotient is within 1 -+ this are reported as equal */

/* The models, in the order in which they are given; a tuned model is the fifth source, if there is one. */
typedef enum organ_pair_source {
    ORGAN_CLEAN_A,
    ORGAN_NOISY_A,
    ORGAN_CLEAN_B,
    ORGAN_NOISY_B,
    ORGAN_TUNED
} organ_pair_source;

/* Refuses too little memory with ORGAN_USAGE; measures a module. */
organ_status organ_pairs_check_memory(const organ_compared_job *job, organ_error *error);
organ_status organ_pairs_measure(const organ_compared_job *job, organ_compared_module *module, organ_error *error);

/* Returns the report; NULL if out of memory. */
json_t *organ_pairs_document(const organ_compared_job *job);

/* Returns levels and sentences of the modules that the verdict is based on; `same` modules were left out because both
 * clean models have the same values there. NULL if out of memory. */
json_t *organ_pairs_verdict(const organ_compared_fold *all, uint64_t same, organ_pair_change change);

#endif
