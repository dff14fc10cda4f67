/* SPDX-License-Identifier: MIT
 * What the parts of forward.h share. Matrices are row-major; a linear layer is y = x W^T + b. */
#ifndef ORGAN_FORWARD_JOB_H
#define ORGAN_FORWARD_JOB_H

#include "formats/weights/weights.h"
#include "orchestrator/forward/forward.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/stream/weight_reader.h"

#define FORWARD_GROUP   ((size_t)1024) /* tokens whose activations are held, or one window if it is longer */
#define FORWARD_QUERIES ((size_t)64)   /* tokens of a tile of attention scores */
/* Tokens that these see at once: blocks of so many, from position 0 on, decide the order of sums. */
#define FORWARD_KEYS ((size_t)256)

typedef enum forward_part {
    PART_NORM_ATTENTION, /* before the attention */
    PART_NORM_ATTENDED,  /* of what comes out of it: sandwich norms */
    PART_NORM_FEED,      /* before the feed-forward */
    PART_NORM_FED,
    PART_NORM_Q,
    PART_NORM_K,
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
    PART_ROUTER_BIAS,
    PART_SHARED,      /* the gate of the shared expert: one row */
    PART_SHARED_GATE, /* and these in the order of PART_GATE, PART_UP, PART_DOWN */
    PART_SHARED_UP,
    PART_SHARED_DOWN,
    PART_COUNT
} forward_part;

/* A stored weight of a layer and its place among the loaded ones. */
typedef struct forward_slot {
    const organ_weight *weight;
    uint64_t rows, cols; /* of all its matrices, one below the other */
    uint64_t matrices;   /* above 1: stacked experts */
    organ_real type;     /* of its values: FP32 of a vector and where a product does not take what is stored */
    bool packed; /* held as it is stored, and decoded to values by panels: that takes less than the values would */
    size_t at, bytes;
    unsigned turned_head_dim; /* rows of each head of so many are in llama.cpp's order; 0: they are not */
} forward_slot;

/* Rows of a slot: the whole of it, or a part of a fused or stacked one. */
typedef struct forward_view {
    size_t slot; /* SIZE_MAX: there is none */
    uint64_t row;
} forward_view;

typedef struct forward_plan {
    size_t count;
    forward_slot *slots;
    forward_view parts[PART_COUNT];
    forward_view *experts; /* gate, up, down of each expert; NULL: the layer has none */
    size_t bytes;          /* of a loaded layer */
    size_t reading;        /* bytes that a worker takes beside, while it loads */
    size_t panel;          /* bytes that a worker takes for a panel of a packed weight */
} forward_plan;

/* Rows of the tables for the positions of windows of one kind. */
typedef struct forward_rotation_part {
    size_t kind, first, positions;
} forward_rotation_part;

#define FORWARD_ROTATION_PARTS 3 /* that are kept for the next layer */

/* cos and sin of rows x dimensions / 2. Windows that turn at other frequencies, for they are longer, have rows of their
 * own. */
typedef struct forward_rotation {
    const organ_kernels *kernels;
    size_t rows, half;
    float *frequencies, *cosines, *sines;
    float *short_factors, *long_factors; /* of a GGUF file, else NULL */
    float scale;
    const organ_rope_config *rope;
    forward_rotation_part *parts;
    size_t part_count;
} forward_rotation;

struct organ_forward {
    const organ_model *model;
    const organ_engine *engine;
    organ_forward_config config;
    organ_weights *weights;
    forward_plan *plans; /* per layer */
    const organ_weight *embedding, *norm, *output;
    float *norm_values;
    forward_rotation rotation, rotation_local;
    size_t most_bytes, most_reading; /* of a layer */
    size_t worker_bytes;   /* of the scratch of a worker while a layer or the output head runs; a multiple of 64 */
    uint64_t least_memory; /* with which one token goes through */
    float *scratch;        /* of all workers, from the first use on */
    forward_plan head;     /* the output head as a layer of one weight, for whoever holds it */
    bool foreseen;         /* these are of a model that is not there yet */
};

/* A weight of which rows are made as they are needed. */
typedef struct forward_source {
    organ_weight_reader *reader;
    organ_real type;
    unsigned turned_head_dim;
} forward_source;

/* What a layer's runs work in, kept from one to the next. */
typedef struct forward_room {
    float *floats; /* NULL before the first run */
    size_t count;
} forward_room;

struct organ_layer {
    const organ_forward *forward;
    const forward_plan *plan;
    bool windowed;
    bool *kept;           /* a flag for each expert; NULL: all */
    bool weigh;           /* inputs of experts' down projections are told times the weights of the tokens */
    const bool *listened; /* a flag for each expert whose taps get the inputs of all tokens; NULL: none */
    organ_routed *routed; /* hears of the router, with its context; NULL: nobody does */
    void *routed_context;
    unsigned char *values;
    bool borrowed;           /* these are somebody else's */
    forward_source *sources; /* of each slot; without a reader where its values are held */
    forward_room *room;      /* of organ_layer_run and organ_layer_expert */
};

/* A linear layer: of a loaded layer, or the output head. */
typedef struct forward_linear {
    organ_factor w;      /* where its values are held, */
    organ_panels panels; /* or what makes them */
    const float *bias;
    size_t in, out;
} forward_linear;

/* ---- plan ---- */

organ_status organ_forward_plan_make(organ_forward *forward, unsigned layer, forward_plan *plan, organ_error *error);
/* Of the output head alone. */
organ_status organ_forward_plan_head(organ_forward *forward, forward_plan *plan, organ_error *error);
/* Measures it anew, as organ_forward_foresee says. */
organ_status organ_forward_plan_foresee(const organ_forward *forward, organ_made_as as, forward_plan *plan,
                                        organ_error *error);
void organ_forward_plan_release(forward_plan *plan);
/* The weight of that name, of rank 1 (rows 0) or 2. NULL if it is missing or has another shape. */
const organ_weight *organ_forward_weight_named(const organ_forward *forward, const char *name, uint64_t rows,
                                               uint64_t cols, organ_error *error);
/* The type of a weight's values, and what reading it as that is called. */
organ_real organ_forward_type(const organ_weight *weight);
organ_dtype organ_forward_dtype(organ_real type);
/* Bytes that a worker takes to make a panel of the weight, and to load it. ORGAN_BAD_INPUT for a type that has no
 * numbers. */
organ_status organ_forward_panel_size(const organ_forward *forward, const organ_weight *weight, size_t *bytes,
                                      organ_error *error);
organ_status organ_forward_load_size(const organ_forward *forward, const forward_slot *slot, size_t *bytes,
                                     organ_error *error);
/* Of a part of rank 1; NULL where the layer has no such part. */
const float *organ_forward_values(const organ_layer *layer, forward_part part);
forward_linear organ_forward_linear_of(const organ_layer *layer, forward_view view, size_t out);

/* ---- work shared by all workers ---- */

/* Calls task(context, 0 .. count-1, worker) on all workers, any order; what `work` is, stream/share.h says.
 * ORGAN_INTERRUPTED if the engine is told to stop. */
organ_status organ_forward_share(const organ_engine *engine, size_t count, double work,
                                 void (*task)(void *context, size_t index, size_t worker), void *context,
                                 organ_error *error);

/* Room for so many floats on a line of the cache; NULL and an error if there is none. organ_forward_free gives it back:
 * NULL is allowed. */
float *organ_forward_floats(size_t count, organ_error *error);
void organ_forward_free(float *floats);

/* The values of a weight of rank 1, for organ_forward_free; NULL with an error. */
float *organ_forward_vector(const organ_forward *forward, const organ_weight *weight, organ_error *error);

/* ---- linear layers (linear.c) ----
 * The one place where weights meet activations: attention, feed-forward, experts and the output head hand over what
 * they multiply, and organ_forward_products_run has it done. How products are computed is chosen there. */

/* A list of products that may be done in any order. All zero is an empty one. */
typedef struct forward_products {
    size_t count, room, panel_room;
    organ_product *items;
    organ_panels *panels; /* of each item */
} forward_products;

/* y = x w^T + bias, for rows of so many tokens. What becomes of a token depends on nothing but its own row. */
organ_status organ_forward_products_add(forward_products *products, const float *x, const forward_linear *linear,
                                        float *y, size_t tokens, organ_error *error);
/* Does and forgets them. scratch: worker_bytes of the forward pass for each worker. */
organ_status organ_forward_products_run(forward_products *products, const organ_forward *forward, void *scratch,
                                        organ_error *error);
void organ_forward_products_release(forward_products *products);

/* Panels from a row of the source on. */
organ_panels organ_forward_panels(const forward_source *source, size_t row);
/* The row of the file that is row `row` of the forward pass, where heads of so many rows are in llama.cpp's order: 0,
 * h/2, 1, h/2 + 1, ...
 */
uint64_t organ_forward_stored_row(unsigned turned_head_dim, uint64_t row);

/* ---- arithmetic ---- */

/* y = x / rms(x) (plus + w); y may be x. */
void organ_forward_norm(const float *x, const float *w, float plus, double eps, size_t n, float *y);
/* 1 / (1 + e^-x), of each. */
void organ_forward_logistic(const organ_kernels *kernels, float *values, size_t n);
/* gate = act(gate) * up */
void organ_forward_gate(const organ_kernels *kernels, organ_activation activation, float *gate, const float *up,
                        size_t n);
/* One of the blocks in which a query sees its keys: scores[lo .. hi) become exp(cap(scale * score) - *top), the others
 * of the n 0. *top is the greatest so far, from -infinity on; where it rises, *sum and out[0 .. dim) are brought to it.
 * *sum takes the new ones. */
typedef struct forward_softmax {
    const organ_kernels *kernels;
    float scale, cap;
    size_t dim;
} forward_softmax;
void organ_forward_softmax_block(const forward_softmax *softmax, float *scores, size_t lo, size_t hi, size_t n,
                                 float *top, float *sum, float *out);

/* ---- rotation ---- */

organ_status organ_forward_rotation_open(const organ_forward *forward, const organ_rope_config *rope,
                                         forward_rotation *rotation, organ_error *error);
/* Windows of one kind turn at the same frequencies. */
size_t organ_forward_rotation_kind(const forward_rotation *rotation, size_t tokens);
/* To be called before the rows of a group of windows are asked for: those of groups before may be forgotten. */
void organ_forward_rotation_begin(forward_rotation *rotation);
/* *first becomes the row of position 0 for a window of so many tokens, each of which has its row after it. Tables may
 * move. */
organ_status organ_forward_rotation_reach(forward_rotation *rotation, size_t tokens, size_t *first, organ_error *error);
void organ_forward_rotation_close(forward_rotation *rotation);

/* As organ_forward_logits; `held` is the output head where it is held, or NULL: it is read. */
organ_status organ_forward_logits_by(organ_forward *forward, const organ_layer *held, const float *hidden,
                                     const size_t *rows, size_t count, void *context,
                                     void (*each)(void *context, size_t k, float *logits), organ_error *error);
/* How many tokens' logits are held at once where the memory is so much, and what so many take. */
size_t organ_forward_head_rows(const organ_forward *forward, uint64_t memory);
uint64_t organ_forward_head_bytes(const organ_forward *forward, size_t rows);

/* Loads layer `number` as organ_layer_load does, its weights to `room`, which must outlive it; NULL: to memory of its
 * own. */
organ_status organ_forward_load_to(organ_forward *forward, int32_t number, float *room, organ_layer **loaded,
                                   organ_error *error);
/* The output head. */
organ_status organ_forward_load_head(const organ_forward *forward, organ_layer **loaded, organ_error *error);

/* Bytes of the scratch of all workers, and the scratch; NULL with an error. */
uint64_t organ_forward_scratch_bytes(const organ_forward *forward);
float *organ_forward_scratch(organ_forward *forward, organ_error *error);

/* ---- a layer on a group of windows ---- */

/* Keys and values of one layer, kv_heads x head_dim a token: the first `tokens` of them are of tokens before the group,
 * which is one window; those of the group come after them. */
typedef struct forward_keys {
    float *keys, *values;
    size_t tokens;
} forward_keys;

typedef struct forward_group {
    organ_forward *forward;
    const organ_layer *layer;
    const organ_windows *windows;
    size_t window, until; /* of the batch */
    size_t first, tokens; /* of the batch */
    float *hidden;        /* of the group */
    float *room;          /* of activations */
    float *scratch; /* for each worker worker_bytes: ORGAN_PRODUCT_SCRATCH, and then a panel or a tile of attention */
    const organ_tap *tap;
    const forward_keys *before; /* NULL: windows begin in the group */
    forward_products products;
    size_t *routed; /* of each expert, tokens so far */
} forward_group;

/* So many floats that stay with the layer, for one that uses them at a time; NULL with an error. */
float *organ_forward_layer_room(const organ_layer *layer, size_t floats, organ_error *error);

/* organ_layer_run, for one window that goes on where `before` ends; NULL: for any windows, from their beginnings. */
organ_status organ_forward_layer_run(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                                     const forward_keys *before, float *hidden, const organ_tap *tap,
                                     organ_error *error);

/* Whether so much memory holds `bytes` beside a layer that one window of `together` tokens is carried through, and the
 * logits of one. */
bool organ_forward_fits(const organ_forward *forward, uint64_t memory, size_t together, uint64_t bytes);

/* Floats of room for a group of so many tokens. */
size_t organ_forward_attention_room(const organ_forward_config *config, size_t tokens);
/* Bytes of scratch of a worker, beside what products pack. */
size_t organ_forward_attention_scratch(void);
size_t organ_forward_feed_room(const organ_forward_config *config, size_t tokens);
size_t organ_forward_experts_room(const organ_forward_config *config, size_t tokens);

/* hidden += attention(norm(hidden)). */
organ_status organ_forward_attention(forward_group *group, organ_error *error);
/* hidden += feed_forward(norm(hidden)). */
organ_status organ_forward_feed(forward_group *group, organ_error *error);
/* Tokens [first, first + tokens) of the group, `normed`, through three products of `inner` channels, to `out`: those of
 * the layer (PART_GATE), or of its shared expert (PART_SHARED_GATE). What else is among the group's products runs with
 * the first of them. `room`: 2 x tokens x inner floats. */
organ_status organ_forward_gated(forward_group *group, forward_part gate, size_t inner, size_t first, size_t tokens,
                                 const float *normed, float *out, float *room, organ_error *error);
/* Tokens [first, first + tokens) of the group, `normed`: to `out`. */
organ_status organ_forward_experts(forward_group *group, size_t first, size_t tokens, const float *normed, float *out,
                                   float *room, organ_error *error);
/* normed = norm(hidden) for tokens of the group. */
organ_status organ_forward_norm_all(const forward_group *group, forward_part part, const float *x, float *y,
                                    size_t tokens, organ_error *error);
/* hidden += out, or norm(out) with sandwich norms. */
organ_status organ_forward_add_all(const forward_group *group, forward_part part, float *hidden, float *out,
                                   size_t tokens, organ_error *error);
/* gate = act(gate) * up */
organ_status organ_forward_gate_all(const forward_group *group, float *gate, const float *up, size_t tokens,
                                    size_t width, organ_error *error);
/* Tells the tap, if there is one. */
organ_status organ_forward_tap(const forward_group *group, forward_view view, size_t first, size_t tokens, size_t in,
                               const float *inputs, organ_error *error);

#endif
