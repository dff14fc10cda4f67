/* SPDX-License-Identifier: MIT
 * An adapter of another rank. */
#ifndef ORGAN_LORA_RESIZE_H
#define ORGAN_LORA_RESIZE_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_lora_resize_options {
    const char *adapter, *output;
    unsigned rank; /* at most, 1 or more */
    double energy; /* share of ||scale B A||^2 that every module keeps, in (0, 1]; 0: each gets `rank` */
    bool force;
} organ_lora_resize_options;

/* Writes the adapter with rank at most `rank`: the best approximation of every product, from the singular values of B A
 * by way of QR decompositions of the factors; the product is never formed. Modules whose rank is low enough keep their
 * factors (with `energy` they are decomposed too). lora_alpha = r, the scale is folded into B, lower ranks are filled
 * up with zeros. What is no factor stays as it is. *report is organ.lora_resize/1, for the caller to release; NULL on
 * error. Errors as of organ_lora_sanitize. */
organ_status organ_lora_resize(const organ_lora_resize_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
