/* SPDX-License-Identifier: MIT
 * Declarations that the sources of noise_pairs.h share. noise_job.h explains noise, change and Method A. */
#ifndef ORGAN_NOISE_PAIRS_JOB_H
#define ORGAN_NOISE_PAIRS_JOB_H

#include "orchestrator/surgery/orthogonality/noise_job.h"

/* Limits of the verdict on the premise of Method A, that N_A and N_B are equal and cancel. */
#define ORGAN_ASSUMPTION_HOLDS 0.5  /* largest |N_A - N_B| / |N_A|: a quarter of the energy of N_A remains */
#define ORGAN_FACTOR_ROOM      0.25 /* norms count as equal if their quotient differs from 1 by at most this */

/* Indices of the models of a job of noise_pairs.h. ORGAN_TUNED is only used if the change is that of a tuned model. */
typedef enum organ_pair_source {
    ORGAN_CLEAN_A,
    ORGAN_NOISY_A,
    ORGAN_CLEAN_B,
    ORGAN_NOISY_B,
    ORGAN_TUNED
} organ_pair_source;

/* Returns ORGAN_USAGE if measuring a module needs more memory than the engine has. */
organ_status organ_pairs_check_memory(const organ_compared_job *job, organ_error *error);

/* Sets the measured members of a module. Returns errors of reading, ORGAN_BAD_INPUT for values that are not finite,
 * ORGAN_IO if memory runs out, ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_pairs_measure(const organ_compared_job *job, organ_compared_module *module, organ_error *error);

/* Returns the report; NULL if out of memory. */
json_t *organ_pairs_document(const organ_compared_job *job);

/* Returns the verdict on the modules whose sums are `all`: an object with levels (words), figures and sentences. `same`
 * is the number of modules that `all` leaves out because both clean models have equal values there. `change` is the
 * kind of D. Returns NULL if memory runs out. */
json_t *organ_pairs_verdict(const organ_compared_fold *all, uint64_t same, organ_pair_change change);

#endif
