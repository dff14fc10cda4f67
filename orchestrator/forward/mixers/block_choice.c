/* SPDX-License-Identifier: MIT
 * The indexer of block-sparse attention (MiniMaxM3VLIndexer of transformers). From the normed input x of the layer it
 * computes for each token queries q_h = norm(index_q_proj(x)) with heads and a key k = norm(index_k_proj(x)) without
 * heads, both rotated like those of the attention. Keys 0 .. size - 1 of a window are its first block, and so on. The
 * score of a block for a query at position p is
 *
 *     s = max of q_h . k_j over the keys j <= p of the block,    infinity for the last `local` blocks up to p's.
 *
 * For each head h, the query attends to the blocks with the largest scores; of blocks with equal scores the earlier
 * ones are chosen. */
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/quantity.h"

#include <math.h>

static size_t blocks_of(const organ_blocks_config *b, size_t total) { return organ_pieces_of(total, b->size); }

size_t organ_forward_index_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    return kind->indexed ? c->blocks.dim : 0;
}

size_t organ_forward_blocks_room(const organ_forward_config *c, size_t tokens, size_t total)
{
    const organ_blocks_config *const b = &c->blocks;
    const size_t count = b->size ? blocks_of(b, total) : 0;
    return count <= b->chosen ? 0 : tokens * b->heads * (count + organ_forward_index_words(count));
}

size_t organ_forward_choice_room(const organ_forward_config *c, size_t tokens, size_t total)
{
    return organ_forward_index_room(c, tokens, total) + organ_forward_blocks_room(c, tokens, total);
}

static size_t cached_tokens(const forward_group *g) { return g->before ? g->before->tokens : 0; }

void organ_forward_blocks_place(const forward_group *g, float *room, size_t total, forward_blocks *blocks)
{
    const organ_blocks_config *const b = &g->forward->config.blocks;
    blocks->keys = g->before ? g->before->index : room;
    blocks->q = room + g->tokens * b->dim;
    blocks->count = blocks_of(b, total);
    blocks->words = organ_forward_index_words(blocks->count);
    if (organ_forward_blocks_room(&g->forward->config, g->tokens, total) == 0)
        return;
    blocks->scores = blocks->q + g->tokens * b->heads * b->dim;
    blocks->chosen = (uint32_t *)(void *)(blocks->scores + g->tokens * b->heads * blocks->count);
}

/* ---- projections ---- */

typedef struct choose_job {
    const forward_group *group;
    const forward_blocks *blocks;
    const attention_tile *tiles;
    float *keys; /* of the tokens of the group */
} choose_job;

static void prepare_vector(const choose_job *j, size_t token, forward_part norm, float *vector)
{
    const organ_forward_config *const c = &j->group->forward->config;
    organ_forward_norm(vector, organ_forward_values(j->group->layer, norm), c->norm_adds_one ? 1 : 0, c->rms_eps,
                       c->blocks.dim, vector);
    organ_forward_rotate(j->blocks->rotation, j->blocks->position[token], c->rope_neighbours, vector);
}

static void prepare_token(void *context, size_t t)
{
    const choose_job *const j = context;
    const organ_blocks_config *const b = &j->group->forward->config.blocks;
    for (size_t h = 0; h < b->heads; h++)
        prepare_vector(j, t, PART_NORM_INDEX_Q, j->blocks->q + (t * b->heads + h) * b->dim);
    prepare_vector(j, t, PART_NORM_INDEX, j->keys + t * b->dim);
}

static organ_status project_tokens(forward_group *g, choose_job *j, const float *normed, organ_error *error)
{
    const organ_blocks_config *const b = &g->forward->config.blocks;
    const size_t width = (size_t)b->heads * b->dim;
    if (organ_forward_apply(g, PART_INDEX_Q, 0, g->tokens, normed, j->blocks->q, width, error) ||
        organ_forward_apply(g, PART_INDEX_K, 0, g->tokens, normed, j->keys, b->dim, error))
        return error->status;
    return organ_forward_tokens(g->forward->engine, g->tokens,
                                2 * ORGAN_SHARE_NUMBER * (double)(g->tokens * (width + b->dim)), prepare_token, j,
                                error);
}

/* ---- choice ---- */

/* Returns the number in the group of the first query of a tile. */
static size_t token_of(const choose_job *j, const attention_tile *tile)
{
    return tile->first + tile->query - cached_tokens(j->group);
}

/* Returns the place of a query and head of a tile among those of the group. */
static size_t place_of(const choose_job *j, const attention_tile *tile, size_t query, size_t head)
{
    return (token_of(j, tile) + query) * j->group->forward->config.blocks.heads + head;
}

static float *scores_of(const choose_job *j, const attention_tile *tile, size_t query, size_t head)
{
    return j->blocks->scores + place_of(j, tile, query, head) * j->blocks->count;
}

/* `products` has q . k of the tile's queries and keys first .. first + keys - 1, queries x FORWARD_KEYS. */
static void pool_keys(const choose_job *j, const attention_tile *tile, size_t head, size_t first, size_t keys,
                      const float *products)
{
    const size_t size = j->group->forward->config.blocks.size;
    for (size_t i = 0; i < tile->queries; i++) {
        float *const scores = scores_of(j, tile, i, head);
        for (size_t k = 0; k < keys && first + k <= tile->query + i; k++) {
            float *const block = &scores[(first + k) / size];
            *block = products[i * FORWARD_KEYS + k] > *block ? products[i * FORWARD_KEYS + k] : *block;
        }
    }
}

/* A query sees the blocks up to its own, of which the last ones are always chosen. */
static void choose_blocks(const choose_job *j, const attention_tile *tile, size_t query, size_t head)
{
    const organ_blocks_config *const b = &j->group->forward->config.blocks;
    const size_t own = (tile->query + query) / b->size;
    float *const scores = scores_of(j, tile, query, head);
    for (size_t l = 0; l < b->local && l <= own; l++)
        scores[own - l] = INFINITY;
    organ_forward_choose(scores, own + 1, b->chosen,
                         j->blocks->chosen + place_of(j, tile, query, head) * j->blocks->words, j->blocks->words);
}

/* Task `index` is head index % heads of tile index / heads. */
static void choose_task(void *context, size_t index, size_t worker)
{
    const choose_job *const j = context;
    const organ_forward *const f = j->group->forward;
    const organ_blocks_config *const b = &f->config.blocks;
    const attention_tile *const tile = &j->tiles[index / b->heads];
    const size_t head = index % b->heads, total = tile->query + tile->queries;
    float *const packing = j->group->scratch + worker * f->worker_bytes / sizeof(float);
    float *const products = packing + ORGAN_PRODUCT_SCRATCH / sizeof(float);
    for (size_t i = 0; i < tile->queries; i++)
        for (size_t k = 0; k < j->blocks->count; k++)
            scores_of(j, tile, i, head)[k] = -INFINITY;
    for (size_t first = 0; first < total; first += FORWARD_KEYS) {
        const size_t keys = organ_min(FORWARD_KEYS, total - first);
        const float *const q = j->blocks->q + (token_of(j, tile) * b->heads + head) * b->dim;
        const organ_product product = {
            .m = tile->queries,
            .n = keys,
            .k = b->dim,
            .a = {.values = q, .type = ORGAN_REAL_F32, .stride = (size_t)b->heads * b->dim},
            .b = {.values = j->blocks->keys + (tile->first + first) * b->dim, .type = ORGAN_REAL_F32, .stride = b->dim},
            .c = products,
            .c_stride = FORWARD_KEYS};
        f->engine->kernels->product(&product, packing);
        pool_keys(j, tile, head, first, keys, products);
    }
    for (size_t i = 0; i < tile->queries; i++)
        choose_blocks(j, tile, i, head);
}

organ_status organ_forward_blocks_choose(forward_group *g, const forward_blocks *blocks, const float *normed,
                                         const attention_tile *tiles, size_t count, organ_error *error)
{
    const organ_blocks_config *const b = &g->forward->config.blocks;
    choose_job j = {g, blocks, tiles, blocks->keys + cached_tokens(g) * b->dim};
    double pairs = 0;
    if (project_tokens(g, &j, normed, error) || !blocks->scores)
        return error->status;
    for (size_t k = 0; k < count; k++)
        pairs += (double)tiles[k].queries * (double)(tiles[k].query + tiles[k].queries);
    return organ_forward_share(g->forward->engine, count * b->heads,
                               pairs * (double)b->heads * ((double)b->dim + ORGAN_SHARE_NUMBER), choose_task, &j,
                               error);
}

bool organ_forward_blocks_mask(const forward_group *g, const forward_blocks *blocks, size_t token, size_t head,
                               size_t first, size_t keys, float *scores)
{
    const organ_blocks_config *const b = &g->forward->config.blocks;
    const size_t own = head / (g->layer->kind->heads / b->heads);
    const uint32_t *const chosen = blocks->chosen + (token * b->heads + own) * blocks->words;
    bool any = false;
    for (size_t k = 0; k < keys; k++) {
        const size_t block = (first + k) / b->size;
        if (chosen[block / 32] >> block % 32 & 1)
            any = true;
        else
            scores[k] = -INFINITY;
    }
    return any;
}
