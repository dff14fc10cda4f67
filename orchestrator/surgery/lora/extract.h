/* SPDX-License-Identifier: MIT
 * What a fine-tuned model learned, as a LoRA adapter for its base: for each linear layer the best approximation of its
 * change by a product of low rank. */
#ifndef ORGAN_LORA_EXTRACT_H
#define ORGAN_LORA_EXTRACT_H

#include "orchestrator/surgery/output/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_lora_extract_options {
    const char *base, *tuned;
    unsigned rank;       /* at most; at least 1 */
    const char *rank_by; /* NULL: each module has `rank`; "energy=0.95" or "energy": no more than explain that share of
                            its change */
    const char *share;   /* with "energy" */
    const char *modules; /* shell patterns, comma-separated, each for a whole name, a module or its last word
                            ("q_proj"); NULL: projections */
    const char *dtype;   /* "bf16", "f16", "f32" */
    unsigned seed;       /* of the random vectors that the decomposition starts from */
    bool exact;          /* whole decompositions */
    bool save_full;      /* what changed and is no linear layer is kept whole */
    organ_write_options write;
} organ_lora_extract_options;

/* Writes the directory OUTPUT with adapter_model.safetensors, adapter_config.json and its report in organ/. The change
 * is W_tuned - W_base in FP32; a base in FP8 or INT4 is dequantised on the way, and the adapter then corrects what
 * quantising did as well. With sizes of all that changed and is not in the adapter. The same bytes for any number of
 * threads and any memory, on one kind of CPU. *report is schema organ.lora_extract/1, for the caller to release, NULL
 * on error.
 *
 * A run that is interrupted, or that the disk or the memory ends, leaves the modules that are done and a journal;
 * `resume` continues it, with the same number of ranks, to the same bytes. After any other error nothing of the output
 * is left.
 *
 * Errors: ORGAN_USAGE (options; the output exists or is an input; an unfinished run is found and neither `resume` nor
 * `force` is given, or that run had other parameters; a pattern that matches no linear layer; `exact` beyond the
 * memory), ORGAN_BAD_INPUT (malformed files, a shape that differs, values that are not finite, models that are the same
 * or have nothing in common), ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_lora_extract(const organ_lora_extract_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
