/* SPDX-License-Identifier: MIT
 * Compares the quantisation error N = W_clean - W_noisy (dequantised) of a model with the change K = scale B A of an
 * adapter, module by module: their cosine, the share of N in the output directions of K, and their norms. No matrix is
 * in memory as a whole. noise_pairs.h compares the quantisation errors of two pairs of models with each other. */
#ifndef ORGAN_ORTHOGONALITY_H
#define ORGAN_ORTHOGONALITY_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Options of organ orthogonality with an adapter. */
typedef struct organ_orthogonality_options {
    const char *clean, *noisy, *adapter; /* paths of the model, its quantised copy, and the adapter */
    const char *noisy2;                  /* path of a second quantised copy; NULL: none */
    const char *output;                  /* path of a new directory for the reports and plots; NULL: none */
    const char *modules; /* comma-separated shell patterns of names of modules of the adapter; NULL: all */
    unsigned draws;      /* number of random cosines that are drawn for each module; at least 2 */
    unsigned top_k;      /* --top-k: the leakage is measured in this many left singular vectors of K; 0: in all */
    unsigned seed;       /* seed of the random cosines */
    bool force;          /* --force: replace an existing output */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_orthogonality_options;

/* Compares the models with the adapter. Sets *report to a document of schema organ.orthogonality/1, which the caller
 * releases, and writes it to `output` as orthogonality.json, ORTHOGONALITY_REPORT.md and three plots. On error *report
 * is NULL and no output remains. Weights may have any storage that can be read as numbers. `engine->memory` limits the
 * buffers for rows; one module's B, A, singular vectors, and k x in_features FP64 sums for each noisy model come on top
 * (k: number of singular vectors whose leakage is measured).
 *
 * Returns ORGAN_USAGE if a pattern matches no module, the output exists or would damage an input, or the memory is too
 * small; ORGAN_BAD_INPUT if a model lacks a module of the adapter or has it in another shape (the message lists them),
 * if a value is not finite, or if the adapter uses DoRA; ORGAN_IO if files or memory fail; ORGAN_INTERRUPTED if a stop
 * was requested. */
organ_status organ_orthogonality(const organ_orthogonality_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
