/* SPDX-License-Identifier: MIT
 * Pruning of a matrix to a given number of weights with the least quadratic loss, by ADMM (Meng et al. 2024, ALPS,
 * arXiv 2406.07831). V solves a least-squares problem with the penalty rho ||V - D||^2; D keeps the largest weights of
 * V plus its multiplier; rho grows until V and D agree. Results are bit-identical on every machine and for any number
 * of threads. */
#ifndef ORGAN_ADMM_H
#define ORGAN_ADMM_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibrated/staged_flow.h"

#define ORGAN_ADMM_FACTORS 4

/* Factors of H + rho I that matrices with the same H share. The first matrix that needs a factor computes it. All
 * members are zero at first. */
typedef struct organ_admm_factors {
    size_t count;
    float rho[ORGAN_ADMM_FACTORS];
    float *values[ORGAN_ADMM_FACTORS];
} organ_admm_factors;

/* Returns the bytes of all factors of an H of `size` columns whose diagonal blocks are `block` wide. */
uint64_t organ_admm_factors_memory(uint64_t size, uint64_t block);
void organ_admm_factors_release(organ_admm_factors *factors);

/* The problem: minimise tr(V H V^T) - 2 tr(T V^T) over V, rows x H.size, with a limited number of weights. */
typedef struct organ_admm_problem {
    const char *name; /* for messages */
    size_t rows;
    organ_block_matrix h;        /* positive definite; scaled in place to a diagonal of ones, and must outlive *admm */
    float *values;               /* the values of h, which organ_admm_create scales */
    float *target;               /* T; overwritten with the scaled T, then with the residual of organ_admm_finish */
    size_t killed;               /* number of weights to remove, if there is no pattern */
    organ_pattern pattern;       /* of = 0: none */
    organ_admm_factors *factors; /* factors for this H; NULL: one factor is kept, and recomputed when rho changes */
} organ_admm_problem;

typedef struct organ_admm organ_admm;

/* Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_admm_create(const organ_engine *engine, const organ_admm_problem *problem, organ_admm **admm,
                               organ_error *error);
void organ_admm_destroy(organ_admm *admm); /* NULL is allowed */

/* Sets D to the kept weights and the multiplier to 0. If `given` is false, first sets `keep` to the mask of the largest
 * weights, each multiplied by the root of its diagonal entry of H. */
void organ_admm_begin(organ_admm *admm, const float *weights, bool given, uint8_t *keep);

/* Runs one iteration with penalty `rho` and over-relaxation `relaxed` in [1, 2): V is replaced by relaxed V + (1 -
 * relaxed) D. `keep` (1 or 0, rows x H.size) is the mask of D on entry and the new mask on return. Returns
 * ORGAN_BAD_INPUT if H + rho I is not positive definite, ORGAN_INTERRUPTED if the engine is stopped. */
organ_status organ_admm_step(organ_admm *admm, double rho, double relaxed, uint8_t *keep, organ_error *error);

/* Writes the weights that `keep` keeps: D of the last iteration. No other call on *admm may follow, except its release.
 */
void organ_admm_write_result(organ_admm *admm, const uint8_t *keep, float *weights);

/* Writes the weights that `keep` keeps after `steps` conjugate-gradient steps towards their least squares. No other
 * call on *admm may follow, except its release. */
organ_status organ_admm_finish(organ_admm *admm, const uint8_t *keep, unsigned steps, float *weights,
                               organ_error *error);

/* Returns the bytes of *admm, without the arrays of the problem. */
uint64_t organ_admm_memory(uint64_t rows, uint64_t cols);

#endif
