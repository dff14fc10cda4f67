/* SPDX-License-Identifier: MIT
 * Stores the weights of a model in few bits, and unpacks such weights. */
#ifndef ORGAN_API_QUANTIZE_H
#define ORGAN_API_QUANTIZE_H

#include <organ/base.h>
#include <organ/options.h>
#include <organ/schemes.h>

ORGAN_API_BEGIN

/* ---- quantize: writes a model whose projections are stored in few bits ---- */

/* Safetensors models get scales and a quantization_config that inference servers load; GGUF models get blocks that
 * llama.cpp reads. */

/* With method "gptq", and scheme "mixed", which measures with it. */
typedef struct organ_quantize_gptq_options {
    bool all_experts; /* calibrate every expert on all tokens of its layer, not only on those that the router sends to
                         it */
    bool no_refit;    /* keep the scales and codes that GPTQ chooses, without refitting them */
    /* Second moments of the inputs, "whole" (also NULL), or "blocks" of 256 inputs, which need less memory */
    const char *moments;
    /* Also write an adapter (LoRA) of this rank that corrects the outputs of the quantised matrices, to the directory
     * write.output with "-adapter" in place of ".gguf" or at its end; codes and factors are chosen together. 0: none */
    unsigned repair_rank;
} organ_quantize_gptq_options;

/* For outputs in GGUF. */
typedef struct organ_quantize_gguf_options {
    /* File of an importance matrix, which weighs the errors of columns; NULL: equal weights, or with gptq those of the
     * calibration text. */
    const char *imatrix;
    /* Types of single matrices, "GLOB=TYPE,GLOB=TYPE": a word as in `targets`, and a GGUF scheme, f16, bf16, f32 or
     * "keep" for an unchanged tensor. The first match applies. NULL: none */
    const char *type_of;
    /* For scheme "mixed": bytes that the file may have ("12GB"), or several sizes, separated by commas; NULL:
     * `allocate.budget` limits the bytes of the tensors. */
    const char *target_size;
    const char *types; /* for scheme "mixed": comma-separated types that tensors may get; NULL: all */
} organ_quantize_gguf_options;

/* How servers quantise activations, for compressed-tensors. */
typedef struct organ_quantize_activation_options {
    /* nvfp4 and mxfp4: like weights. For nvfp4 each matrix gets the scale of its inputs, from their greatest magnitude
     * on `calibration`, which method "nearest" needs then too. */
    bool like_weights;
    /* "int8" or "fp8" (NULL: as the scheme declares), with scales that are "dynamic" (also NULL: computed at run time)
     * or "static": one for each matrix, measured on `calibration`. */
    const char *type, *scale;
    /* Of static scales: "extremes" (also NULL), from the greatest magnitude, or "mse", the scale with the least squared
     * error of the rounded inputs. */
    const char *observer;
} organ_quantize_activation_options;

/* First scales channels so that the inputs of matrices have fewer outliers, without a change of the model's function.
 */
typedef struct organ_quantize_smooth_options {
    /* 0.01 .. 1: with 1 the inputs are levelled, which are measured on `calibration`, with less also the weights.
     * ORGAN_SMOOTH_AUTO: the factors have the least predicted error of the outputs of the matrices with the codes of
     * `scheme`; with scheme "none", of int8-channel. 0: no channel is scaled. Scheme "none" writes the scaled model. */
    double alpha;
    const char *factors; /* "exact" (also NULL), powers of two with which no value is rounded, or "any" */
} organ_quantize_smooth_options;

/* Options of organ quantize. */
typedef struct organ_quantize_options {
    size_t size;       /* see ORGAN_DEFAULTS */
    const char *model; /* path of the model */
    /* One of ORGAN_QUANTIZE_SCHEMES or ORGAN_QUANTIZE_RECIPES. "mixed": each target gets the width that `allocate`
     * chooses. GGUF models accept recipes and the names that begin with q or iq. All names are accepted in any case,
     * and those of recipes without "recipe:" if no scheme has the name ("Q4_K_M"). */
    const char *scheme;
    /* Comma-separated globs on names of matrices; NULL: the projections, and for GGUF also embeddings and output head.
     */
    const char *targets;
    /* "mlx": a model for mlx-lm, in a directory, with the schemes int2 to int8 in groups, mxfp4, mxfp8 and nvfp4; NULL:
     * GGUF if the output ends in .gguf, else compressed-tensors */
    const char *format;
    /* The block for multi-token prediction (MTP): "keep": unquantised; "same": its projections have `scheme`; else the
     * name of a scheme for the same kind of output, for GGUF also f16, bf16 or f32. NULL: for GGUF "same", else "keep",
     * but for what `targets` names. */
    const char *mtp_scheme;
    /* Programs that must open the output, names of ORGAN_READERS separated by commas. NULL: none is asked for */
    const char *readers;
    organ_write_options write;
    const char *method;                 /* "nearest" (also NULL), or "gptq", which needs `calibration` */
    organ_calibration_text calibration; /* for gptq and what is measured: text, number and length of its windows,
                                           scratch directory */
    organ_quantize_gptq_options gptq;
    organ_quantize_gguf_options gguf;
    organ_allocate_options allocate; /* for scheme "mixed"; `allocate.way` is not used */
    /* For scheme "mixed": q, k and v of a layer get the same width, and so do gate and up, because servers fuse them
     * into one matrix. */
    bool one_width;
    organ_quantize_activation_options activations;
    organ_quantize_smooth_options smooth;
    /* For compressed-tensors: scales of a KV cache in FP8, measured on `calibration`: "tensor": one for the keys and
     * one for the values of a layer; "head": one for each head of keys; NULL: none */
    const char *kv_cache;
} organ_quantize_options;
#define ORGAN_QUANTIZE_SMOOTHS 0.01, 1.0
#define ORGAN_SMOOTH_AUTO      (-1.0)
ORGAN_DEFAULTS(quantize, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.calibration.samples = ORGAN_SAMPLES_DEFAULT;
               o.calibration.context = ORGAN_CONTEXT_DEFAULT)

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
 * An embedding that `targets` names and that vLLM does not look up in the scheme is an error (docs/servers.md).
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
 *   - with gptq also the errors of reading and running the calibration text;
 *   - with `evaluate` also the errors of organ_perplexity, before any output is written if organ can detect them then.
 *     After a later error the finished output stays, and *report is set and contains the reason for the missing
 *     score. */
organ_status organ_quantize(const organ_quantize_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error);

/* ---- dequantize: writes a model without packed tensors ---- */

/* The values that codes, scales and zero points represent become tensors of a plain type, under the names that the
 * plain model has. */

/* Options of organ dequantize. */
typedef struct organ_dequantize_options {
    size_t size;       /* see ORGAN_DEFAULTS */
    const char *model; /* path of the model */
    const char *dtype; /* type of the unpacked tensors: "bf16", "f16" or "f32" */
    organ_write_options write;
} organ_dequantize_options;
ORGAN_DEFAULTS(dequantize, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.dtype = "bf16")

/* Writes a copy of the model in which every packed weight is converted to `dtype`.
 *
 * Plain tensors keep their type and bytes. If the model has no packed tensors, the copy is only re-sharded, and a note
 * reports that. Packed tensors, their scales and zero points are removed from the shards, the index and config.json;
 * torch_dtype becomes `dtype` if a tensor was packed. quantize_config.json and similar files are left out; all other
 * files are copied. A GGUF model becomes one GGUF file. The report has the number of infinite and NaN values of each
 * converted weight.
 *
 * *report is schema organ.dequantize/1, or NULL on error; the caller releases it. It is also written with
 * DEQUANTIZE_REPORT.md to organ/ in the output folder, or next to a single output file under that file's name. A run
 * that ends with ORGAN_INTERRUPTED or ORGAN_IO after some of the tensors leaves them in .NAME.organ-partial, and
 * `resume` continues it to the same bytes.
 *
 * Returns
 *   - ORGAN_USAGE if options are invalid;
 *   - ORGAN_BAD_INPUT if the model is malformed, has an unsupported packing, or changed during the run, or if the
 *     first or the last layer of the output gives other results (not checked for a single safetensors file);
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested.
 * With `evaluate` also returns the errors of organ_perplexity, before the first write if they can be detected then.
 * After a later error of the evaluation the finished output stays, and *report is set and contains the reason. */
organ_status organ_dequantize(const organ_dequantize_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
