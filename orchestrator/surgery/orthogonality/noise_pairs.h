/* SPDX-License-Identifier: MIT
 * Whether quantisation does the same to two models: N_A = W_clean - W_noisy of one pair against N_B of another, module
 * by module. How much of one is in the other, what remains of N_A - N_B, and how large all of it is beside the change
 * between the models. No matrix is ever held whole. */
#ifndef ORGAN_NOISE_PAIRS_H
#define ORGAN_NOISE_PAIRS_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_noise_pairs_options {
    const char *clean[2], *noisy[2];
    const char *change; /* an adapter (a directory with adapter_config.json) or a tuned model; NULL: what B's clean
                           model changed in A's */
    const char *output; /* directory to make, for the reports; NULL: none */
    const char
        *modules;   /* comma-separated shell patterns on names of modules; NULL: the adapter's, or all projections */
    unsigned draws; /* of random matrices per module; at least 2 */
    unsigned seed;
    bool force;
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
} organ_noise_pairs_options;

/* *report is schema organ.noise_pairs/1, with noise_pairs.json and NOISE_PAIRS_REPORT.md and .html in `output`; the
 * caller releases it; NULL on error, and then nothing is left of the output. The change D is K = scale B A of an
 * adapter, W_tuned - W_clean_A of a tuned model, or W_clean_B - W_clean_A. A weight may be stored in any way that can
 * be read as numbers. `engine->memory` bounds the buffers; the adapter's factors of one module come on top. Bits depend
 * neither on threads nor on memory. ORGAN_USAGE: the same model given twice, a pattern that matches no module, an
 * output that exists or would hurt an input, too little memory. ORGAN_BAD_INPUT: modules that a model does not have or
 * has in another shape, all listed; values that are not finite; an adapter that is more than W + scale B A. ORGAN_IO,
 * ORGAN_INTERRUPTED. */
organ_status organ_noise_pairs(const organ_noise_pairs_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
