/* SPDX-License-Identifier: MIT
 * The tensors (parts) of a layer and of the model, and their names in safetensors and GGUF files. */
#ifndef ORGAN_LAYER_PARTS_H
#define ORGAN_LAYER_PARTS_H

#include <organ/architecture.h>

/* A part: the purpose of a tensor in a layer or in the model. The order matters: some functions compute a part as
 * another one plus a constant. */
typedef enum forward_part {
    PART_NORM_ATTENTION,      /* norm before the attention or other mixer */
    PART_NORM_POST_ATTENTION, /* norm of the attention's output */
    PART_NORM_FFN,            /* norm before the feed-forward */
    PART_NORM_POST_FFN,       /* norm of the feed-forward's output */
    PART_NORM_Q,
    PART_NORM_K,
    PART_NORM_Q_A, /* norm of the latent vector of q; from here to BIAS_KV_A: latent attention */
    PART_NORM_KV_A,
    PART_Q_A,
    PART_Q_B,
    PART_KV_A,
    PART_KV_B,
    PART_K_B, /* GGUF: stacks of a matrix for each head, the rows of kv_b_proj for keys (transposed) and for values */
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
    PART_SINKS,       /* attention sinks: a score for each head */
    PART_HEAD_GATE,   /* gate of the attention's output */
    PART_SHARED,      /* the gate of the shared expert: one row */
    PART_SHARED_GATE, /* the shared expert, in the order of PART_GATE, PART_UP, PART_DOWN */
    PART_SHARED_UP,
    PART_SHARED_DOWN,
    PART_BIAS_SHARED_GATE, /* biases of PART_SHARED_GATE, _UP, _DOWN */
    PART_BIAS_SHARED_UP,
    PART_BIAS_SHARED_DOWN,
    /* projections of hidden states to the inputs of routed experts, and of their outputs back (expert_latent) */
    PART_LATENT_IN,
    PART_LATENT_OUT,
    PART_BIAS_LATENT_IN,
    PART_BIAS_LATENT_OUT,
    PART_BIAS_NORM_ATTENTION, /* biases of the six norms from PART_NORM_ATTENTION to PART_NORM_K, in their order */
    PART_BIAS_NORM_K = PART_BIAS_NORM_ATTENTION + (PART_NORM_K - PART_NORM_ATTENTION),
    PART_LAYER_SCALE,           /* one number, which multiplies the layer's output */
    PART_NORM_POST_FFN_DENSE,   /* dual_ffn: norm of the dense feed-forward's output */
    PART_NORM_EXPERTS,          /* dual_ffn: norm before the experts */
    PART_NORM_POST_FFN_EXPERTS, /* dual_ffn: norm of the experts' output */
    PART_ROUTER_SCALE,          /* multiplies the router's input */
    PART_EXPERT_SCALE,          /* multiplies the factor of each expert */
    PART_PER_LAYER_GATE,        /* per-layer embeddings: projection of the hidden state, whose result gates them */
    PART_PER_LAYER_OUT,         /* projection of gated per-layer embeddings to the hidden state */
    PART_NORM_PER_LAYER,        /* norm of the result of PART_PER_LAYER_OUT */
    PART_LAUREL_LEFT,
    PART_LAUREL_RIGHT,
    PART_NORM_LAUREL,
    PART_NORM_STREAMS, /* AltUp: before the router of streams */
    PART_STREAMS_ROUTER,
    PART_STREAMS_PREDICT, /* AltUp: coefficients that predict the streams before the layer */
    PART_STREAMS_CORRECT, /* AltUp: coefficients that correct them after the layer */
    PART_STREAMS_SCALE,   /* AltUp: altup_correct_scale */
    PART_XIELU_P,         /* alpha_p of xIELU; alpha_n, beta and eps follow */
    PART_XIELU_N,
    PART_XIELU_BETA,
    PART_XIELU_EPS,
    /* norm before the output projection of the attention; PART_NORM_INNER: before that of a dense feed-forward */
    PART_NORM_GIVEN,
    PART_NORM_INNER,
    PART_INDEX_Q, /* the indexer of sparse attention: projections of queries and keys, norm of keys, weights of heads */
    PART_INDEX_K,
    PART_NORM_INDEX,
    PART_BIAS_NORM_INDEX,
    PART_INDEX_WEIGHTS,
    PART_MIX_IN, /* recurrent mixers: the projection of q, k and v, or all projections in one tensor */
    PART_MIX_Q,
    PART_MIX_K,
    PART_MIX_V,
    PART_MIX_Z,  /* gate of the output */
    PART_MIX_BA, /* write strength and decay in one tensor */
    PART_MIX_B,  /* write strength and decay in a tensor each */
    PART_MIX_A,
    PART_MIX_Z_LOW, /* if Z and A are products of two matrices: the matrices that read the hidden state */
    PART_MIX_A_LOW,
    PART_MIX_OUT,
    PART_CONV,   /* kernels of the causal convolution, channels x width, of all channels */
    PART_CONV_Q, /* kernels of q, k and v in a tensor each */
    PART_CONV_K,
    PART_CONV_V,
    PART_BIAS_CONV,
    PART_BIAS_MIX_IN,
    PART_BIAS_MIX_OUT,
    PART_SKIP, /* D of Mamba, the factor of x in the output */
    /* Mamba: the projection of x to the short vector, B and C; PART_MIX_STEP: of the short vector to time steps */
    PART_MIX_X,
    PART_MIX_STEP,
    PART_NORM_STEP, /* Mamba: norms of the short vector, of B and of C */
    PART_NORM_STATE_B,
    PART_NORM_STATE_C,
    PART_A_LOG,
    PART_DT_BIAS,
    PART_NORM_MIXED, /* norm before the output projection of a recurrent mixer */
    PART_COUNT,
    /* Names of tensors that contain several parts; plans have no view of them. */
    PART_QKV = PART_COUNT, /* q, k and v, one below the other; in safetensors only of families whose names list it */
    PART_GATE_UP,          /* gate and up, one below the other; only of families whose names list it */
    PART_SHARED_GATE_UP,   /* gate and up of the shared expert */
    PART_EXPERTS_GATE_UP,  /* stacks of all experts, experts x rows x columns */
    PART_EXPERTS_GATE,
    PART_EXPERTS_UP,
    PART_EXPERTS_DOWN,
    PART_EXPERTS_BIAS_GATE_UP, /* biases of all experts, experts x rows */
    PART_EXPERTS_BIAS_GATE,
    PART_EXPERTS_BIAS_UP,
    PART_EXPERTS_BIAS_DOWN,
    PART_EXPERT_GATE, /* one expert; '#' in the name stands for its number */
    PART_EXPERT_UP,
    PART_EXPERT_DOWN,
    /* Parts outside of the layers. In safetensors the prefix of the text model precedes all names but the last. */
    PART_EMBEDDING,
    PART_POSITIONS,       /* learned absolute positions */
    PART_NORM_EMBEDDING,  /* norm of the embeddings; also for its bias */
    PART_PER_LAYER_TABLE, /* per-layer embeddings of all layers: the table, the projection of embeddings, its norm */
    PART_PER_LAYER_MODEL,
    PART_NORM_PER_LAYER_MODEL,
    PART_FINAL_NORM,
    PART_STREAMS_MAKE, /* AltUp: a matrix for each stream after the first, before the first layer and after the last */
    PART_STREAMS_END,
    PART_OUTPUT, /* NULL: "lm_head.weight", or the name that organ_text_head finds */
    PART_NAMES
} forward_part;

/* A name of a part, without the prefix and number of the layer. */
typedef struct forward_name {
    forward_part part;
    const char *name;
} forward_name;

/* Returns name number `index` of the names that a part may have in safetensors or, with `gguf`, in GGUF files; NULL
 * after the last. These are the names in `own`, an architecture's list, which ends with a NULL name and may be NULL; if
 * it has none for the part, the only name is that of most architectures. */
const char *organ_forward_part_name(const forward_name *own, forward_part part, bool gguf, unsigned index);

/* Writes the name of the bias of a weight: the weight's name with "bias" in place of "weight" at the end. Returns
 * `name`. */
const char *organ_forward_bias_name(const char *weight, char name[256]);

/* Writes the name of a part of one expert or head: `pattern` with the number in place of '#'. */
void organ_forward_number_name(const char *pattern, unsigned number, char name[128]);

/* A part and its shape; rows 0: a vector. */
typedef struct forward_shape {
    forward_part part;
    uint64_t rows, cols;
} forward_shape;
/* A part of a mixer and its shape; rows 0: a vector. `small`: few numbers, which are read as FP32 and may have
 * additional dimensions of 1; false: the matrix of a linear layer. */
typedef struct forward_mixer_part {
    forward_part part;
    bool small;
    uint64_t rows, cols;
} forward_mixer_part;
/* Upper bound on the parts of a recurrent mixer. */
#define FORWARD_MIXER_PARTS 20
/* Lists the parts of a recurrent mixer; returns their number, 0 for attention and no mixer. */
size_t organ_forward_mixer_parts(const organ_forward_config *config, organ_mixer mixer,
                                 forward_mixer_part parts[FORWARD_MIXER_PARTS]);
/* Upper bound on the parts of organ_forward_gemma_parts. */
#define FORWARD_GEMMA_PARTS 19
/* Lists the parts, with their shapes, that a layer of Gemma 3n, Gemma 4 or BitNet has in addition to those of all
 * architectures; returns their number. */
size_t organ_forward_gemma_parts(const organ_forward_config *config, const organ_layer_kind *kind,
                                 forward_shape shapes[FORWARD_GEMMA_PARTS]);

#endif
