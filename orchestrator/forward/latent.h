/* SPDX-License-Identifier: MIT
 * Latent attention (MLA) and the indexer of sparse attention, for a group of windows. */
#ifndef ORGAN_FORWARD_LATENT_H
#define ORGAN_FORWARD_LATENT_H

#include "orchestrator/forward/forward_job.h"

/* ---- latent attention (mla.c) ---- */

/* The indexer of sparse attention for the tokens of a group, and its choice: a bit for each key of a token's window, in
 * words of 32. */
typedef struct forward_index {
    float *q, *weights; /* tokens x index_heads x index_dim, tokens x index_heads */
    float *keys;        /* tokens x index_dim */
    float *scores;      /* room for FORWARD_QUERIES queries */
    uint32_t *chosen;   /* tokens x words; NULL: all tokens attend to all keys before them */
    size_t words;
} forward_index;

/* Queries and rows of the tokens of a group. */
typedef struct forward_latent {
    const forward_rotation *rotation;
    const size_t *position; /* for each token, its row in the rotation tables */
    const float *factors;   /* of q, for each token; NULL: none */
    float *q;               /* tokens x heads x head_dim; a head is its plain part and its rotated part */
    float *rows;            /* tokens x (rank + rotated): the normed latent vector and the rotated part of the keys */
} forward_latent;

/* Returns the floats of `scratch` of organ_forward_latent_project. organ_forward_latent_scratch returns the floats of a
 * worker's scratch for the queries and sums of a head; 0: the model has no latent attention. */
size_t organ_forward_latent_room(const organ_latent_config *config, size_t tokens);
size_t organ_forward_latent_scratch(const organ_latent_config *config);
/* Computes queries and rows from `normed`, tokens x hidden_size, and in a layer with an indexer its queries, weights
 * and keys. */
organ_status organ_forward_latent_project(forward_group *group, const forward_latent *latent,
                                          const forward_index *index, const float *normed, float *scratch,
                                          organ_error *error);
/* Multiplies queries of a head, rows of heads x head_dim floats from q on, so that their scores are dot products with
 * rows: to is queries x (rank + rotated). `packing`: ORGAN_PRODUCT_SCRATCH bytes. */
void organ_forward_latent_query(const forward_group *group, size_t head, const float *q, size_t queries, float *to,
                                void *packing);
/* Computes the head's output, rows of heads x value_dim floats from `out` on, from weighted sums of latent vectors,
 * queries x rank. `packing`: ORGAN_PRODUCT_SCRATCH bytes. */
void organ_forward_latent_value(const forward_group *group, size_t head, const float *sums, size_t queries, float *out,
                                void *packing);

/* ---- sparse attention (indexer.c) ---- */

/* Returns how many words of 32 bits a token's choice among `total` keys has. */
size_t organ_forward_index_words(size_t total);
/* Returns the floats of choices and scores of `tokens` tokens with windows of up to `total` keys; 0 if no window is
 * longer than index_topk. */
size_t organ_forward_index_room(const organ_latent_config *config, size_t tokens, size_t total);
/* Computes queries, weights and keys from `low`, the normed latent vectors of queries, and `normed`, the layer's input.
 */
organ_status organ_forward_index_project(forward_group *group, const forward_index *index, const forward_latent *latent,
                                         const float *low, const float *normed, organ_error *error);
/* Chooses the keys of `queries` tokens of a window, up to FORWARD_QUERIES, from position `query` on; the first is token
 * `token` of the group. `keys`: those of the indexer from the beginning of the window on. */
organ_status organ_forward_index_choose(forward_group *group, const forward_index *index, const float *keys,
                                        size_t token, size_t query, size_t queries, organ_error *error);
/* Copies the chosen keys of a token to `state`, a part of its hidden state, for later layers; organ_forward_index_take
 * copies them back. `max` is index_topk. */
void organ_forward_index_keep(const forward_index *index, size_t token, float *state, size_t max);
void organ_forward_index_take(const forward_index *index, size_t token, const float *state, size_t max);
/* Replaces the scores of keys [first, first + keys) that are not chosen by -infinity. Returns true if any is chosen. */
bool organ_forward_index_mask(const uint32_t *chosen, size_t first, size_t keys, float *scores);

#endif
