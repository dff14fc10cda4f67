/* SPDX-License-Identifier: MIT
 * Latent attention (MLA) and the indexer of sparse attention, for a group of windows. */
#ifndef ORGAN_FORWARD_LATENT_H
#define ORGAN_FORWARD_LATENT_H

#include "orchestrator/forward/forward_job.h"

/* ---- latent attention (mla.c) ---- */

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

/* ---- sparse attention (indexer.c) ---- */

/* Returns how many words of 32 bits have a bit for each of `total` keys. */
size_t organ_forward_index_words(size_t total);
/* Returns the floats of memory for forward_index.chosen and .scores of `tokens` tokens with windows of up to `total`
 * keys; 0 if no window is longer than index_topk. */
size_t organ_forward_index_room(const organ_latent_config *config, size_t tokens, size_t total);
/* Computes the indexer's queries from `low`, the normed latent vectors of queries (tokens x q_rank), and its weights
 * and keys from `normed`, the layer's normed input (tokens x hidden_size). */
organ_status organ_forward_index_project(forward_group *group, const forward_index *index, const forward_latent *latent,
                                         const float *low, const float *normed, organ_error *error);
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

#endif
