/* SPDX-License-Identifier: MIT
 * Reduces the rank of an adapter. */
#ifndef ORGAN_LORA_RESIZE_H
#define ORGAN_LORA_RESIZE_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Options of organ lora resize. */
typedef struct organ_lora_resize_options {
    const char *adapter, *output; /* paths */
    unsigned rank;                /* largest rank of a module, at least 1 */
    /* Share of ||scale B A||^2 that every module keeps if `rank` allows it, in (0, 1]; 0: modules are only cut to
     * `rank`. */
    double energy;
    bool force;  /* --force: replace an existing output */
    bool resume; /* --resume: continue an interrupted run */
} organ_lora_resize_options;

/* Writes the adapter with ranks of at most `rank`. Replaces scale B A of each module by its best approximation of the
 * new rank: a truncated singular value decomposition, computed from QR decompositions of the factors without forming
 * the product. Modules whose rank is not above `rank` keep their factors, unless `energy` is set. The scale is folded
 * into B, lora_alpha becomes r, and factors of lower rank are padded with zeros to a single r. Tensors that are not
 * factors are copied. *report has schema organ.lora_resize/1; the caller releases it; NULL on error.
 *
 * Returns ORGAN_USAGE if options are invalid or the output exists; ORGAN_BAD_INPUT if the adapter is malformed, has no
 * pair, has factors that are not finite, or changed during the run; ORGAN_IO if reading, writing or memory fails;
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_resize(const organ_lora_resize_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
