/* SPDX-License-Identifier: MIT
 * The configuration of the forward pass, read from config.json or from the metadata of a GGUF file. */
#ifndef ORGAN_FORWARD_CONFIG_H
#define ORGAN_FORWARD_CONFIG_H

#include "formats/base/api.h"
#include "formats/model/model.h"

ORGAN_API_BEGIN

/* Activation of the feed-forward: silu, GELU approximated with tanh, GELU with erf, max(x, 0), its square. xIELU is for
 * feed-forwards without a gate. */
typedef enum organ_activation {
    ORGAN_SILU,
    ORGAN_GELU_TANH,
    ORGAN_GELU,
    ORGAN_RELU,
    ORGAN_RELU_SQUARED,
    ORGAN_XIELU
} organ_activation;
typedef enum organ_rope {
    ORGAN_ROPE_DEFAULT,
    ORGAN_ROPE_LINEAR,
    ORGAN_ROPE_LLAMA3,
    ORGAN_ROPE_YARN,
    ORGAN_ROPE_DYNAMIC, /* for windows beyond the original context, theta grows with the length of the window */
    /* divides frequencies by short factors up to the original context and by long factors beyond it */
    ORGAN_ROPE_LONGROPE,
    /* of the pairs of a head only the first `angles` turn, by theta ^ (-2 k / dimensions) for pair k (Gemma 4) */
    ORGAN_ROPE_PROPORTIONAL
} organ_rope;

typedef struct organ_rope_config {
    organ_rope kind;
    double theta, factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow, attention_factor;
    double long_attention_factor; /* longrope: for windows beyond the original context; 0: the same */
    uint64_t original_context;    /* original_max_position_embeddings; dynamic: max_position_embeddings */
    unsigned dimensions;          /* rotated dimensions of a head: head_dim, or less with partial_rotary_factor */
    unsigned angles;              /* proportional: number of rotated pairs */
    bool reversed;                /* q and k are rotated by minus the angle */
    bool exact_range; /* yarn: do not round the bounds of the ramp to whole dimensions ("truncate": false) */
    /* longrope: dimensions / 2 each, from config.json; NULL for a GGUF file, which has them as tensors */
    const float *short_factors, *long_factors;
} organ_rope_config;

/* The norms of a layer: before attention and feed-forward, around both, only after both, or of the hidden states after
 * the output of each is added (post-norm). */
typedef enum organ_norm_placement {
    ORGAN_NORMS_BEFORE,
    ORGAN_NORMS_AROUND,
    ORGAN_NORMS_AFTER,
    ORGAN_NORMS_ON_SUM
} organ_norm_placement;

/* RMSNorm: x / sqrt(mean(x^2) + eps) * w. LayerNorm: (x - mean(x)) / sqrt(variance(x) + eps) * w + b, with the
 * population variance. */
typedef enum organ_norm { ORGAN_NORM_RMS, ORGAN_NORM_LAYER } organ_norm;

/* The norm of q and k, usually before rotation: none, one over each head with the same weights for all heads (HEAD) or
 * weights of its own for each head (HEADS), or one over all heads of a token together. It is of the kind of the other
 * norms. */
typedef enum organ_qk_norm {
    ORGAN_QK_NORM_NONE,
    ORGAN_QK_NORM_HEAD,
    ORGAN_QK_NORM_ALL,
    ORGAN_QK_NORM_HEADS
} organ_qk_norm;

/* A tensor that has the rows of q, k and v. Its rows may be used in place if q, k and v are contiguous and have no
 * bias; else a product with all its rows is split. */
typedef enum organ_fused {
    ORGAN_FUSED_NONE,    /* q, k and v are tensors of their own, or rows that are used in place */
    ORGAN_FUSED_THIRDS,  /* q, k, v (GPT-2) */
    ORGAN_FUSED_HEADS,   /* for each head of k and v: its heads of q, k, v (GPT-NeoX) */
    ORGAN_FUSED_QUARTERS /* for each quarter of the heads: q, v, k (CodeGen) */
} organ_fused;

/* The gate of the attention's output, before the output projection: none, the logistic or softplus of a linear layer of
 * the attention's input. */
typedef enum organ_attention_gate { ORGAN_UNGATED, ORGAN_GATE_LOGISTIC, ORGAN_GATE_SOFTPLUS } organ_attention_gate;

/* After the rotation, q of a token at position p (from 0) is multiplied by 1 + beta ln(1 + floor((p + offset) /
 * length)); beta 0: not. */
typedef struct organ_query_scale {
    double beta, length;
    unsigned offset;
    bool unrotated; /* only in layers that do not rotate q and k */
} organ_query_scale;

/* How a layer mixes tokens. Recurrent mixers keep a state whose size does not grow with the text. */
typedef enum organ_mixer {
    ORGAN_MIXER_NONE,       /* the layer has only a feed-forward */
    ORGAN_MIXER_ATTENTION,  /* softmax attention over keys and values of tokens, multi-head latent attention included */
    ORGAN_MIXER_DELTA,      /* the gated delta rule (forward/delta.c) */
    ORGAN_MIXER_SHORT_CONV, /* a gated causal convolution (forward/short_conv.c) */
    ORGAN_MIXER_MAMBA,      /* forward/mamba.c */
    ORGAN_MIXER_MAMBA2,     /* forward/mamba2.c */
    ORGAN_MIXER_LIGHTNING   /* forward/lightning.c */
} organ_mixer;

/* The tensors with q, k, v and z of the delta rule: q, k and v in one, z its own; all in one, whose rows alternate by
 * key head (Qwen3-Next); or each its own, convolutions as well. */
typedef enum organ_projections {
    ORGAN_PROJECTIONS_QKV,
    ORGAN_PROJECTIONS_BY_HEAD,
    ORGAN_PROJECTIONS_APART
} organ_projections;

/* Sizes of recurrent mixers. The state of a head has key_dim x value_dim numbers: a token multiplies it by a decay and
 * adds the outer product of its key and its value; the output is the product of query and state. */
typedef struct organ_recurrent_config {
    unsigned heads;     /* heads of values, each with a state */
    unsigned groups;    /* heads of keys and queries, which divide `heads` (Mamba-2: n_groups) */
    unsigned key_dim;   /* (Mamba: state size) */
    unsigned value_dim; /* (Mamba-1: 1, with a head for each channel) */
    unsigned kernel;    /* tokens in the causal convolution before the recurrence */
    organ_projections projections;
    bool fused_ba;   /* write strengths and decays are one projection, whose rows alternate by key head */
    bool tiled;      /* head h of values has key head h % groups; false: h / (heads / groups) */
    bool exp_stored; /* the tensor of A_log has -e^A_log */
    bool norm_rows;  /* the norm before the output projection is stored with a row for each group (Mamba-2) */
    double norm_eps; /* of the norm before the output projection */
    bool twice;      /* write strengths are doubled */
    /* Kimi Delta Attention: a decay for each number of a key instead of one for each head, decays and gate are products
     * of two matrices with value_dim numbers between them, and the gate is logistic instead of silu. */
    bool by_channel;
    bool conv_biased, biased, out_biased; /* the convolution, the input and the output projection have biases */
    unsigned rank;                        /* Mamba: numbers from which the time steps are computed */
    bool step_norms;                      /* Mamba: they, B and C are normalised, */
    bool step_norms_bare;                 /* without weights */
    /* Mamba-2 */
    double step_min, step_max;  /* limits of softplus(dt + dt_bias) */
    bool normed;                /* y silu(z) passes a norm with weights, over the heads of each group */
    bool norm_first;            /* the norm is applied before the product with silu(z) */
    bool scaled;                /* z, x, B, C and dt are multiplied by `scales` after their projection */
    float scales[5], out_scale; /* out_scale: factor of the output */
} organ_recurrent_config;

/* A layer of the model. */
typedef struct organ_layer_kind {
    organ_mixer mixer, second; /* `second` reads the same norm, and its output is added to that of `mixer`; or NONE */
    bool feed;                 /* the layer has a feed-forward; false: only mixers */
    bool norms_before;         /* its norms precede mixer and feed-forward, whatever those of other layers do */
    float alpha[2], beta[2];   /* with residual_normed: after the mixer, and after the feed-forward */
    unsigned heads, kv_heads;  /* heads of q; heads of k and v, which divides it */
    unsigned head_dim;         /* width of a head of q and k */
    unsigned value_dim;        /* width of a head of v and of the attention's output */
    unsigned window;           /* a token attends to the last `window` tokens, itself included; 0: to all before it */
    bool latent;               /* multi-head latent attention, and k and v have as many heads as q */
    bool indexed;              /* has an indexer of sparse attention; organ_latent_config has its sizes */
    unsigned chunk;            /* the tokens before it in the same chunk of that many positions only; 0: no chunks */
    bool rotated;              /* q and k get positions, by rope, or by rope_local in a layer with a window */
    bool sinks;                /* each head has a sink: a score without a key, which takes part in the softmax */
    bool mixture;              /* the feed-forward has routed experts; false: it is dense */
    /* width of a dense feed-forward; 0 for a mixture, except where both run in parallel on the same hidden state */
    uint64_t intermediate;
    bool value_is_key; /* v is the projection of k before its norm; the layer has no projection for v */
    /* The last layers of a model may have no k and v of their own and use those of an earlier layer, `shares_with`,
     * which leaves them in the states of the tokens at `shared_at` (k, then v). shared_at is 0 where nothing is shared.
     */
    uint64_t shared_at;
    unsigned shares_with; /* the layer's own number if it has k and v */
    /* With gate_is_cut, each value of the gate loses mean + gate_cut x standard deviation of its row and becomes 0 if
     * it is then below 0 (Gemma 3n). */
    bool gate_is_cut;
    float gate_cut;
    float
        xielu[4]; /* of a GGUF file: alpha_p, alpha_n, beta and eps of ORGAN_XIELU; safetensors have them as tensors */
} organ_layer_kind;

/* Multi-head latent attention (DeepSeek-V2): keys and values of all heads are computed from one latent vector. */
typedef struct organ_latent_config {
    unsigned rank;   /* numbers of the latent vector of keys and values, kv_lora_rank; 0: the model has none */
    unsigned q_rank; /* numbers of the latent vector of queries, q_lora_rank; 0: q_proj computes queries directly */
    unsigned plain;  /* dimensions of a head's query and key that are not rotated, qk_nope_head_dim */
    /* Sparse attention: an indexer chooses the keys of a query. */
    unsigned keys;                   /* that many at most, index_topk; 0: a query has all keys before it */
    unsigned index_heads, index_dim; /* heads of the indexer, and their width */
    bool index_neighbours;           /* its rotation pairs neighbours; false: (k, k + rotated / 2) */
    bool index_shared; /* layers without an indexer use the choice of the last one before them, which the states of the
                          tokens have after the hidden state: `keys` numbers of keys from 1 on, in 32 bits; 0: none */
    unsigned rotated;  /* dimensions after them that are rotated, qk_rope_head_dim; all heads share those of the key */
    float q_scale, scale; /* factors of queries, and of the normalised latent vector of keys and values; 0: none */
} organ_latent_config;

/* Upper bound on the number of expert groups; DeepSeek-V3 has 8. */
#define ORGAN_ROUTER_GROUPS 64

/* How a router scores the experts of a token. The factor of a chosen expert in the token's sum is its score. */
typedef struct organ_router_rule {
    bool logistic;      /* scores are the logistic of each value; false: the softmax over all experts */
    bool corrected;     /* experts are chosen by score plus a correction, which is not part of their factors */
    bool best_in_group; /* groups are compared by their best expert; false: by the sum of their two best */
    bool late;          /* the logistic is taken of the chosen values only (Llama 4) */
    bool into_inputs;   /* an expert's input is multiplied by its factor, and the outputs are summed without factors */
    bool sparse;        /* SparseMixer: two experts, each with a factor of its own choice (forward/router.c) */
    float jitter;       /* sparse: a choice leaves out values that are lower than its best by more than that part */
    float cap;          /* values become cap tanh(value / cap) before that; 0: they stay */
    float least_sum;    /* factors are normalised by their sum, or by this number if the sum is less; 0: by the sum */
    float sum_plus;     /* added to that sum */
} organ_router_rule;

typedef struct organ_forward_config {
    char architecture[96];
    unsigned layers, heads, kv_heads, head_dim;         /* heads and their width: of most layers */
    organ_layer_kind *kinds;                            /* one for each layer */
    organ_latent_config latent;                         /* of the layers with latent attention */
    organ_recurrent_config recurrent;                   /* of the layers with a recurrent mixer */
    uint64_t hidden, intermediate, vocabulary, context; /* context: max_position_embeddings */
    /* Floats of a token's state between two layers, which begins with the hidden state: `hidden`, and in some
     * architectures more: the other streams of AltUp, then the keys and values that later layers share. */
    uint64_t state;
    double rms_eps, attention_scale, embedding_scale; /* scale of scores: usually 1 / sqrt(head_dim) */
    double attention_softcap, final_softcap;          /* 0: none */
    organ_activation activation;
    /* Limit of gate and up, and alpha, for the clamped SwiGLU of gpt-oss (forward/math.c); gate_limit 0: not clamped
     */
    double gate_limit, gate_alpha;
    float gate_scale, up_scale; /* factors of the gate and of up in dense feed-forwards; 0: none */
    organ_rope_config rope,
        rope_local;        /* rope_local: for layers with a sliding window that have their own rotation (Gemma 3) */
    unsigned window;       /* sliding window in tokens of the layers that have one; 0: none has */
    double residual_scale; /* factor of what attention and feed-forward add to the hidden state; 1: none */
    /* MiniMax 1: mixer and feed-forward replace the hidden state by alpha x their normed input + beta x their output,
     * with the numbers of the layer. */
    bool residual_normed;
    double logit_scale; /* factor of the logits, before the soft cap; 1: none */
    organ_norm_placement norms;
    organ_norm norm;
    organ_qk_norm qk_norm;
    bool ungated; /* a feed-forward is down(act(up(x))), without a gate; experts as well */
    organ_fused fused;
    /* Learned absolute positions: row position + position_offset of a table is added to the embedding of a token. A
     * window has at most `positions` tokens; 0: there is no table. With `sinusoidal` the rows are computed: the first
     * half of a row has the sines, the other the cosines of position x 10000^(-k / (hidden / 2 - 1)) for k from 0 on;
     * row `position_padding` is zeros. */
    uint64_t positions;
    unsigned position_offset;
    bool sinusoidal;
    uint32_t position_padding;
    bool embedding_normed; /* a norm of the embeddings, before the first layer */
    /* ALiBi (Press, Smith and Lewis 2021): the score of a key at distance d gets -slope d, with a slope for each head;
     * the steepest slope of n heads is 2 ^ (-alibi_max / n) if n is a power of two. 0: none. */
    double alibi_max;
    bool alibi_rounded;     /* the biases are rounded to BF16 and scaled like the scores (Falcon) */
    bool head_bias;         /* the output head has a bias */
    double clip_qkv;        /* q, k and v are limited to +-clip_qkv after their projections; 0: not */
    bool last_norm_missing; /* no norm before the output head */
    bool norm_biased;       /* norms of hidden states have a bias */
    bool norm_unweighted;   /* they have neither weights nor a bias */
    bool qk_norm_biased;
    bool parallel;     /* attention and feed-forward both read the hidden state before the layer, and both are added */
    bool one_norm;     /* with parallel: the feed-forward reads the norm before the attention */
    bool qk_norm_last; /* after the rotation */
    bool qk_norm_bare; /* without weights, and only in layers that rotate q and k */
    organ_query_scale query_scale;
    organ_attention_gate gate;
    bool gate_in_q;     /* q_proj has the rows of the gate of a head after those of its q */
    bool gate_heads;    /* the gate has one number for each head; false: one for each number of the output */
    double value_scale; /* factor of v; 0: none */
    bool norm_adds_one, tied_output;
    bool embedding_norm; /* embeddings are divided by their root mean square */
    bool sub_norms;      /* norms before the output projections of attention and dense feed-forward (BitNet) */
    bool value_norm;     /* each head of v is divided by its root mean square */
    bool layer_scaled;   /* each layer ends with a product by a number of its own */
    bool dual_ffn;       /* a mixture runs in parallel with a dense feed-forward, with norms of its own (Gemma 4) */
    unsigned per_layer_width;             /* of the per-layer embeddings (Gemma 3n and 4); 0: none */
    uint64_t per_layer_vocabulary;        /* their rows */
    unsigned streams;                     /* AltUp (Gemma 3n): hidden states of a token; 0: one */
    unsigned laurel_rank;                 /* with AltUp: rank of the path in parallel with the attention */
    bool streams_scaled;                  /* with AltUp: altup_correct_scale */
    bool qkv_bias, output_bias, mlp_bias; /* linear layers with a bias; for a GGUF file, as found in its tensors */
    bool rope_interleaved; /* rotation pairs neighbouring rows of Q and K: in GGUF files of the llama kind and in
                              safetensors of some architectures; undone during loading */
    bool rope_neighbours;  /* rotation pairs neighbours, and the rows of Q and K stay in the order of the file */
    unsigned experts, experts_used; /* 0: dense */
    /* Experts after these, which the router may choose as well: their output is their input (LongCat-Flash). */
    unsigned identity_experts;
    /* A layer of the file is two layers here (LongCat-Flash). The mixture of the first layer reads the same input as
     * its dense feed-forward; its output is kept in the state of a token, after the hidden state, and is added after
     * the feed-forward of the second layer. */
    bool shortcut;
    uint64_t expert_intermediate;
    /* Width of the vectors that routed experts read and write, if projections before and after all experts of a layer
     * (Nemotron 3) make it another than hidden_size; 0: experts read and write hidden states. */
    uint64_t expert_latent;
    bool normalise_experts;
    bool router_bias, expert_bias; /* the router, and gate, up and down of each expert have biases */
    bool gate_up_pairs;            /* in stacks of gate and up, rows of the two alternate: gate 0, up 0, gate 1, ... */
    /* width of the expert that processes every token in addition to the routed ones; 0: none */
    unsigned shared_intermediate;
    bool shared_average; /* the mixture's output is half the sum of its output and those of the routed experts */
    bool shared_gated;   /* its output is multiplied by a logistic gate of the token */
    bool shared_own;     /* its width has a member of its own, not that of routed experts or a multiple of it */
    organ_router_rule router;
    unsigned router_groups,
        router_groups_used; /* number of groups, and of groups from which experts are chosen; below 2: no groups */
    float router_scale;     /* multiplies the factors of all experts; 0: none */
} organ_forward_config;

/* Reads the configuration from the key-values if the model has them, else from config.json. ORGAN_BAD_INPUT, naming
 * architecture or field, for unknown or invalid values. The caller releases *config. */
organ_status organ_forward_config_read(const organ_model *model, organ_forward_config *config, organ_error *error);
void organ_forward_config_release(organ_forward_config *config);

ORGAN_API_END

#endif
