/* SPDX-License-Identifier: MIT
 * A table of the supported architectures. The row of an architecture (forward_family) states the
 * structure of its layers, the members of its config.json and the names of its tensors. The readers of config.json and
 * of GGUF key-values both use the row. A member of config.json with the value null counts as missing, unless a comment
 * says otherwise. */
#ifndef ORGAN_ARCHITECTURE_FAMILIES_H
#define ORGAN_ARCHITECTURE_FAMILIES_H

#include "formats/architecture/parts.h"
#include "formats/base/arena.h"
#include "formats/base/turned.h"

#include <organ/architecture.h>

/* Where a name of a part occurs, if the part has several. organ reads all of them and writes one. */
typedef enum forward_name_use {
    NAME_WRITTEN = 0,        /* published files, which transformers reads: a part has one such name in a list */
    NAME_MODULE = 1 << 16,   /* modules of transformers, which renames the tensors of published files as it reads */
    NAME_MLX = 2 << 16,      /* files of mlx-lm */
    NAME_DRAFT = 3 << 16,    /* blocks for multi-token prediction */
    NAME_OLDER = 4 << 16,    /* files of older converters */
    NAME_ONE_NORM = 5 << 16, /* Falcon with one norm in a layer: written for these models */
    NAME_SAVED = 6 << 16     /* files that a release of transformers saved under the names of other parts */
} forward_name_use;

/* A name of a part, without the prefix and number of the layer. */
typedef struct forward_name {
    unsigned of; /* forward_part | forward_name_use */
    const char *name;
} forward_name;

/* Returns name number `index` of the names that a part may have in safetensors or, with `gguf`, in GGUF files; NULL
 * after the last. These are the names in `own`, an architecture's list, which ends with a NULL name and may be NULL; if
 * it has none for the part, the only name is that of most architectures. */
const char *organ_forward_part_name(const forward_name *own, forward_part part, bool gguf, unsigned index);

/* Writes the name of MLX for the stack PART_EXPERTS_GATE, _UP or _DOWN of all experts, after the prefix of the layer.
 * `word`: the module that mlx-lm has in place of "experts.N". Returns `name`. */
const char *organ_forward_mlx_name(const forward_name *own, forward_part part, const char *word, char name[128]);

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
#define FORWARD_MIXER_PARTS 26
/* Lists the parts of a mixer, `mixer` or `second` of `kind`, other than attention, and those of the layer's
 * hyper-connections; returns their number, 0 for no mixer and for attention without hyper-connections. */
size_t organ_forward_mixer_parts(const organ_forward_config *config, const organ_layer_kind *kind, organ_mixer mixer,
                                 forward_mixer_part parts[FORWARD_MIXER_PARTS]);
/* Upper bound on the parts of organ_forward_gemma_parts. */
#define FORWARD_GEMMA_PARTS 23
/* Lists the parts, with their shapes, that a layer of Gemma 3n, Gemma 4, BitNet or MiniMax M3 has in addition to those
 * of all architectures; returns their number. */
size_t organ_forward_gemma_parts(const organ_forward_config *config, const organ_layer_kind *kind,
                                 forward_shape shapes[FORWARD_GEMMA_PARTS]);

/* Tensors of GGUF files with the numbers by which LongRoPE divides frequencies, for short and for long texts. */
#define ORGAN_ROPE_SHORT "rope_factors_short.weight"
#define ORGAN_ROPE_LONG  "rope_factors_long.weight"

/* The tensor of GGUF files with the per-layer embeddings of each token. */
#define ORGAN_PER_LAYER_TABLE "per_layer_token_embd.weight"

/* A flag of the model: the member `key` of config.json, true or false. `otherwise` is the flag if config.json does not
 * have the member, or if `key` is NULL. */
typedef struct forward_flag {
    const char *key;
    bool otherwise;
} forward_flag;

/* A member of config.json that is a number. `otherwise` is the value if config.json does not have the member; key NULL:
 * the architecture has no such member. */
typedef struct forward_number {
    const char *key;
    double otherwise;
} forward_number;

/* The members of config.json from which organ_query_scale is read: none; llama_4_scaling_beta and
 * original_max_position_embeddings of the rotation; or those of Llama 4 (attn_scale, floor_scale,
 * attn_temperature_tuning). */
typedef enum forward_query { QUERY_NONE, QUERY_ROPE, QUERY_LLAMA4 } forward_query;

/* The rule by which heads differ between layers, or between k and v (hf_own.c): none, or that of
 * an architecture. */
typedef enum forward_heads { HEADS_ALIKE, HEADS_LAGUNA, HEADS_MIMO, HEADS_STEP } forward_heads;

/* Early architectures with members in config.json that no other has (organ_config_early in hf_own.c). */
typedef enum forward_early {
    EARLY_NONE,
    EARLY_BIGCODE,
    EARLY_NEO,
    EARLY_OPT,
    EARLY_MPT,
    EARLY_DBRX,
    EARLY_XGLM
} forward_early;

/* Hyper-connections, by their members in config.json: none; hc_mult, hc_magnitude and hc_eps, where streams are not
 * mixed (HY 4); or hc_mult, hc_sinkhorn_iters and hc_eps, where streams are mixed (DeepSeek-V4), also with the mean of
 * the streams after the last layer. */
typedef enum forward_connecting { CONNECT_NONE, CONNECT_ADD, CONNECT_MIX, CONNECT_MIX_MEAN } forward_connecting;

/* The layers that have attention sinks: none, all, or those with a window. */
typedef enum forward_sinks { SINKS_NONE, SINKS_ALL, SINKS_WINDOWED } forward_sinks;

/* The indexer of sparse attention: none; one in every layer, whose rotation pairs dimensions k and k + half; one whose
 * rotation pairs dimensions 2 k and 2 k + 1, where layers without an indexer use the keys that an earlier one chose; or
 * one that is shared in this way, but rotates the last dimensions, k and k + half of them (HY 4). */
typedef enum forward_indexer { INDEXER_NONE, INDEXER_HALVES, INDEXER_SHARED, INDEXER_LAST } forward_indexer;

/* The rule by which layers have a sliding window. In the values from WINDOWS_FLAG on, the list layer_types of
 * config.json, if present, overrides the rule. */
typedef enum forward_windows {
    WINDOWS_NONE,
    WINDOWS_ALL,       /* all, if sliding_window is above 0 */
    WINDOWS_FLAG_ALL,  /* all, if use_sliding_window is true */
    WINDOWS_FLAG,      /* from max_window_layers on, if use_sliding_window is true */
    WINDOWS_FLAG_ODD,  /* layers 0, 2, ... below max_window_layers, if use_sliding_window is true */
    WINDOWS_UNROTATED, /* layers that do not rotate q and k, if use_sliding_window is true */
    WINDOWS_FROM,      /* from max_window_layers on */
    WINDOWS_TYPES,     /* all but every sliding_window_pattern-th, if sliding_window is above 0 */
    WINDOWS_PATTERN    /* like WINDOWS_TYPES, but config.json must have sliding_window */
} forward_windows;

/* The layers that do not rotate q and k by positions. */
typedef enum forward_unrotated {
    UNROTATED_NONE,
    UNROTATED_LIST,       /* where the list no_rope_layers has 0; without it every no_rope_layer_interval-th layer */
    UNROTATED_FULL,       /* layers without a window, if the model has a sliding_window */
    UNROTATED_EVERY_FULL, /* layers without a window */
    UNROTATED_UNLESS,     /* all, unless position_embedding_type is "rope" */
    UNROTATED_NULL,       /* all, if rope_theta is null in the rotation, or in config.json without a rotation */
    UNROTATED_THETAS,     /* where layer_rope_theta has 0; its other numbers are theta of the layers */
    UNROTATED_ALL
} forward_unrotated;

/* The rotation of layers with a window. */
typedef enum forward_local {
    LOCAL_SAME, /* that of the other layers */
    LOCAL_OWN,  /* with the base rope_local_base_freq, by default 10000 */
    LOCAL_PLAIN /* unscaled, with the base of the other layers' rotation */
} forward_local;

/* Members of config.json that are factors. Their default in transformers is 1. NULL: no such member. */
typedef struct forward_multipliers {
    const char *embedding, *attention; /* of embeddings and of attention scores */
    const char *residual;              /* of the outputs of mixers and feed-forwards */
    bool attention_usual;              /* without the member for attention, scores are scaled by 1 / sqrt(head_dim) */
    const char *logit_divisor;         /* the logits are divided by it */
    const char *logit;                 /* the logits are multiplied by it; config.json must have it */
} forward_multipliers;

/* A member of config.json that the forward pass supports with one value only, as JSON text; missing and null count as
 * that value. */
typedef struct forward_fixed {
    const char *key, *value;
} forward_fixed;

/* Which layers of a mixture model are dense, by members of config.json. */
typedef enum forward_dense {
    DENSE_FIRST, /* the leading layers; forward_mixture.dense_first names the member with their number */
    DENSE_QWEN,  /* mlp_only_layers, and all but every decoder_sparse_step-th layer */
    /* layers not in the list moe_layers or, without the list, all but every interleave_moe_layer_step-th; they are
     * intermediate_size_mlp wide */
    DENSE_STEP,
    DENSE_FREQ,     /* layers for which the list moe_layer_freq has 0 */
    DENSE_PERIOD,   /* all but layers l with l % expert_layer_period = expert_layer_offset, or all with one expert */
    DENSE_WORDS,    /* all but those whose forward_layer_word has FEED_EXPERTS */
    DENSE_SECOND,   /* layers 1, 3, ...; layers 0, 2, ... have a mixture and a dense feed-forward */
    DENSE_INTERVAL, /* all but every moe_layer_interval-th of those from moe_layer_start_index to moe_layer_end_index */
    /* none; mlp_layer_types states which layers have organ_layer_kind.by_token, by default the first num_hash_layers */
    DENSE_HASH
} forward_dense;

/* Value of forward_mixture.dense_otherwise: if config.json does not have dense_first, no layer is dense. */
#define DENSE_NONE UINT32_MAX

/* Members of config.json for a mixture of experts; NULL: the architecture does not have the member. */
typedef struct forward_mixture {
    const char *experts, *experts_too; /* member with the number of routed experts, and an older name of it */
    const char *identity;              /* member with identity_experts of organ_forward_config */
    const char *used;                  /* member with the number of experts used for a token */
    const char *width;                 /* member with the width of a routed expert */
    const char *latent;                /* member with expert_latent of organ_forward_config; null or missing: 0 */
    const char *shared_count;          /* member with the number of shared experts, each as wide as a routed one */
    const char *shared_width;          /* member with the width of the shared expert */
    bool shared_optional;              /* shared_width may be missing or 0: no shared expert */
    /* config.json may state 0 experts; each layer then is dense and as wide as the shared expert */
    bool optional;
    /* member that is "average" or "sum": the mixture's output is that of the outputs of shared and routed experts */
    const char *combination;
    const char *selection;    /* member that is "softmax" or "sigmoid": the factors are that of the chosen logits */
    bool shared_gated;        /* the shared expert's output is multiplied by a logistic gate */
    organ_router_rule router; /* the rule of the router, before the members below change it */
    const char *least_sum;    /* member with router.least_sum */
    const char *cap;          /* member with router.cap */
    const char *jitter;       /* member with half of router.jitter (transformers' SparseMixer doubles it) */
    double jitter_otherwise;  /* value of the member `jitter` if config.json does not have it */
    forward_flag normalise;   /* the factors of a token's experts are divided by their sum */
    bool gguf_normalise; /* if normalise.key is not NULL: the flag for GGUF files without the key expert_weights_norm */
    bool biases;         /* the router and each expert's gate, up and down have biases */
    /* stacks (tensors with the matrices of all experts) have two dimensions in safetensors, (experts x rows) x columns;
     * gate, up and down are a tensor each, and down is stored transposed */
    bool flat;
    bool transposed;  /* stacks of safetensors are experts x in_features x out_features */
    bool or_straight; /* with `transposed`: stacks may also be experts x out_features x in_features */
    bool pairs;       /* in stacks that contain gate and up, their columns alternate: gate 0, up 0, gate 1, ... */
    /* member that replaces router.corrected, by default true; NULL: no such member */
    const char *corrected;
    const char *scale, *groups, *groups_used; /* members with router_scale, router_groups and router_groups_used */
    /* member that is "greedy" (experts are chosen without groups) or "group_limited_greedy" (with groups) */
    const char *method;
    forward_dense dense;     /* the dense layers, if config.json has no mlp_layer_types */
    const char *dense_width; /* member with the width of dense layers; without it they are intermediate_size wide */
    const char *dense_first; /* member with the number of leading dense layers */
    bool absent_in_gguf; /* GGUF files do not state which layers are dense; they are those without a router tensor */
    /* number of leading dense layers if config.json does not have dense_first; 0: config.json must have it; DENSE_NONE:
     * no leading layer is dense */
    unsigned dense_otherwise;
    /* members that must be present, because transformers has no default or different ones; NULL ends the list */
    const char *const *required;
} forward_mixture;

/* The feed-forward that a word for a layer stands for (forward_layer_word). */
typedef enum forward_word_feed {
    FEED_USUAL,  /* dense, unless the rule forward_mixture.dense gives the layer a mixture */
    FEED_NONE,   /* the layer has no feed-forward */
    FEED_EXPERTS /* a mixture */
} forward_word_feed;

/* A word for a layer in a list or a pattern of config.json, and the layer's structure that the word stands for. */
typedef struct forward_layer_word {
    const char *word;
    organ_mixer mixer, second; /* as in organ_layer_kind */
    forward_word_feed feed;
} forward_layer_word;

/* Members of config.json for recurrent layers. A forward_number with a key and 0 as its default must be present;
 * without a key the size is 0 or follows from other members. Members that are not commented are as in
 * organ_recurrent_config. GGUF files of all architectures have -e^A_log in place of A_log, convolutions without
 * dimensions of 1, and the norm of Mamba-2 as groups x (heads x value_dim / groups). */
typedef struct forward_recurrent {
    /* words for layers; the list ends with a word that is NULL. "First" and "second" word below: words[0], words[1] */
    const forward_layer_word *words;
    /* member that is a string with a letter (a word) for each layer; NULL or without the member, `types` is read */
    const char *pattern;
    const char *types; /* member with a word for each layer; NULL: layer_types */
    /* Member with a list of layer numbers, which is read if `types` is missing: these layers have the first word, the
     * others the second. */
    const char *indices;
    /* config.json must have `types` or `indices`; false: without both, no layer has the first word */
    bool indices_needed;
    bool alike; /* all layers have the first word, and config.json has no list */
    /* if `types` is missing, every interval-th layer has the first word and the others have the second */
    forward_number interval;
    /* with `interval`: number of the first layer with the first word; without a key: interval - 1 */
    forward_number offset;
    forward_number heads, groups, key_dim, value_dim, kernel; /* of organ_recurrent_config */
    organ_projections projections;
    forward_flag conv_bias, bias, out_bias; /* biases of convolution, input and output projection */
    const char *rank; /* Mamba: columns of dt_proj; "auto" stands for hidden_size / 16, rounded up */
    bool step_norms, step_norms_bare;
    const char *norm_eps_key; /* member with the epsilon of norms in the mixer; NULL: norm_eps */
    /* the members up to `scaled` are for Mamba-2 */
    forward_number expand;           /* heads x value_dim is this number times hidden_size */
    const char *inner;               /* member with heads x value_dim, if it is not null; it overrides `expand` */
    forward_flag normed, norm_first; /* of organ_recurrent_config */
    const char *least_step;          /* member with the least time step; NULL: time_step_limit has both limits */
    /* config.json has the multipliers of Falcon-H1; GGUF files have them multiplied into the weights */
    bool scaled;
    forward_flag twice; /* of organ_recurrent_config */
    double norm_eps;    /* epsilon of norms in the mixer; 0: that of the other norms */
    /* lightning attention: its heads are those of the attention, and layers have residual_normed factors */
    bool lightning;
    bool by_channel, full_rank; /* of organ_recurrent_config */
    /* Bailing: members kda_safe_gate and kda_lower_bound state decay_limit; sizes whose own members are missing are
     * those of num_attention_heads, head_dim and short_conv_kernel_size. GGUF files have e^A_log in place of A_log. */
    bool bounded;
    /* Member that is an object with num_heads, head_dim and short_conv_kernel_size, which override the members above.
     * Without `types`, its lists full_attn_layers and kda_layers have the numbers, from 1 on, of the layers with the
     * first and the second word. */
    const char *object;
    bool norms_before; /* norms of recurrent layers precede mixer and feed-forward */
    /* in GGUF files rows of v, z, b, a, A_log, dt_bias and the convolution, and columns of the output projection, are
     * ordered by the value head's place among those of its key head: the first head of each key head, then the second
     * of each, ... */
    bool gguf_tiled;
    /* GGUF files have the projections of ORGAN_PROJECTIONS_BY_HEAD as one tensor with q, k and v and one with z; b and
     * a stay in one tensor */
    bool gguf_split;
} forward_recurrent;

/* An architecture. Members of type const char * that end in `key`, and those of forward_flag and forward_number, name
 * members of config.json. Members that are not commented are as in organ_forward_config. */
typedef struct forward_family {
    const char *architecture; /* in config.json */
    const char *gguf;         /* general.architecture of its GGUF files; NULL: none of its own */
    const char *gguf_experts; /* general.architecture of files with experts; NULL: the same as without */
    organ_norm_placement norms;
    /* member that is false if the model has only norms before mixer and feed-forward; NULL: no such member */
    const char *norms_key;
    organ_norm norm;
    bool norm_biased, norm_unweighted, qk_norm_biased;
    const char *eps_key;   /* member with the epsilon of norms; NULL: rms_norm_eps; "": no such member */
    double eps;            /* the epsilon if config.json does not have that member; 0: it must have the member */
    forward_flag parallel; /* attention and feed-forward read the same hidden state */
    bool one_norm;         /* with parallel: the feed-forward reads the same normed input as the attention */
    bool either_norm;      /* norms are RMSNorm if config.json has rms_norm_eps, else as `norm` says */
    organ_qk_norm qk_norm;
    const char *qk_norm_key; /* member that switches qk_norm on; NULL: always on */
    bool norm_adds_one;      /* norms of safetensors multiply by 1 + weight; GGUF files store 1 + weight */
    bool scaled_embeddings;  /* embeddings are multiplied by sqrt(hidden_size) */
    const char *scaled_key;  /* with scaled_embeddings: only if this member is true; NULL: always */
    bool tied;               /* value of tie_word_embeddings if config.json does not have it */
    bool interleaved;        /* rope_interleaved of organ_forward_config, in safetensors too */
    bool neighbours;         /* rope_neighbours of organ_forward_config */
    bool gguf_exact_range;   /* YaRN does not round the bounds of its ramp (GGUF has no key for it) */
    bool gguf_half_rotated;  /* layers without a window rotate half of a head (GGUF has no key for it) */
    bool gguf_pairs;         /* rope_interleaved of organ_forward_config, in GGUF files only */
    bool softcaps;           /* final_logit_softcapping, and attn_logit_softcapping if attention_softcap is above 0 */
    /* caps if config.json does not have the members; a null there means no cap */
    double attention_softcap, final_softcap;
    bool query_scalar;           /* scores are scaled by 1 / sqrt(query_pre_attn_scalar) */
    unsigned large_layers;       /* GGUF: a model of that many layers scales scores by 1 / sqrt(hidden_size / heads) */
    organ_activation activation; /* activation if config.json does not name it */
    const char *activation_key;  /* member that names it; NULL: hidden_activation or hidden_act */
    bool ungated;                /* a feed-forward is down(act(up(x))), without a gate */
    organ_fused fused;
    forward_flag head_bias;
    /* names of the members partial_rotary_factor and rope_theta in this architecture; NULL: these names */
    const char *rotated_key, *theta_key;
    bool falcon; /* Falcon: flags in config.json choose the heads of k and v, and the norms */
    /* without intermediate_size in config.json (four_times_only: always), feed-forwards are 4 x hidden_size wide */
    bool four_times, four_times_only;
    /* longest context if config.json has no max_position_embeddings; 0: it must have the member */
    unsigned context;
    forward_early early;
    bool transposed;          /* matrices of layers are in_features x out_features in safetensors (Conv1D) */
    bool learned;             /* learned absolute positions, max_position_embeddings rows */
    bool sinusoidal;          /* sines and cosines of positions are added to embeddings (XGLM) */
    unsigned position_offset; /* row of the table for position 0 */
    bool embedding_normed;    /* as in organ_forward_config */
    double alibi;             /* alibi_max of organ_forward_config */
    /* pairs of the usual name of a member and this architecture's name for it; {NULL} ends */
    const char *const (*aliases)[2];
    bool old_aliases; /* the aliases are older names; published files have the usual names */
    const char *clip; /* member with clip_qkv */
    /* prefix of the tensors of the text model, may be empty; NULL: "model." and those of text parts */
    const char *prefix;
    const char *layer_list; /* the word before the number of a layer in names of safetensors; NULL: "layers" */
    forward_number gate_limit, gate_alpha; /* of a clamped SwiGLU; GGUF files have the defaults */
    forward_sinks sinks;
    forward_flag qkv_bias, output_bias, mlp_bias;
    forward_windows windows;
    /* sliding_window and max_window_layers of a config.json without these members, as in transformers; a sliding_window
     * that is null is no window */
    unsigned window, window_border;
    /* default of sliding_window_pattern: every window_pattern-th layer has no window; 0: all layers have one */
    unsigned window_pattern;
    bool first_full; /* the first of each window_pattern layers has no window, not the last */
    /* member with the window_pattern of leading dense layers; if it is 1, these layers rotate q and k */
    const char *dense_pattern;
    forward_unrotated unrotated;
    forward_local local;
    bool qk_norm_last, qk_norm_bare; /* as in organ_forward_config */
    forward_query query;
    organ_attention_gate gate;
    bool gate_in_q, gate_heads;
    const char *gate_key; /* member that is false if the attention has no gate; NULL: no such member */
    forward_heads heads;
    /* member with organ_layer_kind.chunk of layers that rotate q and k, or of those that layer_types names */
    const char *chunk;
    forward_number value_scale; /* factor of v; null means 1 */
    bool rope_reversed;         /* q and k are rotated by minus the angle */
    bool rope_mscale;           /* longrope has the members short_mscale and long_mscale, factors of cos and sin */
    bool rope_alpha;            /* rope_type "dynamic" with alpha: theta grows once, not with the length of a window */
    /* width of a head if config.json has no head_dim; 0: hidden_size / num_attention_heads */
    unsigned head_dim;
    /* base of the rotation if config.json has no rope_theta; 0: it must have rope_parameters or rope_scaling */
    double theta;
    bool rotary_dim; /* config.json may have rotary_dim, the rotated dimensions of a head */
    /* The share of a head that is rotated if config.json has no partial_rotary_factor. 0: the whole head is rotated,
     * and rope_type "default" ignores partial_rotary_factor, as the class in transformers does. */
    double rotated_part;
    /* rotated_part applies to rope_type "default" only: other kinds rotate the whole head */
    bool scaled_whole;
    bool minicpm;        /* MiniCPM's factors: scale_emb, scale_depth, dim_model_base */
    bool embedding_norm; /* a norm without weights of the embeddings */
    bool sub_norms;      /* norms before the output projections of attention and feed-forward */
    /* default of rope_interleave: true means that latent attention's rotation pairs dimensions k and k + half, false
     * means 2 k and 2 k + 1 */
    bool latent_halves;
    bool latent;        /* all layers have multi-head latent attention */
    bool latent_scaled; /* queries and the latent vector of keys and values get factors sqrt(hidden_size / rank) */
    /* as in organ_forward_config; '%' in `names` stands for 0 or 1, the first or second half of the file's layer */
    bool shortcut;
    forward_indexer indexer; /* of sparse attention */
    bool blocks;             /* layers that layer_types names have block-sparse attention (organ_blocks_config) */
    forward_connecting connections;
    const char *expert_limit; /* member with organ_forward_config.expert_limit */
    bool limits_shared;       /* as in organ_forward_config */
    bool compressed;          /* all layers have ORGAN_MIXER_COMPRESSED */
    /* list of members with one supported value, which ends with a NULL key; NULL: none */
    const forward_fixed *fixed;
    double attention_scale; /* factor of attention scores; 0: computed from the width of a head */
    bool value_norm;        /* a norm without weights for each head of v */
    bool last_full;         /* the last layer has no window, even if layer_types gives it one */
    /* layers without a window have other heads: members global_head_dim, attention_k_eq_v */
    bool global_heads;
    /* last layers use keys and values of earlier ones: members num_kv_shared_layers, use_double_wide_mlp */
    bool shared_keys;
    bool layer_scaled; /* a layer ends by multiplying the hidden state by its tensor layer_scalar, one number */
    bool dual_ffn;     /* enable_moe_block adds a mixture to the dense feed-forward */
    /* per-layer embeddings: members hidden_size_per_layer_input, vocab_size_per_layer_input */
    bool per_layer;
    /* AltUp, Laurel and cut gates: members altup_*, laurel_rank, activation_sparsity_pattern */
    bool streams;
    const forward_multipliers *multipliers; /* NULL: none */
    const forward_mixture *mixture;         /* NULL: no experts, but llama of GGUF files may be Mixtral */
    const forward_recurrent *recurrent;     /* NULL: all layers have attention */
    bool attention_free;                    /* config.json has no sizes of attention and no length of the context */
    /* LFM2: members such as block_auto_adjust_ff_dim change the width of feed-forwards */
    bool adjusted_feed;
    const forward_name *names, *gguf_names; /* names of tensors that differ from the usual ones (layer_parts.c) */
} forward_family;

/* Returns the number of divisors that rope_freqs.weight has for a rotation. */
static inline unsigned organ_forward_divisors(const forward_family *family, const organ_rope_config *rope)
{
    return family->gguf_half_rotated ? rope->dimensions : rope->dimensions / 2;
}

/* Returns whether layers of the architecture may differ in their heads of q, and have a gate of the attention. */
static inline bool organ_heads_by_layer(const forward_family *family)
{
    return family->heads == HEADS_LAGUNA || family->heads == HEADS_STEP;
}

/* Returns the quantile of the standard normal distribution at `part`, above 0 and below 1: gate_cut of organ_layer_kind
 * for a share `part` of gates that become 0. 2 part - 1, the inverse of erf and the product with the root of 2 are
 * rounded to FP32, as transformers does. */
float organ_forward_gate_cut(float part);
/* Inverts organ_forward_gate_cut: returns the `part` with the fewest decimal digits, 9 at most, whose cut is `cut`. */
double organ_forward_gate_part(float cut);

/* Returns the row of an architecture: a name in config.json, or with `gguf` a general.architecture. NULL: unknown. */
const forward_family *organ_forward_family_named(const char *architecture, bool gguf);

/* Returns whether the modules of the model in transformers are known: by a row of its architecture or of its model
 * type, or by organ_module_type_is_checked. True for GGUF files and for models without a config.json, which
 * transformers does not open by a model type. */
bool organ_architecture_is_checked(const organ_model *model);

/* Copies to the configuration those members of the row that no file states. Both readers call it after they have read
 * the sizes, and before they read other members. */
void organ_forward_family_apply(const forward_family *family, organ_forward_config *config);

/* Returns the order of a layer's rows of q and k in files with rope_interleaved and in GGUF files with gguf_pairs. */
organ_turned_rows organ_rope_rows(const organ_forward_config *config, const organ_layer_kind *kind);

/* Returns the length of an architecture's name without "ForCausalLM" at its end, for lists in messages. */
int organ_architecture_short_length(const char *name);
/* Sets and returns ORGAN_BAD_INPUT; the message lists the architectures that the forward pass supports in this format.
 * `label` names the file. */
organ_status organ_forward_family_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

#endif
