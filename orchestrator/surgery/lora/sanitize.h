/* SPDX-License-Identifier: MIT
 * Makes an adapter suitable for servers: only factors that can be served, one rank and one scale. */
#ifndef ORGAN_LORA_SANITIZE_H
#define ORGAN_LORA_SANITIZE_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_lora_sanitize_options {
    const char *adapter, *output; /* `output` is unused with `check` */
    const char *base;             /* path of the base; NULL: the adapter is not compared with a base */
    /* Upper bound of ranks; 0: no limit when writing; when checking, the largest rank that servers allow. */
    unsigned max_rank;
    bool check, force;                /* --check: only report findings; --force: replace an existing output */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_lora_sanitize_options;

/* Writes the adapter without keys that cannot be served: target_modules loses entries without keys, and modules_to_save
 * becomes null. The scale of every module is folded into its B, so that lora_alpha = r; lower ranks are padded with
 * zeros to a single r; ranks above max_rank are cut to their best approximation. Factors keep their type, F64 becomes
 * F32. Other files are copied. *report has schema organ.lora_sanitize/1; the caller releases it; NULL on errors other
 * than ORGAN_CHECK_FAILED.
 *
 * With `check` nothing is written, and the function returns ORGAN_CHECK_FAILED if a server would reject the adapter.
 * Otherwise it returns ORGAN_USAGE if options are invalid or the output exists; ORGAN_BAD_INPUT if the adapter is
 * malformed, has factors that are not finite, DoRA, nothing to serve, or a module that the base lacks; ORGAN_IO if
 * reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_sanitize(const organ_lora_sanitize_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
