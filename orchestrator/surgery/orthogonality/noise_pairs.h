/* SPDX-License-Identifier: MIT
 * Compares the quantisation errors of two models, module by module: N_A = W_clean - W_noisy of one pair with N_B
 * of another. The report states the share of one in the other, the remainder N_A - N_B, and their sizes relative
 * to the change between the models. No matrix is held in memory as a whole. */
#ifndef ORGAN_NOISE_PAIRS_H
#define ORGAN_NOISE_PAIRS_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_noise_pairs_options {
    const char *clean[2], *noisy[2];
    const char *change; /* an adapter (a directory with adapter_config.json) or a tuned model; NULL: the clean model of
                         * pair B minus that of pair A */
    const char *output; /* directory to make, for the reports; NULL: none */
    const char
        *modules;   /* comma-separated shell patterns on names of modules; NULL: the adapter's, or all projections */
    unsigned draws; /* of random matrices per module; at least 2 */
    unsigned seed;
    bool force;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_noise_pairs_options;

/* *report has schema organ.noise_pairs/1 and is also written to `output` with noise_pairs.json and
 * NOISE_PAIRS_REPORT.md and .html; the caller releases it. On error it is NULL and no output remains. The change D is
 * K = scale B A of an adapter, W_tuned - W_clean_A of a tuned model, or W_clean_B - W_clean_A. Weights may have any
 * storage that can be read as numbers. `engine->memory` limits the buffers; the adapter's factors of one module are
 * added to it. The bits depend neither on threads nor on memory. Returns ORGAN_USAGE for the same model given twice, a
 * pattern that matches no module, an output that exists or would damage an input, or too little memory;
 * ORGAN_BAD_INPUT for modules that a model lacks or has in another shape (all are listed), values that are not finite,
 * or an adapter that is more than W + scale B A; ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_noise_pairs(const organ_noise_pairs_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
