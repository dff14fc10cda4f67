/* SPDX-License-Identifier: MIT
 * Pruning one matrix by what its inputs are like: physarum v2 and v3, and the baselines they are measured against. The
 * same bits for any number of threads, on one kind of CPU. */
#ifndef ORGAN_PRUNE_MATRIX_H
#define ORGAN_PRUNE_MATRIX_H

#include "orchestrator/surgery/along_text/calibration.h"
#include "orchestrator/surgery/calibrated/admm.h"
#include "orchestrator/surgery/calibrated/staged_flow.h"

#define ORGAN_PRUNE_STAGES 7

typedef enum organ_prune_method {
    ORGAN_PRUNE_PHYSARUM_V2, /* staged flow over importances, exact masked least squares after each stage */
    ORGAN_PRUNE_MAGNITUDE,   /* the smallest |w| of the matrix; takes no calibration */
    ORGAN_PRUNE_WANDA,       /* the smallest |w| act_norm of each row (Sun et al. 2023) */
    ORGAN_PRUNE_ALPS,        /* Meng et al. 2024: ADMM on the whole matrix */
    ORGAN_PRUNE_PHYSARUM_V3, /* flow, then ADMM from its mask towards the target of v2 */
    ORGAN_PRUNE_SPARSEGPT /* Frantar & Alistarh 2023: blocks of 128 columns, damping 0.01 of the mean of the diagonal */
} organ_prune_method;

typedef struct organ_prune_matrix_options {
    organ_prune_method method;
    const char *name; /* of the tensor, for messages */
    double
        sparsity; /* percent of zeros, in (0, 100); 0: what the flow decides at gain 6, v2 and v3. Not with a pattern */
    organ_pattern pattern; /* of = 0: none */
    bool no_compensate;    /* physarum v2: flow alone, one stage, weights keep their bits */
    double effort; /* in (0, 100]. v2: scales the products 1/4, 1/4, 1, 1, 1, 1, 3 of the stages; v3: the iterations of
                      ADMM */
    bool measure;  /* output_error is wanted: two more products with H */
    organ_admm_factors
        *factors; /* physarum v3: those of this calibration, shared with other matrices; NULL: not shared */
} organ_prune_matrix_options;

typedef struct organ_prune_matrix_report {
    uint64_t zero_before, zero_after, elements;
    double sparsity; /* percent of zeros in the mask. It misses what was asked for where more weights than that count
                        for nothing */
    double natural_sparsity;          /* physarum v2 without a wish: what the flow decided; else 0 */
    unsigned stages;                  /* physarum v2 */
    double gains[ORGAN_PRUNE_STAGES]; /* of the flow; infinite where it was not needed, 0 where the pattern decided */
    unsigned products;                /* with H that compensation took, in all */
    bool block_diagonal;              /* H, for want of memory */
    double output_error; /* ||(V - W) X||^2 / ||W X||^2 over the calibration tokens behind pruned layers, H damped by
                            0.03 of the mean of its diagonal; 0 for a matrix of zeros; NAN unless measured */
} organ_prune_matrix_report;

/* What matrices that see the same inputs share while they are pruned. All zero: nothing yet. */
typedef struct organ_prune_shared {
    const organ_calibration *of;
    organ_admm_factors factors;
} organ_prune_shared;

/* Sets options->factors: NULL unless the method has a use for them, they will be used `again` or are there, and `spare`
 * bytes hold them. What is of another calibration is let go. */
void organ_prune_share(organ_prune_shared *shared, organ_prune_matrix_options *options,
                       const organ_calibration *calibration, bool again, uint64_t spare);
void organ_prune_share_end(organ_prune_shared *shared);

/* Prunes `weights`, rows x cols row by row, in place; keep becomes its mask, 1 or 0 each. `calibration` is finished and
 * has cols features; NULL is allowed for magnitude; one made of norms alone does for wanda and for physarum v2 without
 * compensation. Physarum v2 solves V H = W (C / 2 + H / 2) on the kept weights, H and C per token and damped by 0.03 of
 * the mean of H's diagonal; with a pattern its last stage keeps the most important of each group. ORGAN_USAGE for
 * options that do not go together or with the shape, ORGAN_BAD_INPUT for weights that are not finite or an H that
 * cannot be inverted, ORGAN_IO without memory, ORGAN_INTERRUPTED if the engine is stopped; then weights and keep are of
 * no use. Takes organ_prune_matrix_memory, and 4 bytes an entry of H for physarum v2 and sparsegpt. */
organ_status organ_prune_matrix(const organ_engine *engine, const organ_prune_matrix_options *options,
                                const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                uint8_t *keep, organ_prune_matrix_report *report, organ_error *error);

/* The same masks, of a matrix that need not fit the memory, for the methods that leave what they keep as it is:
 * magnitude, wanda, physarum v2 without compensation; ORGAN_USAGE for others. The mask is decided over all bands, so
 * that it does not depend on how many there are; then take(context, first, error) gets each band in order, with its
 * weights in bands->values, which it may change, and its mask in `keep` (band_rows x cols). Of the report only
 * natural_sparsity, stages and gains are set: what is zero, take may count. Errors as above, those of reading, and what
 * `take` returns. */
organ_status organ_prune_bands(const organ_engine *engine, const organ_prune_matrix_options *options,
                               const organ_calibration *calibration, organ_matrix_bands *bands, uint8_t *keep,
                               organ_status (*take)(void *context, size_t first, organ_error *error), void *context,
                               organ_prune_matrix_report *report, organ_error *error);

/* Sets bands->band_rows (bands->rows, cols and dtype are set) to as many rows as the engine's memory holds with their
 * mask, with what the method takes, and with `beside` bytes of the caller. false if it holds too few; *least is what
 * the fewest take, in all. */
bool organ_prune_bands_fit(const organ_engine *engine, organ_prune_method method, uint64_t beside,
                           organ_matrix_bands *bands, uint64_t *least);

/* Bytes that organ_prune_matrix takes, `keep` among them but not the weights, the calibration and the copies of H, at
 * most, whatever the number of threads: what each of these has for itself comes on top. `measure` is not looked at: it
 * takes 8 a weight more. */
uint64_t organ_prune_matrix_memory(const organ_prune_matrix_options *options, uint64_t rows, uint64_t cols);

#endif
