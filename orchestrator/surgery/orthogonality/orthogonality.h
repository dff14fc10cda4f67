/* SPDX-License-Identifier: MIT
 * Room surgery/orthogonality: compares quantisation errors. This header compares the error N = W_clean - W_noisy
 * (dequantised) of a model with the change K = scale B A of an adapter, module by module: their cosine, the share
 * of N in the output directions of K, and their norms. No matrix is held in memory as a whole. noise_pairs.h
 * compares the errors of several models. */
#ifndef ORGAN_ORTHOGONALITY_H
#define ORGAN_ORTHOGONALITY_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_orthogonality_options {
    const char *clean, *noisy, *adapter;
    const char *noisy2;  /* a second noisy model; NULL: none */
    const char *output;  /* new directory for the reports and plots; NULL: none */
    const char *modules; /* comma-separated shell patterns of names of modules of the adapter; NULL: all */
    unsigned draws;      /* random matrices per module; at least 2 */
    unsigned top_k;      /* number of left singular vectors of K whose leakage is measured; 0: all of them */
    unsigned seed;
    bool force;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_orthogonality_options;

/* Creates the report of schema organ.orthogonality/1, which the caller releases, and writes it to `output` as
 * orthogonality.json, ORTHOGONALITY_REPORT.md and three plots. On error *report is NULL and no output remains. Weights
 * may have any storage that can be read as numbers. `engine->memory` limits the buffers; in addition the factors of one
 * module are in memory: B, A, the decomposition of their product, and k x in_features sums.
 *
 * Returns ORGAN_USAGE if a pattern matches no module, the output exists or would damage an input, or the memory is too
 * small; ORGAN_BAD_INPUT if a model lacks a module of the adapter or has it in another shape (all are listed), if a
 * value is not finite, or if the adapter changes more than W + scale B A; ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_orthogonality(const organ_orthogonality_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
