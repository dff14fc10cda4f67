/* SPDX-License-Identifier: MIT
 * Pruning of one matrix by its input statistics: physarum v2 and v3, and the methods they are compared with. Results
 * are bit-identical for any number of threads on one kind of CPU. */
#ifndef ORGAN_PRUNE_MATRIX_H
#define ORGAN_PRUNE_MATRIX_H

#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/calibrated/admm.h"
#include "orchestrator/surgery/calibrated/staged_flow.h"

#define ORGAN_PRUNE_STAGES 7

/* The methods that choose the weights to remove from a matrix. */
typedef enum organ_prune_method {
    ORGAN_PRUNE_PHYSARUM_V2, /* staged flow over importances, with masked least squares after each stage */
    ORGAN_PRUNE_MAGNITUDE,   /* removes the smallest |w| of the matrix; needs no calibration */
    ORGAN_PRUNE_WANDA,       /* removes the smallest |w| act_norm of each row (Sun et al. 2023) */
    ORGAN_PRUNE_ALPS,        /* Meng et al. 2024: ADMM on the whole matrix */
    ORGAN_PRUNE_PHYSARUM_V3, /* flow, then ADMM from its mask towards the target of v2 */
    ORGAN_PRUNE_SPARSEGPT /* Frantar & Alistarh 2023: blocks of 128 columns, damping 0.01 of the mean of the diagonal */
} organ_prune_method;

/* How one matrix is pruned. */
typedef struct organ_prune_matrix_options {
    organ_prune_method method;
    const char *name; /* of the tensor, for messages */
    double sparsity;  /* percent of zeros, in (0, 100); 0: physarum v2 and v3 use the result of the flow at gain 6. Must
                       * be  0 with a pattern */
    organ_pattern pattern; /* of = 0: none */
    bool no_compensate;    /* physarum v2: one flow without least squares; kept weights keep their bits */
    double effort; /* in (0, 100]. v2: scales the products 1/4, 1/4, 1, 1, 1, 1, 3 of the stages; v3: the iterations of
                      ADMM */
    bool measure;  /* compute output_error, with two more products with H */
    organ_admm_factors *factors; /* physarum v3: factors shared by matrices with this calibration; NULL: not shared */
} organ_prune_matrix_options;

/* The result of pruning one matrix. */
typedef struct organ_prune_matrix_report {
    uint64_t zero_before, zero_after, elements; /* zeros in the matrix before and after; all its elements */
    double sparsity;         /* percent of zeros in the mask; above the request if more weights have no importance */
    double natural_sparsity; /* physarum v2 without a requested sparsity: the result of the flow; else 0 */
    unsigned stages;         /* physarum v2: number of stages that ran */
    double gains[ORGAN_PRUNE_STAGES]; /* gains of the flow; infinite if none was needed, 0 if the pattern decided */
    unsigned products;                /* products with H in all compensation steps */
    bool block_diagonal;              /* H was block-diagonal for lack of memory */
    double output_error; /* ||(V - W) X||^2 / ||W X||^2 over the calibration tokens, on inputs from pruned layers, H
                          * damped by 0.03 of the mean of its diagonal; 0 for a matrix of zeros; NAN unless measured */
} organ_prune_matrix_report;

/* Data that matrices with the same inputs share while they are pruned. All zero at first. */
typedef struct organ_prune_shared {
    const organ_calibration *of; /* the calibration that the factors were computed from; NULL: no factors */
    organ_admm_factors factors;
} organ_prune_shared;

/* Lets a matrix use or compute shared factors: sets options->factors to those of *shared, or to NULL if the method is
 * not physarum v3, if no other matrix has used them and none will (`again` false), or if they need more than `spare`
 * bytes. Releases factors of another calibration. */
void organ_prune_share(organ_prune_shared *shared, organ_prune_matrix_options *options,
                       const organ_calibration *calibration, bool again, uint64_t spare);
void organ_prune_share_end(organ_prune_shared *shared);

/* Prunes `weights`, rows x cols, row-major, in place, and sets `keep` to its mask (1 or 0).
 *
 * `calibration` is finished and has cols features. It may be NULL for magnitude; one created from norms is enough for
 * wanda and for physarum v2 without compensation. Physarum v2 solves V H = W (C / 2 + H / 2) on the kept weights, with
 * H and C per token and damped by 0.03 of the mean of H's diagonal; with a pattern its last stage keeps the most
 * important weights of each group. Needs organ_prune_matrix_memory bytes, and 4 bytes per entry of H for physarum v2
 * and sparsegpt.
 *
 * Returns
 *   - ORGAN_USAGE if options do not fit together or with the shape;
 *   - ORGAN_BAD_INPUT if a weight is not finite or H cannot be inverted;
 *   - ORGAN_IO if memory cannot be allocated;
 *   - ORGAN_INTERRUPTED if the engine is stopped; then weights and keep are undefined. */
organ_status organ_prune_matrix(const organ_engine *engine, const organ_prune_matrix_options *options,
                                const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                uint8_t *keep, organ_prune_matrix_report *report, organ_error *error);

/* Computes the same masks for a matrix that may exceed the memory, with methods that leave kept weights unchanged:
 * magnitude, wanda, physarum v2 without compensation. Returns ORGAN_USAGE for other methods.
 *
 * The mask is computed over all bands, so it does not depend on their number. Then calls take(context, first, error)
 * for each band in order, with its weights in bands->values, which `take` may change, and its mask in `keep` (band_rows
 * x cols). Sets only natural_sparsity, stages and gains of the report; `take` can count zeros. Returns the errors of
 * organ_prune_matrix, of reading, and of `take`. */
organ_status organ_prune_bands(const organ_engine *engine, const organ_prune_matrix_options *options,
                               const organ_calibration *calibration, organ_matrix_bands *bands, uint8_t *keep,
                               organ_status (*take)(void *context, size_t first, organ_error *error), void *context,
                               organ_prune_matrix_report *report, organ_error *error);

/* Sets bands->band_rows to the number of rows that fit in the engine's memory, with their mask, the buffers of the
 * method and `extra` bytes of the caller. bands->rows, cols and dtype are set. Returns false if too few rows fit;
 * *least is the memory needed for the smallest band. */
bool organ_prune_bands_fit(const organ_engine *engine, organ_prune_method method, uint64_t extra,
                           organ_matrix_bands *bands, uint64_t *least);

/* Returns an upper bound of the bytes that organ_prune_matrix needs, including `keep`, without the weights, the
 * calibration, the copies of H and the buffers of the threads. `measure` is ignored; it needs 8 more bytes per
 * weight. */
uint64_t organ_prune_matrix_memory(const organ_prune_matrix_options *options, uint64_t rows, uint64_t cols);

#endif
