/* SPDX-License-Identifier: MIT
 * Quantisation: writes a model whose projections are stored in few bits. Safetensors models get scales and a
 * quantization_config that inference servers load; GGUF models get blocks that llama.cpp reads. */
#ifndef ORGAN_QUANTIZE_H
#define ORGAN_QUANTIZE_H

#include "orchestrator/surgery/allocate/allocate_options.h"
#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"
#include "orchestrator/surgery/calibration/calibration_text.h"

ORGAN_API_BEGIN

/* Names of schemes, separated by '|': those of safetensors models with one width for all targets, and all schemes. */
#define ORGAN_CODE_SCHEMES                                                                                             \
    "fp8-block128|fp8-tensor|fp8-channel|int8-channel|int8-group128|int8-group64|int8-group32|int4-group128|"          \
    "int4-group64|int4-group32|int3-group128|int3-group64|int3-group32|int2-group128|int2-group64|int2-group32"
#define ORGAN_QUANTIZE_SCHEMES ORGAN_CODE_SCHEMES "|mixed|q4_0|q4_1|q5_0|q5_1|q8_0|q4_k|q5_k|q6_k"

/* Options of organ quantize. */
typedef struct organ_quantize_options {
    const char *model;  /* path of the model */
    const char *scheme; /* one of ORGAN_QUANTIZE_SCHEMES. "mixed": each target gets the width that `allocate` chooses.
                         * GGUF models accept the names that begin with q */
    /* --targets, as in organ_targets_select; NULL: the projections, and for GGUF also embeddings and output head. */
    const char *targets;
    /* GGUF: file of an importance matrix, which weighs the errors of columns; NULL: equal weights, or with gptq those
     * of the calibration text. */
    const char *imatrix;
    organ_write_options write;
    const char *method;                 /* "nearest" (also NULL), or "gptq", which needs `calibration` */
    organ_calibration_text calibration; /* text, number and length of its windows, scratch directory; only for gptq */
    bool all_experts; /* calibrate every expert on all tokens of its layer, not only on those that the router sends to
                         it */
    bool no_resolve;  /* gptq: keep the scales and codes that GPTQ chooses, without refitting them */
    organ_allocate_options allocate; /* for scheme "mixed"; `allocate.way` is not used */
    /* For scheme "mixed": q, k and v of a layer get the same width, and so do gate and up, because servers fuse them
     * into one matrix. */
    bool one_width;
} organ_quantize_options;

/* Writes a copy of the model with quantised targets. All other tensors keep their type and bytes.
 *
 * Codes. Method "nearest" computes each scale from the greatest magnitude of its block, channel, group or tensor and
 * rounds to the nearest code. Method "gptq" quantises layer by layer, on the inputs that the already quantised layers
 * compute from a text: each code compensates the errors of the codes before it, then scales and codes are refitted. For
 * a GGUF model organ searches for the scales, weighted by the imatrix if there is one (with gptq also for embeddings
 * and head), and writes one file.
 *
 * Targets. A target whose rows are not whole groups gets groups of 64 or 32 columns. All routed experts get one scheme;
 * if no group size fits them, the model is rejected. Other targets that the scheme cannot represent (stacks of experts,
 * rows that are not whole groups of 32, types other than BF16, F16 and F32) stay unchanged, and the report lists them.
 *
 * Mixed widths. organ first measures on the text the cost of each target at 2 and 4 bits and derives the cost of other
 * widths, also in a dry run. A resumed run measures again unless `allocate.file` contains the costs. A target may stay
 * unchanged; all routed experts get one width.
 *
 * Report. *report is schema organ.quantize/1 with the quantisation error of each target, or NULL on error; the caller
 * releases it. It is also written with QUANTIZE_REPORT.md to organ/ in the output folder.
 *
 * A run that ends with ORGAN_INTERRUPTED or ORGAN_IO after some of the tensors leaves them in .NAME.organ-partial, and
 * `resume` continues it to the same bytes. After another error nothing of the output remains.
 *
 * Returns
 *   - ORGAN_USAGE if options are invalid, or the scheme is for models of the other format;
 *   - ORGAN_BAD_INPUT if model or imatrix is malformed or changed during the run, if the model is already quantised,
 *     if no group divides the width of the routed experts, if the imatrix has no entry for a target, or if a target
 *     has NaN or infinite values;
 *   - ORGAN_IO or ORGAN_INTERRUPTED;
 *   - with gptq also the errors of organ_calibration_run_open and organ_calibration_run_layers, and ORGAN_USAGE if a
 *     resumed run has another --memory;
 *   - with `evaluate` also the errors of organ_perplexity, before any output is written if organ can detect them then.
 *     After a later error the finished output stays, and *report is set and contains the reason for the missing
 *     score. */
organ_status organ_quantize_model(const organ_quantize_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
