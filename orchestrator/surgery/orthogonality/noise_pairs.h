/* SPDX-License-Identifier: MIT
 * Compares the quantisation errors of two models, module by module: N_A = W_clean - W_noisy of pair A with N_B of pair
 * B. The report has the multiple of N_A that approximates N_B, the remainder N_A - N_B, and their sizes relative to a
 * change D. No matrix is in memory as a whole. */
#ifndef ORGAN_NOISE_PAIRS_H
#define ORGAN_NOISE_PAIRS_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_noise_pairs_options {
    const char *clean[2], *noisy[2]; /* paths of the models of pairs A and B */
    const char *change; /* an adapter (a directory with adapter_config.json) or a tuned model; NULL: the clean model of
                         * pair B minus that of pair A */
    const char *output; /* new directory for the reports; NULL: none */
    /* Comma-separated shell patterns of names of modules; NULL: all modules of the adapter, or all projections. */
    const char *modules;
    unsigned draws; /* random matrices per module; at least 2 */
    unsigned seed;
    bool force;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_noise_pairs_options;

/* Creates the report of schema organ.noise_pairs/1, which the caller releases, and writes it to `output` as
 * noise_pairs.json, NOISE_PAIRS_REPORT.md and .html. On error *report is NULL and no output remains. The change D is
 * scale B A of an adapter, W_tuned - W_clean_A of a tuned model, or W_clean_B - W_clean_A. Weights may have any storage
 * that can be read as numbers. `engine->memory` limits the buffers; the factors of the adapter for one module are in
 * addition. The bits depend neither on threads nor on memory.
 *
 * Returns ORGAN_USAGE if a model is given twice, a pattern matches no module, the output exists or would damage an
 * input, or the memory is too small; ORGAN_BAD_INPUT if a model lacks a module or has it in another shape (all are
 * listed), if a value is not finite, or if the adapter changes more than W + scale B A; ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_noise_pairs(const organ_noise_pairs_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
