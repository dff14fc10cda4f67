/* SPDX-License-Identifier: MIT
 * The tensors of a layer and their names. */
#ifndef ORGAN_LAYER_PARTS_H
#define ORGAN_LAYER_PARTS_H

#include "orchestrator/forward/config/config.h"

typedef enum forward_part {
    PART_NORM_ATTENTION,      /* before the attention */
    PART_NORM_POST_ATTENTION, /* of the attention's output: sandwich norms */
    PART_NORM_FFN,            /* before the feed-forward */
    PART_NORM_POST_FFN,
    PART_NORM_Q,
    PART_NORM_K,
    PART_NORM_Q_A, /* of latent vectors; this and the next parts are those of latent attention */
    PART_NORM_KV_A,
    PART_Q_A,
    PART_Q_B,
    PART_KV_A,
    PART_KV_B,
    PART_K_B, /* GGUF: the two matrices of kv_b_proj for each head, in stacks; that of keys is transposed */
    PART_V_B,
    PART_BIAS_Q_A,
    PART_BIAS_KV_A,
    PART_Q,
    PART_K,
    PART_V,
    PART_O,
    PART_GATE,
    PART_UP,
    PART_DOWN,
    PART_BIAS_Q,
    PART_BIAS_K,
    PART_BIAS_V,
    PART_BIAS_O,
    PART_BIAS_GATE,
    PART_BIAS_UP,
    PART_BIAS_DOWN,
    PART_ROUTER,
    PART_ROUTER_BIAS, /* the correction, which only the choice of experts adds */
    PART_BIAS_ROUTER, /* the bias of the router's linear layer */
    PART_SINKS,       /* a score for each head */
    PART_HEAD_GATE,   /* of the attention's output */
    PART_SHARED,      /* the gate of the shared expert: one row */
    PART_SHARED_GATE, /* and the two after it, in the order of PART_GATE, PART_UP, PART_DOWN */
    PART_SHARED_UP,
    PART_SHARED_DOWN,
    PART_BIAS_SHARED_GATE, /* and the two after it */
    PART_BIAS_SHARED_UP,
    PART_BIAS_SHARED_DOWN,
    PART_LATENT_IN, /* from hidden states to the inputs of routed experts, and back */
    PART_LATENT_OUT,
    PART_BIAS_LATENT_IN,
    PART_BIAS_LATENT_OUT,
    PART_BIAS_NORM_ATTENTION, /* and the five after it, in the order of the norms from PART_NORM_ATTENTION on */
    PART_BIAS_NORM_K = PART_BIAS_NORM_ATTENTION + (PART_NORM_K - PART_NORM_ATTENTION),
    PART_LAYER_SCALE,           /* one number */
    PART_NORM_POST_FFN_DENSE,   /* of a mixture in parallel with a dense feed-forward: of the dense output, */
    PART_NORM_EXPERTS,          /* before the experts, */
    PART_NORM_POST_FFN_EXPERTS, /* and of their output */
    PART_ROUTER_SCALE,          /* multiplies the router's input */
    PART_EXPERT_SCALE,          /* multiplies the factor of each expert */
    PART_PER_LAYER_GATE,
    PART_PER_LAYER_OUT,
    PART_NORM_PER_LAYER,
    PART_LAUREL_LEFT,
    PART_LAUREL_RIGHT,
    PART_NORM_LAUREL,
    PART_NORM_STREAMS, /* AltUp: before the router of streams */
    PART_STREAMS_ROUTER,
    PART_STREAMS_PREDICT,
    PART_STREAMS_CORRECT,
    PART_STREAMS_SCALE,
    PART_XIELU_P, /* alpha_p of xIELU; alpha_n, beta and eps follow */
    PART_XIELU_N,
    PART_XIELU_BETA,
    PART_XIELU_EPS,
    PART_NORM_GIVEN, /* before the output projection of the attention, and of a dense feed-forward */
    PART_NORM_INNER,
    PART_INDEX_Q, /* the indexer of sparse attention: queries, keys, the norm of keys, weights of heads */
    PART_INDEX_K,
    PART_NORM_INDEX,
    PART_BIAS_NORM_INDEX,
    PART_INDEX_WEIGHTS,
    PART_MIX_IN, /* recurrent mixers: all of the following projections in one, or q, k and v in one */
    PART_MIX_Q,
    PART_MIX_K,
    PART_MIX_V,
    PART_MIX_Z,  /* gate of the output */
    PART_MIX_BA, /* write strength and decay in one, */
    PART_MIX_B,  /* or each on its own */
    PART_MIX_A,
    PART_MIX_Z_LOW, /* where Z and A are products of two matrices, those that read the hidden state */
    PART_MIX_A_LOW,
    PART_MIX_OUT,
    PART_CONV,   /* kernels of the causal convolution, channels x width; of q, k and v in one, */
    PART_CONV_Q, /* or each on its own */
    PART_CONV_K,
    PART_CONV_V,
    PART_BIAS_CONV,
    PART_BIAS_MIX_IN,
    PART_BIAS_MIX_OUT,
    PART_SKIP,  /* D */
    PART_MIX_X, /* Mamba: the projections of x and of the time steps, */
    PART_MIX_STEP,
    PART_NORM_STEP, /* and the norms of the time steps' input, of B and of C */
    PART_NORM_STATE_B,
    PART_NORM_STATE_C,
    PART_A_LOG,
    PART_DT_BIAS,
    PART_NORM_MIXED, /* before the output projection */
    PART_COUNT,
    /* Names of tensors that contain several parts; plans have no view of them. */
    PART_QKV = PART_COUNT, /* q, k and v, one below the other; in safetensors, only families that name it have it */
    PART_GATE_UP,          /* gate and up, one below the other; only families that name it have it */
    PART_SHARED_GATE_UP,   /* the same of the shared expert */
    PART_EXPERTS_GATE_UP,  /* stacks, experts x rows x columns */
    PART_EXPERTS_GATE,
    PART_EXPERTS_UP,
    PART_EXPERTS_DOWN,
    PART_EXPERTS_BIAS_GATE_UP, /* experts x rows, in the order of the stacks */
    PART_EXPERTS_BIAS_GATE,
    PART_EXPERTS_BIAS_UP,
    PART_EXPERTS_BIAS_DOWN,
    PART_EXPERT_GATE, /* one expert; '#' in the name stands for its number */
    PART_EXPERT_UP,
    PART_EXPERT_DOWN,
    /* Outside of the layers. In safetensors all but the last one follow the prefix of the text model. */
    PART_EMBEDDING,
    PART_POSITIONS,       /* learned absolute positions */
    PART_NORM_EMBEDDING,  /* and its bias */
    PART_PER_LAYER_TABLE, /* per-layer embeddings of all layers: the table, the projection of embeddings, its norm */
    PART_PER_LAYER_MODEL,
    PART_NORM_PER_LAYER_MODEL,
    PART_FINAL_NORM,
    PART_STREAMS_MAKE, /* AltUp: a matrix for each stream after the first, before the first layer and after the last */
    PART_STREAMS_END,
    PART_OUTPUT, /* NULL: "lm_head.weight", or the name that organ_text_head finds */
    PART_NAMES
} forward_part;

/* A name of a part, without the prefix of the layer. */
typedef struct forward_name {
    forward_part part;
    const char *name;
} forward_name;

/* Returns name number `index` that a part may have, or NULL if there are no more: those of `own`, which ends with a
 * name that is NULL, and only if `own` has none, the name that most architectures use. `own` may be NULL. */
const char *organ_forward_part_name(const forward_name *own, forward_part part, bool gguf, unsigned index);

/* Writes the name of the bias of a weight: its own name with "bias" for the "weight" at the end. Returns `name`. */
const char *organ_forward_bias_name(const char *weight, char name[256]);

/* Writes the name of a part of one expert or head, whose number replaces the '#'. */
void organ_forward_number_name(const char *pattern, unsigned number, char name[128]);

/* A part and its shape; rows 0: a vector. */
typedef struct forward_shape {
    forward_part part;
    uint64_t rows, cols;
} forward_shape;
/* The same for a part of a mixer. `small`: few numbers, which are read as FP32 and may have dimensions of 1 in
 * addition; else a linear layer. */
typedef struct forward_mixer_part {
    forward_part part;
    bool small;
    uint64_t rows, cols;
} forward_mixer_part;
#define FORWARD_MIXER_PARTS 20
/* Returns the number of parts of a recurrent mixer; 0 for the other mixers. */
size_t organ_forward_mixer_parts(const organ_forward_config *config, organ_mixer mixer,
                                 forward_mixer_part parts[FORWARD_MIXER_PARTS]);
#define FORWARD_GEMMA_PARTS 19
/* Returns the number of parts that the layer has in addition to those of all architectures. */
size_t organ_forward_gemma_parts(const organ_forward_config *config, const organ_layer_kind *kind,
                                 forward_shape shapes[FORWARD_GEMMA_PARTS]);

#endif
