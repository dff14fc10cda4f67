/* SPDX-License-Identifier: MIT
 * A model whose projections are stored in few bits: with scales and a quantization_config that inference servers load,
 * or, of a GGUF model, in blocks that llama.cpp reads. */
#ifndef ORGAN_QUANTIZE_H
#define ORGAN_QUANTIZE_H

#include "orchestrator/surgery/allocate/allocate_options.h"
#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"
#include "orchestrator/surgery/along_text/calibration_text.h"

ORGAN_API_BEGIN

/* The names of schemes, separated by '|': those of safetensors models with one width, and all. */
#define ORGAN_CODE_SCHEMES                                                                                             \
    "fp8-block128|fp8-tensor|fp8-channel|int8-channel|int8-group128|int8-group64|int8-group32|int4-group128|"          \
    "int4-group64|int4-group32|int3-group128|int3-group64|int3-group32|int2-group128|int2-group64|int2-group32"
#define ORGAN_QUANTIZE_SCHEMES ORGAN_CODE_SCHEMES "|mixed|q4_0|q4_1|q5_0|q5_1|q8_0|q4_k|q5_k|q6_k"

typedef struct organ_quantize_options {
    const char *model;
    const char *scheme;  /* of ORGAN_QUANTIZE_SCHEMES; "mixed": each target gets the width that `allocate` chooses; GGUF
                            models take those that begin with q */
    const char *targets; /* as organ_targets_select takes them; NULL: the projections, and of GGUF the embeddings and
                            the output head */
    const char *imatrix; /* of GGUF models: an importance matrix that weighs what columns lose; NULL: all alike, with
                            gptq by the text */
    organ_write_options write;
    const char *method; /* "nearest" (NULL is that) or "gptq", which goes by a text: */
    organ_calibration_text calibration;
    bool all_experts; /* calibrate every expert on all tokens of its layer, not only on those that the router sends to
                         it */
    bool no_resolve;  /* gptq: scales and codes stay as GPTQ has them */
    organ_allocate_options allocate; /* of mixed widths, which have no way */
    bool one_width;                  /* then what servers hold as one matrix gets one width */
} organ_quantize_options;

/* Writes the model anew with the targets quantised by the greatest magnitude of each block, channel, group or tensor,
 * to the nearest code; with gptq each code makes up for what those before it lose on the inputs that a text makes,
 * layer by layer, behind what is quantised already, then scales and codes are solved for again; all other tensors keep
 * their type and bytes. A target whose rows are not whole groups gets groups of 64 or 32 columns. All routed experts
 * get one scheme; if no group fits them, the model is rejected. Other targets that the scheme cannot represent (stacks
 * of experts, rows that are not whole groups of 32, types other than BF16, F16 and F32) stay unchanged, and the report
 * lists them. For a GGUF model organ searches for the scales, weighted by the imatrix if there is one (with gptq those
 * of embeddings and head too), and writes one file. The report contains the quantisation error of each target. For
 * mixed widths organ first measures on the text the cost of each target at 2 and 4 bits and derives the cost of other
 * widths, also in a dry run; a continued run measures again unless `allocate.file` has the curves. A target may stay
 * unchanged, and all routed experts get one width. *report is schema organ.quantize/1 and lies with a
 * QUANTIZE_REPORT.md in the output's organ/ folder; the caller releases it; NULL on error. A run that ends with
 * ORGAN_INTERRUPTED or ORGAN_IO after some of the tensors leaves them in .NAME.organ- partial, and `resume` continues
 * it to the same bytes; after another error nothing is left of the output. Errors: ORGAN_USAGE (also for a model that
 * is quantised already, or of the other format), ORGAN_BAD_INPUT (model or imatrix is malformed or was changed, no
 * group divides the width of the routed experts, the imatrix has no entry for a target, or a target has values that are
 * NaN or infinite), ORGAN_IO, ORGAN_INTERRUPTED. With gptq also the errors of organ_along_open and organ_along_run, and
 * a continued run must have the same --memory. With `evaluate` also the errors of organ_perplexity, before any output
 * is written if organ can detect them then; after a later error the finished output stays, and *report is set and
 * contains the reason why it has no score. */
organ_status organ_quantize_model(const organ_quantize_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
