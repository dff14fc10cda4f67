/* SPDX-License-Identifier: MIT
 * Compares the quantisation errors of two models, module by module. Pair A and pair B each consist of a clean
 * (unquantised) model and its noisy (quantised) copy; their quantisation errors W_clean - W_noisy are N_A and N_B. The
 * report has the multiple of N_A that approximates N_B, the remainder N_A - N_B, and the sizes of N_A, N_B and N_A -
 * N_B relative to a change D of the weights. No matrix is in memory as a whole. */
#ifndef ORGAN_NOISE_PAIRS_H
#define ORGAN_NOISE_PAIRS_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Options of organ orthogonality with two pairs. */
typedef struct organ_noise_pairs_options {
    const char *clean[2], *noisy[2]; /* paths of the models of pairs A and B */
    const char *change; /* an adapter (a directory with adapter_config.json) or a tuned model; NULL: the clean model of
                         * pair B minus that of pair A */
    const char *output; /* new directory for the reports; NULL: none */
    /* Comma-separated shell patterns of names of modules; NULL: all modules of the adapter, or all projections. */
    const char *modules;
    unsigned draws;                   /* number of random cosines that are drawn for each module; at least 2 */
    unsigned seed;                    /* seed of the random cosines */
    bool force;                       /* --force: replace an existing output */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_noise_pairs_options;

/* Compares the pairs. Sets *report to a document of schema organ.noise_pairs/1, which the caller releases, and writes
 * it to `output` as noise_pairs.json, NOISE_PAIRS_REPORT.md and .html. On error *report is NULL and no output remains.
 * The change D is scale B A of an adapter, W_tuned - W_clean_A of a tuned model, or W_clean_B - W_clean_A. Weights may
 * have any storage that can be read as numbers. `engine->memory` limits the buffers for rows; the adapter's factors of
 * one module come on top. The bits of the figures depend neither on threads nor on memory.
 *
 * Returns ORGAN_USAGE if a model is given twice, a pattern matches no module, the output exists or would damage an
 * input, or the memory is too small; ORGAN_BAD_INPUT if a model lacks a module or has it in another shape (the message
 * lists them), if a value is not finite, or if the adapter uses DoRA; ORGAN_IO if files or memory fail;
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_noise_pairs(const organ_noise_pairs_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
