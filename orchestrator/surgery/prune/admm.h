/* SPDX-License-Identifier: MIT
 * Pruning of a matrix to a given number of kept weights with the least quadratic loss, by ADMM (Meng et al. 2024, ALPS,
 * arXiv 2406.07831). ADMM alternates between two matrices. V is dense and solves a least-squares problem with the
 * penalty rho ||V - D||^2. D has the largest entries of V + U / rho, with U the multiplier, and is 0 elsewhere. The
 * caller chooses rho for each step; a larger rho makes V and D agree. Results are bit-identical on every machine and
 * for any number of threads. */
#ifndef ORGAN_ADMM_H
#define ORGAN_ADMM_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/prune/staged_flow.h"

#define ORGAN_ADMM_FACTORS 4 /* number of factors that matrices can share */

/* Cholesky factors of H + rho I for several rho, which matrices with the same H share. The first matrix that needs a
 * factor computes it. All members are zero at first. */
typedef struct organ_admm_factors {
    size_t count;                      /* number of computed factors */
    float rho[ORGAN_ADMM_FACTORS];     /* rho of each factor */
    float *values[ORGAN_ADMM_FACTORS]; /* each factor, as diagonal blocks like organ_block_matrix.values */
} organ_admm_factors;

/* Returns the bytes of ORGAN_ADMM_FACTORS factors for an H of `size` columns whose diagonal blocks are `block`
 * wide. */
uint64_t organ_admm_factors_memory(uint64_t size, uint64_t block);
/* Frees the factors and sets all members to zero. */
void organ_admm_factors_release(organ_admm_factors *factors);

/* The problem: minimise tr(V H V^T) - 2 tr(T V^T) over matrices V (rows x H.size) that have a given number of nonzero
 * entries. With T = W H this is, except for a constant, the squared error of the layer's output
 * if V replaces W. */
typedef struct organ_admm_problem {
    const char *name; /* for messages */
    size_t rows;
    organ_block_matrix h;        /* positive definite; scaled in place to a diagonal of ones, and must outlive *admm */
    float *values;               /* the values of h, which organ_admm_create scales */
    float *target;               /* T, rows x H.size; overwritten with the scaled T, then with the residual of
                                  * organ_admm_finish */
    size_t killed;               /* number of weights to remove from the matrix; ignored if there is a pattern */
    organ_pattern pattern;       /* of = 0: none */
    organ_admm_factors *factors; /* shared factors for this H; NULL: the solver keeps one factor and recomputes it
                                  * when rho changes */
} organ_admm_problem;

typedef struct organ_admm organ_admm;

/* Creates a solver, and scales problem->values and problem->target in place. The caller destroys *admm. Returns
 * ORGAN_IO if memory cannot be allocated; *admm is NULL then. */
organ_status organ_admm_create(const organ_engine *engine, const organ_admm_problem *problem, organ_admm **admm,
                               organ_error *error);
void organ_admm_destroy(organ_admm *admm); /* NULL is allowed */

/* Starts the iterations: sets D to the kept values of `weights` (rows x H.size), and the multiplier to 0. `keep` is the
 * mask, rows x H.size, 1 for a kept weight. If `given` is false, organ_admm_begin first sets `keep`: it keeps the
 * weights w_ij with the largest |w_ij| sqrt(H_jj). May be called again to restart. */
void organ_admm_begin(organ_admm *admm, const float *weights, bool given, uint8_t *keep);

/* Runs one iteration with penalty `rho` and over-relaxation `relaxed` in [1, 2): V is replaced by relaxed V + (1 -
 * relaxed) D. `keep` (1 or 0, rows x H.size) is the mask of the last D on entry and that of the new D on return.
 * Returns ORGAN_BAD_INPUT if H + rho I is not positive definite, ORGAN_INTERRUPTED if the engine is stopped, ORGAN_IO
 * if memory cannot be allocated. */
organ_status organ_admm_step(organ_admm *admm, double rho, double relaxed, uint8_t *keep, organ_error *error);

/* Writes D of the last iteration to `weights`, 0 for removed weights. `keep` is the mask that organ_admm_step has set.
 * No other call on *admm may follow, except organ_admm_destroy. */
void organ_admm_write_result(organ_admm *admm, const uint8_t *keep, float *weights);

/* Refits the kept weights with `steps` conjugate-gradient steps towards their least-squares solution, starting from D
 * of the last iteration, and writes them to `weights`, 0 for removed weights. `keep` is the mask that organ_admm_step
 * has set. Returns ORGAN_INTERRUPTED if the engine is stopped, ORGAN_IO if memory cannot be allocated. No other call on
 * *admm may follow, except organ_admm_destroy. */
organ_status organ_admm_finish(organ_admm *admm, const uint8_t *keep, unsigned steps, float *weights,
                               organ_error *error);

/* Returns an upper bound of the bytes that *admm allocates for a matrix of rows x cols, without the factors and the
 * buffers of workers. */
uint64_t organ_admm_memory(uint64_t rows, uint64_t cols);

#endif
