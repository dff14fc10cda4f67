/* SPDX-License-Identifier: MIT
 * What the forward pass must know of a model, from config.json or from the metadata of a GGUF file. */
#ifndef ORGAN_FORWARD_CONFIG_H
#define ORGAN_FORWARD_CONFIG_H

#include "formats/base/api.h"
#include "formats/model/model.h"

ORGAN_API_BEGIN

/* of the gate: silu, GELU by its approximation with tanh, GELU with erf */
typedef enum organ_activation { ORGAN_SILU, ORGAN_GELU_TANH, ORGAN_GELU } organ_activation;
typedef enum organ_rope {
    ORGAN_ROPE_DEFAULT,
    ORGAN_ROPE_LINEAR,
    ORGAN_ROPE_LLAMA3,
    ORGAN_ROPE_YARN,
    ORGAN_ROPE_DYNAMIC, /* beyond the original context the base grows with the length of the window */
    ORGAN_ROPE_LONGROPE /* beyond it frequencies are divided by other factors than up to it */
} organ_rope;

typedef struct organ_rope_config {
    organ_rope kind;
    double theta, factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow, attention_factor;
    uint64_t original_context; /* original_max_position_embeddings; dynamic: max_position_embeddings */
    unsigned dimensions;       /* of a head that are turned: head_dim, or less with partial_rotary_factor */
    bool exact_range; /* yarn: the bounds of its ramp are not rounded to whole dimensions ("truncate": false) */
    /* longrope: dimensions / 2 each, of the configuration; NULL in a GGUF file, where they are tensors */
    const float *short_factors, *long_factors;
} organ_rope_config;

/* The most groups of experts; DeepSeek-V3 has 8. */
#define ORGAN_ROUTER_GROUPS 64

typedef struct organ_forward_config {
    char architecture[96];
    unsigned layers, heads, kv_heads, head_dim;
    uint64_t hidden, intermediate, vocabulary, context; /* context: max_position_embeddings */
    double rms_eps, attention_scale, embedding_scale;   /* scale of scores: usually 1 / sqrt(head_dim) */
    double attention_softcap, final_softcap;            /* 0: none */
    organ_activation activation;
    organ_rope_config rope,
        rope_local;       /* rope_local: of layers with a sliding window where they have their own (Gemma 3) */
    unsigned window;      /* sliding window in tokens, 0: none */
    const bool *windowed; /* per layer; NULL: none is */
    bool qk_norm, norm_adds_one, sandwich_norms, tied_output;
    bool qkv_bias, output_bias, mlp_bias; /* which linear layers have one; of a GGUF file: as its tensors say */
    bool rope_interleaved; /* rows of Q and K as llama.cpp orders them in GGUF files of the llama kind: undone when
                              loaded */
    unsigned experts, experts_used; /* 0: dense */
    uint64_t expert_intermediate;
    bool normalise_experts;
    unsigned shared_intermediate; /* of the expert that works on every token beside those; 0: there is none */
    bool shared_gated;            /* it is taken times a logistic of the token, else as it is */
    unsigned dense_layers;        /* the first ones, which have a feed-forward of `intermediate` and no experts */
    /* Each value by itself becomes 1 / (1 + e^-x), instead of the softmax of all; experts are chosen by that and a
     * correction of each, which is no part of what they are taken times. */
    bool logistic_router;
    unsigned router_groups,
        router_groups_used; /* experts in so many groups, of which so many are chosen from; below 2: there are none */
    float router_scale;     /* what all are taken times; 0: nothing */
} organ_forward_config;

/* Reads it: from the key-values if the model has them, else from config.json. ORGAN_BAD_INPUT, naming architecture or
 * field, for what is not known or cannot be. The caller releases *config. */
organ_status organ_forward_config_read(const organ_model *model, organ_forward_config *config, organ_error *error);
void organ_forward_config_release(organ_forward_config *config);

ORGAN_API_END

#endif
