/* SPDX-License-Identifier: MIT
 * Changes the rank of an adapter. */
#ifndef ORGAN_LORA_RESIZE_H
#define ORGAN_LORA_RESIZE_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_lora_resize_options {
    const char *adapter, *output;
    unsigned rank; /* largest rank, at least 1 */
    /* Share of ||scale B A||^2 that every module keeps, in (0, 1]; 0: no share, modules are cut to `rank`. */
    double energy;
    bool force;
} organ_lora_resize_options;

/* Writes the adapter with rank at most `rank`. Each product is replaced by its best approximation from the singular
 * values of B A, computed through QR decompositions of the factors without forming the product. Modules of sufficiently
 * low rank keep their factors (with `energy` they are decomposed too). lora_alpha becomes r, the scale is folded into
 * B, and lower ranks are padded with zeros. Tensors that are not factors are copied. *report has schema
 * organ.lora_resize/1; the caller releases it; NULL on error. Returns the errors of organ_lora_sanitize. */
organ_status organ_lora_resize(const organ_lora_resize_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
