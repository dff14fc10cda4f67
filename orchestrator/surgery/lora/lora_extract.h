/* SPDX-License-Identifier: MIT
 * Extracts a fine-tuned model's change as a LoRA adapter for its base: for each linear layer the best low-rank
 * approximation of the change. */
#ifndef ORGAN_LORA_EXTRACT_H
#define ORGAN_LORA_EXTRACT_H

#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_lora_extract_options {
    const char *base, *tuned;
    unsigned rank; /* largest rank; at least 1 */
    /* --rank-by; NULL: each module has `rank`; "energy=0.95" or "energy": the smallest rank that explains this share of
     * the squared norm of the change. */
    const char *rank_by;
    const char *share;   /* the share, with "energy" */
    const char *modules; /* comma-separated shell patterns, each for a full name, a module or its last word ("q_proj");
                          * NULL: projections */
    const char *dtype;   /* "bf16", "f16", "f32" */
    unsigned seed;       /* seed of the random vectors that start the decomposition */
    bool exact;          /* compute full decompositions */
    bool save_full;      /* also store changed weights without factors, whole */
    organ_write_options write;
} organ_lora_extract_options;

/* Writes the directory OUTPUT with adapter_model.safetensors, adapter_config.json and its report in organ/. The change
 * is W_tuned - W_base in FP32. A base in FP8 or INT4 is dequantised first, so that the adapter also corrects its
 * quantisation error. The report lists the norms of all changes that the adapter does not contain. The bytes do not
 * depend on the number of threads or the memory, on one kind of CPU. *report has schema organ.lora_extract/1; the
 * caller releases it; NULL on error.
 *
 * If a run is interrupted or fails for lack of disk or memory, its finished modules and a journal remain; `resume`
 * continues it with the same number of ranks and gives the same bytes. After any other error no output remains.
 *
 * Returns
 *   - ORGAN_USAGE if options are invalid, the output exists or is an input, a pattern matches no linear layer, or
 *     `exact`
 *     needs more than the memory; also if an unfinished run is found and neither `resume` nor `force` is given, or that
 *     run had other parameters;
 *   - ORGAN_BAD_INPUT if files are malformed, a shape differs, values are not finite, or the models are equal or have
 *     nothing in common;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_extract(const organ_lora_extract_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
