/* SPDX-License-Identifier: MIT
 * Declarations that the sources of noise_pairs.h share. */
#ifndef ORGAN_NOISE_PAIRS_JOB_H
#define ORGAN_NOISE_PAIRS_JOB_H

#include "orchestrator/surgery/orthogonality/noise_job.h"

/* Limits of the verdict on the premise of Method A, that N_A and N_B are equal; every report states them. */
#define ORGAN_ASSUMPTION_HOLDS 0.5  /* largest |N_A - N_B| / |N_A|: a quarter of the energy of N_A remains */
#define ORGAN_FACTOR_ROOM      0.25 /* norms whose quotient is within 1 -+ this count as equal */

/* The models in the order in which they are opened; ORGAN_TUNED is there only if the change is that of a tuned
 * model. */
typedef enum organ_pair_source {
    ORGAN_CLEAN_A,
    ORGAN_NOISY_A,
    ORGAN_CLEAN_B,
    ORGAN_NOISY_B,
    ORGAN_TUNED
} organ_pair_source;

/* organ_pairs_check_memory returns ORGAN_USAGE if a module needs more memory than the engine allows.
 * organ_pairs_measure sets the measured members of a module. */
organ_status organ_pairs_check_memory(const organ_compared_job *job, organ_error *error);
organ_status organ_pairs_measure(const organ_compared_job *job, organ_compared_module *module, organ_error *error);

/* Returns the report; NULL if out of memory. */
json_t *organ_pairs_document(const organ_compared_job *job);

/* Returns the verdict on the modules whose sums are `all`: levels and sentences. `same` is the number of modules that
 * `all` leaves out, because both clean models have the same values there. Returns NULL if memory runs out. */
json_t *organ_pairs_verdict(const organ_compared_fold *all, uint64_t same, organ_pair_change change);

#endif
