/* SPDX-License-Identifier: MIT
 * The weights that leave the least quadratic loss when only so many may stay, by ADMM (Meng et al. 2024, ALPS, arXiv
 * 2406.07831): V solves least squares tied to D by rho, D is what is largest of V and its multiplier, and rho grows
 * until both are one. The same bits on every machine and for any number of threads. */
#ifndef ORGAN_ADMM_H
#define ORGAN_ADMM_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibrated/staged_flow.h"

#define ORGAN_ADMM_FACTORS 4

/* Factors of H + rho, for several matrices that have the same H: the first that wants one makes it. All zero: there is
 * none yet. */
typedef struct organ_admm_factors {
    size_t count;
    float rho[ORGAN_ADMM_FACTORS];
    float *values[ORGAN_ADMM_FACTORS];
} organ_admm_factors;

/* Bytes of all of them, blocks as H has them. */
uint64_t organ_admm_factors_memory(uint64_t size, uint64_t block);
void organ_admm_factors_release(organ_admm_factors *factors);

/* tr(V H V^T) - 2 tr(T V^T) over V of rows x H.size. */
typedef struct organ_admm_problem {
    const char *name; /* for messages */
    size_t rows;
    organ_block_matrix
        h;         /* positive definite; becomes the scaled one, with ones on its diagonal, and must outlive the rest */
    float *values; /* its values */
    float *target; /* T; becomes the scaled one, then the residual of the last solve */
    size_t killed; /* weights that go; without a pattern */
    organ_pattern pattern; /* of = 0: none */
    organ_admm_factors
        *factors; /* of this H; NULL: one is made where rho is another than before, and forgotten for the next */
} organ_admm_problem;

typedef struct organ_admm organ_admm;

/* ORGAN_IO without memory. */
organ_status organ_admm_create(const organ_engine *engine, const organ_admm_problem *problem, organ_admm **admm,
                               organ_error *error);
void organ_admm_destroy(organ_admm *admm); /* NULL is allowed */

/* D = what keep leaves of the weights, and no multiplier. Without `given` keep becomes the mask of the largest, each
 * weight by the root of its diagonal of H. */
void organ_admm_begin(organ_admm *admm, const float *weights, bool given, uint8_t *keep);

/* One iteration with that rho, over-relaxed: V goes `relaxed` times as far from D, 1 in [1, 2) being as far as it
 * would. keep (1 or 0, rows x H.size) is the mask of D, and becomes the next one. ORGAN_BAD_INPUT where H + rho has no
 * factor, ORGAN_INTERRUPTED if the engine is stopped. */
organ_status organ_admm_step(organ_admm *admm, double rho, double relaxed, uint8_t *keep, organ_error *error);

/* Writes the weights that `keep` keeps: D of the last iteration. No other call on *admm may follow, except its release.
 */
void organ_admm_give(organ_admm *admm, const uint8_t *keep, float *weights);

/* The weights that keep leaves, moved by so many steps of conjugate gradients towards their least squares. The last
 * that may be asked. */
organ_status organ_admm_finish(organ_admm *admm, const uint8_t *keep, unsigned steps, float *weights,
                               organ_error *error);

/* Bytes that this takes beside the problem. */
uint64_t organ_admm_memory(uint64_t rows, uint64_t cols);

#endif
