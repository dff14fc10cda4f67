/* SPDX-License-Identifier: MIT
 * Extracts the difference of a fine-tuned model from its base as a LoRA adapter: for each linear layer, the best
 * approximation of the difference by a matrix of low rank. */
#ifndef ORGAN_LORA_EXTRACT_H
#define ORGAN_LORA_EXTRACT_H

#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

/* Options of organ lora extract. */
typedef struct organ_lora_extract_options {
    const char *base, *tuned; /* paths of the base and of the fine-tuned model */
    unsigned rank;            /* largest rank of a module; at least 1 */
    /* --rank-by. NULL: each module has `rank`. "energy=0.95", or "energy" with `share`: each module has the smallest
     * rank that explains this share of the squared norm of its change. */
    const char *rank_by;
    const char *share;   /* the share, above 0 and at most 1, if rank_by is "energy"; else NULL */
    const char *modules; /* comma-separated shell patterns of weights that get factors; a pattern matches the name of
                          * the weight, its module, or the module's last word ("q_proj"). NULL: projections */
    const char *dtype;   /* type of the factors: "bf16", "f16", "f32" */
    unsigned seed;       /* seed of the random vectors that start the decomposition */
    bool exact;          /* decompose each change completely, in memory */
    bool save_full;      /* --save-full: store changed weights that get no factors whole in the adapter */
    organ_write_options write;
} organ_lora_extract_options;

/* Writes the directory options->write.output with adapter_model.safetensors and adapter_config.json (or, for GGUF
 * models, adapter_model.gguf), and the report in its folder organ/. The change of a weight is W_tuned - W_base in FP32.
 * A packed base (FP8, INT4) is dequantised first, so that the adapter also corrects its quantisation error. The report
 * lists the norms of all changes that the adapter does not contain. The bytes of the adapter do not depend on the
 * number of threads or the memory, on one kind of CPU. *report has schema organ.lora_extract/1; the caller releases it;
 * NULL on error.
 *
 * If a run is interrupted or fails for lack of disk or memory, its finished modules and a journal remain; `resume`
 * continues it and gives the same bytes. After any other error no output remains.
 *
 * Returns
 *   - ORGAN_USAGE if options are invalid, the output exists or is an input, a pattern matches no linear layer, or a
 *     module needs more memory than the engine has; also if an unfinished run is found and neither `resume` nor
 *     `force` is given, or `resume` finds a run with other parameters;
 *   - ORGAN_BAD_INPUT if files are malformed, values are not finite, a weight that gets factors has different shapes
 *     in the two models, no such weight changed, or the models have no such weight in common;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_extract(const organ_lora_extract_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
