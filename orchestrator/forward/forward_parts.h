/* SPDX-License-Identifier: MIT
 * Declarations shared by the files of the forward pass. Matrices are row-major; a linear layer is y = x W^T + b. */
#ifndef ORGAN_FORWARD_PARTS_H
#define ORGAN_FORWARD_PARTS_H

#include "formats/architecture/families.h"
#include "orchestrator/forward/arithmetic.h"
#include "orchestrator/forward/draft.h"
#include "orchestrator/forward/rounding.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/product.h"

#define FORWARD_GROUP   ((size_t)1024) /* tokens whose activations are in memory, or one window if it is longer */
#define FORWARD_QUERIES ((size_t)64)   /* queries in a tile of attention scores */
/* Keys in one block of attention. Blocks begin at multiples of this number from position 0, and they determine the
 * order of sums, so the value is part of the results. */
#define FORWARD_KEYS ((size_t)256)

/* A description of stored values with another shape than in organ_forward.weights: MXFP4 codes of gpt-oss, which are
 * out_features x in_features although organ_weight says the opposite; and the three dimensions of a DBRX stack, whose
 * tensor has two. */
typedef struct forward_stored_form {
    organ_weight weight;
    uint64_t shape[3];
} forward_stored_form;

/* A stored weight of a layer, and how the loaded layer has it. */
typedef struct forward_slot {
    const organ_weight *weight;
    uint64_t rows, cols; /* `rows` is the sum over all matrices, which are stacked below each other */
    uint64_t matrices;   /* number of matrices; above 1: stacked experts */
    /* type of the loaded values, or of decoded panels: FP32 for vectors and for types that products do not support */
    organ_real type;
    /* kept in its stored type, because that needs less memory; products decode it a panel (some rows) at a time */
    bool packed;
    bool decoded;             /* never packed, because not only linear layers use the values */
    bool of_experts;          /* matrices of routed experts, which a streamed layer reads when tokens reach them */
    size_t at, bytes;         /* offset in organ_layer.values, and bytes there */
    organ_turned_rows turned; /* the order of the rows in the file */
    forward_stored_form *stored_form; /* the object that `weight` points into, if the slot owns it; else NULL */
    bool reshaped;                    /* the tensor has two dimensions, so calibration takes the stack for one matrix */
    bool transposed;                  /* matrices are stored as in_features x out_features; loading transposes them */
    bool vectors;                     /* one vector for each matrix (biases of stacked experts), read as FP32 */
    forward_rounding inputs;          /* how products round the inputs (organ_forward_round_inputs) */
} forward_slot;

/* Rows of a slot from row `row` on: a whole weight, or a part (of known size) of a fused or stacked one. */
typedef struct forward_view {
    size_t slot; /* SIZE_MAX: the layer does not have the weight */
    uint64_t row;
} forward_view;

/* Returns the view that begins `rows` rows later. */
static inline forward_view organ_view_from_row(forward_view view, uint64_t rows)
{
    return (forward_view){view.slot, view.row + rows};
}

/* The weights of a layer and the memory that it needs. */
typedef struct forward_plan {
    size_t count; /* slots */
    forward_slot *slots;
    forward_view parts[PART_COUNT]; /* by forward_part */
    forward_view *experts;          /* [3 e + k]: gate, up or down (k = 0, 1, 2) of expert e; NULL: no experts */
    forward_view *expert_biases;    /* biases, indexed like `experts`; NULL: none */
    bool pairs;                     /* the view of an expert's gate has the rows of gate and up, which alternate */
    /* ORGAN_QK_NORM_HEADS: weights of the norm of each head, those of q before those of k; NULL: none */
    forward_view *head_norms;
    size_t bytes;    /* bytes of the loaded layer */
    size_t resident; /* the bytes that a streamed layer keeps in memory: all weights but the matrices of experts */
    size_t expert;   /* bytes of the largest expert */
    size_t reading;  /* scratch of a worker during loading, in bytes */
    size_t panel;    /* scratch of a worker for a panel of a packed weight, in bytes */
} forward_plan;

/* Rows of the rotation tables for one kind of window (organ_forward_rotation_kind): row first + p has the angles of
 * position p, for p < positions. */
typedef struct forward_rotation_part {
    size_t kind, first, positions;
} forward_rotation_part;

#define FORWARD_ROTATION_PARTS 3 /* if the tables have more kinds than these, the next group empties them */

/* Tables of cos and sin, rows x half (half the dimensions). Long windows with other frequencies have other rows. */
typedef struct forward_rotation {
    const organ_kernels *kernels;
    size_t rows, half;
    float *frequencies, *cosines, *sines; /* frequencies: one for each pair of dimensions */
    float *short_factors, *long_factors;  /* from a GGUF file, else NULL */
    float scale;                          /* multiplies cos and sin: the attention factor of the scaling rule */
    const organ_rope_config *rope;
    forward_rotation_part *parts; /* part_count ranges of rows, one for each kind of window */
    size_t part_count;
} forward_rotation;

/* A weight whose rows are decoded when needed, to `type`. `turned`: as in forward_slot. */
typedef struct forward_source {
    organ_weight_reader *reader;
    organ_real type;
    organ_turned_rows turned;
    const organ_weight *weight; /* NULL: that of the slot of the same number */
    forward_rounding inputs;    /* only with `weight` */
} forward_source;

/* Per-layer embeddings of Gemma 3n and Gemma 4; all members are zero if the architecture has none. */
typedef struct forward_per_layer {
    organ_weight_reader *table, *embedding; /* of the table of per-layer embeddings; of the embedding matrix */
    const organ_weight *weight;             /* the projection */
    forward_source projection;
    float *norm; /* weights of the norm of the projection */
} forward_per_layer;

/* AltUp of Gemma 3n (streams.c). `ends` has streams - 1 matrices that compute streams 1, 2, ... from an embedding, then
 * streams - 1 matrices that map these streams back before the output head. */
typedef struct forward_streams {
    forward_source *ends; /* NULL: no AltUp */
    size_t panel;         /* scratch of a worker for a panel of the largest of `ends`, in bytes */
} forward_streams;

/* Returns the floats of all streams of a token: hidden_size without hyper-connections. */
static inline size_t organ_forward_streams_floats(const organ_forward_config *c)
{
    return (size_t)c->hidden * (c->connections.streams ? c->connections.streams : 1);
}

/* The tensors of hyper-connections after the last layer (connections.c); NULL: none, or the mean of the streams. */
typedef struct forward_connections {
    float *matrix, *biases, *factors;
} forward_connections;

/* The state of organ_forward_open: weights and plans of the model, values used by all layers, memory of the workers. */
struct organ_forward {
    const organ_model *model;
    const organ_engine *engine;
    organ_forward_config config;
    const forward_family *family;
    organ_weights *weights;
    const char *prefix;  /* of the names of the text model's tensors in safetensors */
    forward_plan *plans; /* one for each layer, then those of draft blocks */
    unsigned plan_count;
    const organ_weight *embedding, *norm, *output; /* norm: that before the output head; NULL: it has no weights */
    organ_change_row *change_row;                  /* organ_forward_change_embeddings, with its context; NULL: none */
    void *change_context;
    const organ_weight *positions;                 /* the table of learned positions; NULL: there is none */
    float *embedding_norm, *embedding_norm_biases; /* NULL: embeddings have no norm */
    float *norm_values, *norm_biases;              /* of the norm before the output head; NULL: it has none */
    float *head_biases;                            /* of the output head; NULL: it has none */
    forward_rotation rotation, rotation_local;
    organ_cache_rounding cache; /* keys NULL: keys and values are not rounded; else both lists are one allocation */
    forward_per_layer per_layer;
    forward_streams streams;
    forward_connections connections;
    uint32_t **token_experts; /* for each layer, its table (token_experts.h) or NULL; NULL: no layer has one */
    forward_draft drafts[FORWARD_DRAFTS]; /* plan_count - config.layers blocks for multi-token prediction */
    size_t draft_panel;                   /* scratch of a worker for a panel of a block's own output head */
    size_t max_reading;                   /* largest plan->reading of a layer */
    size_t mixer_width;                   /* largest organ_forward_mixer_width of a layer: floats of a token */
    size_t dense_width;                   /* of the widest dense feed-forward; 0: all layers are mixtures */
    size_t worker_bytes; /* scratch of a worker while a layer or the output head runs; a multiple of 64 */
    uint64_t min_memory; /* least memory, in bytes, with which one token can be processed */
    float *scratch;      /* of all workers; allocated on first use */
    forward_plan head;   /* the output head as a layer with one weight, for callers that keep it in memory */
    bool hypothetical;   /* the plans describe a model that does not exist yet */
    bool unpacked;       /* layers hold no packed weights (organ_forward_open_unpacked) */
    bool may_stream;     /* layers with more bytes than organ_forward_layer_need are loaded without their experts */
    forward_rounded *rounded; /* NULL: inputs are not rounded */
};

/* Working memory of a layer's runs, kept between runs. */
typedef struct forward_room {
    float *floats; /* NULL before the first run */
    size_t count;
} forward_room;

/* A loaded layer, or the loaded output head, with the settings for its runs. */
struct organ_layer {
    const organ_forward *forward;
    const forward_plan *plan;
    const organ_layer_kind *kind; /* NULL for the output head */
    bool *kept;                   /* flags of the experts that the router may choose; NULL: all */
    bool weigh;             /* taps receive the inputs of experts' down projections times the factors of the tokens */
    const bool *all_tokens; /* a flag for each expert whose taps get the inputs of all tokens; NULL: none */
    const organ_head_tap *heads;  /* receives the inputs of single heads in latent attention; NULL: none */
    const organ_cache_tap *cache; /* receives keys and values; NULL: none */
    organ_routed *routed;         /* callback for the router, with its context; NULL: none */
    void *routed_context;
    unsigned char *values; /* the loaded weights, each at its slot's offset */
    size_t owned;          /* bytes at `values`; 0: streamed, or in memory of the caller */
    bool as_stored;        /* for runs only: matrices of transposed slots keep their stored layout */
    /* streamed: bytes of address space at `values`; pages of experts return to the system after use. 0: not streamed */
    size_t reserved;
    forward_source *sources; /* one for each slot; the reader is NULL if all values are loaded unpacked */
    forward_room *room;      /* for organ_layer_run and organ_layer_expert */
};

/* A linear layer of a loaded layer, or the output head. */
typedef struct forward_linear {
    organ_product_operand w;        /* the values in memory, */
    organ_panels panels;            /* or the panels that decode them */
    const forward_rounding *inputs; /* NULL: not rounded */
    const float *bias;
    size_t in, out;
} forward_linear;

/* ---- plan ---- */

/* Plans a layer: finds its weights and decides how each is loaded. The caller always releases the plan. */
organ_status organ_forward_plan_make(organ_forward *forward, unsigned layer, forward_plan *plan, organ_error *error);
/* Plans the output head alone. */
organ_status organ_forward_plan_head(organ_forward *forward, forward_plan *plan, organ_error *error);
/* Changes the sizes in the plan to those of the layer after its weights were converted to `as`
 * (organ_forward_estimate). */
organ_status organ_forward_plan_estimate(const organ_forward *forward, organ_type_change as, forward_plan *plan,
                                         organ_error *error);
/* Marks the slots of experts, and computes plan->expert and plan->resident. A page at the edge of an expert's matrix is
 * never given back to the system, so it counts as resident. */
void organ_forward_plan_experts(forward_plan *plan, size_t experts);
/* Returns the placement of a layer's norms. */
static inline organ_norm_placement organ_forward_norms_of(const organ_forward_config *c, const organ_layer_kind *kind)
{
    return kind->norms_before ? ORGAN_NORMS_BEFORE : c->norms;
}
/* Returns the number of experts that a router chooses from, with identity experts (output = input). */
static inline unsigned organ_forward_choices(const organ_forward_config *c) { return c->experts + c->identity_experts; }
/* Returns the width of the vectors that routed experts read and write. */
static inline uint64_t organ_forward_expert_hidden(const organ_forward_config *c)
{
    return c->expert_latent ? c->expert_latent : c->hidden;
}
/* Returns the part with the biases of a norm: norms and biases have the same order. */
static inline forward_part organ_norm_bias(forward_part norm)
{
    return (forward_part)(PART_BIAS_NORM_ATTENTION + (norm - PART_NORM_ATTENTION));
}
void organ_forward_plan_release(forward_plan *plan);
/* Writes the name of a part of a layer, with the prefix of the text model. Returns `name`. */
const char *organ_forward_layer_name(const organ_forward *forward, unsigned layer, const char *part, char name[256]);
/* Writes the name in MLX of the stack PART_EXPERTS_GATE, _UP or _DOWN of a layer, without prefix. Returns `name`. */
const char *organ_forward_mlx_stack(const organ_forward *forward, unsigned layer, forward_part part, char name[128]);
/* Returns a new object that describes the same stored values with another shape; their order in the file stays. The
 * caller frees the object. Returns NULL and sets `error` on failure. */
forward_stored_form *organ_forward_stored_form(const organ_weight *weight, const uint64_t shape[3], organ_error *error);
/* Returns the weight `name` with the shape matrices x rows x cols (a stack). `matrices` 1: a matrix, or a vector if
 * `rows` is 0. `matrices` 0: rows x cols numbers that are not a matrix of a linear layer. Vectors and such numbers may
 * have additional dimensions of 1 (ERNIE 4.5's correction, kernels of convolutions). Returns NULL and sets
 * ORGAN_BAD_INPUT if the weight is missing or has another shape. */
const organ_weight *organ_forward_find_weight(const organ_forward *forward, const char *name, uint64_t matrices,
                                              uint64_t rows, uint64_t cols, organ_error *error);
/* Returns the weight `name` if it is a vector of `cols` numbers (rows 0) or a matrix of rows x cols. Returns NULL and
 * sets `error` if the weight is missing or has another shape. */
const organ_weight *organ_forward_weight_named(const organ_forward *forward, const char *name, uint64_t rows,
                                               uint64_t cols, organ_error *error);
/* Returns the type to which a weight's values are read; organ_forward_dtype returns the same as an organ_dtype. */
organ_real organ_forward_type(const organ_weight *weight);
organ_dtype organ_forward_dtype(organ_real type);
/* Set *bytes to the scratch of one worker: organ_forward_panel_size for decoding a panel of the weight,
 * organ_forward_load_size for loading a piece of the slot. Return ORGAN_BAD_INPUT for a type that is not numeric. */
organ_status organ_forward_panel_size(const organ_forward *forward, const organ_weight *weight, size_t *bytes,
                                      organ_error *error);
organ_status organ_forward_load_size(const organ_forward *forward, const forward_slot *slot, size_t *bytes,
                                     organ_error *error);
/* Returns the values of a part of rank 1, or NULL if the layer does not have it. */
const float *organ_forward_values(const organ_layer *layer, forward_part part);
/* The same for a slot of vectors, from the first row of the view on. */
const float *organ_forward_view_values(const organ_layer *layer, forward_view view);
/* Returns the linear layer of a view with `out` output features, without bias. The layer must have the view's slot. */
forward_linear organ_forward_linear_of(const organ_layer *layer, forward_view view, size_t out);

/* ---- work shared by all workers ---- */

/* Calls task(context, 0 .. count - 1, worker) on all workers, in any order; stream/product.h defines the units of
 * `work`. Returns ORGAN_INTERRUPTED if the engine is asked to stop. */
organ_status organ_forward_share(const organ_engine *engine, size_t count, double work,
                                 void (*task)(void *context, size_t index, size_t worker), void *context,
                                 organ_error *error);
/* Calls task(context, token) for tokens 0 .. count - 1 on all workers, in any order; a worker takes several tokens at a
 * time. `work` and the result are those of organ_forward_share. */
typedef void organ_token_task(void *context, size_t token);
organ_status organ_forward_tokens(const organ_engine *engine, size_t count, double work, organ_token_task *task,
                                  void *context, organ_error *error);

/* Allocates floats, aligned to a cache line; returns NULL and sets `error` if there is no memory. Release them with
 * organ_forward_free, which accepts NULL. */
float *organ_forward_floats(size_t count, organ_error *error);
void organ_forward_free(float *floats);

/* Reads all rows of a weight as FP32; release it with organ_forward_free. Returns NULL and sets `error` on failure. */
float *organ_forward_vector(const organ_forward *forward, const organ_weight *weight, organ_error *error);

/* ---- linear layers (products.c) ----
 * All products of weights with activations are computed here: attention, feed-forward, experts and the output head
 * add products to a list, and organ_forward_products_run computes them and chooses how. */

/* A list of independent products. A list whose members are all zero is empty. */
typedef struct forward_products {
    size_t count, room, panel_room; /* products; allocated items and panels */
    organ_product *items;
    organ_panels *panels;            /* of each product; all zero if its weight is in memory */
    const forward_rounding **inputs; /* of each product; NULL: not rounded */
    size_t input_room;
    forward_copies copies; /* of rounded inputs */
} forward_products;

/* Adds y = x w^T + bias for `tokens` rows. The result for a token depends only on its own row. */
organ_status organ_forward_products_add(forward_products *products, const float *x, const forward_linear *linear,
                                        float *y, size_t tokens, organ_error *error);
/* Computes the products and empties the list. `scratch` has forward->worker_bytes bytes for each worker. If the forward
 * pass rounds inputs, products read rounded copies of them. */
organ_status organ_forward_products_run(forward_products *products, const organ_forward *forward, void *scratch,
                                        organ_error *error);
void organ_forward_products_release(forward_products *products);

/* Returns the operand b of a product with the rows of the source from row `row` on; `source` must outlive it. */
organ_panels organ_forward_panels(const forward_source *source, size_t row);

/* Returns ORGAN_USAGE if the model has learned positions, but fewer than `tokens`. */
organ_status organ_forward_check_window(const organ_forward *forward, size_t tokens, organ_error *error);
/* Computes embeddings like organ_forward_embed, for windows whose first token is at position `before`. */
organ_status organ_forward_embed_after(organ_forward *forward, const organ_windows *windows, size_t before,
                                       float *states, organ_error *error);

/* ---- rows of tokens ---- */

/* Columns [from, from + width) of a matrix with a row for each token id below `count`; larger ids use row 0. */
typedef struct forward_rows {
    const organ_weight_reader *reader;
    uint64_t count;
    size_t from, width, stride; /* stride: floats from the result of a token to that of the next */
    float scale;
    bool added; /* results are added to the values at `to` */
} forward_rows;
/* Returns the bytes of scratch that a worker needs for organ_forward_rows_read, a multiple of 64. */
size_t organ_forward_rows_scratch(const organ_weight_reader *reader);
/* Computes to[t * stride + k] = scale x column from + k of the row of tokens[t], for each of `count` tokens. `scratch`
 * has `scratch_floats` floats for each worker. */
organ_status organ_forward_rows_read(const organ_forward *forward, const forward_rows *rows, const uint32_t *tokens,
                                     size_t count, float *to, float *scratch, size_t scratch_floats,
                                     organ_error *error);

/* ---- per-layer embeddings ---- */

/* Finds the tensors of per-layer embeddings and opens their readers. Does nothing if the architecture has none. */
organ_status organ_forward_per_layer_open(organ_forward *forward, organ_error *error);
void organ_forward_per_layer_close(forward_per_layer *per_layer);
/* Computes the bytes of a worker's scratch for per-layer embeddings, in addition to ORGAN_PRODUCT_SCRATCH. */
organ_status organ_forward_per_layer_scratch(const organ_forward *forward, size_t *bytes, organ_error *error);
/* Returns the floats of memory for a group of that many tokens; 0 without per-layer embeddings. */
size_t organ_forward_per_layer_room(const organ_forward_config *config, size_t tokens);

/* ---- streams of AltUp (streams.c) ---- */

/* Opens the matrices at both ends of AltUp. Does nothing if the architecture has no streams. */
organ_status organ_forward_streams_open(organ_forward *forward, organ_error *error);
void organ_forward_streams_close(organ_forward *forward);
/* Computes streams 1, 2, ... from stream 0 in the states of tokens. */
organ_status organ_forward_streams_split(organ_forward *forward, float *states, size_t tokens, organ_error *error);
/* Merges the streams of `count` tokens: row k of `merged` (hidden_size floats) becomes the hidden state of token
 * rows[k] in `states`. `work`: 2 x count x hidden_size floats; `scratch`: forward->worker_bytes for each worker. */
organ_status organ_forward_streams_merge(const organ_forward *forward, const float *states, const size_t *rows,
                                         size_t count, float *work, void *scratch, float *merged, organ_error *error);
/* Returns the floats of memory that a layer with streams needs for a group of `tokens` tokens. */
size_t organ_forward_streams_room(const organ_forward_config *config, size_t tokens);

/* ---- rotation ---- */

/* Computes the frequencies of a rotation. `rope` must outlive it. */
organ_status organ_forward_rotation_open(const organ_forward *forward, const organ_rope_config *rope,
                                         forward_rotation *rotation, organ_error *error);
/* Returns the kind of a window of `tokens` tokens. Windows of the same kind are rotated with the same frequencies; kind
 * 0 has the frequencies of the original context. */
size_t organ_forward_rotation_kind(const forward_rotation *rotation, size_t tokens);
/* Begins a group of windows, before organ_forward_rotation_reach for them. May discard rows of earlier groups. */
void organ_forward_rotation_begin(forward_rotation *rotation);
/* Sets *first to the table row of position 0 for a window of `tokens` tokens; the rows of the other positions follow.
 * May reallocate the tables. */
organ_status organ_forward_rotation_reach(forward_rotation *rotation, size_t tokens, size_t *first, organ_error *error);
/* Rotates the first 2 x rotation->half numbers of a head, in place, by the angles of row `position`. Pairs are
 * neighbours, (2 k, 2 k + 1), or (k, k + half). */
void organ_forward_rotate(const forward_rotation *rotation, size_t position, bool neighbours, float *head);
void organ_forward_rotation_close(forward_rotation *rotation);

/* Computes logits like organ_forward_logits, with the loaded output head `held`; NULL: reads its rows from the file. */
organ_status organ_forward_logits_by(organ_forward *forward, const organ_layer *held, const float *hidden,
                                     const size_t *rows, size_t count, void *context,
                                     void (*each)(void *context, size_t k, float *logits), organ_error *error);
/* The same with the matrix of another output head (NULL: the model's), for `inputs` of it, hidden_size floats each, to
 * which no norm is applied. */
organ_status organ_forward_logits_of(organ_forward *forward, const organ_weight *matrix, const float *inputs,
                                     const size_t *rows, size_t count, void *context,
                                     void (*each)(void *context, size_t k, float *logits), organ_error *error);
/* Inputs of an output head beside the states of tokens, such as those of a block for multi-token prediction. */
typedef struct organ_head_beside {
    const organ_weight *matrix; /* NULL: the model's head, which then is read once for both */
    const float *inputs;        /* hidden_size floats each, to which no norm is applied */
    const size_t *places;       /* for each token, the number of its input; SIZE_MAX: it has none */
    size_t rows;                /* rows of inputs and logits that may be allocated besides organ_forward_head_rows */
    void (*each)(void *context, size_t k, float *logits, float *beside); /* beside: NULL if token k has none */
} organ_head_beside;
/* Computes logits like organ_forward_logits, and those beside them: beside->each gets both. */
organ_status organ_forward_logits_beside(organ_forward *forward, const organ_head_beside *beside, const float *hidden,
                                         const size_t *rows, size_t count, void *context, organ_error *error);
#define ORGAN_HEAD_TOKENS ((size_t)128) /* most tokens whose logits are computed in one pass over the output head */
/* Returns the number of tokens whose logits are computed in one pass over the output head with `memory` bytes.
 * organ_forward_head_bytes returns the bytes that `rows` tokens need. */
size_t organ_forward_head_rows(const organ_forward *forward, uint64_t memory);
uint64_t organ_forward_head_bytes(const organ_forward *forward, size_t rows);

/* Loads the whole layer `number`. `memory` (NULL: memory of its own) receives its weights and must outlive it. */
organ_status organ_forward_load_to(organ_forward *forward, int32_t number, float *memory, organ_layer **loaded,
                                   organ_error *error);
/* Loads layer `number` without the matrices of its experts, which each run reads when tokens reach them. The layer
 * must be a mixture. */
organ_status organ_forward_load_streamed(organ_forward *forward, int32_t number, organ_layer **loaded,
                                         organ_error *error);
/* Loads the output head, for generation. */
organ_status organ_forward_load_head(const organ_forward *forward, organ_layer **loaded, organ_error *error);

/* Returns the bytes of the scratch of all workers; organ_forward_scratch returns the scratch, or NULL with an error. */
uint64_t organ_forward_scratch_bytes(const organ_forward *forward);
float *organ_forward_scratch(organ_forward *forward, organ_error *error);

/* ---- a layer on a group of windows ---- */

/* The part of a KV cache for one layer: rows of organ_forward_keys_width, organ_forward_values_width and, in `index`,
 * organ_forward_index_width floats. The first `tokens` rows belong to earlier tokens of the text. The group is one
 * window that continues the text; the layer writes its rows after them. `state`, organ_forward_mixer_state floats, is
 * the state of recurrent mixers before the group, which the layer replaces by the state after it; with `tokens` 0 its
 * contents have no meaning. */
typedef struct forward_keys {
    float *keys, *values, *index, *state;
    size_t tokens;
} forward_keys;

/* A layer that runs on a group of windows: as many of the batch as have FORWARD_GROUP tokens, or one longer window. */
typedef struct forward_group {
    organ_forward *forward;
    const organ_layer *layer;
    const organ_windows *windows;
    size_t window, until; /* [window, until): the group's windows in the batch */
    size_t first, tokens; /* [first, first + tokens): its tokens in the batch */
    float *states;        /* their states, config.state floats each */
    /* tokens x hidden_size: `states` itself if a state is only the hidden state, else a copy in `room` */
    float *hidden;
    float *laurel;  /* with AltUp: the output of the low-rank path */
    float *room;    /* memory for activations */
    float *entered; /* parallel layers: the hidden states of the group before the layer; else NULL */
    float *scratch; /* worker_bytes for each worker: ORGAN_PRODUCT_SCRATCH, then a panel or a tile of attention */
    const organ_tap *tap;
    const forward_keys *before; /* NULL: all windows begin in the group */
    forward_products products;
    size_t *routed; /* for each expert, tokens of the batch that were routed to it in earlier groups */
} forward_group;

/* Returns memory for `floats` floats that the layer keeps for its next run; not for concurrent use. Returns NULL and
 * sets `error` on failure. */
float *organ_forward_layer_room(const organ_layer *layer, size_t floats, organ_error *error);

/* Runs a layer like organ_layer_run, on whole windows (`before` NULL) or on one that continues after `before`. */
organ_status organ_forward_layer_run(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                                     const forward_keys *before, float *hidden, const organ_tap *tap,
                                     organ_error *error);

/* Returns true if `memory` bytes are enough for `bytes` bytes of the caller, a layer with one window of `together`
 * tokens, and the logits of one token. */
bool organ_forward_fits(const organ_forward *forward, uint64_t memory, size_t together, uint64_t bytes);

/* Returns the bytes of a worker's scratch for attention, in addition to ORGAN_PRODUCT_SCRATCH. */
size_t organ_forward_attention_scratch(const organ_forward_config *config);
/* Return the floats of a token: in k, in v, in the keys of block-sparse attention's indexer, and in all buffers of a
 * layer's attention without the hidden states. With latent attention, k has the latent vector and the rotated part of
 * the key, v the key of the indexer or nothing. */
size_t organ_forward_keys_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_values_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_index_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_attention_width(const organ_forward_config *config, const organ_layer_kind *kind);
/* Returns the floats of scratch for `tokens` tokens of a mixture whose experts are all in memory. */
size_t organ_forward_experts_room(const organ_forward_config *config, size_t tokens);
/* Returns the floats of scratch that the experts of a streamed layer need for `tokens` tokens. */
size_t organ_forward_stream_room(const organ_forward_config *config, size_t tokens);

/* ---- streamed layers ---- */

#define FORWARD_SHARE_OF_EXPERTS 4 /* a streamed layer uses a quarter of the memory for experts */

/* Returns the bytes of the weights other than experts plus a quarter of `memory` for experts, at least one expert.
 * Returns all bytes of the layer if these are fewer, if it has no experts, or if layers may not be streamed. */
size_t organ_forward_layer_need(const organ_forward *forward, const forward_plan *plan, uint64_t memory);
/* Returns the maximum of organ_forward_layer_need over the layers. */
size_t organ_forward_largest_layer(const organ_forward *forward, uint64_t memory);
/* Returns true if a layer with that plan is streamed. */
bool organ_forward_is_streamed(const organ_forward *forward, const forward_plan *plan, uint64_t memory);
/* Returns the number of tokens that a streamed layer passes through its experts together: as many as fit a fixed share
 * of `memory`. The layer reads each expert once for all these tokens. */
size_t organ_forward_stream_tokens(const organ_forward *forward, uint64_t memory);
/* Returns the end of the group of experts, from `first` on, that are in memory at the same time. begin[e] is the first
 * row of expert e among the rows of a batch, which are sorted by expert. */
size_t organ_forward_stream_group(const organ_layer *layer, const size_t *begin, size_t first);
/* Reads the matrices of those experts e of [first, last) that have rows (begin[e + 1] > begin[e]) to their places in
 * the layer. organ_forward_drop_experts gives the memory of experts [first, last) back to the system. */
organ_status organ_forward_read_experts(const organ_layer *layer, const size_t *begin, size_t first, size_t last,
                                        organ_error *error);
void organ_forward_drop_experts(const organ_layer *layer, size_t first, size_t last);

/* Adds ALiBi's biases to the scores of keys [first, first + keys) for the query of head `head` at position `at`. Unless
 * alibi_rounded, divides the biases by attention_scale, by which the caller multiplies the scores afterwards. */
void organ_forward_alibi(const organ_forward_config *config, size_t head, size_t at, size_t first, float *scores,
                         size_t keys);
/* Returns the factor by which a layer multiplies q at a position: 1 without organ_query_scale. */
float organ_forward_query_factor(const organ_forward_config *config, const organ_layer_kind *kind, size_t position);
/* Multiplies the attention's output (tokens x heads x value_dim) by its gate, if the model has one. The gate is a
 * linear layer of `normed`, computed into `scratch`, as many floats as the output. With gate_in_q, `scratch` has twice
 * as many floats, and the first half of each token's row already has the values of that linear layer. */
organ_status organ_forward_gate_output(forward_group *group, const float *normed, float *out, float *scratch,
                                       organ_error *error);
/* Run a layer on the group and replace group->states: organ_forward_block the whole layer, organ_forward_block_mix only
 * the mixers of a streamed layer, before organ_forward_ffn. group->room has organ_forward_block_room floats. */
organ_status organ_forward_block(forward_group *group, organ_error *error);
organ_status organ_forward_block_mix(forward_group *group, organ_error *error);
/* Copies the hidden states of tokens [first, first + tokens) of the group from group->states to `hidden`; with `back`,
 * from `hidden` to group->states. */
void organ_forward_copy_hidden(const forward_group *group, size_t first, size_t tokens, float *hidden, bool back);
/* Returns the floats of activations for a group of `tokens` tokens. A streamed layer processes the feed-forward of
 * several groups together, so the number depends on `batch`, the tokens of the batch. */
size_t organ_forward_block_room(const organ_forward *forward, uint64_t memory, size_t tokens, size_t batch);

/* Computes into `out` the per-layer embeddings of tokens [first, first + tokens) of the group, whose hidden states are
 * x. `scratch`: 2 x tokens x per_layer_width floats. */
organ_status organ_forward_per_layer(forward_group *group, size_t first, size_t tokens, const float *x, float *out,
                                     float *scratch, organ_error *error);
/* The steps of a layer with AltUp, in order: the states become predictions, and stream 0 is copied to `hidden`;
 * `laurel` is computed from `hidden` before the attention; `laurel` is added after the attention; all streams are
 * corrected by the change of `hidden`; the output of the per-layer embeddings is added to streams 1, 2, ... */
organ_status organ_forward_streams_predict(forward_group *group, organ_error *error);
organ_status organ_forward_laurel(forward_group *group, organ_error *error);
organ_status organ_forward_laurel_add(forward_group *group, organ_error *error);
organ_status organ_forward_streams_correct(forward_group *group, organ_error *error);
organ_status organ_forward_streams_per_layer(forward_group *group, organ_error *error);
/* Computes out, tokens x hidden_size, the output of the attention for `normed`. `scratch` has
 * organ_forward_attention_width floats for each token. */
organ_status organ_forward_attention(forward_group *group, const float *normed, float *out, float *scratch,
                                     organ_error *error);
/* If the layer has a feed-forward: hidden += feed_forward(norm(x)); x: group->entered or, if it is NULL, hidden. */
organ_status organ_forward_ffn(forward_group *group, organ_error *error);
/* Sets `out` to the down product of act(x gate) * (x up), or of act(x up) without a gate. x is `normed`, which has only
 * the rows of tokens [first, first + tokens) of the group; `inner` is the width of x up. `gate` selects the weights of
 * the layer (PART_GATE) or of its shared expert (PART_SHARED_GATE). Products that are already in group->products are
 * computed together with gate and up. `scratch`: 2 x tokens x inner floats. */
organ_status organ_forward_gated(forward_group *group, forward_part gate, size_t inner, size_t first, size_t tokens,
                                 const float *normed, float *out, float *scratch, organ_error *error);
/* Computes the mixture of experts for tokens [first, first + tokens) of the group, from `normed` to `out`. `requested`
 * is the input of the router, which may be `normed`. `scratch` has organ_forward_experts_room or, for a streamed layer,
 * organ_forward_stream_room floats. */
organ_status organ_forward_experts(forward_group *group, size_t first, size_t tokens, const float *normed,
                                   const float *requested, float *out, float *scratch, organ_error *error);
/* Like organ_forward_route, with the experts_used experts that are given, which need not differ. */
void organ_forward_route_to(const organ_router *router, const uint32_t *experts, const float *logits, float *scratch,
                            organ_expert_choice *chosen);
/* Passes x to the tap and adds the product y = x W^T + bias, for the tokens of the group, to group->products. `bias`
 * may be NULL. */
organ_status organ_forward_add_linear(forward_group *group, forward_part part, const float *bias, const float *x,
                                      float *y, size_t out, organ_error *error);
/* Adds the product and computes group->products. */
organ_status organ_forward_run_linear(forward_group *group, forward_part part, const float *bias, const float *x,
                                      float *y, size_t out, organ_error *error);
/* Passes x to the tap and computes y = x w^T, plus a bias if the part has one, for tokens [first, first + tokens) of
 * the group. */
organ_status organ_forward_apply(forward_group *group, forward_part part, size_t first, size_t tokens, const float *x,
                                 float *y, size_t out, organ_error *error);
/* Computes y = norm(x) for `tokens` rows of the hidden size, or copies x if the layer does not have that norm. */
organ_status organ_forward_norm_all(const forward_group *group, forward_part part, const float *x, float *y,
                                    size_t tokens, organ_error *error);
/* Computes the norm of `tokens` rows of `width` numbers in place, if the layer has the norm `part`. */
organ_status organ_forward_norm_inner(const forward_group *group, forward_part part, float *x, size_t tokens,
                                      size_t width, organ_error *error);
/* Adds `out`, tokens x hidden_size, times the residual factor to `hidden`. With norms on outputs, `out` is first
 * normalised by the norm `part`; with norms on sums, `hidden` becomes norm(hidden + factor x out). */
organ_status organ_forward_add_all(const forward_group *group, forward_part part, float *hidden, float *out,
                                   size_t tokens, organ_error *error);
/* Sets hidden = alpha x normed if the model has residual_normed, else does nothing. `half` selects the factor alpha: 0
 * for mixers, 1 for feed-forwards. */
organ_status organ_forward_keep_normed(const forward_group *group, unsigned half, const float *normed, float *hidden,
                                       size_t tokens, organ_error *error);
/* Computes to = (to + from) * scale for tokens x hidden numbers; `from` may be NULL. */
organ_status organ_forward_combine(const forward_group *group, float *to, const float *from, size_t tokens, float scale,
                                   organ_error *error);
/* Computes gate = act(gate) * up; `up` may be changed. Without `up` (NULL), gate = act(gate). `routed`: the numbers are
 * of routed experts, which may have limits of their own. */
organ_status organ_forward_gate_all(const forward_group *group, bool routed, float *gate, float *up, size_t tokens,
                                    size_t width, organ_error *error);
/* Splits rows of 2 x width numbers, in which gate and up alternate, into `gate` and `up`, rows x width each. */
organ_status organ_forward_split_all(const forward_group *group, const float *pairs, float *gate, float *up,
                                     size_t rows, size_t width, organ_error *error);
/* Passes inputs of the view's matrix, tokens x in, to the tap; they belong to tokens [first, first + tokens) of the
 * batch. Does nothing without a tap or without tokens. */
organ_status organ_forward_tap(const forward_group *group, forward_view view, size_t first, size_t tokens, size_t in,
                               const float *inputs, organ_error *error);

#endif
