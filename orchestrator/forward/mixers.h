/* SPDX-License-Identifier: MIT
 * Mixers: the parts of a layer that combine the tokens of a window, such as attention. Each kind of organ_mixer has a
 * row in the table of block.c, its tensors in formats/architecture/layer_parts.c, and functions in forward/mixers whose
 * comment cites its definition.
 *
 * A mixer computes its linear layers with organ_forward_add_linear, which also passes their inputs to the tap. Windows
 * of a group begin with a clean state. If the group continues a text (group->before), the state begins with
 * group->before->state, clean if before->tokens is 0, and the mixer stores there the state after the group. A task of
 * the workers is one window and one head or block of channels, so that bits do not depend on the number of threads. A
 * layer has at most one recurrent mixer. */
#ifndef ORGAN_FORWARD_MIXERS_H
#define ORGAN_FORWARD_MIXERS_H

#include "orchestrator/forward/forward_parts.h"

/* The functions of a kind of mixer. The functions of kind NAME are organ_forward_NAME (run) and
 * organ_forward_NAME_width, _state and _scratch, declared below and for attention in forward_parts.h. */
typedef struct forward_mixer {
    /* Computes `out`, the mixer's output (tokens x hidden_size), from `normed`, the normed hidden states of the group
     * (tokens x hidden_size). `scratch` has `width` floats for each token. */
    organ_status (*run)(forward_group *group, const float *normed, float *out, float *scratch, organ_error *error);
    /* Returns the floats of scratch that `run` needs for each token. */
    size_t (*width)(const organ_forward_config *config, const organ_layer_kind *kind);
    /* Returns the floats of the state that a cache keeps of a layer, with the last inputs of its convolutions. NULL:
     * the mixer has no state. */
    size_t (*state)(const organ_forward_config *config);
    /* Returns the bytes of scratch that a worker needs in addition to ORGAN_PRODUCT_SCRATCH. */
    size_t (*scratch)(const organ_forward_config *config);
} forward_mixer;

/* Returns a worker's scratch for mixers, after the bytes that its products use. */
float *organ_forward_mixer_scratch_of(const forward_group *group, size_t worker);
/* Returns the recurrent state of head `head`, `floats` floats: the state in the cache if the group continues a text,
 * else zeros in the scratch of worker `worker`. */
float *organ_forward_head_state(const forward_group *group, size_t head, size_t floats, size_t worker);

/* ---- causal convolutions ---- */

/* Rows of channels, one for each token of the group, `stride` floats apart. organ_forward_convolve replaces them by
 *     y(t) = biases + sum of kernel(j) x(t - width + 1 + j) over j,   then silu(y) if `silu`,
 * with x = 0 before a window. `kernels` has `width` numbers for each channel, `biases` one or is NULL. */
typedef struct forward_conv {
    const float *kernels, *biases;
    float *rows;
    size_t channels, stride, width;
    /* If the group continues a text, the width - 1 inputs before it, a row of channels for each, which are replaced by
     * the last ones of the group; else NULL. */
    float *tail;
    bool silu;
} forward_conv;
/* Returns the floats of forward_conv.tail. */
size_t organ_forward_conv_tail(size_t width, size_t channels);
/* Returns the bytes of scratch that organ_forward_convolve needs for each worker. */
size_t organ_forward_conv_scratch(size_t width);
/* Replaces conv->rows of all tokens of the group, and conv->tail. */
organ_status organ_forward_convolve(const forward_group *group, const forward_conv *conv, organ_error *error);

/* ---- the gated delta rule ---- */

/* The functions of ORGAN_MIXER_DELTA, as in forward_mixer. */
organ_status organ_forward_delta(forward_group *group, const float *normed, float *out, float *scratch,
                                 organ_error *error);
size_t organ_forward_delta_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_delta_state(const organ_forward_config *config);
size_t organ_forward_delta_scratch(const organ_forward_config *config);

/* ---- short convolutions ---- */

/* The functions of ORGAN_MIXER_SHORT_CONV, as in forward_mixer. */
organ_status organ_forward_short_conv(forward_group *group, const float *normed, float *out, float *scratch,
                                      organ_error *error);
size_t organ_forward_short_conv_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_short_conv_state(const organ_forward_config *config);
size_t organ_forward_short_conv_scratch(const organ_forward_config *config);

/* ---- Mamba (mamba.c) ---- */

/* The functions of ORGAN_MIXER_MAMBA, as in forward_mixer. */
organ_status organ_forward_mamba(forward_group *group, const float *normed, float *out, float *scratch,
                                 organ_error *error);
size_t organ_forward_mamba_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_mamba_state(const organ_forward_config *config);
size_t organ_forward_mamba_scratch(const organ_forward_config *config);

/* ---- Mamba-2 ---- */

/* The functions of ORGAN_MIXER_MAMBA2, as in forward_mixer. */
organ_status organ_forward_mamba2(forward_group *group, const float *normed, float *out, float *scratch,
                                  organ_error *error);
size_t organ_forward_mamba2_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_mamba2_state(const organ_forward_config *config);
size_t organ_forward_mamba2_scratch(const organ_forward_config *config);

/* ---- lightning attention ---- */

/* The functions of ORGAN_MIXER_LIGHTNING, as in forward_mixer. */
organ_status organ_forward_lightning(forward_group *group, const float *normed, float *out, float *scratch,
                                     organ_error *error);
size_t organ_forward_lightning_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_lightning_state(const organ_forward_config *config);
size_t organ_forward_lightning_scratch(const organ_forward_config *config);

/* ---- compressed attention ---- */

/* The functions of ORGAN_MIXER_COMPRESSED, as in forward_mixer. */
organ_status organ_forward_compressed(forward_group *group, const float *normed, float *out, float *scratch,
                                      organ_error *error);
size_t organ_forward_compressed_width(const organ_forward_config *config, const organ_layer_kind *kind);
size_t organ_forward_compressed_scratch(const organ_forward_config *config);
/* Returns the floats of a token's row in the values of the cache; the keys are head_dim wide. */
size_t organ_forward_compressed_row(const organ_forward_config *config, const organ_layer_kind *kind);

/* ---- all mixers of a layer ---- */

/* Returns true if one of the layer's mixers is attention, so that a cache keeps keys and values of the layer. */
bool organ_forward_attends(const organ_layer_kind *kind);
/* Returns the floats of scratch that the mixers of a layer need for each token: those of the wider mixer, and with two
 * mixers hidden_size more for the output of the second. */
size_t organ_forward_mixer_width(const organ_forward_config *config, const organ_layer_kind *kind);
/* Returns the sum of the state sizes, in floats, of all mixers of a layer. */
size_t organ_forward_mixer_state(const organ_forward_config *config, const organ_layer_kind *kind);
/* Returns the largest scratch, in bytes of a worker, of all mixers of the model. */
size_t organ_forward_mixer_scratch(const organ_forward_config *config);

/* ---- the KV cache of servers ---- */

/* Rounds the keys and values of a token, in all heads of a layer of that kind, if the cache is rounded. */
void organ_forward_round_cached(const organ_forward *forward, const organ_layer_kind *kind, float *keys, float *values);
/* Returns why the keys and values of the cache have no scales, such as "it has no attention ..."; NULL: they may have
 * scales. */
const char *organ_forward_cache_fault(const organ_forward *forward);
/* Passes the keys and values of the group's tokens to the layer's organ_cache_tap. */
organ_status organ_forward_tap_cache(const forward_group *group, const float *keys, const float *values,
                                     organ_error *error);

/* ---- latent attention ---- */

/* The indexer of sparse attention for the tokens of a group, and the keys that it chooses. */
typedef struct forward_index {
    float *q, *weights; /* its queries: tokens x index_heads x index_dim; weights of its heads: tokens x index_heads */
    float *keys;        /* its keys: tokens x index_dim */
    float *scores;      /* scratch for FORWARD_QUERIES queries: a score for each key of the longest window */
    /* tokens x words, a bit for each key of the token's window; NULL: each token attends to itself and all earlier
     * tokens */
    uint32_t *chosen;
    size_t words; /* length of a row of `chosen`, in words of 32 bits */
} forward_index;

/* The results of the projections of latent attention for the tokens of a group, and how they are rotated. */
typedef struct forward_latent {
    const forward_rotation *rotation;
    const size_t *position; /* for each token, its row in the rotation tables */
    const float *factors;   /* for each token, the number by which its q is multiplied; NULL: none */
    float *q;               /* tokens x heads x head_dim; a head is its plain part and its rotated part */
    float *rows;            /* tokens x (rank + rotated): the normed latent vector and the rotated part of the keys */
} forward_latent;

/* Returns the floats of `scratch` that organ_forward_latent_project needs for `tokens` tokens. */
size_t organ_forward_latent_room(const organ_latent_config *config, size_t tokens);
/* Returns the floats of a worker's scratch for the mapped queries and the weighted sums of FORWARD_QUERIES queries of a
 * head; 0 if the model has no latent attention. */
size_t organ_forward_latent_scratch(const organ_latent_config *config);
/* Computes latent->q and latent->rows from `normed`, the layer's normed input (tokens x hidden_size), and in a layer
 * with an indexer index->q, index->weights and index->keys. */
organ_status organ_forward_latent_project(forward_group *group, const forward_latent *latent,
                                          const forward_index *index, const float *normed, float *scratch,
                                          organ_error *error);
/* Maps `queries` queries of a head to the space of the latent rows, so that a score is the dot product of the mapped
 * query and a row of forward_latent. q is the first query; the next ones follow at distances of heads x head_dim
 * floats. `to` becomes queries x (rank + rotated). `packing`: ORGAN_PRODUCT_SCRATCH bytes of scratch. */
void organ_forward_latent_query(const forward_group *group, size_t head, const float *q, size_t queries, float *to,
                                void *packing);
/* Computes the outputs of a head for `queries` queries from `sums`, their weighted sums of latent vectors (queries x
 * rank). `out` is the output for the first query; the next ones follow at distances of heads x value_dim floats.
 * `packing`: ORGAN_PRODUCT_SCRATCH bytes of scratch. */
void organ_forward_latent_value(const forward_group *group, size_t head, const float *sums, size_t queries, float *out,
                                void *packing);

/* ---- sparse attention ---- */

/* Returns how many words of 32 bits have a bit for each of `total` keys. */
size_t organ_forward_index_words(size_t total);
/* Returns the floats of memory for the choices and scores of `tokens` tokens with windows of up to `total` tokens, in
 * latent attention forward_index.chosen and .scores; 0 if no window has more than index_topk keys. */
size_t organ_forward_index_room(const organ_forward_config *config, size_t tokens, size_t total);
/* Sets in `bits`, `words` words of 32 bits, those of the `chosen` highest of `visible` scores, of all if they are not
 * more. Among equal scores the earlier ones are chosen. */
void organ_forward_choose(const float *scores, size_t visible, size_t chosen, uint32_t *bits, size_t words);
/* Chooses the keys of `queries` tokens of a window, at most FORWARD_QUERIES. The first of these tokens has position
 * `query` in the window and number `token` in the group. `keys`: the indexer's keys of all tokens of the window. */
organ_status organ_forward_index_choose(forward_group *group, const forward_index *index, const float *keys,
                                        size_t token, size_t query, size_t queries, organ_error *error);
/* Stores which keys are chosen for token `token` of the group, so that layers without an indexer use the same keys.
 * `state`: the `max` = index_topk floats after the hidden state in the token's state. Each gets the bits of an integer,
 * the number of a chosen key plus 1; a 0 ends the list. */
void organ_forward_index_keep(const forward_index *index, size_t token, float *state, size_t max);
/* Sets the token's bits in index->chosen to the keys that organ_forward_index_keep stored in `state`. */
void organ_forward_index_take(const forward_index *index, size_t token, const float *state, size_t max);
/* For each k below `keys`, sets scores[k] to -infinity if key first + k is not chosen. `chosen` has the bits of the
 * query. Returns true if any of these keys is chosen. */
bool organ_forward_index_mask(const uint32_t *chosen, size_t first, size_t keys, float *scores);
/* Returns the floats of memory for the choice of keys or blocks of `tokens` tokens with windows of up to `total` keys:
 * organ_forward_index_room or organ_forward_blocks_room. */
size_t organ_forward_choice_room(const organ_forward_config *config, size_t tokens, size_t total);

/* ---- block-sparse attention (block_choice.c) ---- */

/* The indexer of block-sparse attention for the tokens of a group, and the blocks that it chooses. */
typedef struct forward_blocks {
    const forward_rotation *rotation;
    const size_t *position; /* for each token, its row in the rotation tables */
    float *q;               /* its queries: tokens x index heads x dim */
    float *keys;            /* its keys, a row for each cached token, then one for each token of the group */
    /* tokens x index heads x count: the score of each block of keys of the token's window; NULL: all blocks are
     * attended to */
    float *scores;
    uint32_t *chosen;    /* tokens x index heads x words, a bit for each block */
    size_t count, words; /* blocks of the longest window; words of 32 bits for them */
} forward_blocks;

/* A tile of queries of a window: the number in the group of the window's first token, less the tokens in the KV cache;
 * position of the first query, cached tokens included; number of queries, at most FORWARD_QUERIES. */
typedef struct attention_tile {
    size_t first, query, queries;
} attention_tile;

/* Returns the floats of forward_blocks.scores and .chosen; 0 if no window has more blocks than a query may attend to.
 */
size_t organ_forward_blocks_room(const organ_forward_config *config, size_t tokens, size_t total);
/* Places the arrays of `blocks` in `room`, before memory for organ_forward_choice_room; the keys in the KV cache if
 * there is one. `total` is the length of the longest window. */
void organ_forward_blocks_place(const forward_group *group, float *room, size_t total, forward_blocks *blocks);
/* Computes the queries and keys from `normed`, the layer's normed input (tokens x hidden_size), and chooses the blocks
 * of the queries of all tiles. */
organ_status organ_forward_blocks_choose(forward_group *group, const forward_blocks *blocks, const float *normed,
                                         const attention_tile *tiles, size_t count, organ_error *error);
/* For each k below `keys`, sets scores[k] to -infinity if the block of key first + k is not chosen for token `token` of
 * the group and the attention's head `head`. Returns true if any of these keys is chosen. */
bool organ_forward_blocks_mask(const forward_group *group, const forward_blocks *blocks, size_t token, size_t head,
                               size_t first, size_t keys, float *scores);

#endif
