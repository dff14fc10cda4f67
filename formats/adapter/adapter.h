/* SPDX-License-Identifier: MIT
 * LoRA adapters. organ_adapter_open opens a directory of peft (adapter_config.json and adapter_model.safetensors) or
 * a GGUF file of llama.cpp, and returns pairs of factors, each with its module, rank and scale, and the tensors that
 * are not factors. */
#ifndef ORGAN_ADAPTER_H
#define ORGAN_ADAPTER_H

#include "formats/base/api.h"
#include "formats/model/model.h"

#include <jansson.h>

ORGAN_API_BEGIN

#define ORGAN_ADAPTER_CONFIG  "adapter_config.json"
#define ORGAN_ADAPTER_WEIGHTS "adapter_model.safetensors"
#define ORGAN_ADAPTER_GGUF    "adapter_model.gguf"

/* Shapes of the tensors in which a file stores the factors A and B of a pair, [rows][columns]. */
typedef enum organ_adapter_layout {
    ORGAN_FACTORS_PLAIN,     /* A is [rank][in_features], B [out_features][rank]; stacks have experts as first axis */
    ORGAN_FACTORS_PARAMETER, /* peft's ParamWrapper: A is [experts * rank][in_features], the `rank` rows from e * rank
                              * on belong to expert e; B is [out_features][rank * experts], column k * experts + e is
                              * column k of expert e */
    ORGAN_FACTORS_TURNED     /* embeddings of GGUF: A is [in_features][rank] */
} organ_adapter_layout;

struct organ_adapter_pair;

/* How the factors of a pair are made from the stored factors of other pairs. Set for adapters that were translated from
 * the names of peft to those of GGUF or back. */
typedef struct organ_adapter_origin {
    const struct organ_adapter_pair **pairs; /* `count` stored pairs: one, or one for each expert (NULL: zeros) */
    size_t count;
    int64_t expert;       /* the expert of a stored stack to use; -1: all */
    uint64_t first, step; /* row k of B is row first + k * step of the stored B */
    uint64_t head; /* number of rows of B in an attention head, which are reordered as `halves` states before first and
                      step apply; 0: not reordered */
    bool halves; /* rows of a head are taken in this order: true: 0, 2, ..., 1, 3, ...; false: 0, head / 2, 1, head / 2
                  * + 1, ... */
} organ_adapter_origin;

/* A pair of factors: the weight of `module` becomes W + scale B A. For a stack of experts, A and B contain one
 * factor for each expert. */
typedef struct organ_adapter_pair {
    const char *module;    /* name in the model, without ".weight": "model.layers.0.self_attn.q_proj" */
    const organ_tensor *a; /* factor A; `layout` states the shapes of a and b */
    const organ_tensor *b; /* factor B */
    uint64_t rank, in_features, out_features; /* of A and B of one matrix */
    double scale;   /* alpha / r, or alpha / sqrt(r) with use_rslora; a matching entry of rank_pattern or alpha_pattern
                       replaces r or alpha */
    bool embedding; /* lora_embedding_A and _B of peft, or token_embd of GGUF: A is [rank][vocabulary] in peft */
    organ_anatomy anatomy; /* layer, role and other properties that the name `weight` states */
    const char *weight; /* name of the base's tensor that is changed: "MODULE.weight", or `module` itself if that is a
                           parameter */
    uint64_t experts;   /* number of matrices of the weight; 1 if it is no stack */
    organ_adapter_layout layout;
    const organ_adapter_origin *origin; /* NULL if a and b are the stored factors */
} organ_adapter_pair;

/* A LoRA adapter that organ_adapter_open read: a directory of PEFT or a GGUF file of llama.cpp. */
typedef struct organ_adapter {
    const char *path;         /* path of the directory, or of a GGUF file that the caller named */
    const organ_model *model; /* the tensors of adapter_model.safetensors or of the GGUF file */
    json_t *config;           /* adapter_config.json, unchanged; an empty object for GGUF; the adapter owns it */
    int64_t r;                /* rank of modules that no rank_pattern matches; of GGUF the largest rank */
    double alpha;             /* lora_alpha; of GGUF adapter.lora.alpha */
    bool rslora, dora;        /* use_rslora, use_dora */
    bool fan_in_fan_out; /* the base stores weights as in_features x out_features (Conv1D of GPT-2); the factors are for
                            out_features x in_features */
    const char *base;    /* base_model_name_or_path, "" if null */
    size_t pair_count;
    const organ_adapter_pair *pairs; /* in the order of their modules' layers and names */
    size_t rest_count;
    const organ_tensor *const *rest; /* `rest_count` tensors that are no factors: modules_to_save, biases, magnitude
                                      * vectors, unknown tensors */
    bool gguf;                       /* a GGUF file: names are those of llama.cpp */
    const char *architecture;        /* general.architecture of the GGUF file; else "" */
} organ_adapter;

/* Opens the adapter at `path`: a directory of peft (or its adapter_model.safetensors), or a GGUF file (or a directory
 * with adapter_model.gguf). Reads headers and config, but no values of tensors. In names of peft, the prefix
 * "base_model.model." and the ".default" after lora_A and lora_B are optional. rank_pattern and alpha_pattern are
 * matched as in peft: the first pattern in the order of the file applies. A GGUF file must have general.type "adapter"
 * and adapter.type "lora"; r is the largest rank, and the scale of a pair is adapter.lora.alpha / rank, or 1 if alpha
 * is 0.
 *
 * Returns ORGAN_BAD_INPUT, naming file, field and values, for
 *   - a path that is not an adapter, a malformed file, or a member of the config with a wrong type;
 *   - no "peft_type": "LORA", r not from 1 to INT32_MAX, lora_alpha missing, alpha not a finite number;
 *   - a pattern that is no regular expression, or patterns that take too long to be matched;
 *   - an option with which a weight does not become W + scale B A;
 *   - A without B, B without A, or two tensors for one of them;
 *   - ranks of A and B that differ from each other or from the config;
 *   - factors that are not F32, F16, BF16 or F64 matrices;
 *   - no tensor at all.
 * Returns ORGAN_USAGE for a URL, ORGAN_IO if a file cannot be read. *adapter is NULL on error. */
organ_status organ_adapter_open(const char *path, organ_adapter **adapter, organ_error *error);
void organ_adapter_close(organ_adapter *adapter); /* NULL is allowed */

/* Returns the pair of a module, or NULL, in constant time. */
const organ_adapter_pair *organ_adapter_find(const organ_adapter *adapter, const char *module);

ORGAN_API_END

#endif
