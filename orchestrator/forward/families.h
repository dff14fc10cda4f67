/* SPDX-License-Identifier: MIT
 * Inside of config.h: the architectures that are known, and what their code in transformers takes for granted. */
#ifndef ORGAN_FORWARD_FAMILIES_H
#define ORGAN_FORWARD_FAMILIES_H

#include "orchestrator/forward/config.h"

#define FORWARD_MOST_LAYERS (1u << 14)

/* Tensors of GGUF files that have what frequencies are divided by. */
#define ORGAN_ROPE_SHORT "rope_factors_short.weight"
#define ORGAN_ROPE_LONG  "rope_factors_long.weight"

typedef enum forward_trait {
    TRAIT_QKV_BIAS = 1,    /* q, k and v have biases, whatever the config says */
    TRAIT_BIAS_FIELD = 2,  /* attention_bias gives q, k, v and o one */
    TRAIT_MLP_BIAS = 4,    /* mlp_bias */
    TRAIT_QK_NORM = 8,     /* a norm for each head of q and k */
    TRAIT_GEMMA = 16,      /* norms around both halves of a layer and 1 + w in them, scaled embeddings, tied output */
    TRAIT_SOFTCAPS = 32,   /* final and attention */
    TRAIT_WINDOW_ALL = 64, /* sliding_window holds for every layer */
    TRAIT_WINDOW_FLAG = 128 /* only with use_sliding_window, and from max_window_layers on */,
    TRAIT_LOCAL_ROPE = 256, /* layers with a window have a rotation of their own */
    TRAIT_MIXTRAL = 512,    /* experts, renormalised */
    TRAIT_QWEN_EXPERTS = 1024,
    TRAIT_SHARED_EXPERT = 2048, /* beside them one for all tokens, with a gate of its own */
    TRAIT_LOGISTIC_EXPERTS =
        4096, /* by a logistic router with a correction, in groups; the shared one has no gate, the first layers none */
    TRAIT_QKV_BIAS_FIELD = 8192,    /* attention_bias gives q, k and v one */
    TRAIT_QK_NORM_FIELD = 16384,    /* use_qk_norm gives each head of q and k a norm */
    TRAIT_HALF_ROPE = 32768,        /* half of a head is rotated, where the config says nothing */
    TRAIT_WINDOW_FROM = 131072,     /* sliding_window from max_window_layers on, without a flag */
    TRAIT_NORM_AS_ATTENDED = 65536, /* GGUF: the norm before the feed-forward is called post_attention_norm */
} forward_trait;

typedef struct forward_family {
    const char *architecture; /* of config.json */
    const char *gguf;         /* general.architecture; NULL: none of its own */
    unsigned traits;
    unsigned head_dim;       /* where the config has none; 0: hidden_size / num_attention_heads */
    double theta;            /* where the config has none */
    unsigned window_pattern; /* every so many-th layer is without a window; 0: none is by position */
} forward_family;

/* NULL if it is not known. */
const forward_family *organ_forward_family_named(const char *architecture, bool gguf);

/* Fails with ORGAN_BAD_INPUT; the message lists the architectures that are supported in this format. `label` names the
 * file. */
organ_status organ_forward_family_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

/* What both readers end with: sizes that must fit each other. `label` names the file. */
organ_status organ_forward_config_check(const char *label, organ_forward_config *config, organ_error *error);

/* The router is a logistic one, and `shared` experts that are as wide as a routed one work on every token. */
void organ_forward_config_logistic(organ_forward_config *config, unsigned shared);

/* Makes config->windowed by the pattern of the family. False without memory. */
bool organ_forward_config_pattern(organ_forward_config *config, unsigned pattern);

organ_status organ_forward_config_hf(const organ_model *model, organ_forward_config *config, organ_error *error);
organ_status organ_forward_config_gguf(const organ_model *model, organ_forward_config *config, organ_error *error);

#endif
