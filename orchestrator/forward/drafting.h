/* SPDX-License-Identifier: MIT
 * The blocks for multi-token prediction as servers run them. Row i of a block has the state of token i and the
 * embedding of token i + 1, and predicts token i + 2. A server drafts further tokens one by one:
 *
 *   - With one block, each drafted token is a row more in the block's KV cache: it has the outputs of the row before
 *     and the embedding of the drafted token (vLLM, SGLang, llama.cpp).
 *   - With several blocks, block k drafts the token after those of the blocks before. Each block has a cache of its
 * own, whose rows of known tokens have states of the model's last layer; after these follow rows of all drafted tokens,
 *     with the outputs of the blocks before (llama.cpp).
 *
 * organ_draft_run (draft.c) in contrast gives later blocks the outputs of earlier ones for all tokens, as transformers
 * does. */
#ifndef ORGAN_FORWARD_DRAFTING_H
#define ORGAN_FORWARD_DRAFTING_H

#include "orchestrator/forward/forward_parts.h"

/* ---- rows ---- */

typedef struct forward_drafting {
    organ_forward *forward;
    organ_forward *trunk; /* the model of which tokens have embeddings, and states the final norm; NULL: `forward` */
    unsigned block;
    const organ_layer *layer; /* that of the block, loaded */
    const uint32_t *next;     /* for each row, the token whose embedding it has */
    const float *hidden;      /* for each row, the state */
    bool of_trunk;            /* the states are outputs of the model's last layer, else those of a block */
    const organ_tap *tap;     /* NULL: none */
    float *states;            /* result, for each row: x, which the layer replaces by its outputs */
    /* Members of organ_draft_project. */
    float *joined, *normed, *scratch; /* inputs of M; normed states; scratch of the workers */
    forward_products products;
} forward_drafting;

/* Returns the bytes that organ_draft_project allocates. */
uint64_t organ_draft_project_bytes(const organ_forward *forward);
/* Computes x, the inputs of the block's layer, for `rows` rows. */
organ_status organ_draft_project(forward_drafting *drafting, size_t rows, organ_error *error);
/* Runs the first `rows` rows of one window, whose tokens are `tokens`, through projection and layer. Allocates
 * drafting->states, which the caller frees with organ_forward_free, also after an error. */
organ_status organ_draft_rows(forward_drafting *drafting, const uint32_t *tokens, size_t rows, organ_error *error);
/* Writes `count` outputs of the block's layer with the norm before its output head, or unchanged if `raw`. */
void organ_draft_outputs(const organ_forward *forward, unsigned block, const float *states, size_t count, bool raw,
                         float *to);

/* ---- the first drafted token, for all tokens of some windows ---- */

/* Computes the outputs of block 0, whose loaded layer is `layer`, for all tokens of the windows; `hidden` has the
 * outputs of the model's last layer. The row of a window's last token, after which no token is known, has no meaning.
 */
organ_status organ_draft_windows(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                                 const float *hidden, float *states, organ_error *error);
/* Passes the inputs of the matrices of a block to `tap`, for all tokens of the windows but the last of each; `layer` is
 * the block's, loaded, and `hidden` has the outputs of the model's last layer. Each of several blocks gets these, as
 * for the text before a draft in llama.cpp. */
organ_status organ_draft_tap(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                             const float *hidden, const organ_tap *tap, organ_error *error);
/* Computes logits like organ_forward_logits, of outputs of a block: with its norm, and its own output head if servers
 * use one (organ_draft_has_head). */
organ_status organ_draft_logits(organ_forward *forward, unsigned block, const float *states, const size_t *rows,
                                size_t count, void *context, void (*each)(void *context, size_t k, float *logits),
                                organ_error *error);
/* Outputs of block 0 for organ_draft_logits_beside. */
typedef struct organ_drafted_beside {
    const float *states; /* results of organ_draft_windows */
    const size_t *rows;  /* for each token, the row of `states` that predicts the same token; SIZE_MAX: none */
    size_t room;         /* rows of logits that may be allocated besides those of organ_forward_logits */
    void (*each)(void *context, size_t k, float *logits, float *drafted); /* NULL: token k has none */
} organ_drafted_beside;
/* Computes logits like organ_forward_logits, together with those of block 0 that predict the same tokens. Also
 * allocates hidden_size floats for each token. */
organ_status organ_draft_logits_beside(organ_forward *forward, const organ_drafted_beside *drafted, const float *hidden,
                                       const size_t *rows, size_t count, void *context, organ_error *error);
/* Returns whether the output head of a block is one of its own: in GGUF files one that is stored, in safetensors that
 * of a family whose heads vLLM does not replace by the model's. */
bool organ_draft_has_head(const organ_forward *forward, unsigned block);

/* ---- acceptance ---- */

/* How a server accepts a token that a block has drafted, from the model's probabilities p and the block's q. */
typedef struct organ_acceptance {
    double overlap; /* sum of min(p, q): rate at which tokens drawn from q are accepted by the ratio test */
    double chosen; /* p of the token with the largest q: rate at which that token is accepted where the model samples */
    bool greedy;   /* p and q have the same largest token (lowest id among equals) */
    size_t top;    /* the token with the largest q */
} organ_acceptance;
/* Computes it from `count` logits of the model, organ_logits_log_sum and organ_logits_top of them, and logits of the
 * block. `drafted` has a flag for each token: the block proposes no other token, and logits of others are replaced.
 * NULL: it proposes all. */
organ_acceptance organ_logits_accept(const organ_kernels *kernels, const float *model, double model_log_sum,
                                     size_t model_top, float *block, const bool *drafted, size_t count);

/* The block of a model, whose first drafted token is scored. */
typedef struct organ_scored_block {
    /* Computes logits like organ_logit_source.logits, together with those of the block: from the state of token
     * drafted[k] and the token after it, rows[k], which predict the token after that. SIZE_MAX: rows[k] begins a
     * window, `each` gets NULL. Member NULL: the model has no block. */
    organ_status (*logits)(void *context, const size_t *rows, const size_t *drafted, size_t count, void *receiver,
                           void (*each)(void *receiver, size_t k, float *logits, float *block), organ_error *error);
    /* Results for each scored token of the plan, as the block predicts it from the state of the input before. overlap
     * and chosen are NAN for the first input of a window, before which there is none. */
    double *overlap, *chosen;
    unsigned char *greedy;
    const bool *proposed; /* as `drafted` of organ_logits_accept */
} organ_scored_block;

/* The same as organ_perplexity_score, with a block for each model; they have the `context` of their source. If a
 * model has a block, at most `tile_rows` tokens are given to it at a time. `blocks` NULL: no model has one. */
organ_status organ_perplexity_score_blocks(const organ_kernels *kernels, const organ_perplexity_plan *plan,
                                           const organ_logit_source *sources, const organ_scored_block *blocks,
                                           size_t count, size_t batch_tokens, size_t tile_rows,
                                           organ_token_scores *scores, const organ_stop *stop,
                                           const organ_progress *progress, organ_error *error);

/* ---- a text that grows, with its states ---- */

/* Returns true if organ_decode_cache_open succeeds with `memory` bytes. */
bool organ_decode_cache_fits(const organ_forward *forward, size_t first, size_t max, uint64_t memory);
/* The same as organ_forward_continue; `states` receives config.state floats for each token that is processed, at its
 * place in the text. NULL: they are not kept. */
organ_status organ_forward_continue_into(organ_forward *forward, organ_decode_cache *cache, const uint32_t *tokens,
                                         size_t count, float *states, void *context,
                                         void (*each)(void *context, size_t k, float *logits), organ_error *error);

/* ---- further drafted tokens of one text ---- */

#define ORGAN_DRAFTED 8 /* most tokens drafted from one state */

/* Caches of the blocks for one text, and their loaded layers. */
typedef struct organ_draft_cache organ_draft_cache;

/* Creates caches for a text of at most `max` tokens. Close them before the forward pass. */
organ_status organ_draft_cache_open(organ_forward *forward, size_t max, organ_draft_cache **cache, organ_error *error);
void organ_draft_cache_close(organ_draft_cache *cache); /* NULL is allowed */
/* Returns the bytes of the caches with their layers. */
uint64_t organ_draft_cache_bytes(const organ_forward *forward, size_t max);
/* Returns how many tokens are drafted from a state: ORGAN_DRAFTED with one block, else the number of blocks. 1 if a
 * block has states that cannot be taken back to an earlier token. */
unsigned organ_draft_cache_depth(const organ_forward *forward);
/* Runs the rows of all tokens but the last of a text through all blocks. `hidden` has the outputs of the model's last
 * layer; `states`, count - 1 rows, receives the outputs of block 0. */
organ_status organ_draft_cache_fill(organ_draft_cache *cache, const uint32_t *tokens, size_t count, const float *hidden,
                                    float *states, organ_error *error);
/* Computes the logits of the token after `step` drafted ones (1 .. depth - 1) from row `row` of the text: drafted[0] is
 * the token that the row's outputs, `state`, predict. Steps of a row are called in order, with the same tokens; rows in
 * descending order, because the steps overwrite later rows of the caches. */
organ_status organ_draft_cache_step(organ_draft_cache *cache, size_t row, const float *state, const uint32_t *drafted,
                                    unsigned step, void *context, void (*each)(void *context, size_t k, float *logits),
                                    organ_error *error);

#endif
