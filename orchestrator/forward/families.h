/* SPDX-License-Identifier: MIT
 * Internals of config.h: the supported architectures and the properties that their code in transformers fixes. */
#ifndef ORGAN_FORWARD_FAMILIES_H
#define ORGAN_FORWARD_FAMILIES_H

#include "orchestrator/forward/config.h"

#define FORWARD_MOST_LAYERS (1u << 14)

/* Tensors of GGUF files that contain the divisors of frequencies. */
#define ORGAN_ROPE_SHORT "rope_factors_short.weight"
#define ORGAN_ROPE_LONG  "rope_factors_long.weight"

typedef enum forward_trait {
    TRAIT_QKV_BIAS = 1,   /* q, k and v always have biases */
    TRAIT_BIAS_FIELD = 2, /* attention_bias gives q, k, v and o biases */
    TRAIT_MLP_BIAS = 4,   /* mlp_bias gives the feed-forward biases */
    TRAIT_QK_NORM = 8,    /* a norm for each head of q and k */
    /* norms before and after both halves of a layer, with 1 + w; scaled embeddings, tied output */
    TRAIT_GEMMA = 16,
    TRAIT_SOFTCAPS = 32,   /* final and attention */
    TRAIT_WINDOW_ALL = 64, /* sliding_window applies to every layer */
    TRAIT_WINDOW_FLAG = 128 /* only with use_sliding_window, and from max_window_layers on */,
    TRAIT_LOCAL_ROPE = 256, /* layers with a window have their own rotation */
    TRAIT_MIXTRAL = 512,    /* experts with renormalised factors */
    TRAIT_QWEN_EXPERTS = 1024,
    TRAIT_SHARED_EXPERT = 2048, /* in addition, one expert for all tokens, with a gate */
    TRAIT_LOGISTIC_EXPERTS =
        4096, /* logistic router with a correction, in groups; a shared expert without a gate; dense first layers */
    TRAIT_QKV_BIAS_FIELD = 8192,    /* attention_bias gives q, k and v biases */
    TRAIT_QK_NORM_FIELD = 16384,    /* use_qk_norm gives each head of q and k a norm */
    TRAIT_HALF_ROPE = 32768,        /* half of a head is rotated by default */
    TRAIT_WINDOW_FROM = 131072,     /* sliding_window from max_window_layers on, without a flag */
    TRAIT_NORM_AS_ATTENDED = 65536, /* GGUF: the norm before the feed-forward is named post_attention_norm */
    TRAIT_POST_NORMS = 1 << 18,     /* norms only after attention and feed-forward */
    TRAIT_QK_NORM_ALL = 1 << 19,    /* a norm over all heads of q together, and of k */
    TRAIT_NO_ROPE_LIST = 1 << 20,   /* no_rope_layers, or every no_rope_layer_interval-th layer has no positions */
    TRAIT_NO_ROPE_FULL = 1 << 21,   /* layers without a window have no positions, if other layers have a window */
    TRAIT_MULTIPLIERS = 1 << 22,    /* of embeddings, scores, residuals and logits (Granite) */
    TRAIT_LAYER_TYPES = 1 << 23,    /* layer_types gives layers the window, else the family's pattern */
    TRAIT_PLAIN_LOCAL = 1 << 24,    /* layers with a window rotate without the scaling of the others */
    TRAIT_INTERLEAVED = 1 << 25,    /* rotation pairs neighbours, in safetensors too */
    TRAIT_OUT_BIAS_FIELD = 1 << 26, /* attention_out_bias gives o a bias */
    TRAIT_USE_BIAS = 1 << 27,       /* use_bias gives every linear layer a bias; tied output by default (ERNIE 4.5) */
    TRAIT_GEMMA_ONE = 1 << 28,      /* 1 + w in norms, scaled embeddings, tied output, GELU; norms before only */
} forward_trait;

typedef struct forward_family {
    const char *architecture; /* name in config.json */
    const char *gguf;         /* general.architecture; NULL: none of its own */
    unsigned traits;
    unsigned head_dim; /* default if the config has none; 0: hidden_size / num_attention_heads */
    double theta;      /* default if the config has none */
    /* every window_pattern-th layer has no window; 0: windows do not depend on the number */
    unsigned window_pattern;
} forward_family;

/* Returns the family of an architecture, or NULL if it is unknown. */
const forward_family *organ_forward_family_named(const char *architecture, bool gguf);

/* Fails with ORGAN_BAD_INPUT; the message lists the architectures that are supported in this format. `label` names the
 * file. */
organ_status organ_forward_family_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

/* Last step of both readers: checks that sizes are consistent. `label` is the name of the file in messages. */
organ_status organ_forward_config_check(const char *label, organ_forward_config *config, organ_error *error);

/* Configures a logistic router with `shared` experts, each as wide as a routed one, that process every token. */
void organ_forward_config_logistic(organ_forward_config *config, unsigned shared);

/* Allocates config->windowed and fills it by the pattern of the family. Returns false if there is no memory. */
bool organ_forward_config_pattern(organ_forward_config *config, unsigned pattern);

organ_status organ_forward_config_hf(const organ_model *model, organ_forward_config *config, organ_error *error);
organ_status organ_forward_config_gguf(const organ_model *model, organ_forward_config *config, organ_error *error);

#endif
