/* SPDX-License-Identifier: MIT
 * An adapter made fit for a server: only factors that can be served, one rank and one scale. */
#ifndef ORGAN_LORA_SANITIZE_H
#define ORGAN_LORA_SANITIZE_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_lora_sanitize_options {
    const char *adapter, *output; /* `output` is not used with `check` */
    const char *base;             /* NULL: nothing is compared with the base */
    unsigned max_rank;            /* 0: what servers allow at most when checking, no limit when writing */
    bool check, force;
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
} organ_lora_sanitize_options;

/* Writes the adapter with the keys that cannot be served left out, target_modules without what has none,
 * modules_to_save null; the scale of every module folded into its B, so that lora_alpha = r; lower ranks filled up with
 * zeros, so that one r holds for all; ranks above max_rank cut to their best approximation. Factors keep their type,
 * F64 becomes F32. Other files come along. With `check` nothing is written: ORGAN_CHECK_FAILED if a server would refuse
 * something. *report is organ.lora_sanitize/1, for the caller to release; NULL on errors other than ORGAN_CHECK_FAILED.
 * Errors: ORGAN_USAGE, ORGAN_BAD_INPUT (malformed, factors not finite, DoRA, nothing left to serve, a module that the
 * base does not have), ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_lora_sanitize(const organ_lora_sanitize_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
