/* SPDX-License-Identifier: MIT
 * The forward pass of a language model, and the perplexity of texts. */
#ifndef ORGAN_API_FORWARD_H
#define ORGAN_API_FORWARD_H

#include <organ/base.h>
#include <organ/architecture.h>
#include <organ/stream.h>

ORGAN_API_BEGIN

/* ---- the forward pass ---- */

/* The weights of one layer are in memory at a time, and all tokens of a batch of windows pass through it before the
 * next layer is loaded. Computes in FP32, with the same bits on every CPU, for any number of threads and any memory.
 * The results for a token depend only on the tokens before it in its window. */

typedef struct organ_forward organ_forward;

/* Reads the model's configuration and finds every weight that its architecture needs. Returns ORGAN_BAD_INPUT for an
 * unknown architecture (the message names it) and for a weight that is missing or has the wrong shape. *forward is NULL
 * on error. `model` and `engine` must outlive *forward. */
organ_status organ_forward_open(const organ_model *model, const organ_engine *engine, organ_forward **forward,
                                organ_error *error);
/* Same as organ_forward_open, but loaded layers hold the values of packed weights in FP32, so that organ_layer_write
 * can store any values. Layers need more memory. */
organ_status organ_forward_open_unpacked(const organ_model *model, const organ_engine *engine, organ_forward **forward,
                                         organ_error *error);
void organ_forward_close(organ_forward *forward); /* NULL is allowed */
/* These return the configuration and the weights of the model, which `forward` owns. */
const organ_forward_config *organ_forward_describe(const organ_forward *forward);
const organ_weights *organ_forward_weights(const organ_forward *forward);

/* Settings that GGUF files of some architectures do not store. */
typedef struct organ_forward_unstored {
    double gate_limit;         /* limit of a clamped SwiGLU; 0: none */
    double step_min, step_max; /* limits of time steps in recurrent layers */
    double norm_eps;           /* epsilon of norms in recurrent layers */
} organ_forward_unstored;
organ_forward_unstored organ_forward_get_unstored(const organ_forward *forward);
/* Replaces these settings before a layer is loaded, to run a file that lacks those of the model it was made from. */
void organ_forward_set_unstored(organ_forward *forward, const organ_forward_unstored *unstored);

/* Windows of tokens, concatenated: window w is tokens[begin[w] .. begin[w + 1]). Every window begins at position 0,
 * and its tokens attend only to tokens of the same window. */
typedef struct organ_windows {
    const uint32_t *tokens;
    size_t count;
    const size_t *begin; /* count + 1 offsets */
} organ_windows;

/* A callback that receives the inputs of linear layers, for calibration. `inputs` is tokens x in_features, row-major,
 * of tokens [first, first + tokens) of the batch. `tensor` is the plain name of the weight. For an expert the callback
 * receives only the tokens routed to the expert, in order, and `first` is the number of routed tokens that it received
 * before; expert E of a stacked tensor is named "NAME[E]". A fused weight is reported once. Called on the thread that
 * runs the layer, with ascending `first` for each tensor. */
typedef struct organ_tap {
    void *context;
    organ_status (*inputs)(void *context, const char *tensor, size_t first, size_t tokens, size_t in_features,
                           const float *inputs, organ_error *error);
} organ_tap;

/* The bytes of a tensor name of llama.cpp, with its final 0. */
#define ORGAN_INPUT_NAME 64
/* The entry of an importance matrix (imatrix) of llama.cpp that has the sums over a tensor's inputs. */
typedef struct organ_input_place {
    char names[2][ORGAN_INPUT_NAME]; /* llama.cpp's tensors; two if one tensor here is two there (gate and up) */
    unsigned count;                  /* number of names */
    /* the expert's number and the number of experts if llama.cpp stacks the matrices of all experts; else 0 and 1 */
    unsigned matrix, matrices;
} organ_input_place;
/* Returns whether llama.cpp has the model's architecture, and so names for its matrices. */
bool organ_forward_has_input_names(const organ_forward *forward);
/* Sets *place to the entry of an imatrix that has the inputs of a tensor of layer `layer`; `tensor` is the name that a
 * tap reports. Returns false if the layer or llama.cpp has no such tensor, or if llama.cpp stores no inputs for it.
 * Returns false also if the name of a GGUF tensor is too long. Call it only if
 * organ_forward_has_input_names returns true. */
bool organ_forward_input_place(const organ_forward *forward, int32_t layer, const char *tensor,
                               organ_input_place *place);
/* Sets columns[x] to the column of llama.cpp's tensor that multiplies input x of the tensor. Returns false, and sets
 * nothing, if both tensors have the same order of columns. */
bool organ_forward_input_order(const organ_forward *forward, int32_t layer, const char *tensor, size_t *columns);
/* A callback that receives the entry of an imatrix for a matrix, or a stack of matrices, with `features` inputs each.
 */
typedef organ_status organ_input_visit(void *context, const organ_input_place *place, size_t features,
                                       organ_error *error);
/* Calls `each` for every tensor of layer `layer` whose inputs a tap reports and organ_forward_input_place finds, in the
 * same order in every process. Experts that are tensors of their own give one call each. Returns the first error of
 * `each`. */
organ_status organ_forward_visit_inputs(const organ_forward *forward, int32_t layer, void *context,
                                        organ_input_visit *each, organ_error *error);
/* Sets places[0] and features[0] to the entry of an imatrix for the matrices of keys of all heads in latent attention
 * (attn_k_b), places[1] and features[1] to that for values (attn_v_b); `matrices` is the number of heads. Returns false
 * if the layer has no such matrices: only files of safetensors and newer GGUF files have. Call it only if
 * organ_forward_has_input_names returns true. */
bool organ_forward_latent_places(const organ_forward *forward, int32_t layer, organ_input_place places[2],
                                 size_t features[2]);
/* Sets *place to the entry of an imatrix that has the inputs of the output head: "output.weight", or
 * "token_embd.weight" if the head is the embedding matrix. Returns the number of inputs. */
size_t organ_forward_head_place(const organ_forward *forward, organ_input_place *place);
/* Passes the inputs of the output head for `tokens` hidden states to the tap, with the plain name of the head's weight.
 * Returns ORGAN_IO if memory runs out, or the error of the tap. */
organ_status organ_forward_tap_head(organ_forward *forward, const float *hidden, size_t tokens, const organ_tap *tap,
                                    organ_error *error);
/* Returns an upper bound on the number of sums and counts in an imatrix of this model. */
uint64_t organ_forward_input_numbers(const organ_forward *forward);

/* ---- the pass in steps; the caller owns the hidden states ---- */

/* Returns ORGAN_BAD_INPUT if a token is outside the model's vocabulary. Reads no weights. */
organ_status organ_forward_check_tokens(const organ_forward *forward, const uint32_t *tokens, size_t count,
                                        organ_error *error);

/* Computes the embeddings of all windows. `hidden` receives config.state floats for each token: hidden_size, or more if
 * the architecture keeps several vectors per token. Returns ORGAN_BAD_INPUT for a token outside the vocabulary,
 * ORGAN_USAGE for a window of more tokens than the model has learned positions. */
organ_status organ_forward_embed(organ_forward *forward, const organ_windows *windows, float *hidden,
                                 organ_error *error);
/* Sets a function that later calls of organ_forward_embed call with the row of the embedding matrix of each token,
 * `width` values. The function may overwrite the row, which the call then uses: a caller can so measure what another
 * embedding matrix costs. NULL: organ_forward_embed uses the rows of the model. */
typedef void organ_change_row(void *context, float *row, size_t width);
void organ_forward_change_embeddings(organ_forward *forward, organ_change_row *change, void *context);

/* The weights of a layer. Float weights keep their stored type if products support it, else they are FP32. Packed
 * weights stay packed, and products decode them by panels. */
typedef struct organ_layer organ_layer;
/* Loads the weights of layer `layer`. Returns ORGAN_USAGE if the model has no such layer. */
organ_status organ_layer_load(organ_forward *forward, int32_t layer, organ_layer **loaded, organ_error *error);
/* Loads a layer that is only run, not changed. Frees the layer *loaded (NULL: none) and sets *loaded to the new layer,
 * which reuses the memory of the former one: the system clears new memory, which takes as long as reading the weights.
 * With exact arithmetic, matrices that are stored as in_features x out_features are not transposed, so the functions
 * below that read and write weights do not accept such a layer. The caller frees *loaded, also after an error. */
organ_status organ_layer_load_to_run(organ_forward *forward, int32_t layer, organ_layer **loaded, organ_error *error);
/* Loads a layer like organ_layer_load, but all ranks must call it at the same point of the run: each weight that is not
 * packed is read by one rank and sent to the others. If reading fails on one rank, the function returns that error on
 * all ranks. */
organ_status organ_layer_load_by_ranks(organ_forward *forward, int32_t layer, organ_layer **loaded, organ_error *error);
void organ_layer_free(organ_layer *layer); /* NULL is allowed */
/* Finds a weight by its plain name and sets *values to its rows x cols values, row-major and owned by the layer.
 * Returns false if the layer does not have the weight or has it packed. For stacked experts, NAME is the matrices of
 * all experts, one below the other, and "NAME[E]" is the matrix of expert E. Rows of Q and K from GGUF files of the
 * llama kind are in the order of Hugging Face. */
bool organ_layer_matrix(const organ_layer *layer, const char *tensor, uint64_t *rows, uint64_t *cols,
                        organ_product_operand *values);
/* Returns true if the file has the matrices of this tensor as in_features x out_features (stacked experts of some
 * architectures). A loaded layer has them as out_features x in_features, like all others. */
bool organ_forward_is_transposed(const organ_forward *forward, const organ_tensor *tensor);
/* Returns the layer of the forward pass that uses the tensor, which belongs to this model; -1 for tensors outside of
 * layers. The layer is the number in the tensor's name. Exceptions: a layer L of a LongCat-Flash file is the layers 2 L
 * and 2 L + 1, each with an attention and a dense feed-forward; the experts belong to layer 2 L. After
 * organ_forward_open_draft, tensors of block k for multi-token prediction have layer config.layers + k. */
int32_t organ_forward_layer_of(const organ_forward *forward, const organ_tensor *tensor);
/* Returns true if the tap receives inputs of this tensor: it is a matrix, or a stack of matrices, of a linear layer.
 * Returns false for tensors outside of the layers, for tensors of draft layers before organ_forward_open_draft, and for
 * matrices that the forward pass does not use. Returns false also for stacks that the file stores as one matrix (DBRX),
 * and for attn_k_b of GGUF files, which multiplies queries. `tensor` belongs to this model. */
bool organ_forward_is_tapped(const organ_forward *forward, const organ_tensor *tensor);
/* Read and write the values of a weight in FP32, for callers that change the weight between two runs (pruning).
 * organ_layer_write rounds to the stored type; GGUF blocks are decoded, and encoded by a search for the best scales if
 * kernels->fit has their type. The functions do nothing for other packed weights, and for tensors that the layer does
 * not have. They use the workers, so no worker may call them. */
void organ_layer_read(const organ_layer *layer, const char *tensor, float *values);
void organ_layer_write(organ_layer *layer, const char *tensor, const float *values);
/* Returns the address of a weight's values in the type in which the layer has them, and sets *bytes to their size, for
 * exchange with the same layer in another process. Returns NULL if organ_layer_matrix returns false for the weight. */
void *organ_layer_values(organ_layer *layer, const char *tensor, uint64_t *bytes);

/* Returns the address of a matrix that is stored as GGUF blocks, and sets *bytes to the bytes of the blocks, for
 * callers that re-encode them. Returns NULL for other matrices. */
void *organ_layer_blocks(organ_layer *layer, const char *tensor, uint64_t *bytes);

/* The norm and the factor that a layer applies to the output of its mixer or of its feed-forward before the sum. */
typedef struct organ_output_norm {
    const float *weights; /* hidden_size weights of an RMS norm of the output, owned by the layer; NULL: no norm */
    float plus;           /* the norm multiplies by plus + weight */
    double eps;           /* the norm divides by sqrt(mean of the squares + eps) */
    float scale;          /* then the output is multiplied by this number */
} organ_output_norm;
/* Sets *norm for the mixer of a layer or, with `ffn`, for its feed-forward. Returns false if the output is not added in
 * this way: the sum is normalised, the hidden state is multiplied too, the norm is no RMS norm, has a bias or no
 * weights, or the layer keeps more than one vector per token or runs two feed-forwards. */
bool organ_layer_output_norm(const organ_layer *layer, bool ffn, organ_output_norm *norm);

/* Runs the layer on all windows and replaces their states in `hidden` (config.state floats for each token). `tap` may
 * be NULL. */
organ_status organ_layer_run(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                             float *hidden, const organ_tap *tap, organ_error *error);

/* A callback that receives the inputs of the matrices of single heads in latent attention: of the head's keys, the
 * plain part of its queries; of its values, the weighted sums of latent vectors. Row t of `inputs`, `features` numbers,
 * begins at t * stride and belongs to a token of the batch; each token has one row for each head. Called on the thread
 * that runs the layer. */
typedef struct organ_head_tap {
    void *context;
    organ_status (*inputs)(void *context, bool of_values, unsigned head, size_t tokens, size_t features,
                           const float *inputs, size_t stride, organ_error *error);
} organ_head_tap;
/* Later runs of the layer call `tap`, which must outlive them; NULL: none. Does nothing for layers without latent
 * attention. */
void organ_layer_tap_heads(organ_layer *layer, const organ_head_tap *tap);

/* ---- the KV cache of servers ---- */

/* What the KV cache of a model holds for a token. */
typedef enum organ_cache_kind {
    ORGAN_CACHE_NONE,     /* no layer has attention */
    ORGAN_CACHE_OF_HEADS, /* keys and values of heads */
    ORGAN_CACHE_LATENT    /* latent or compressed vectors, at least in one layer */
} organ_cache_kind;
organ_cache_kind organ_forward_cache_kind(const organ_forward *forward);

/* The scales of a cache of E4M3 codes. A server keeps each key after its rotation and each value as the code nearest
 * to value / scale, ties to even, at most 448 in magnitude, and computes with code x scale. */
typedef struct organ_cache_rounding {
    size_t heads;         /* largest number of heads of keys of a layer */
    float *keys, *values; /* config.layers x heads: scales of the heads of a layer, all equal for one of the layer */
    unsigned layers;      /* number of layers that keep keys and values; others use those of an earlier layer */
    unsigned unscaled;    /* number of them for which the model has no scale, so that 1 is used, as vLLM does */
    bool by_head;         /* a layer has a scale for each head */
} organ_cache_rounding;
/* Makes all later runs round keys and values as such a server does, with the scales in the model's tensors
 * self_attn.k_scale and .v_scale, k_proj.k_scale and v_proj.v_scale, k_proj.output_scale and v_proj.output_scale, or
 * kv_scale. A layer that has only scales of keys uses them for values too. Blocks for multi-token prediction are not
 * rounded. Returns ORGAN_USAGE unless organ_forward_cache_kind is ORGAN_CACHE_OF_HEADS; ORGAN_BAD_INPUT, naming the
 * tensor, for scales of another type, of another number than 1 or the layer's heads of keys, or not above 0. */
organ_status organ_forward_round_cache(organ_forward *forward, organ_error *error);
/* Returns the scales of organ_forward_round_cache, which `forward` owns; NULL if the cache is not rounded. */
const organ_cache_rounding *organ_forward_cache(const organ_forward *forward);

/* A callback that receives the keys, after their rotation, and the values of `tokens` tokens of the batch as they enter
 * the cache: tokens x kv_heads x head_dim and tokens x kv_heads x value_dim numbers. Called on the thread that runs the
 * layer. */
typedef struct organ_cache_tap {
    void *context;
    organ_status (*rows)(void *context, unsigned layer, size_t tokens, const float *keys, const float *values,
                         organ_error *error);
} organ_cache_tap;
/* Later runs of the layer call `tap`, which must outlive them; NULL: none. Does nothing for layers that keep no keys
 * and values of heads: those without attention, with latent attention, or with the keys of an earlier layer. */
void organ_layer_tap_cache(organ_layer *layer, const organ_cache_tap *tap);

/* ---- multi-token prediction ---- */

/* Finds the blocks for multi-token prediction (MTP, NextN) after the layers, as files of DeepSeek-V3, GLM-4.5,
 * Qwen3-Next, Qwen3.5, MiMo-V2 and ERNIE 4.5 have them, at most 8, before a layer is loaded: layer config.layers + k is
 * then the layer of block k, which only organ_draft_run runs, and the functions about imatrices know it. Does nothing
 * if the file has no such block, or if tokens have more states than a hidden state. Returns ORGAN_BAD_INPUT if a part
 * of the first block of DeepSeek, GLM or Qwen is missing or has the wrong shape; other such blocks, and those after
 * them, are not run. */
organ_status organ_forward_open_draft(organ_forward *forward, organ_error *error);
bool organ_forward_has_draft(const organ_forward *forward);
unsigned organ_forward_drafts(const organ_forward *forward); /* number of blocks that are run */
/* Runs a block on a window of `count` tokens, of which the layers have computed the states `hidden`, and passes the
 * inputs of its matrices to `tap`. `layer` is the layer of the block, loaded. A block after the first one gets the
 * outputs of the one before, which must have been run on the same window just before. */
organ_status organ_draft_run(organ_forward *forward, const organ_layer *layer, const uint32_t *tokens, size_t count,
                             const float *hidden, const organ_tap *tap, organ_error *error);
/* Calls `each` with each matrix of the file that is for multi-token prediction but that no layer or block multiplies
 * inputs by, in the order of the file. */
void organ_forward_visit_unrun_drafts(const organ_forward *forward, void *context,
                                      void (*each)(void *context, const char *tensor));
/* Returns the bytes that organ_draft_run allocates for a window of `context` tokens; 0 without a block. */
uint64_t organ_draft_bytes(const organ_forward *forward, size_t context);

/* ---- mixtures of experts ---- */

/* An expert chosen for a token, and the factor of its output. */
typedef struct organ_expert_choice {
    unsigned expert;
    float weight;
} organ_expert_choice;

/* Returns the number of experts of a layer; 0 for a dense layer, which mixture models may have too. */
unsigned organ_layer_experts(const organ_layer *layer);

/* The parameters of a layer's router. `correction` has a bias for each expert; NULL: none. `scales` has a number for
 * each expert, by which the router's factor of the expert is multiplied last; NULL: none. */
typedef struct organ_router {
    const organ_kernels *kernels;
    const organ_forward_config *config;
    const float *correction, *scales;
} organ_router;
organ_router organ_layer_router(const organ_layer *layer); /* valid as long as the layer */

/* Chooses experts_used experts for a token from its router logits, in ascending order of their numbers. `kept` has a
 * flag for each expert, true for at least organ_forward_min_experts of them; NULL: all are kept.
 *
 * Softmax router: takes the kept experts with the largest logits, of equal ones those with lower numbers. The factor of
 * an expert is its softmax over the kept experts, as in a router that has only the rows of the kept experts. Logistic
 * router: scores are the logistic of each logit, and the choice adds the correction. With groups, only experts of the
 * best groups can be chosen; a group is ranked by its best kept expert or by the sum of its two best. If the
 * configuration says so, the chosen factors are divided by their sum and multiplied by router_scale. SparseMixer
 * (`sparse`) chooses two experts in turn, with a softmax each over the values near the largest. A NaN is never larger
 * than another value.
 *
 * `logits` and `scratch`, which may be the same, have a float for each expert, then one for each identity expert. */
void organ_forward_route(const organ_router *router, const bool *kept, const float *logits, float *scratch,
                         organ_expert_choice *chosen);

/* Computes into `factors`, for each expert, the factor by which the token's input is multiplied if the expert is
 * chosen. Only for models with router.into_inputs (Llama 4), which scale the inputs of experts and not their outputs.
 * The factor of an expert depends on its own logit alone. */
void organ_forward_input_factors(const organ_router *router, const float *logits, float *factors);

/* Returns the least number of experts that a layer must keep: experts_used. With groups, each group must keep the same
 * number: experts_used / router_groups_used, rounded up, and at least two if groups are ranked by their two best
 * experts. */
unsigned organ_forward_min_experts(const organ_forward_config *config);

/* A callback that receives `normed`, the input of router and experts (tokens x hidden_size), and the router's `logits`
 * (tokens x experts, identity experts included) of tokens [first, first + tokens) of the batch. Called on the thread
 * that runs the layer, before any expert of these tokens runs, with ascending `first`. */
typedef organ_status organ_routed(void *context, int32_t layer, size_t first, size_t tokens, const float *normed,
                                  const float *logits, organ_error *error);
/* Sets the callback for all later runs of the layer; NULL removes it. A layer without experts never calls it. */
void organ_layer_tap_router(organ_layer *layer, void *context, organ_routed *routed);

/* Chooses what taps receive as inputs of experts' down projections in later runs: the activations, or with `weigh`
 * the activations times the router's factor of the token. */
void organ_layer_tap_weighted(organ_layer *layer, bool weigh);

/* Changes what taps of the flagged experts receive in later runs: the inputs of all tokens, as if the router had sent
 * every token to the expert, instead of those of the routed tokens. These inputs are never multiplied by router
 * weights, and the output of the layer does not change. `experts` has a flag for each expert and must outlive the runs;
 * NULL: no expert. For each flagged expert, a run then computes the products of all tokens in addition to those of the
 * routed tokens. */
void organ_layer_set_all_tokens(organ_layer *layer, const bool *experts);

/* Makes later runs of the layer behave like those of a model that has only the kept experts. `kept` has a flag for each
 * expert and is copied; NULL: all are kept. Returns ORGAN_USAGE if the model has no experts, if fewer experts are kept
 * than organ_forward_min_experts, or if the groups of experts keep different numbers. */
organ_status organ_layer_keep(organ_layer *layer, const bool *kept, organ_error *error);

/* Runs one expert on `count` rows x (count x hidden_size). Writes act(gate) * up, the inputs of the down projection, to
 * `inner` (count x expert_intermediate) and the outputs, without router factors, to `out` (count x hidden_size). Either
 * may be NULL. The bits for a row are those of organ_layer_run. Returns ORGAN_USAGE if the layer has no such
 * expert. */
organ_status organ_layer_expert(organ_forward *forward, const organ_layer *layer, unsigned expert, const float *x,
                                size_t count, float *inner, float *out, organ_error *error);

/* The norm before the output head. `weights` has hidden_size numbers, each of which is increased by `plus` when the
 * norm is applied; NULL for architectures whose norms have no weights. The forward pass owns the weights. */
typedef struct organ_final_norm {
    const organ_tensor *tensor;
    const float *weights;
    float plus;
    bool biased; /* a bias is added to the weighted values */
} organ_final_norm;
organ_final_norm organ_forward_final_norm(const organ_forward *forward);
/* Applies the norm before the output head, if the model has one, to tokens x hidden_size hidden states, and multiplies
 * the result by config.head_scale. `normed` is the input of the head. */
void organ_forward_final(const organ_forward *forward, const float *hidden, size_t tokens, float *normed);

/* Computes final norm and output head for some tokens of the batch. `rows` are token indices, ascending. Calls
 * each(context, k, logits) for k = 0 .. count - 1, on any worker, in any order; logits are vocab_size values that the
 * callback may change and that are invalid after it returns. */
organ_status organ_forward_logits(organ_forward *forward, const float *hidden, const size_t *rows, size_t count,
                                  void *context, void (*each)(void *context, size_t k, float *logits),
                                  organ_error *error);

/* The rows of another output head, vocab_size x hidden_size. */
typedef struct organ_head_rows {
    const void *source;
    /* Writes rows [first, first + count) to `values`, contiguous. Called on any worker. */
    void (*make)(const void *source, size_t first, size_t count, float *values);
} organ_head_rows;
/* Computes logits like organ_forward_logits, but with the matrix `head` in place of the output head's. */
organ_status organ_forward_logits_with(organ_forward *forward, const organ_head_rows *head, const float *hidden,
                                       const size_t *rows, size_t count, void *context,
                                       void (*each)(void *context, size_t k, float *logits), organ_error *error);

/* ---- the whole pass ---- */

/* Runs the windows, whose hidden states must fit the memory, through embedding and all layers, and passes the logits of
 * the `count` tokens `rows` to `each`, as organ_forward_logits does. */
organ_status organ_forward_run(organ_forward *forward, const organ_windows *windows, const size_t *rows, size_t count,
                               void *context, void (*each)(void *context, size_t k, float *logits),
                               const organ_progress *progress, organ_error *error);

/* ---- generation: a text that grows ---- */

/* The KV cache: keys and values of the processed tokens in all layers, so that a growing text processes only its new
 * tokens. */
typedef struct organ_decode_cache organ_decode_cache;

/* Creates a cache for one text. The first call of organ_forward_continue will have `first` tokens, and the text at most
 * `max` tokens in the end. Returns ORGAN_USAGE if the cache and a layer do not fit the engine's memory together. *cache
 * is NULL on error. Close the cache before the forward pass. */
organ_status organ_decode_cache_open(organ_forward *forward, size_t first, size_t max, organ_decode_cache **cache,
                                     organ_error *error);
void organ_decode_cache_close(organ_decode_cache *cache); /* NULL is allowed */

/* Computes the logits of the last of `count` tokens. `tokens` begins with the tokens of the previous call and has at
 * least one more. The logits have the bits of organ_forward_run on one window of all tokens. All tokens are processed
 * again after an error, and if the rotation depends on the length of the text (dynamic, longrope beyond its original
 * context) and has changed. */
organ_status organ_forward_continue(organ_forward *forward, organ_decode_cache *cache, const uint32_t *tokens,
                                    size_t count, void *context, void (*each)(void *context, size_t k, float *logits),
                                    organ_error *error);

/* How an operation will change the types of a model's weights, for estimates of memory. */
typedef enum organ_type_change {
    ORGAN_TYPES_STAY,   /* all types stay */
    ORGAN_TYPES_PACKED, /* floats become smaller packed types, which products decode */
    ORGAN_TYPES_16,     /* packed weights become values of 16 bits */
    ORGAN_TYPES_32      /* packed weights become values of 32 bits */
} organ_type_change;
/* Makes later estimates of memory refer to the model that an operation will write, whose types change as `as` says; the
 * estimates are upper bounds. Loading a layer then fails with ORGAN_USAGE. */
organ_status organ_forward_estimate(organ_forward *forward, organ_type_change as, organ_error *error);

/* Returns organ_weight.inputs of the first weight that has it; NULL: the model's configuration does not declare that
 * servers round the inputs of linear layers. */
const organ_input_rounding *organ_forward_declared_rounding(const organ_forward *forward);
/* Makes later runs round the inputs of linear layers as the model's configuration declares (organ_input_rounding); taps
 * get the inputs before the rounding. Needs more memory. Does nothing if it declares none. Call it after
 * organ_forward_open. Returns the errors of organ_input_numbers_read. */
organ_status organ_forward_round_inputs(organ_forward *forward, organ_error *error);
/* Makes later estimates of memory refer to a model whose linear layers all have rounded inputs; the estimates are upper
 * bounds. Only after organ_forward_estimate. */
organ_status organ_forward_estimate_rounding(organ_forward *forward, organ_error *error);

/* Permits streamed layers: organ_layer_load then loads a layer without its experts if the experts need more than a
 * quarter of the engine's memory. Each run of the layer reads the experts that tokens reach, in groups, and frees them.
 * The results have the same bits. Only for callers that run layers: organ_layer_matrix and the other functions that
 * read or write weights, taps and organ_layer_keep need layers that are in memory. Does nothing for models without
 * experts, with parallel layers, or with a dense feed-forward next to the experts (dual_ffn). Call it after
 * organ_forward_open. */
void organ_forward_allow_streaming(organ_forward *forward);

/* Returns the number of tokens that a batch may have so that the weights, activations and buffers of one layer fit
 * the engine's memory; 0 if not even one window of `context` tokens fits. */
size_t organ_forward_batch(const organ_forward *forward, size_t context);

/* Returns the bytes of the engine's memory that remain free while windows of `context` tokens pass through a layer, or
 * 0. Counts a sixteenth of the memory as used by threads, so that the result does not depend on the number of threads.
 */
uint64_t organ_forward_spare_memory(const organ_forward *forward, size_t context);

/* Returns the bytes of the largest layer while it is loaded, for callers that have another layer in memory. */
uint64_t organ_forward_layer_bytes(const organ_forward *forward);

/* Returns organ_forward_spare_memory for an engine with `memory` bytes, or less if the threads of this engine need more
 * than the reserved sixteenth. The result never falls when `memory` rises. */
uint64_t organ_forward_memory_left(const organ_forward *forward, uint64_t memory, size_t context);

/* ---- perplexity: which tokens are scored (the protocol) ---- */

/* ---- the protocol ---- */

/* How a text is cut into windows. A token is scored by the probability that the model gives it after the preceding
 * tokens of its window.
 *
 * hf: BOS once before the text if the model's tokenizer adds one. Adjacent windows of `context` tokens, the last one
 * shorter. All tokens but the first of a window are scored.
 *
 * llama.cpp: BOS as above, and in place of the first token of every window. Whole windows of `context` tokens, at
 * least two; the remainder is not used. The predictions from positions context / 2 .. context - 2 are scored.
 *
 * lm-eval: BOS (EOS if there is none) before the text. Every token is scored once, in windows of `context` inputs. The
 * first input of a window is the last token that the previous window predicts. The last window is filled from the front
 * with tokens that were scored already. */
typedef enum organ_perplexity_style {
    ORGAN_STYLE_HF,
    ORGAN_STYLE_LLAMA_CPP,
    ORGAN_STYLE_LM_EVAL
} organ_perplexity_style;

/* Returns "hf", "llama.cpp" or "lm-eval". */
const char *organ_perplexity_style_name(organ_perplexity_style style);
/* Returns false if no style has that name. */
bool organ_perplexity_style_parse(const char *name, organ_perplexity_style *style);

/* How a text is scored: settings that must be equal for a comparison. */
typedef struct organ_perplexity_protocol {
    organ_perplexity_style style;
    size_t context;   /* at least 4 */
    int64_t bos, eos; /* -1: none */
    bool adds_bos;
    bool whole; /* hf, llama.cpp: the last token of a window is an input as well, although no token follows it */
} organ_perplexity_protocol;

/* The windows of a text and the predictions to score. */
typedef struct organ_perplexity_plan {
    uint32_t *tokens; /* inputs of all windows, concatenated */
    size_t *begin;    /* windows + 1 */
    size_t windows;
    size_t *rows;      /* indices in `tokens` of the inputs whose predictions are scored; ascending */
    uint32_t *targets; /* for each of these inputs, the token that follows it in the text */
    size_t scored;     /* number of these inputs */
} organ_perplexity_plan;

/* Applies the protocol to the tokens of a text, without BOS. Returns ORGAN_BAD_INPUT, with `text` (its name) in the
 * message, if the text is too short, or if the protocol needs a BOS that the tokenizer does not have. The caller frees
 * *plan. */
organ_status organ_perplexity_plan_make(const organ_perplexity_protocol *protocol, const uint32_t *tokens, size_t count,
                                        const char *text, organ_perplexity_plan *plan, organ_error *error);
void organ_perplexity_plan_release(organ_perplexity_plan *plan);

/* ---- the scores ---- */

/* A model that computes logits. */
typedef struct organ_logit_source {
    void *context;
    uint64_t vocabulary;
    const char *name; /* name of the model in messages */
    /* Runs the windows through the model and keeps the hidden states until the next call. */
    organ_status (*carry)(void *context, const organ_windows *windows, organ_error *error);
    /* Computes the logits of `count` tokens of the windows of the last call of `carry`, like organ_forward_logits. */
    organ_status (*logits)(void *context, const size_t *rows, size_t count, void *receiver,
                           void (*each)(void *receiver, size_t k, float *logits), organ_error *error);
} organ_logit_source;

/* Scores of one model, one value for each scored token of the plan. */
typedef struct organ_token_scores {
    double *nll;        /* -ln of the token's probability */
    double *divergence; /* KL(first model || this model) of the two distributions, in nats; NULL for the first model */
    unsigned char *agrees; /* 1 if both models have the same most likely token (lowest id among equals); NULL for the
                              first model */
} organ_token_scores;

/* Scores the plan with `count` models; scores[m] has arrays for the values to compute, NULL for the others. Processes
 * windows in batches of at most `batch_tokens` inputs (but at least one window). With several models, keeps the logits
 * of `tile_rows` tokens of the first model at a time. Neither batch_tokens nor tile_rows changes the results.
 * Probabilities are computed in FP64 from FP32 logits, summed over 16 lanes. Returns ORGAN_BAD_INPUT if the
 * vocabularies of the models differ in size, a target is outside of them, or logits are not finite; ORGAN_INTERRUPTED
 * if `stop` asks. */
organ_status organ_perplexity_score(const organ_kernels *kernels, const organ_perplexity_plan *plan,
                                    const organ_logit_source *sources, size_t count, size_t batch_tokens,
                                    size_t tile_rows, organ_token_scores *scores, const organ_stop *stop,
                                    const organ_progress *progress, organ_error *error);
/* Returns the number of batches of organ_perplexity_score. */
size_t organ_perplexity_batches(const organ_perplexity_plan *plan, size_t batch_tokens);

/* Returns the index of the largest of `count` logits, the lowest among equals. */
size_t organ_logits_top(const float *logits, size_t count);
/* Returns ln of the sum of exp of all logits; not finite if a logit is not. */
double organ_logits_log_sum(const organ_kernels *kernels, const float *logits, size_t count);

/* ---- the figures: sums in FP64 in the order of the tokens in the text ---- */

/* Windows of scores, between which standard errors are measured: tokens of one window depend on each other. */
typedef struct organ_score_windows {
    /* Ascending by number in the text. The scored tokens of a window are [first .. first + count) of the scores; `at`
     * is its number in the plan. NULL: each score is independent. */
    struct organ_score_window {
        size_t first, count, at, number;
    } * window;
    size_t count;
    size_t all; /* number of windows of the text over which these are spread; 0: they are adjacent */
} organ_score_windows;
typedef struct organ_score_window organ_score_window;

/* Lists the first `count` windows of a plan. `numbers`: number in the text of each; NULL: 0, 1, .., and `all` is 0.
 * Returns ORGAN_IO if there is no memory. The caller releases *windows, also after an error. */
organ_status organ_score_windows_make(const organ_perplexity_plan *plan, size_t count, const size_t *numbers,
                                      size_t all, organ_score_windows *windows, organ_error *error);
void organ_score_windows_release(organ_score_windows *windows);

/* Mean and its standard error; the error is NaN for fewer than two windows or independent values. */
typedef struct organ_mean {
    double mean, error;
} organ_mean;

/* Mean of all values, with the error of docs/definitions/perplexity.md: from deviations of windows, or of spread ones
 * from differences of neighbours. */
organ_mean organ_mean_between(const double *values, const organ_score_windows *windows);
organ_mean organ_mean_of(const double *values, size_t count); /* of independent values */

typedef struct organ_perplexity_figures { /* of one model on a text */
    organ_mean nll;
    double perplexity, perplexity_error; /* exp(nll.mean); its error is that times nll.error */
    double total;                        /* sum of nll */
} organ_perplexity_figures;
organ_perplexity_figures organ_perplexity_sum_windows(const double *nll, const organ_score_windows *windows);
organ_perplexity_figures organ_perplexity_sum(const double *nll, size_t count); /* errors as if independent */

/* A model compared with the first one on the same tokens, whose variation the errors exclude. */
typedef struct organ_perplexity_comparison {
    double difference, difference_error; /* perplexity of the model less that of the first */
    double ratio, ratio_error;           /* ratio of these perplexities: exp of the mean difference of nll */
    organ_mean nll;                      /* difference of nll */
    organ_mean divergence;
    double agreement, agreement_error; /* 0 .. 1 */
} organ_perplexity_comparison;
/* Compares the scores under two models. Returns ORGAN_IO if there is no memory. */
organ_status organ_perplexity_compare_windows(const organ_token_scores *first, const organ_token_scores *other,
                                              const organ_score_windows *windows,
                                              organ_perplexity_comparison *comparison, organ_error *error);
/* The same for `count` tokens, with the errors of independent ones. */
organ_status organ_perplexity_compare(const organ_token_scores *first, const organ_token_scores *other, size_t count,
                                      organ_perplexity_comparison *comparison, organ_error *error);

/* Returns the number of words as Python's re.split(r"\s+", text) counts them: runs of white space plus one. */
uint64_t organ_perplexity_words(const char *text, size_t bytes);

ORGAN_API_END

#endif
