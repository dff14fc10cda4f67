/* SPDX-License-Identifier: MIT
 * Makes an adapter that servers (vLLM, adapter_check.h) can load: with only the factors that they support, one rank and
 * one scale. */
#ifndef ORGAN_LORA_SANITIZE_H
#define ORGAN_LORA_SANITIZE_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Options of organ lora sanitize. */
typedef struct organ_lora_sanitize_options {
    const char *adapter, *output; /* paths; `output` must be NULL with `check` */
    const char *base;             /* path of the base; NULL: the adapter is not compared with a base */
    /* Largest rank. Writing cuts larger ranks (0: no limit); checking reports them (0: limit ORGAN_SERVED_RANK). */
    unsigned max_rank;
    bool check;                       /* --check: write nothing, only report findings */
    bool force;                       /* --force: replace an existing output */
    bool resume;                      /* --resume: continue an interrupted run */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_lora_sanitize_options;

/* Writes the adapter without tensors that servers cannot load. target_modules loses entries that select no remaining
 * module, and modules_to_save becomes null. The scale of every module is folded into its B, so that lora_alpha = r;
 * factors of lower rank are padded with zeros to a single r; ranks above max_rank are cut to their best approximation.
 * If A and B are both F16 or both BF16, they keep this type; otherwise they become F32. Files such as the tokenizer are
 * copied. *report has schema organ.lora_sanitize/1; the caller releases it; NULL on errors other than
 * ORGAN_CHECK_FAILED.
 *
 * With `check` writes nothing, and returns ORGAN_CHECK_FAILED if a server would reject the adapter.
 *
 * Returns also
 *   - ORGAN_USAGE if options are invalid or the output exists;
 *   - ORGAN_BAD_INPUT if the adapter is malformed or has factors that are not finite; without `check` also if the
 * adapter uses DoRA, was trained on a base that its initialisation changed, has no module that servers can load, or has
 * a module that the base lacks or has in another shape;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_sanitize(const organ_lora_sanitize_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
