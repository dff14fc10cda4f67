/* SPDX-License-Identifier: MIT
 * The configuration of the forward pass, read from config.json or from the metadata of a GGUF file. */
#ifndef ORGAN_API_ARCHITECTURE_H
#define ORGAN_API_ARCHITECTURE_H

#include <organ/base.h>
#include <organ/models.h>

ORGAN_API_BEGIN

/* Activation of the feed-forward. */
typedef enum organ_activation {
    ORGAN_SILU,
    ORGAN_GELU_TANH,    /* GELU approximated with tanh */
    ORGAN_GELU,         /* GELU with erf */
    ORGAN_RELU,         /* max(x, 0) */
    ORGAN_RELU_SQUARED, /* max(x, 0)^2 */
    ORGAN_XIELU         /* only in feed-forwards without a gate; parameters: organ_layer_kind.xielu */
} organ_activation;
/* How the frequencies of the rotary position embedding are scaled (rope_type of transformers). */
typedef enum organ_rope {
    ORGAN_ROPE_DEFAULT,
    ORGAN_ROPE_LINEAR,
    ORGAN_ROPE_LLAMA3,
    ORGAN_ROPE_YARN,
    ORGAN_ROPE_DYNAMIC, /* for windows beyond the original context, theta grows with the length of the window */
    /* divides frequencies by short factors up to the original context and by long factors beyond it */
    ORGAN_ROPE_LONGROPE,
    /* only the first `angles` pairs of a head are rotated, pair k by theta ^ (-2 k / dimensions) (Gemma 4) */
    ORGAN_ROPE_PROPORTIONAL
} organ_rope;

/* A rotary position embedding (rotation of q and k). Members that `kind` does not need are 0. */
typedef struct organ_rope_config {
    organ_rope kind;
    /* theta: base of the frequencies. The others are the members of rope_parameters of the same names: factor is the
     * ratio of the extended to the original context, attention_factor multiplies cosines and sines. */
    double theta, factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow, attention_factor;
    /* longrope: takes the place of attention_factor for windows beyond the original context; 0: it does not */
    double long_attention_factor;
    uint64_t original_context; /* original_max_position_embeddings; dynamic: max_position_embeddings */
    unsigned dimensions;       /* rotated dimensions of a head: head_dim, or less with partial_rotary_factor */
    unsigned angles;           /* proportional: number of rotated pairs of dimensions */
    bool reversed;             /* q and k are rotated by minus the angle */
    bool exact_range;          /* yarn: do not round the bounds of the ramp to whole dimensions ("truncate": false) */
    /* longrope: dimensions / 2 each, from config.json; NULL for a GGUF file, which has them as tensors */
    const float *short_factors, *long_factors;
} organ_rope_config;

/* The places of a layer's norms. */
typedef enum organ_norm_placement {
    ORGAN_NORMS_BEFORE, /* of the input of the mixer, and of that of the feed-forward */
    ORGAN_NORMS_AROUND, /* of inputs and outputs of mixer and feed-forward */
    ORGAN_NORMS_AFTER,  /* of their outputs only */
    ORGAN_NORMS_ON_SUM  /* of the hidden state, after the output of mixer or feed-forward is added to it (post-norm) */
} organ_norm_placement;

/* RMSNorm: x / sqrt(mean(x^2) + eps) * w. LayerNorm: (x - mean(x)) / sqrt(variance(x) + eps) * w + b, with the
 * population variance. */
typedef enum organ_norm { ORGAN_NORM_RMS, ORGAN_NORM_LAYER } organ_norm;

/* The norm of q and k, usually before rotation: none; over each head, with the same weights for all heads (HEAD) or
 * with weights for each head (HEADS); or over all heads of a token as one vector (ALL). organ_forward_config.norm
 * states whether it is an RMSNorm or a LayerNorm. */
typedef enum organ_qk_norm {
    ORGAN_QK_NORM_NONE,
    ORGAN_QK_NORM_HEAD,
    ORGAN_QK_NORM_ALL,
    ORGAN_QK_NORM_HEADS
} organ_qk_norm;

/* The order of rows in a tensor that contains the projections q, k and v. If each projection is contiguous in the
 * tensor and has no bias, the forward pass uses its rows in place (FUSED_NONE); else it multiplies by the whole tensor
 * and splits the product into q, k and v. */
typedef enum organ_fused {
    ORGAN_FUSED_NONE,    /* separate tensors, or rows that are used in place */
    ORGAN_FUSED_THIRDS,  /* q, then k, then v (GPT-2) */
    ORGAN_FUSED_HEADS,   /* for each head of k and v: the heads of q that use it, then k, then v (GPT-NeoX) */
    ORGAN_FUSED_QUARTERS /* for each quarter of the heads: q, then v, then k (CodeGen) */
} organ_fused;

/* The gate that multiplies the attention's output before the output projection: none, or the logistic or softplus of a
 * linear layer of the attention's input. */
typedef enum organ_attention_gate { ORGAN_UNGATED, ORGAN_GATE_LOGISTIC, ORGAN_GATE_SOFTPLUS } organ_attention_gate;

/* The scale of queries (Llama 4): after the rotation, q of a token at position p (from 0) is multiplied by 1 + beta
 * ln(1 + floor((p + offset) / length)). beta 0: no scale. */
typedef struct organ_query_scale {
    double beta, length;
    unsigned offset;
    bool unrotated; /* only layers that do not rotate q and k scale their queries; false: all layers do */
} organ_query_scale;

/* How a layer mixes tokens. Recurrent mixers keep a state whose size does not grow with the text. */
typedef enum organ_mixer {
    ORGAN_MIXER_NONE,       /* the layer has only a feed-forward */
    ORGAN_MIXER_ATTENTION,  /* softmax attention over keys and values of tokens, multi-head latent attention included */
    ORGAN_MIXER_DELTA,      /* the gated delta rule */
    ORGAN_MIXER_SHORT_CONV, /* a gated causal convolution */
    ORGAN_MIXER_MAMBA,      /* the selective scan of Mamba */
    ORGAN_MIXER_MAMBA2,     /* Mamba-2 */
    ORGAN_MIXER_LIGHTNING,  /* lightning attention */
    ORGAN_MIXER_COMPRESSED  /* attention to a window of tokens and to compressed tokens; not recurrent */
} organ_mixer;

/* How the file stores the projections q, k, v and z (the output's gate) of the delta rule. */
typedef enum organ_projections {
    ORGAN_PROJECTIONS_QKV, /* q, k and v in one tensor, z in another */
    /* all in one tensor: the rows of q, k, v and z of the first key head, then of the second, ... (Qwen3-Next) */
    ORGAN_PROJECTIONS_BY_HEAD,
    ORGAN_PROJECTIONS_APART /* a tensor for each, and a convolution for each of q, k and v */
} organ_projections;

/* Sizes and variants of the recurrent mixers of a model. The state of a head is a matrix of key_dim x value_dim
 * numbers. Each token multiplies the state by a decay and adds the outer product of the token's key and value; the
 * output is the product of the token's query and the state. Mamba-2 calls queries C, keys B and values x. */
typedef struct organ_recurrent_config {
    unsigned heads;     /* heads of values, each with a state */
    unsigned groups;    /* heads of keys and queries, a divisor of `heads` (Mamba-2: n_groups) */
    unsigned key_dim;   /* width of a key and a query (Mamba: state size) */
    unsigned value_dim; /* width of a value (Mamba: 1, since each channel is a head) */
    unsigned kernel;    /* tokens in the causal convolution before the recurrence */
    organ_projections projections;
    bool fused_ba;   /* b (write strengths) and a (decays) are one tensor, with rows of b, then a, for each key head */
    bool tiled;      /* head h of values uses key head h % groups; false: h / (heads / groups) */
    bool exp_stored; /* the file has -e^A_log in place of A_log */
    bool norm_rows;  /* the norm before the output projection is stored with a row for each group (Mamba-2) */
    double norm_eps; /* epsilon of the norm before the output projection */
    bool twice;      /* the delta rule's write strengths are doubled */
    /* Kimi Delta Attention: a decay for each number of a key instead of one for each head, decays and gate are products
     * of two matrices with value_dim numbers between them, and the gate is logistic instead of silu. */
    bool by_channel;
    bool full_rank; /* with by_channel: decays and gate are products of one matrix each */
    /* with by_channel: the logarithm of a decay is decay_limit logistic(e^A_log (a + dt_bias)), with decay_limit below
     * 0; 0: it is -e^A_log softplus(a + dt_bias) */
    double decay_limit;
    bool conv_biased, biased, out_biased; /* the convolution, the input and the output projection have biases */
    unsigned rank;        /* Mamba: width of the short vector from which dt_proj computes the time steps */
    bool step_norms;      /* Mamba: that vector, B and C pass a norm each */
    bool step_norms_bare; /* with step_norms: these norms have no weights */
    /* the members from here on are for Mamba-2 */
    double step_min, step_max; /* limits of softplus(dt + dt_bias) */
    bool normed;               /* y silu(z) passes a norm with weights, over the heads of each group */
    bool norm_first;           /* with `normed`: y passes the norm before the product with silu(z) */
} organ_recurrent_config;

/* The multipliers of Falcon-H1, which stand before and after its linear layers; 1 in all other models. */
typedef struct organ_multipliers {
    float attention_in;   /* multiplies the input of q, k and v */
    float key;            /* multiplies k, before its rotation */
    float attention_out;  /* multiplies the output of o */
    float gate;           /* multiplies the gate of a dense feed-forward, before its activation */
    float down;           /* multiplies the output of a dense feed-forward */
    float recurrent_in;   /* Mamba-2: multiplies the input of the first projection, */
    float projections[5]; /* multiply its outputs z, x, B, C and dt, */
    float recurrent_out;  /* and multiplies the output of the last projection */
} organ_multipliers;

/* The structure of one layer. */
typedef struct organ_layer_kind {
    /* `second` (usually NONE) reads the same normed input as `mixer`; the outputs of both are added */
    organ_mixer mixer, second;
    bool feed; /* the layer has a feed-forward; false: it has only mixers */
    /* this layer has norms before mixer and feed-forward, whatever organ_forward_config.norms is */
    bool norms_before;
    /* factors of organ_forward_config.residual_normed: [0] for the mixer, [1] for the feed-forward */
    float alpha[2], beta[2];
    unsigned heads, kv_heads; /* heads of q; heads of k and v, a divisor of `heads` */
    unsigned head_dim;        /* width of a head of q and k */
    unsigned value_dim;       /* width of a head of v and of the attention's output */
    /* a token attends to the last `window` tokens, itself included; 0: to all tokens up to itself */
    unsigned window;
    bool latent; /* multi-head latent attention; kv_heads is `heads` */
    /* the layer has an indexer of sparse attention (organ_latent_config, organ_compression_config, or for attention of
     * neither kind organ_blocks_config) */
    bool indexed;
    /* ORGAN_MIXER_COMPRESSED: a token attends to its window and, for each `compress` earlier tokens, to a vector that
     * is computed from them, or with an indexer to some of these vectors; 0: only to its window */
    unsigned compress;
    /* a token attends only to earlier tokens in the same chunk of this many positions; 0: no chunks */
    unsigned chunk;
    bool rotated; /* q and k are rotated by rope, or in a layer with a window by rope_local */
    bool sinks;   /* each head has a sink: a score that takes part in the softmax but has no key and no value */
    bool mixture; /* the feed-forward has routed experts; false: it is dense */
    /* a table in the file states the experts of each token of the vocabulary; the router computes only their factors */
    bool by_token;
    /* width of the dense feed-forward; 0 for a mixture that has none in parallel */
    uint64_t intermediate;
    bool value_is_key; /* v is what the projection of k returns, before the norm of k; there is no projection of v */
    /* The last layers of a model may have no k and v and use those of layer `shares_with`, an earlier one, which stores
     * k, then v, in the state of each token, from float `shared_at` on. shared_at 0: the layer neither stores nor uses
     * shared k and v. */
    uint64_t shared_at;
    unsigned shares_with; /* the layer's own number if it has k and v itself */
    /* With gate_is_cut, the feed-forward subtracts mean + gate_cut x standard deviation of a token's gate values from
     * each of them, and sets negative results to 0 (Gemma 3n). */
    bool gate_is_cut;
    float gate_cut;
    /* Limits of the activated gate, and of up in both directions: [0] of the dense feed-forward and the shared expert,
     * [1] of routed experts; 0: no limit (Step 3.7) */
    float limits[2];
    /* alpha_p, alpha_n, beta and eps of ORGAN_XIELU from a GGUF file; safetensors have them as tensors */
    float xielu[4];
} organ_layer_kind;

/* Multi-head latent attention (DeepSeek-V2): keys and values of all heads are computed from one latent vector. */
typedef struct organ_latent_config {
    unsigned rank;   /* numbers of the latent vector of keys and values, kv_lora_rank; 0: the model has none */
    unsigned q_rank; /* numbers of the latent vector of queries, q_lora_rank; 0: q_proj computes queries directly */
    unsigned plain;  /* dimensions of a head's query and key that are not rotated, qk_nope_head_dim */
    /* Sparse attention: an indexer chooses the keys to which a query attends. */
    unsigned keys;                   /* keys of a query at most, index_topk; 0: no sparse attention */
    unsigned index_heads, index_dim; /* heads of the indexer, and their width */
    /* the indexer's rotation pairs dimensions 2 k and 2 k + 1; false: dimensions k and k + rotated / 2 */
    bool index_neighbours;
    bool index_last;  /* the indexer rotates the last dimensions of queries and keys; false: the first ones */
    double index_eps; /* epsilon of the norm of the indexer's keys */
    /* layers without an indexer use the keys that the nearest earlier layer with one has chosen. The state of a token
     * has these keys after the hidden state: `keys` words of 32 bits, each the number of a key plus 1; 0 ends them */
    bool index_shared;
    /* rotated dimensions, qk_rope_head_dim, which follow the `plain` ones; all heads share those of the key */
    unsigned rotated;
    float q_scale, scale; /* factors of queries, and of the normed latent vector of keys and values; 0: no factor */
} organ_latent_config;

#define ORGAN_MOST_COMPRESSED 256 /* upper bound on organ_layer_kind.compress */

/* Compressed attention (DeepSeek-V4): each token has one vector, which is key and value of all heads, and some layers
 * also attend to vectors that are computed from several tokens (organ_layer_kind.compress). */
typedef struct organ_compression_config {
    unsigned
        q_rank; /* numbers of the latent vector of queries, q_lora_rank; 0: the model has no compressed attention */
    /* The output projection is a product of two matrices. The first one has a part for each of o_groups groups of
     * heads, which computes o_lora_rank numbers from the outputs of the group's heads. */
    unsigned groups, group_rank;
    /* the indexer: vectors that a token attends to at most, index_topk; its heads, and their width */
    unsigned keys, index_heads, index_dim;
} organ_compression_config;

/* Block-sparse attention (MiniMax M3): an indexer chooses blocks of keys for each query, of which the query's own block
 * and some before it are always chosen. */
typedef struct organ_blocks_config {
    unsigned size;   /* keys of a block; 0: the model has no such layer */
    unsigned chosen; /* blocks to which a query attends at most */
    unsigned local;  /* blocks that are always chosen, the query's own and those before it; at most `chosen` */
    /* Heads of the indexer, a divisor of the attention's, and their width. A head chooses for `heads` / index heads
     * heads of the attention. Its rotation is that of q and k. */
    unsigned heads, dim;
} organ_blocks_config;

#define ORGAN_MOST_STREAMS 16

/* Hyper-connections (HY 4, DeepSeek-V4): the hidden state of a token is several streams. Mixer and feed-forward read a
 * weighted sum of them, and their output is added to each stream, with weights that a matrix computes from all
 * streams. */
typedef struct organ_connections_config {
    unsigned streams; /* at most ORGAN_MOST_STREAMS; 0: the model has no hyper-connections */
    double magnitude; /* factor of the weights of an output */
    double eps;       /* added to all weights or, if streams are mixed, to those of sums and of the mixing */
    /* Before an output is added, each stream becomes a weighted sum of all streams. Their weights, a matrix, are
     * divided by the sums of its columns and rows in turn, this many times. 0: streams are not mixed. */
    unsigned balances;
    bool mean; /* the hidden state after the last layer is the mean of the streams, not a weighted sum */
} organ_connections_config;

/* Upper bound on the number of expert groups; DeepSeek-V3 has 8. */
#define ORGAN_ROUTER_GROUPS 64

/* How a router scores the experts of a token. The output of a chosen expert is multiplied by the expert's factor, which
 * is its score unless a member says otherwise. */
typedef struct organ_router_rule {
    bool logistic;      /* scores are the logistic of each logit; false: the softmax over all experts */
    bool softplus;      /* scores are the square root of the softplus of each logit (DeepSeek-V4) */
    bool corrected;     /* experts are chosen by score plus a correction of the expert; factors are without it */
    bool best_in_group; /* groups are compared by their best expert; false: by the sum of their two best */
    bool late;          /* the logistic is applied to the chosen logits only (Llama 4) */
    bool into_inputs;   /* an expert's input is multiplied by its factor, and the outputs are summed without factors */
    /* SparseMixer chooses two experts, each with a factor from its own softmax (organ_forward_route) */
    bool sparse;
    /* sparse: the softmax leaves out a logit if (best logit - logit) / max(|logit|, best logit) exceeds this number */
    float jitter;
    float cap; /* logits become cap tanh(logit / cap) before they are scored; 0: no cap */
    /* with normalise_experts: factors are divided by their sum, or by least_sum if the sum is less */
    float least_sum;
    float sum_plus; /* added to the sum before that division */
} organ_router_rule;

/* The configuration of a model: its sizes, and which variants of the steps of a forward pass it uses. */
typedef struct organ_forward_config {
    char architecture[96]; /* as in config.json, or general.architecture of a GGUF file */
    /* heads, kv_heads, head_dim: sizes of most layers; `kinds` has those of each layer */
    unsigned layers, heads, kv_heads, head_dim;
    organ_layer_kind *kinds;    /* one for each layer */
    organ_latent_config latent; /* sizes of the layers with latent attention */
    organ_compression_config compressed;
    organ_blocks_config blocks;       /* sizes of the layers with block-sparse attention */
    organ_recurrent_config recurrent; /* sizes of the layers with a recurrent mixer */
    organ_connections_config connections;
    /* widths of hidden states and of dense feed-forwards (of most layers); rows of the embeddings;
     * max_position_embeddings */
    uint64_t hidden, intermediate, vocabulary, context;
    /* Floats of a token's state between two layers. A state begins with the hidden state, `hidden` floats. In some
     * architectures more follows: the other streams of AltUp, then the keys and values that later layers share; the
     * other streams of hyper-connections; the list of latent.index_shared; or the stored output of `shortcut`. */
    uint64_t state;
    /* epsilon of norms of hidden states, q and k; factor of attention scores, usually 1 / sqrt(head_dim); factor of
     * embeddings */
    double rms_eps, attention_scale, embedding_scale;
    /* attention scores and logits x become cap tanh(x / cap); 0: no cap */
    double attention_softcap, final_softcap;
    organ_activation activation;
    /* limit of gate and up, and alpha, of the clamped SwiGLU of gpt-oss; gate_limit 0: no limit */
    double gate_limit, gate_alpha;
    /* routed experts: the gate is at most this limit, up is within +-the limit, before the activation; 0: no limit */
    double expert_limit;
    bool limits_shared; /* expert_limit holds for the shared expert, too */
    organ_multipliers multipliers;
    /* rope_local: rotation of the layers with a sliding window, which may differ from that of the others (Gemma 3) */
    organ_rope_config rope, rope_local;
    unsigned window; /* tokens of the sliding window of the layers that have one; 0: no layer has one */
    /* multiplies the outputs of mixer and feed-forward before they are added to the hidden state; 1: no effect */
    double residual_scale;
    /* MiniMax 1: the hidden state becomes alpha x the normed input + beta x the output of the mixer, then of the
     * feed-forward, with alpha and beta of the layer (organ_layer_kind). */
    bool residual_normed;
    double logit_scale; /* multiplies the logits before the soft cap */
    double head_scale;  /* multiplies the input of the output head; 1: no effect (MiniCPM 3 has another) */
    organ_norm_placement norms;
    organ_norm norm;
    organ_qk_norm qk_norm;
    bool ungated; /* a feed-forward is down(act(up(x))), without a gate; experts as well */
    organ_fused fused;
    /* Absolute positions: row position + position_offset of a table is added to the embedding of a token. A window has
     * at most `positions` tokens; 0: the model has no such table. With `sinusoidal` the rows are computed: for k from 0
     * on, the first half of a row has the sines of position x 10000^(-k / (hidden / 2 - 1)), the second half the
     * cosines; row `position_padding` is zeros. */
    uint64_t positions;
    unsigned position_offset;
    bool sinusoidal;
    uint32_t position_padding;
    bool embedding_normed; /* a norm with weights and biases follows the embedding */
    /* ALiBi (Press, Smith and Lewis 2021): the score of a key at distance d gets -slope d, with a slope for each head;
     * the steepest slope of n heads is 2 ^ (-alibi_max / n) if n is a power of two. 0: none. */
    double alibi_max;
    /* ALiBi's biases are rounded to BF16 and multiplied by attention_scale like the scores (Falcon) */
    bool alibi_rounded;
    bool head_bias;         /* the output head has a bias */
    double clip_qkv;        /* q, k and v are limited to +-clip_qkv after their projections; 0: no limit */
    bool last_norm_missing; /* there is no norm before the output head */
    bool norm_biased;       /* norms of hidden states have a bias */
    bool norm_unweighted;   /* norms of hidden states have neither weights nor a bias */
    bool qk_norm_biased;    /* the norm of q and k has a bias */
    /* mixer and feed-forward both read the hidden state before the layer; both outputs are added to it */
    bool parallel;
    bool one_norm;     /* with parallel: the feed-forward reads the same normed input as the mixer */
    bool qk_norm_last; /* the norm of q and k follows the rotation */
    bool qk_norm_bare; /* the norm of q and k has no weights, and only layers that rotate q and k have it */
    organ_query_scale query_scale;
    organ_attention_gate gate;
    bool gate_in_q; /* q_proj contains the gate: the rows of each head of q are followed by those of the head's gate */
    /* the gate has one number for each head; false: one for each number of the attention's output */
    bool gate_heads;
    double value_scale;              /* multiplies v before it enters the KV cache; 0: no factor */
    bool norm_adds_one, tied_output; /* norms multiply by 1 + weight; the embedding matrix is also the output head */
    bool embedding_norm;             /* embeddings are divided by their root mean square (a norm without weights) */
    bool sub_norms;    /* norms before the output projections of attention and dense feed-forward (BitNet) */
    bool value_norm;   /* each head of v is divided by its root mean square */
    bool layer_scaled; /* each layer ends by multiplying the hidden state by a number of the layer */
    bool dual_ffn;     /* a mixture runs in parallel with a dense feed-forward; both have own norms (Gemma 4) */
    /* width of the per-layer embeddings (Gemma 3n and 4); 0: the model has none */
    unsigned per_layer_width;
    uint64_t per_layer_vocabulary; /* rows of the table of per-layer embeddings */
    unsigned streams;              /* AltUp (Gemma 3n): hidden states of a token; 0: a single one, no AltUp */
    unsigned laurel_rank;          /* with AltUp: rank of the path in parallel with the attention */
    /* with AltUp: the first stream is multiplied by weights before the per-layer embeddings (altup_correct_scale) */
    bool streams_scaled;
    /* which linear layers have a bias; for a GGUF file, as found in its tensors */
    bool qkv_bias, output_bias, mlp_bias;
    /* the file has rows of Q and K in an order for which rotation pairs dimensions 2 k and 2 k + 1 (GGUF files of the
     * llama kind, safetensors of some architectures); loading reorders the rows for pairs k and k + half */
    bool rope_interleaved;
    bool rope_neighbours; /* rotation pairs dimensions 2 k and 2 k + 1; rows of Q and K keep the order of the file */
    unsigned experts, experts_used; /* routed experts of a layer, and those used for a token; 0: a dense model */
    /* Further experts that the router may choose, numbered after `experts`: their output is their input
     * (LongCat-Flash). */
    unsigned identity_experts;
    /* LongCat-Flash: a layer of the file is two layers here. The mixture of the first layer reads the same input as its
     * dense feed-forward; its output is stored in the state of a token, after the hidden state, and is added after the
     * feed-forward of the second layer. */
    bool shortcut;
    uint64_t expert_intermediate; /* width of a routed expert's gate, up and down */
    /* Nemotron 3: width of the vectors that routed experts read and write, if projections before and after the experts
     * change it from hidden_size; 0: experts read and write hidden states. */
    uint64_t expert_latent;
    bool normalise_experts; /* the factors of a token's experts are divided by their sum */
    /* whether the router has a bias; whether gate, up and down of each expert have biases */
    bool router_bias, expert_bias;
    bool gate_up_pairs; /* in stacks with gate and up, their rows alternate: gate 0, up 0, gate 1, ... */
    /* width of the shared expert, which processes every token in addition to its routed experts; 0: none */
    unsigned shared_intermediate;
    /* the mixture's output is the mean of the shared expert's output and the sum of the routed experts' outputs */
    bool shared_average;
    bool shared_gated; /* the shared expert's output is multiplied by a logistic gate of the token */
    /* config.json has a member for the shared expert's width; false: the width is a multiple of a routed expert's */
    bool shared_own;
    organ_router_rule router;
    /* number of groups of experts, and of groups from which a token's experts are chosen; below 2: no groups */
    unsigned router_groups, router_groups_used;
    float router_scale; /* multiplies the factors of all experts; 0: no scale */
} organ_forward_config;

/* Reads the configuration from the key-values of a GGUF model, or from config.json of any other. Returns
 * ORGAN_BAD_INPUT for unknown or invalid values; the message names architecture or field. The caller releases
 * *config. */
organ_status organ_forward_config_read(const organ_model *model, organ_forward_config *config, organ_error *error);
/* Frees the arrays of the configuration. */
void organ_forward_config_release(organ_forward_config *config);

ORGAN_API_END

#endif
