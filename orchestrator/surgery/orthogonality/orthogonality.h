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
    const char *noisy2;  /* NULL: none */
    const char *output;  /* directory to make, for the reports and plots; NULL: none */
    const char *modules; /* comma-separated shell patterns on the adapter's module names; NULL: all */
    unsigned draws;      /* of random matrices per module; at least 2 */
    unsigned top_k;      /* left singular vectors of K; 0: as many as K has */
    unsigned seed;
    bool force;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_orthogonality_options;

/* *report has schema organ.orthogonality/1 and is also written to `output` with orthogonality.json,
 * ORTHOGONALITY_REPORT.md and three plots; the caller releases it. On error it is NULL and no output remains. Weights
 * may have any storage that can be read as numbers. `engine->memory` limits the buffers; in addition the factors of
 * one module are in memory: B, A, the decomposition of their product, and k x in_features sums. Returns ORGAN_USAGE
 * for a pattern that matches no module, an output that exists or would damage an input, or too little memory;
 * ORGAN_BAD_INPUT for modules of the adapter that a model lacks or has in another shape (all are listed), values that
 * are not finite, or an adapter that is more than W + scale B A; ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_orthogonality(const organ_orthogonality_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
