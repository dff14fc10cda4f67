/* SPDX-License-Identifier: MIT
 * The forward pass of a language model by layer streaming: the weights of one layer are in memory at a time, and all
 * tokens of a batch of windows are carried through it. FP32; the same bytes on every CPU, for any number of threads and
 * any memory, and what becomes of a token depends on those before it in its window alone. */
#ifndef ORGAN_FORWARD_H
#define ORGAN_FORWARD_H

#include "formats/base/api.h"
#include "orchestrator/forward/config.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"

ORGAN_API_BEGIN

typedef struct organ_forward organ_forward;

/* Reads the configuration and finds every weight that the architecture needs. ORGAN_BAD_INPUT for an architecture that
 * is not known (by name), a weight that is missing or has the wrong shape. Both arguments must outlive it. *forward is
 * NULL on error. */
organ_status organ_forward_open(const organ_model *model, const organ_engine *engine, organ_forward **forward,
                                organ_error *error);
void organ_forward_close(organ_forward *forward); /* NULL is allowed */
const organ_forward_config *organ_forward_describe(const organ_forward *forward);

/* Windows of tokens, one after the other: window w is tokens[begin[w] .. begin[w + 1]). Every window begins at position
 * 0 and sees only itself. */
typedef struct organ_windows {
    const uint32_t *tokens;
    size_t count;
    const size_t *begin; /* count + 1 */
} organ_windows;

/* The input of a linear layer, for calibration: `inputs` is tokens x in_features, row-major, of tokens [first, first +
 * tokens) of the batch. `tensor` is the plain name of the weight. Of an expert only the tokens that were routed to it,
 * in order, `first` counting these; an expert of a stacked tensor is "NAME[E]". A fused weight is told once. Called on
 * the thread that runs the layer, `first` ascending for each tensor. */
typedef struct organ_tap {
    void *context;
    organ_status (*inputs)(void *context, const char *tensor, size_t first, size_t tokens, size_t in_features,
                           const float *inputs, organ_error *error);
} organ_tap;

/* ---- the pass in steps: hidden states belong to the caller ---- */

/* hidden: tokens x hidden_size. ORGAN_BAD_INPUT for a token beyond the vocabulary. */
organ_status organ_forward_embed(organ_forward *forward, const organ_windows *windows, float *hidden,
                                 organ_error *error);

/* The weights of a layer: floats as they are stored, and so what is packed, which products decode by panels; else FP32.
 */
typedef struct organ_layer organ_layer;
organ_status organ_layer_load(organ_forward *forward, int32_t layer, organ_layer **loaded, organ_error *error);
/* The same by all ranks of the engine, at one point of the run: what is not packed is read once, by one of them, and
 * given to the others. A fault of one is that of all. */
organ_status organ_layer_load_together(organ_forward *forward, int32_t layer, organ_layer **loaded, organ_error *error);
void organ_layer_free(organ_layer *layer); /* NULL is allowed */
/* The weight of that plain name as it is held, rows x cols row-major, which stay with the layer; false: there is none,
 * or it is packed. Of stacked experts all, one below the other, or as "NAME[E]" one. Rows of Q and K of GGUF files of
 * the llama kind are in the order of Hugging Face. */
bool organ_layer_matrix(const organ_layer *layer, const char *tensor, uint64_t *rows, uint64_t *cols,
                        organ_factor *values);
/* For a caller that changes it between two runs (pruning): its values in FP32, and back, rounded to the type as which
 * it is held. Blocks of GGUF whose type has a search for its scales are decoded, and encoded by that; of what else is
 * packed nothing is done. */
void organ_layer_read(const organ_layer *layer, const char *tensor, float *values);
void organ_layer_write(organ_layer *layer, const char *tensor, const float *values);
/* The same values as they are held, for one who has them from the same layer of another process: so many bytes. NULL
 * where organ_layer_matrix is false. */
void *organ_layer_values(organ_layer *layer, const char *tensor, uint64_t *bytes);

/* A matrix of blocks of GGUF as the layer holds it, as the file does, for a caller that encodes it anew; NULL where it
 * is none. */
void *organ_layer_blocks(organ_layer *layer, const char *tensor, uint64_t *bytes);

/* Carries the batch through the layer, in place. `tap` may be NULL. */
organ_status organ_layer_run(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                             float *hidden, const organ_tap *tap, organ_error *error);

/* ---- mixtures of experts ---- */

/* An expert that works on a token, and what its output is taken times. */
typedef struct organ_choice {
    unsigned expert;
    float weight;
} organ_choice;

/* The experts of a layer; 0: it has none, though others of the model may. */
unsigned organ_layer_experts(const organ_layer *layer);

/* What chooses experts in a layer; `correction`: one for each, NULL: there are none. */
typedef struct organ_router {
    const organ_kernels *kernels;
    const organ_forward_config *config;
    const float *correction;
} organ_router;
organ_router organ_layer_router(const organ_layer *layer); /* it lasts as long as the layer */

/* What a router's values of one token choose: experts_used experts, by number. The largest values among the kept
 * experts (a flag for each, at least organ_forward_least_experts of them; NULL: all), equal ones by number, and their
 * softmax over the kept ones, which the configuration may have divided by its sum: what a router with the rows of the
 * kept ones alone would choose. A logistic router takes its values by themselves, chooses by them and the correction,
 * and in groups among those of which the two best kept experts are best together. Beside a NaN no value is larger.
 * `room`: as many floats as there are experts; it may be `logits`. */
void organ_forward_route(const organ_router *router, const bool *kept, const float *logits, float *room,
                         organ_choice *chosen);

/* The fewest experts that a layer can keep: those that work on a token, and of groups as many in each, two at least. */
unsigned organ_forward_least_experts(const organ_forward_config *config);

/* What router and experts of a layer see, `normed`, tokens x hidden_size, and what the router makes of it, `logits`,
 * tokens x experts. Called on the thread that runs the layer, once for these tokens of the batch, before any of their
 * experts, `first` ascending. */
typedef organ_status organ_routed(void *context, int32_t layer, size_t first, size_t tokens, const float *normed,
                                  const float *logits, organ_error *error);
/* From now on every run of the layer tells `routed`; NULL: nobody. Of a layer without experts nothing is told. */
void organ_layer_tap_router(organ_layer *layer, void *context, organ_routed *routed);

/* From now on taps are told the inputs of experts' down projections as they are, or (`weigh`) times the weights that
 * the tokens take the expert's output by. */
void organ_layer_weigh(organ_layer *layer, bool weigh);

/* From the next run on, the taps of an expert with a flag get the inputs of all tokens instead of those of the routed
 * tokens, as if the router had sent every token to the expert (never times router weights). The output of the layer
 * does not change. `experts` has a flag for each expert and must outlive the runs; NULL: no expert. The run then
 * computes each flagged expert once more, on all tokens. */
void organ_layer_listen(organ_layer *layer, const bool *experts);

/* From now on the layer runs as that of a model that has the kept experts alone (a flag for each; NULL: all).
 * ORGAN_USAGE where these are fewer than work on a token, or not as many in each group, or there are none. */
organ_status organ_layer_keep(organ_layer *layer, const bool *kept, organ_error *error);

/* One expert on any rows: x is count x hidden_size; inner, count x the expert's intermediate size, becomes act(gate) *
 * up, out, count x hidden_size, what the expert gives. Either may be NULL. What becomes of a row are the bits that
 * organ_layer_run gets. */
organ_status organ_layer_expert(organ_forward *forward, const organ_layer *layer, unsigned expert, const float *x,
                                size_t count, float *inner, float *out, organ_error *error);

/* The norm before the output head: hidden_size weights, to which `plus` is added where they are applied. They stay with
 * the forward pass.
 */
typedef struct organ_final_norm {
    const organ_tensor *tensor;
    const float *weights;
    float plus;
} organ_final_norm;
organ_final_norm organ_forward_final_norm(const organ_forward *forward);
/* What the output head sees: of tokens x hidden_size hidden states those behind that norm. */
void organ_forward_final(const organ_forward *forward, const float *hidden, size_t tokens, float *normed);

/* Final norm and output head for some tokens of the batch: `rows` are indices of tokens, ascending; each(context, k,
 * logits) is called for k = 0 .. count - 1, on any worker, in any order; logits are vocab_size values that may be
 * changed and are not kept. */
organ_status organ_forward_logits(organ_forward *forward, const float *hidden, const size_t *rows, size_t count,
                                  void *context, void (*each)(void *context, size_t k, float *logits),
                                  organ_error *error);

/* ---- the whole pass ---- */

/* All of it for a batch that fits the memory: embeds, runs every layer, hands out the logits of `rows`. */
organ_status organ_forward_run(organ_forward *forward, const organ_windows *windows, const size_t *rows, size_t count,
                               void *context, void (*each)(void *context, size_t k, float *logits),
                               const organ_progress *progress, organ_error *error);

/* ---- a text that grows ---- */

/* Keys and values of the tokens that went through, of all layers, so that a text that grows carries only its new tokens
 * through them. */
typedef struct organ_forward_past organ_forward_past;

/* For one text, of `first` tokens at first and at most `most` in the end. ORGAN_USAGE where the engine's memory does
 * not hold that beside a layer. Belongs to the forward pass and is closed before it. *past is NULL on error. */
organ_status organ_forward_past_open(organ_forward *forward, size_t first, size_t most, organ_forward_past **past,
                                     organ_error *error);
void organ_forward_past_close(organ_forward_past *past); /* NULL is allowed */

/* The logits of the last of `count` tokens: those of the call before, and at least one after them. They are those of
 * organ_forward_run on one window of all the tokens. Where the rotation goes by the length of the text (dynamic,
 * longrope beyond its original context), all tokens go through anew at that length. After an error all go through anew,
 * too. */
organ_status organ_forward_continue(organ_forward *forward, organ_forward_past *past, const uint32_t *tokens,
                                    size_t count, void *context, void (*each)(void *context, size_t k, float *logits),
                                    organ_error *error);

/* What an operation makes of the weights of a model, as far as that changes what they take here. */
typedef enum organ_made_as {
    ORGAN_MADE_ALIKE,  /* they keep their types */
    ORGAN_MADE_PACKED, /* floats become something smaller, which is decoded */
    ORGAN_MADE_16,     /* what is packed becomes values of 16 bits, */
    ORGAN_MADE_32      /* of 32 */
} organ_made_as;
/* Answers to questions about memory are from now on those of the model that is made of this one, at most. No layer can
 * be loaded any more: ORGAN_USAGE. */
organ_status organ_forward_foresee(organ_forward *forward, organ_made_as as, organ_error *error);

/* How many tokens a batch may have so that one layer's weights, activations and buffers stay inside the engine's
 * memory; 0: not even one window of `context` tokens does. */
size_t organ_forward_batch(const organ_forward *forward, size_t context);

/* Bytes of the engine's memory that a layer and what it takes leave to others, the same for every number of threads: a
 * sixteenth of the memory is set aside for what each thread takes. 0: none. */
uint64_t organ_forward_spare(const organ_forward *forward, size_t context);

/* Bytes that loading the layer that takes most takes, for a caller that holds another one meanwhile. */
uint64_t organ_forward_layer_bytes(const organ_forward *forward);

/* Bytes that so much memory would leave, at most organ_forward_spare of it, and less where this many threads take more.
 * Never less with more memory. */
uint64_t organ_forward_left(const organ_forward *forward, uint64_t memory, size_t context);

ORGAN_API_END

#endif
