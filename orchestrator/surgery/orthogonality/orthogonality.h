/* SPDX-License-Identifier: MIT
 * What quantisation took from a model, against what an adapter adds: N = W_clean - W_noisy, dequantised, and K = scale
 * B A, module by module. Do they point the same way, how much of N lies in the directions of K, and which is larger.
 * Neither is ever held whole. The room: in go an adapter and two models, out comes a report; noise_pairs.h compares
 * what was taken from several models. */
#ifndef ORGAN_ORTHOGONALITY_H
#define ORGAN_ORTHOGONALITY_H

#include "orchestrator/surgery/output/interface.h"

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
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
} organ_orthogonality_options;

/* *report is schema organ.orthogonality/1, with orthogonality.json, ORTHOGONALITY_REPORT.md and three plots in
 * `output`; the caller releases it; NULL on error, and then nothing is left of the output. A weight may be stored in
 * any way that can be read as numbers. Besides what the buffers take, which `engine->memory` bounds, one module's
 * factors are in memory: B, A, the decomposition of their product, and k x in_features sums. ORGAN_USAGE: a pattern
 * that matches no module, an output that exists or would hurt an input, too little memory. ORGAN_BAD_INPUT: modules of
 * the adapter that a model does not have or has in another shape, all listed; values that are not finite; an adapter
 * that is more than W + scale B A. ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_orthogonality(const organ_orthogonality_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
