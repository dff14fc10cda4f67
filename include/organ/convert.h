/* SPDX-License-Identifier: MIT
 * Conversion of a model between safetensors, as transformers loads it, and GGUF, as llama.cpp loads it. */
#ifndef ORGAN_API_CONVERT_H
#define ORGAN_API_CONVERT_H

#include <organ/base.h>
#include <organ/options.h>

ORGAN_API_BEGIN

/* The values of `type`, separated by '|': the type of the output's matrices. "same": F16 or F32 if the first matrix of
 * the model has this type, else BF16. "codes": like "same", but quantised tensors keep their codes and scales if the
 * other format can store them. */
#define ORGAN_CONVERT_TYPES "same|codes|bf16|f16|f32|q8_0|q4_0|q4_1|q5_0|q5_1|q4_k|q5_k|q6_k"

/* The values of `format`. */
#define ORGAN_CONVERT_FORMATS "compressed-tensors|gptq|awq"

/* The values of `mtp`. */
#define ORGAN_CONVERT_BLOCKS "keep|only|none"

/* The values of `mmproj` to GGUF, and those of `mmproj_type`. */
#define ORGAN_CONVERT_TOWERS      "keep|only|none"
#define ORGAN_CONVERT_TOWER_TYPES "f16|bf16|f32|q8_0"

/* The options of `organ convert`. */
typedef struct organ_convert_options {
    size_t size; /* see ORGAN_DEFAULTS */
    const char *model;
    const char *to;   /* "gguf" or "safetensors" */
    const char *type; /* one of ORGAN_CONVERT_TYPES; for safetensors "same", "codes", "bf16", "f16" or "f32" */
    const char *pre;  /* for GGUF: the value of tokenizer.ggml.pre, which names the rules that split a text; a text that
                         gets other ids is then a note, not an error; NULL: derived from the tokenizer */
    organ_write_options write;
    /* to safetensors: one of ORGAN_CONVERT_FORMATS, the format of a quantised model that becomes another of them with
     * the same codes; NULL: the model is GGUF. `type` is then "same" or "codes" */
    const char *format;
    /* one of ORGAN_CONVERT_BLOCKS: whether the output has the model's blocks for multi-token prediction (MTP).
     * "keep": it has; an error if the other format or its programs lack them. "none": it has not. "only": it has only
     * the blocks; to GGUF also embedding, final norm and head, for llama.cpp to load next to a model without blocks.
     * NULL: to GGUF
     * "keep" if llama.cpp runs the blocks, else "none" with a note; to safetensors "keep" */
    const char *mtp;
    /* Vision and audio towers. To GGUF one of ORGAN_CONVERT_TOWERS: "keep" also writes them as a file mmproj-NAME.gguf
     * next to the text model NAME.gguf, "only" writes them alone to the output, "none" leaves them out. NULL: "keep",
     * but "none" with a note for towers that organ has no rules for. To safetensors the path of an mmproj, whose towers
     * become part of the model; it needs `config`. */
    const char *mmproj;
    const char *mmproj_type; /* to GGUF: type of the towers' matrices, one of ORGAN_CONVERT_TOWER_TYPES; NULL: "f16" */
    /* to safetensors with an mmproj: path of the config.json of the model from which both GGUF files were made; it
     * becomes the output's, with the type of the output. Files of the preprocessor next to it are copied */
    const char *config;
} organ_convert_options;
ORGAN_DEFAULTS(convert, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.type = "same")

/* Writes the model in the other format: tensors with the names, shapes and order of rows that the format's programs
 * expect, the configuration and the tokenizer. Values that the type cannot represent are rounded once, to nearest even.
 * Norms, biases, routers and other small tensors of a GGUF file are F32, as llama.cpp's converter writes them; matrices
 * whose rows are not whole blocks of the type become F16.
 *
 * With `format`, a model of AWQ, GPTQ or compressed-tensors becomes one of these formats with the same codes, scales
 * and zero points, and all other tensors are copied.
 *
 * A GGUF output is one file; a safetensors output is a directory with config.json, tokenizer.json,
 * tokenizer_config.json and shards. *report is schema organ.convert/1, or NULL on error; the caller releases it. It is
 * also written next to the file, or into organ/ of the directory. Partial outputs and `resume` follow the rules of
 * organ_quantize.
 *
 * Returns
 * - ORGAN_USAGE if options are invalid or the model has the format already;
 * - ORGAN_BAD_INPUT if the architecture, a tensor or the tokenizer is unknown or has no form in the other format (some
 * text would get other ids; a weight that `format` cannot express), if a tensor is missing, if the model changed during
 * the run, or if the first or the last layer of the output gives other results than that of the model;
 * - ORGAN_IO or ORGAN_INTERRUPTED;
 * - with `evaluate` also the errors of organ_perplexity. */
organ_status organ_convert(const organ_convert_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
