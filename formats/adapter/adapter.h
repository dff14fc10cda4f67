/* SPDX-License-Identifier: MIT
 * LoRA adapters in the format of peft: opens a directory with adapter_config.json and adapter_model.safetensors, and
 * returns pairs of factors, each with its module, rank and scale, and the tensors that are not factors. */
#ifndef ORGAN_ADAPTER_H
#define ORGAN_ADAPTER_H

#include "formats/base/api.h"
#include "formats/model/model.h"

#include <jansson.h>

ORGAN_API_BEGIN

#define ORGAN_ADAPTER_CONFIG  "adapter_config.json"
#define ORGAN_ADAPTER_WEIGHTS "adapter_model.safetensors"

/* A pair of factors: the weight of `module` becomes W + scale B A. */
typedef struct organ_adapter_pair {
    const char *module;    /* name in the model, without ".weight": "model.layers.0.self_attn.q_proj" */
    const organ_tensor *a; /* rank x in_features */
    const organ_tensor *b; /* out_features x rank */
    uint64_t rank, in_features, out_features;
    double
        scale; /* alpha / r, or alpha / sqrt(r) with use_rslora; per module if rank_pattern or alpha_pattern match it */
    bool embedding;        /* lora_embedding_A and _B: A is rank x vocabulary */
    organ_anatomy anatomy; /* anatomy of the weight, MODULE.weight */
} organ_adapter_pair;

typedef struct organ_adapter {
    const char *path;         /* the caller's path of the directory */
    const organ_model *model; /* the tensors of adapter_model.safetensors */
    json_t *config;           /* adapter_config.json, unchanged; owned */
    int64_t r;
    double alpha;
    bool rslora, dora;
    bool fan_in_fan_out; /* the base stores weights as in_features x out_features (Conv1D of GPT-2); the factors are
                            those of the plain form */
    const char *base;    /* base_model_name_or_path, "" if null */
    size_t pair_count;
    const organ_adapter_pair *pairs; /* in the order of their modules' layers and names */
    size_t rest_count;
    const organ_tensor *const
        *rest; /* tensors outside of pairs: modules_to_save, biases, magnitude vectors, unknown ones */
} organ_adapter;

/* Opens the directory (or its adapter_model.safetensors). ORGAN_BAD_INPUT, naming file, field and values, for: no
 * "peft_type": "LORA", r of 0 or less, lora_alpha missing or not a number, a method beyond W + scale B A, A without B
 * or B without A, ranks of A and B that differ from each other or from the config, factors that are not F32, F16, BF16
 * or F64 matrices, no tensor at all. The prefix "base_model.model." and ".default" after lora_A and lora_B are
 * optional. Patterns are matched as in peft: the first in the order of the file applies. Reads no values. ORGAN_IO.
 * *adapter is NULL on error. */
organ_status organ_adapter_open(const char *path, organ_adapter **adapter, organ_error *error);
void organ_adapter_close(organ_adapter *adapter); /* NULL is allowed */

/* Returns the pair of a module, or NULL, in constant time. */
const organ_adapter_pair *organ_adapter_find(const organ_adapter *adapter, const char *module);

ORGAN_API_END

#endif
