/* SPDX-License-Identifier: MIT
 * Internals of config.h: one row for each supported architecture, which names the pieces of its layers, the members of
 * its configuration and its tensors. Both readers, of config.json and of GGUF key-values, use the row. */
#ifndef ORGAN_FORWARD_FAMILIES_H
#define ORGAN_FORWARD_FAMILIES_H

#include "orchestrator/forward/config/config.h"
#include "orchestrator/forward/config/layer_parts.h"

/* Tensors of GGUF files that contain the divisors of frequencies. */
#define ORGAN_ROPE_SHORT "rope_factors_short.weight"
#define ORGAN_ROPE_LONG  "rope_factors_long.weight"

/* The tensor of GGUF files with the per-layer embeddings of each token. */
#define ORGAN_PER_LAYER_TABLE "per_layer_token_embd.weight"

/* A member of config.json that is true or false; `otherwise` is its default, or the value if `key` is NULL. */
typedef struct forward_flag {
    const char *key;
    bool otherwise;
} forward_flag;

/* A member of config.json that is a number; `otherwise` is its default. NULL: no such member. */
typedef struct forward_number {
    const char *key;
    double otherwise;
} forward_number;

/* The members for organ_query_scale: llama_4_scaling_beta and original_max_position_embeddings of the rotation, or
 * those of Llama 4: attn_scale, floor_scale, attn_temperature_tuning. */
typedef enum forward_query { QUERY_NONE, QUERY_ROPE, QUERY_LLAMA4 } forward_query;

/* Heads that differ between layers, or between k and v (hf_own.c). */
typedef enum forward_heads { HEADS_ALIKE, HEADS_LAGUNA, HEADS_MIMO } forward_heads;

/* Architectures with members of their own (hf_own.c). */
typedef enum forward_early {
    EARLY_NONE,
    EARLY_BIGCODE,
    EARLY_NEO,
    EARLY_OPT,
    EARLY_MPT,
    EARLY_DBRX,
    EARLY_XGLM
} forward_early;

/* The layers that have sinks. */
typedef enum forward_sinks { SINKS_NONE, SINKS_ALL, SINKS_WINDOWED } forward_sinks;

/* The indexer of sparse attention: none; one in every layer, whose rotation pairs the halves of a vector; or one whose
 * rotation pairs neighbours, where layers may use the choice of another layer. */
typedef enum forward_indexer { INDEXER_NONE, INDEXER_HALVES, INDEXER_SHARED } forward_indexer;

/* The layers that have a sliding window. `layer_types`, if config.json has it, precedes the numbers of layers from
 * WINDOWS_FLAG on. */
typedef enum forward_windows {
    WINDOWS_NONE,
    WINDOWS_ALL,      /* all, if sliding_window is above 0 */
    WINDOWS_FLAG_ALL, /* all, if use_sliding_window is true */
    WINDOWS_FLAG,     /* from max_window_layers on, if use_sliding_window is true */
    WINDOWS_FLAG_ODD, /* the first, third, ... of those below max_window_layers, if use_sliding_window is true */
    WINDOWS_FROM,     /* from max_window_layers on */
    WINDOWS_TYPES,    /* all but every sliding_window_pattern-th, if sliding_window is above 0 */
    WINDOWS_PATTERN   /* all but every sliding_window_pattern-th; config.json must have sliding_window */
} forward_windows;

/* The layers whose q and k get no positions. */
typedef enum forward_unrotated {
    UNROTATED_NONE,
    UNROTATED_LIST,       /* where no_rope_layers has 0, else every no_rope_layer_interval-th layer */
    UNROTATED_FULL,       /* layers without a window, if the model has a sliding_window */
    UNROTATED_EVERY_FULL, /* layers without a window */
    UNROTATED_UNLESS,     /* all, unless position_embedding_type is "rope" */
    UNROTATED_NULL,       /* all, if rope_theta is null in the rotation, or in config.json without a rotation */
    UNROTATED_THETAS,     /* where layer_rope_theta has 0; its other numbers are theta of the layers */
    UNROTATED_ALL
} forward_unrotated;

/* The rotation of layers with a window. */
typedef enum forward_local {
    LOCAL_SAME,
    LOCAL_OWN,  /* its own base: rope_local_base_freq, by default 10000 */
    LOCAL_PLAIN /* the base of the other layers without their scaling */
} forward_local;

/* Factors: members of config.json, which transformers takes for 1 if they are missing. NULL: no such member. */
typedef struct forward_multipliers {
    const char *embedding, *attention, *residual;
    bool attention_usual;      /* without the member for attention, scores are scaled by 1 / sqrt(head_dim) */
    const char *logit_divisor; /* the logits are divided by it */
    const char *logit;         /* the logits are multiplied by it; config.json must have it */
} forward_multipliers;

/* A member of config.json that the forward pass supports with one value only, as JSON text; missing and null count as
 * that value. */
typedef struct forward_fixed {
    const char *key, *value;
} forward_fixed;

/* The dense layers of a mixture, by members of config.json. */
typedef enum forward_dense {
    DENSE_FIRST,   /* the leading ones */
    DENSE_QWEN,    /* mlp_only_layers, and all but every decoder_sparse_step-th layer */
    DENSE_STEP,    /* moe_layers lists the others, else every interleave_moe_layer_step-th is one; dense layers are
                      intermediate_size_mlp wide */
    DENSE_FREQ,    /* where moe_layer_freq has 0 */
    DENSE_PERIOD,  /* all but layers l with l % expert_layer_period = expert_layer_offset, or all with one expert */
    DENSE_WORDS,   /* all but those whose word in the list of layers has FEED_EXPERTS */
    DENSE_SECOND,  /* every second layer; the others have a dense feed-forward as well */
    DENSE_INTERVAL /* all but every moe_layer_interval-th from moe_layer_start_index to moe_layer_end_index */
} forward_dense;

#define DENSE_NONE UINT32_MAX

/* Members of config.json for a mixture of experts; NULL: the architecture does not have the member. */
typedef struct forward_mixture {
    const char *experts, *experts_too; /* the number of routed experts; an older name */
    const char *identity;              /* identity_experts */
    const char *used;                  /* experts that work on a token */
    const char *width;                 /* of a routed expert */
    const char *latent;                /* with expert_latent; null or missing: none */
    const char *shared_count;          /* shared experts, each as wide as a routed one */
    const char *shared_width;          /* width of one shared expert */
    bool shared_optional;              /* without the member, or if it is 0, there is no shared expert */
    bool optional;                     /* without experts, each layer is dense and as wide as the shared expert */
    const char *combination;           /* "average": of the shared expert's output and the others'; "sum" */
    const char *selection;             /* "softmax" of the chosen values, or "sigmoid" */
    bool shared_gated;                 /* its output is multiplied by a logistic gate */
    organ_router_rule router;
    const char *least_sum;   /* member with router.least_sum */
    const char *cap;         /* member with router.cap */
    const char *jitter;      /* member with half of router.jitter, */
    double jitter_otherwise; /* and that number if config.json does not have it */
    forward_flag normalise;  /* the factors of a token's experts are divided by their sum */
    bool gguf_normalise;     /* the same in llama.cpp, if normalise has a key and the GGUF file does not say it */
    bool biases;             /* of the router and of each expert's gate, up and down */
    bool flat;               /* stacks of safetensors are (experts x rows) x columns, one tensor for gate, up and
                                down; that of down has its columns as rows */
    bool transposed;         /* stacks of safetensors are experts x in_features x out_features */
    bool or_straight;        /* unless their shape is experts x out_features x in_features */
    bool pairs;              /* and their columns of gate and up alternate */
    const char *corrected;   /* member that is false if there is no correction */
    const char *scale, *groups, *groups_used;
    const char *method;          /* "greedy": experts are chosen without groups; "group_limited_greedy": with groups */
    forward_dense dense;         /* the dense layers, if config.json has no mlp_layer_types */
    const char *dense_width;     /* of dense layers, if config.json has it; else they are intermediate_size wide */
    const char *dense_first;     /* their number, */
    bool absent_in_gguf;         /* GGUF files do not have their number: dense layers have no router */
    unsigned dense_otherwise;    /* and that number if config.json does not have the member; 0: it must have it;
                                    DENSE_NONE: 0 */
    const char *const *required; /* members that must be present, since transformers has no common default; NULL ends */
} forward_mixture;

/* The feed-forward of a layer with a word: the usual one, none, or routed experts. */
typedef enum forward_word_feed { FEED_USUAL, FEED_NONE, FEED_EXPERTS } forward_word_feed;

/* A word for a layer in a list or a pattern of config.json. */
typedef struct forward_layer_word {
    const char *word;
    organ_mixer mixer, second; /* as in organ_layer_kind */
    forward_word_feed feed;
} forward_layer_word;

/* Members of config.json for recurrent layers. A number with 0 as its default must be present; NULL: no such member,
 * and the size is 0 or that of another member. */
typedef struct forward_recurrent {
    const forward_layer_word *words; /* of the layers; ends with a word that is NULL */
    const char *pattern;             /* member with a letter for each layer, which is its word; else `types` is read */
    const char *types;               /* member with a word for each layer; NULL: layer_types */
    /* Without `types`: a list of the layers with the first word, the others have the second. */
    const char *indices;
    bool indices_needed; /* if `types` is missing; else no layer has the first word */
    bool alike;          /* all layers have the first word, and config.json has no list */
    /* without layer_types, every interval-th layer has the first word and the others have the second */
    forward_number interval;
    forward_number offset;                                    /* without a key: interval - 1 */
    forward_number heads, groups, key_dim, value_dim, kernel; /* of organ_recurrent_config */
    organ_projections projections;
    forward_flag conv_bias, bias, out_bias;
    const char *rank; /* Mamba: columns of dt_proj; "auto" stands for hidden_size / 16, rounded up */
    bool step_norms, step_norms_bare;
    const char *norm_eps_key; /* of the norms in the mixer; NULL: that of the others */
    /* Mamba-2 */
    forward_number expand; /* heads x value_dim is that times hidden_size */
    const char *inner;     /* or this member, if it is not null */
    forward_flag normed, norm_first;
    const char *least_step; /* the least time step; NULL: time_step_limit has both limits */
    bool scaled;            /* the multipliers of Falcon-H1; in GGUF files they are factors of the weights */
    forward_flag twice;     /* of organ_recurrent_config */
    double norm_eps;        /* 0: that of the other norms */
    bool lightning;         /* heads are those of the attention, and layers have factors of their residuals */
    bool by_channel;        /* of organ_recurrent_config */
    /* An object with num_heads, head_dim and short_conv_kernel_size, which precede the members above, and, used without
     * `types`, the numbers from 1 on of the layers with the first and the second word: full_attn_layers, kda_layers. */
    const char *object;
    bool norms_before; /* norms of recurrent layers precede mixer and feed-forward */
    /* GGUF. Files of all architectures have -e^A_log in the place of A_log, convolutions without dimensions of 1, and
     * the norm of Mamba-2 as groups x (heads x value_dim / groups). */
    bool gguf_tiled; /* the heads of values with the same place among those of a key head follow each other: first of
                        each key head, second of each, ... (rows of v, z, b, a, A_log, dt_bias and the convolution, and
                        columns of the output projection) */
    bool gguf_split; /* projections by key head are stored as q, k and v in one tensor and z in another; those of b and
                        a stay in one */
} forward_recurrent;

typedef struct forward_family {
    const char *architecture; /* in config.json */
    const char *gguf;         /* general.architecture; NULL: none of its own */
    const char *gguf_experts; /* that of files with experts; NULL: the same */
    organ_norm_placement norms;
    const char *norms_key; /* member that is false if there are only norms before; NULL: no such member */
    organ_norm norm;
    bool norm_biased, norm_unweighted, qk_norm_biased;
    const char *eps_key;   /* NULL: rms_norm_eps; "": no member */
    double eps;            /* if config.json does not have the member; 0: it must have it */
    forward_flag parallel; /* attention and feed-forward read the same hidden state */
    bool one_norm;         /* then the feed-forward reads the norm before the attention */
    bool either_norm;      /* norms are RMSNorm if config.json has rms_norm_eps */
    organ_qk_norm qk_norm;
    const char *qk_norm_key; /* member that switches qk_norm on; NULL: always on */
    bool norm_adds_one;      /* 1 + w, in safetensors; GGUF files have the sum */
    bool scaled_embeddings;  /* by sqrt(hidden_size), */
    const char *scaled_key;  /* if this member is true; NULL: always */
    bool tied;               /* tie_word_embeddings if config.json does not have it */
    bool interleaved;        /* rotation pairs neighbours, in safetensors too */
    bool neighbours;         /* the same; the forward pass rotates neighbours, rows keep their order */
    bool gguf_exact_range;   /* YaRN does not round the bounds of its ramp (GGUF has no key for it) */
    bool gguf_pairs;         /* GGUF: rows of q and k are reordered so that it pairs neighbours */
    bool softcaps;           /* final_logit_softcapping, and attn_logit_softcapping if attention_softcap is above 0 */
    double attention_softcap, final_softcap; /* if config.json does not have them; null means no cap */
    bool query_scalar;                       /* scores are scaled by 1 / sqrt(query_pre_attn_scalar) */
    unsigned large_layers;       /* GGUF: a model of that many layers scales scores by 1 / sqrt(hidden_size / heads) */
    organ_activation activation; /* if config.json does not name it */
    const char *activation_key;  /* NULL: hidden_activation or hidden_act */
    bool ungated;                /* as in organ_forward_config, like the next one */
    organ_fused fused;
    forward_flag head_bias;
    const char *rotated_key, *theta_key; /* older names of partial_rotary_factor and rope_theta; NULL: these */
    bool falcon;                         /* flags of Falcon choose heads of k and v, and the norms */
    bool four_times;                     /* a feed-forward without a width in config.json is 4 x hidden_size wide */
    unsigned context;                    /* if config.json has no max_position_embeddings; 0: it must have it */
    forward_early early;
    bool transposed;                 /* matrices of layers are in_features x out_features in safetensors (Conv1D) */
    bool learned;                    /* learned absolute positions: max_position_embeddings of them, */
    bool sinusoidal;                 /* or sines and cosines of positions (XGLM), */
    unsigned position_offset;        /* from this row of the table on */
    bool embedding_normed;           /* as in organ_forward_config */
    double alibi;                    /* alibi_max */
    const char *const (*aliases)[2]; /* members with names of their own, after the usual names; {NULL} ends */
    bool old_aliases;                /* published files have the usual names */
    const char *clip;                /* member that limits q, k and v */
    const char *prefix; /* of the tensors of the text model, or nothing; NULL: "model." and those of text parts */
    const char *ladder; /* the word before the number of a layer; NULL: "layers" */
    forward_number gate_limit, gate_alpha; /* of a clamped SwiGLU; GGUF files have the defaults */
    forward_sinks sinks;
    forward_flag qkv_bias, output_bias, mlp_bias;
    forward_windows windows;
    unsigned window_pattern; /* every window_pattern-th layer has no window, if the file does not say it; 0: all have */
    bool first_full;         /* the first of each window_pattern layers has no window, not the last */
    const char *dense_pattern; /* the member with window_pattern for leading dense layers; 1: they rotate q and k */
    forward_unrotated unrotated;
    forward_local local;
    bool qk_norm_last, qk_norm_bare; /* as in organ_forward_config */
    forward_query query;
    organ_attention_gate gate;
    bool gate_in_q, gate_heads;
    forward_heads heads;
    const char *chunk;          /* size of chunks in layers that rotate q and k, or that layer_types names */
    forward_number value_scale; /* of v; null means 1 */
    bool rope_reversed;         /* q and k are rotated by minus the angle */
    bool rope_mscale;           /* longrope has factors of cos and sin of its own: short_mscale and long_mscale */
    bool rope_alpha;            /* rope_type "dynamic" with alpha: theta grows once, not with the length of a window */
    unsigned head_dim;          /* if config.json has no head_dim; 0: hidden_size / num_attention_heads */
    double theta;               /* if config.json has no rope_theta; 0: it must have rope_parameters or rope_scaling */
    bool rotary_dim;            /* config.json may have rotary_dim, the rotated dimensions of a head */
    /* The share of a head that is rotated if config.json has no partial_rotary_factor. 0: the whole head is rotated,
     * and rope_type "default" ignores partial_rotary_factor, as the class in transformers does. */
    double rotated_part;
    bool scaled_whole;          /* rotated_part is for rope_type "default" alone: other kinds rotate all of a head */
    bool minicpm;               /* MiniCPM's factors: scale_emb, scale_depth, dim_model_base */
    bool embedding_norm;        /* a norm without weights of the embeddings */
    bool sub_norms;             /* norms before the output projections of attention and feed-forward */
    bool latent_halves;         /* latent attention pairs halves if config.json has no rope_interleave */
    bool latent;                /* all layers have multi-head latent attention */
    bool latent_scaled;         /* queries and latent vectors are multiplied by sqrt(hidden_size / their rank) */
    bool shortcut;              /* of organ_forward_config; in names of tensors, '%' stands for 0 or 1 */
    forward_indexer indexer;    /* of sparse attention */
    const forward_fixed *fixed; /* ends with a key that is NULL; the pointer may be NULL */
    double attention_scale;     /* of scores, if it does not depend on sizes; 0: it does */
    bool value_norm;            /* a norm without weights for each head of v */
    bool last_full;             /* the last layer has no window, whatever layer_types says */
    bool global_heads;          /* layers without a window have heads of their own: global_head_dim, attention_k_eq_v */
    bool shared_keys;           /* num_kv_shared_layers, use_double_wide_mlp */
    bool layer_scaled;          /* a layer ends with a product by its layer_scalar */
    bool dual_ffn;              /* enable_moe_block adds a mixture to the dense feed-forward */
    bool per_layer;             /* per-layer embeddings: hidden_size_per_layer_input, vocab_size_per_layer_input */
    bool streams;               /* AltUp, Laurel and cut gates: altup_*, laurel_rank, activation_sparsity_pattern */
    const forward_multipliers *multipliers;
    const forward_mixture *mixture;
    const forward_recurrent *recurrent;     /* NULL: all layers attend */
    bool attention_free;                    /* config.json has no sizes of attention and no length of the context */
    bool adjusted_feed;                     /* intermediate_size may be adjusted: block_auto_adjust_ff_dim */
    const forward_name *names, *gguf_names; /* of tensors with names of their own */
} forward_family;

/* The rows of architectures with latent attention in all layers (families_latent.c), with recurrent layers
 * (families_recurrent.c) and of early ones (families_early.c). The last row of each has no architecture. */
extern const forward_family organ_forward_families_latent[], organ_forward_families_recurrent[],
    organ_forward_families_early[];

/* Returns the number below which a value of the standard normal distribution is with probability `part`, which is above
 * 0 and below 1: gate_cut of organ_layer_kind. 2 part - 1, the inverse of erf and the product with the root of 2 are
 * rounded to FP32, as transformers does. */
float organ_forward_gate_cut(float part);
/* Returns the number with the fewest decimals, 9 at most, that has this cut. */
double organ_forward_gate_part(float cut);

/* Returns the family of an architecture, or NULL if it is unknown. */
const forward_family *organ_forward_family_named(const char *architecture, bool gguf);

/* Copies the pieces of the row that no file changes. Both readers call it before they read the others. */
void organ_forward_family_apply(const forward_family *family, organ_forward_config *config);

/* Fails with ORGAN_BAD_INPUT; the message lists the architectures that are supported in this format. `label` names the
 * file. */
organ_status organ_forward_family_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

organ_status organ_forward_config_hf(const organ_model *model, organ_forward_config *config, organ_error *error);
organ_status organ_forward_config_gguf(const organ_model *model, organ_forward_config *config, organ_error *error);

#endif
