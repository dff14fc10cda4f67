/* SPDX-License-Identifier: MIT
 * Pruning of one matrix by its input statistics: physarum v2 and v3, and the methods they are compared with
 * (docs/definitions/pruning.md). Results are bit-identical for any number of threads; the C library's exp2 and log2,
 * with which the flow of v2 and v3 searches its gain, may differ between CPUs (docs/definitions/determinism.md).
 *
 * H are the second moments of the inputs, C those between the donor's inputs and the inputs here
 * (organ_input_moments). */
#ifndef ORGAN_PRUNE_MATRIX_H
#define ORGAN_PRUNE_MATRIX_H

#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/prune/admm.h"
#include "orchestrator/surgery/prune/staged_flow.h"

#define ORGAN_PRUNE_STAGES 7 /* stages of physarum v2 */

typedef enum organ_prune_method {
    ORGAN_PRUNE_PHYSARUM_V2, /* flow over importances in stages, and after each stage least squares on kept weights */
    ORGAN_PRUNE_MAGNITUDE,   /* removes the weights of smallest |w| in the matrix; needs no calibration */
    ORGAN_PRUNE_WANDA,       /* removes the weights of smallest |w| act_norm in each row (Sun et al. 2023) */
    ORGAN_PRUNE_ALPS,        /* Meng et al. 2024: ADMM on the whole matrix */
    ORGAN_PRUNE_PHYSARUM_V3, /* ADMM for the error of v2, starting from the mask of a flow */
    ORGAN_PRUNE_SPARSEGPT /* Frantar & Alistarh 2023: blocks of 128 columns, damping 0.01 of the mean of the diagonal */
} organ_prune_method;

typedef struct organ_prune_matrix_options {
    organ_prune_method method;
    const char *name; /* of the tensor, for messages */
    double sparsity;  /* percent of zeros, in (0, 100); 0: physarum v2 and v3 remove as many weights as the flow at gain
                       * 6. Must be 0 with a pattern */
    organ_pattern pattern; /* of = 0: none */
    bool no_compensate;    /* physarum v2: one flow without least squares; kept weights keep their bits */
    double effort; /* in (0, 100]. v2: factor of the numbers of products with H after the seven stages, 1/4, 1/4, 1, 1,
                    * 1, 1 and 3; v3: factor of the iterations of ADMM */
    bool measure;  /* compute output_error, with two more products with H */
    organ_admm_factors *factors; /* physarum v3: factors shared by matrices with this calibration (organ_prune_share
                                  * sets it); NULL: not shared */
} organ_prune_matrix_options;

typedef struct organ_prune_matrix_report {
    /* Numbers of weights: those that are zero before pruning, those that are zero after it, and all. */
    uint64_t zero_before, zero_after, elements;
    double sparsity;         /* percent of weights that the mask removes; above the request if more weights have
                              * importance 0 */
    double natural_sparsity; /* physarum v2 and v3 without a requested sparsity: percent of zeros of the flow; else 0 */
    unsigned stages; /* physarum v2: number of stages that ran. v3, and v2 without compensation: 1 (the flow), or
                      * 2 with a pattern. Else 0 */
    double gains[ORGAN_PRUNE_STAGES]; /* gain of the flow in each stage; infinite if removing the weights of importance
                                       * 0 was enough, 0 if the pattern decided */
    unsigned products;                /* products with H, or solutions with H + rho I, of all compensation steps */
    bool block_diagonal;              /* H had only diagonal blocks, for lack of memory */
    double output_error; /* ||(V - W) X||^2 / ||W X||^2 with the weights W before pruning, the pruned weights V, and the
                            inputs X from pruned layers, where 0.03 of the mean of H's diagonal is added to this
                            diagonal; 0 for a matrix of zeros; NAN unless `measure` */
} organ_prune_matrix_report;

/* The factors that matrices with the same inputs share while they are pruned by physarum v3. All zero at first. */
typedef struct organ_prune_shared {
    const organ_calibration *of; /* the calibration that the factors were computed from; NULL: no factors */
    organ_admm_factors factors;  /* factors of H + rho I */
} organ_prune_shared;

/* Decides whether the matrix that will be pruned with *options uses shared factors: sets options->factors to those of
 * *shared, or to NULL if
 *   - the method is not physarum v3;
 *   - no earlier matrix with this calibration has used them, and no later one will (`again` false);
 *   - they need more than `spare` bytes.
 * First frees the factors of another calibration. */
void organ_prune_share(organ_prune_shared *shared, organ_prune_matrix_options *options,
                       const organ_calibration *calibration, bool again, uint64_t spare);
/* Frees the shared factors. */
void organ_prune_share_end(organ_prune_shared *shared);

/* Prunes `weights`, rows x cols, row-major, in place: removed weights become 0, and compensation changes the kept ones.
 * Sets `keep` to the mask, rows x cols, 1 for kept weights.
 *
 * `calibration` is finished and has cols features. It may be NULL for magnitude; one created from norms is enough for
 * wanda and for physarum v2 without compensation. Physarum v2 solves V H = W (C / 2 + H / 2) on the kept weights, where
 * H and C are per token, and 0.03 of the mean of H's diagonal is added to the diagonal of H and to that of C. With a
 * pattern, its last stage keeps the most important weights of each group. Needs organ_prune_matrix_memory bytes;
 * methods that compensate also need FP32 copies of H, of up to 8 bytes per entry.
 *
 * Returns
 *   - ORGAN_USAGE if options do not fit together or with the shape;
 *   - ORGAN_BAD_INPUT if a weight is not finite or H cannot be inverted;
 *   - ORGAN_IO if memory cannot be allocated;
 *   - ORGAN_INTERRUPTED if the engine is stopped; then weights and keep are undefined. */
organ_status organ_prune_matrix(const organ_engine *engine, const organ_prune_matrix_options *options,
                                const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                uint8_t *keep, organ_prune_matrix_report *report, organ_error *error);

/* Computes the mask of organ_prune_matrix for a matrix that may exceed the memory, with methods that leave kept weights
 * unchanged: magnitude, wanda, physarum v2 without compensation. Returns ORGAN_USAGE for other methods.
 *
 * The mask depends on the whole matrix, not on its division into bands. For each band in order, calls take(context,
 * first, error), where `first` is the band's first row. The band's unpruned weights are then in bands->values, which
 * `take` may change, and its mask is in `keep` (band_rows x cols). Sets only natural_sparsity, stages and gains of the
 * report; `take` can count zeros. Returns the errors of organ_prune_matrix, of reading, and of `take`. */
organ_status organ_prune_bands(const organ_engine *engine, const organ_prune_matrix_options *options,
                               const organ_calibration *calibration, organ_matrix_bands *bands, uint8_t *keep,
                               organ_status (*take)(void *context, size_t first, organ_error *error), void *context,
                               organ_prune_matrix_report *report, organ_error *error);

/* Sets bands->band_rows to the greatest number of rows that fit in the engine's memory, with their mask, the buffers of
 * the method and `extra` bytes of the caller. The caller has set bands->rows, cols and dtype. Returns false if not even
 * the smallest band fits. *least is always the memory in bytes that the smallest band needs. */
bool organ_prune_bands_fit(const organ_engine *engine, organ_prune_method method, uint64_t extra,
                           organ_matrix_bands *bands, uint64_t *least);

/* Returns an upper bound of the bytes that organ_prune_matrix needs for a matrix of rows x cols. Includes `keep`;
 * excludes the weights, the calibration, the FP32 copies of H and the buffers of the threads. options->measure is
 * ignored; it needs 8 more bytes per weight. Sparsity and name make no difference. */
uint64_t organ_prune_matrix_memory(const organ_prune_matrix_options *options, uint64_t rows, uint64_t cols);

#endif
