/* SPDX-License-Identifier: MIT
 * Multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1). kv_a_proj_with_mqa computes two parts
 * for each token: a latent vector c of kv_lora_rank numbers, which is normalised, and a key part r of qk_rope_head_dim
 * numbers, which is rotated and shared by all heads. The rows of kv_b_proj for a head are a matrix K
 * (qk_nope_head_dim rows) and a matrix V (v_head_dim rows). The head's key is [K c | r] and its value V c, so with the
 * query [p | s]
 *
 *     score = p . K c + s . r = (K^T p) . c + s . r    and    output = sum of w V c = V (sum of w c).
 *
 * attention.c computes the right-hand sides: all heads attend to the rows [c | r], and a tile of queries is multiplied
 * by K before the attention and by V after it. Keys and values of single heads are never computed or stored. */
#include "orchestrator/forward/forward_parts.h"
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <string.h>

/* ---- the indexer of sparse attention ---- */

/* DeepSeek-AI 2025, "DeepSeek-V3.2-Exp", section 2; DeepseekV32Indexer and GlmMoeDsaIndexer of transformers. From x,
 * the normed input of the layer, and c, the normed latent vector of queries, the indexer computes for each token a
 * query with heads q_h = wq_b(c), a key k = LayerNorm(wk(x)) without heads, and a weight of each head, w =
 * weights_proj(x). The first qk_rope_head_dim numbers of q_h and k are rotated (index_last: the last ones). The score
 * of a key for a query is
 *
 *     s = sum over h of w_h heads^-1/2 max(q_h . k dim^-1/2, 0).
 *
 * A query attends to the index_topk keys with the largest scores among those up to its own token; of keys with equal
 * scores the earlier ones are chosen. */

/* ---- projections of the indexer ---- */

typedef struct index_prepare_job {
    forward_group *group;
    const forward_index *index;
    const forward_latent *latent;
} index_prepare_job;

static void prepare_index_tokens(void *context, size_t t)
{
    const index_prepare_job *j = context;
    const organ_latent_config *const c = &j->group->forward->config.latent;
    const forward_norm norm = {.kind = ORGAN_NORM_LAYER,
                               .weights = organ_forward_values(j->group->layer, PART_NORM_INDEX),
                               .biases = organ_forward_values(j->group->layer, PART_BIAS_NORM_INDEX),
                               .eps = c->index_eps};
    const size_t at = c->index_last ? c->index_dim - c->rotated : 0; /* the first rotated dimension */
    float *const key = j->index->keys + t * c->index_dim, *const q = j->index->q + t * c->index_heads * c->index_dim;
    organ_forward_norm_by(&norm, key, c->index_dim, key);
    organ_forward_rotate(j->latent->rotation, j->latent->position[t], c->index_neighbours, key + at);
    for (size_t h = 0; h < c->index_heads; h++)
        organ_forward_rotate(j->latent->rotation, j->latent->position[t], c->index_neighbours,
                             q + h * c->index_dim + at);
}

/* Computes the indexer's queries from `low`, the normed latent vectors of queries (tokens x q_rank), and its weights
 * and keys from `normed`, the layer's normed input (tokens x hidden_size). */
static organ_status forward_index_project(forward_group *g, const forward_index *index, const forward_latent *latent,
                                          const float *low, const float *normed, organ_error *error)
{
    const organ_latent_config *const c = &g->forward->config.latent;
    const size_t heads = c->index_heads, dim = c->index_dim;
    index_prepare_job j = {g, index, latent};
    if (organ_forward_apply(g, PART_INDEX_Q, 0, g->tokens, low, index->q, heads * dim, error) ||
        organ_forward_apply(g, PART_INDEX_K, 0, g->tokens, normed, index->keys, dim, error) ||
        organ_forward_apply(g, PART_INDEX_WEIGHTS, 0, g->tokens, normed, index->weights, heads, error))
        return error->status;
    return organ_forward_tokens(g->forward->engine, g->tokens,
                                2 * ORGAN_SHARE_NUMBER * (double)(g->tokens * (heads + 1) * dim), prepare_index_tokens,
                                &j, error);
}

/* ---- scores ---- */

typedef struct index_job {
    forward_group *group;
    const forward_index *index;
    const float *keys;            /* the indexer's keys of the window, from its first token on */
    size_t token;                 /* number of the first query's token in the group */
    size_t query, queries, total; /* position of the first query in its window; queries; keys up to the last query */
    float *scores;                /* queries x total */
} index_job;

/* The term of a head is w_h heads^-1/2 max(q_h . k dim^-1/2, 0), as in the equation above. `products` has q_h . k,
 * queries x FORWARD_KEYS. */
static void add_head(const index_job *j, size_t head, size_t first, size_t keys, const float *products)
{
    const organ_latent_config *const c = &j->group->forward->config.latent;
    const float scale = (float)(1 / sqrt((double)c->index_dim)), share = (float)(1 / sqrt((double)c->index_heads));
    for (size_t i = 0; i < j->queries; i++) {
        const float weight = j->index->weights[(j->token + i) * c->index_heads + head] * share;
        float *const to = j->scores + i * j->total + first;
        for (size_t k = 0; k < keys; k++) {
            const float score = products[i * FORWARD_KEYS + k] * scale;
            to[k] += weight * (score > 0 ? score : 0);
        }
    }
}

/* A block has FORWARD_KEYS keys, the last one perhaps less (equation at the top of the file). */
static void score_block(void *context, size_t block, size_t worker)
{
    const index_job *j = context;
    const organ_forward *const f = j->group->forward;
    const organ_latent_config *const c = &f->config.latent;
    const size_t first = block * FORWARD_KEYS, keys = organ_min(FORWARD_KEYS, j->total - first),
                 width = (size_t)c->index_heads * c->index_dim;
    float *const packing = j->group->scratch + worker * f->worker_bytes / sizeof(float);
    float *const products = packing + ORGAN_PRODUCT_SCRATCH / sizeof(float);
    for (size_t i = 0; i < j->queries; i++)
        memset(j->scores + i * j->total + first, 0, keys * sizeof *j->scores);
    for (size_t h = 0; h < c->index_heads; h++) {
        const float *const q = j->index->q + j->token * width + h * c->index_dim;
        const organ_product product = {
            .m = j->queries,
            .n = keys,
            .k = c->index_dim,
            .a = {.values = q, .type = ORGAN_REAL_F32, .stride = width},
            .b = {.values = j->keys + first * c->index_dim, .type = ORGAN_REAL_F32, .stride = c->index_dim},
            .c = products,
            .c_stride = FORWARD_KEYS};
        f->engine->kernels->product(&product, packing);
        add_head(j, h, first, keys, products);
    }
}

/* ---- choice ---- */

static void choose_keys(void *context, size_t i, size_t worker)
{
    (void)worker;
    const index_job *j = context;
    organ_forward_choose(j->scores + i * j->total, j->query + i + 1, j->group->forward->config.latent.keys,
                         j->index->chosen + (j->token + i) * j->index->words, j->index->words);
}

/* If there are no more than index_topk keys, marks all of them without scoring. */
organ_status organ_forward_index_choose(forward_group *g, const forward_index *index, const float *keys, size_t token,
                                        size_t query, size_t queries, organ_error *error)
{
    const organ_latent_config *const c = &g->forward->config.latent;
    index_job j = {g, index, keys, token, query, queries, query + queries, index->scores};
    const double pairs = (double)queries * (double)j.total;
    if (j.total > c->keys &&
        organ_forward_share(g->forward->engine, organ_pieces_of(j.total, FORWARD_KEYS),
                            pairs * (double)c->index_heads * ((double)c->index_dim + ORGAN_SHARE_NUMBER), score_block,
                            &j, error))
        return error->status;
    /* choose_keys reads the scores five times: for each byte of their ranks, then to set the bits */
    return organ_forward_share(g->forward->engine, queries, 5 * ORGAN_SHARE_NUMBER * pairs, choose_keys, &j, error);
}

/* ---- choices that later layers use, too ---- */

void organ_forward_index_keep(const forward_index *index, size_t token, float *state, size_t max)
{
    const uint32_t *const bits = index->chosen + token * index->words;
    size_t count = 0;
    for (size_t k = 0; k < index->words * 32 && count < max; k++)
        if (bits[k / 32] >> k % 32 & 1) {
            const uint32_t key = (uint32_t)k + 1;
            memcpy(state + count++, &key, sizeof key);
        }
    memset(state + count, 0, (max - count) * sizeof *state);
}

void organ_forward_index_take(const forward_index *index, size_t token, const float *state, size_t max)
{
    uint32_t *const bits = index->chosen + token * index->words;
    memset(bits, 0, index->words * sizeof *bits);
    for (size_t k = 0; k < max; k++) {
        uint32_t key;
        memcpy(&key, state + k, sizeof key);
        if (key > 0 && key <= index->words * 32)
            bits[(key - 1) / 32] |= 1U << (key - 1) % 32;
    }
}

/* Epsilon of the norms of latent vectors: the default of the norm's class in transformers, which creates these norms
 * without rms_norm_eps. */
#define LATENT_EPS 1e-6

typedef struct mla_job {
    const forward_latent *latent;
    forward_group *group;
    /* tokens x q_rank: the latent vectors of queries; then tap_latents copies those of keys: tokens x rank */
    float *low;
} mla_job;

/* A row has the latent vector and the rotated part of the key. */
static size_t mla_width(const organ_latent_config *c) { return (size_t)c->rank + c->rotated; }

size_t organ_forward_latent_room(const organ_latent_config *c, size_t tokens)
{
    return tokens * (organ_max(c->q_rank, c->rank) + (size_t)c->index_heads * (c->index_dim + 1));
}

size_t organ_forward_latent_scratch(const organ_latent_config *c)
{
    return c->rank ? FORWARD_QUERIES * (mla_width(c) + c->rank) : 0;
}

/* ---- projections of latent attention ---- */

/* For servers kv_b_proj is a linear layer of latent vectors; here its matrices multiply queries and sums of values. */
static void round_latent(const forward_plan *plan, float *latent, size_t rank)
{
    const forward_view view = plan->parts[PART_KV_B];
    const forward_rounding *const rounding = view.slot == SIZE_MAX ? NULL : &plan->slots[view.slot].inputs;
    if (rounding && rounding->round)
        rounding->round(&rounding->rule, latent, latent, rank);
}

/* In layers with a rotation the part of the key that all heads share is rotated. */
static void norm_latents(void *context, size_t t)
{
    const mla_job *j = context;
    const forward_latent *l = j->latent;
    const organ_latent_config *c = &j->group->forward->config.latent;
    const float *const of_q = organ_forward_values(j->group->layer, PART_NORM_Q_A);
    const float *const of_kv = organ_forward_values(j->group->layer, PART_NORM_KV_A);
    float *const row = l->rows + t * mla_width(c), *const low = j->low + t * c->q_rank;
    if (c->q_rank)
        organ_forward_norm(low, of_q, 0, LATENT_EPS, c->q_rank, low);
    organ_forward_norm(row, of_kv, 0, LATENT_EPS, c->rank, row);
    for (size_t x = 0; c->scale != 0 && x < c->rank; x++)
        row[x] *= c->scale;
    round_latent(j->group->layer->plan, row, c->rank);
    if (j->group->layer->kind->rotated)
        organ_forward_rotate(l->rotation, l->position[t], j->group->forward->config.rope_neighbours, row + c->rank);
}

/* In layers with a rotation the second part of each head's query is rotated, after the `plain` dimensions. Then the
 * factor of the token and latent.q_scale apply. */
static void rotate_queries(void *context, size_t t)
{
    const mla_job *j = context;
    const forward_latent *l = j->latent;
    const organ_forward_config *c = &j->group->forward->config;
    const organ_layer_kind *const kind = j->group->layer->kind;
    const size_t width = (size_t)kind->heads * kind->head_dim;
    float *const q = l->q + t * width;
    for (size_t h = 0; h < kind->heads && kind->rotated; h++)
        organ_forward_rotate(l->rotation, l->position[t], c->rope_neighbours, q + h * kind->head_dim + c->latent.plain);
    for (size_t x = 0; l->factors && x < width; x++)
        q[x] *= l->factors[t];
    for (size_t x = 0; c->latent.q_scale != 0 && x < width; x++)
        q[x] *= c->latent.q_scale;
}

/* The input of kv_b_proj (in a GGUF file with split matrices, of V) is the first `rank` numbers of each row of the
 * latent keys, copied without the rotated part to j->low. */
static organ_status tap_latents(mla_job *j, organ_error *error)
{
    forward_group *const g = j->group;
    const organ_latent_config *c = &g->forward->config.latent;
    for (size_t t = 0; g->tap && t < g->tokens; t++)
        memcpy(j->low + t * c->rank, j->latent->rows + t * mla_width(c), c->rank * sizeof *j->low);
    const forward_view *const parts = g->layer->plan->parts;
    const forward_view view = parts[parts[PART_KV_B].slot != SIZE_MAX ? PART_KV_B : PART_V_B];
    return organ_forward_tap(g, view, g->first, g->tokens, c->rank, j->low, error);
}

void organ_layer_tap_heads(organ_layer *layer, const organ_head_tap *tap) { layer->heads = tap; }

/* The queries are not rotated or scaled yet: neither changes the plain part before it is multiplied in llama.cpp. */
static organ_status tap_queries(const forward_group *g, const float *q, organ_error *error)
{
    const organ_head_tap *const tap = g->layer->heads;
    const organ_layer_kind *const kind = g->layer->kind;
    for (unsigned h = 0; tap && h < kind->heads && !error->status; h++)
        tap->inputs(tap->context, /*of_values=*/false, h, g->tokens, g->forward->config.latent.plain,
                    q + (size_t)h * kind->head_dim, (size_t)kind->heads * kind->head_dim, error);
    return error->status;
}

organ_status organ_forward_latent_project(forward_group *g, const forward_latent *l, const forward_index *index,
                                          const float *normed, float *work, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const organ_engine *engine = g->forward->engine;
    mla_job j = {l, g, work};
    const organ_layer_kind *const kind = g->layer->kind;
    const size_t q = (size_t)kind->heads * kind->head_dim;
    const double number = 2 * ORGAN_SHARE_NUMBER * (double)g->tokens;
    const bool low = c->latent.q_rank > 0;
    const float *const bias_q = organ_forward_values(g->layer, PART_BIAS_Q_A);
    const float *const bias_kv = organ_forward_values(g->layer, PART_BIAS_KV_A);
    if (organ_forward_add_linear(g, low ? PART_Q_A : PART_Q, bias_q, normed, low ? j.low : l->q,
                                 low ? c->latent.q_rank : q, error) ||
        organ_forward_run_linear(g, PART_KV_A, bias_kv, normed, l->rows, mla_width(&c->latent), error) ||
        organ_forward_tokens(engine, g->tokens, number * (double)(c->latent.q_rank + mla_width(&c->latent)),
                             norm_latents, &j, error))
        return error->status;
    if (low && organ_forward_run_linear(g, PART_Q_B, NULL, j.low, l->q, q, error))
        return error->status;
    if (tap_queries(g, l->q, error) ||
        organ_forward_tokens(engine, g->tokens, number * (double)q, rotate_queries, &j, error) ||
        (kind->indexed && forward_index_project(g, index, l, j.low, normed, error)))
        return error->status;
    return tap_latents(&j, error);
}

/* ---- a tile of queries ---- */

/* kv_b_proj has K and V as rows for each head, so K becomes a transposed factor. GGUF files with split matrices
 * store V, and K already transposed. */
static organ_product_operand factor_of_head(const forward_group *g, size_t head, bool of_key)
{
    const organ_latent_config *const l = &g->forward->config.latent;
    const size_t values = g->layer->kind->value_dim;
    forward_view view = g->layer->plan->parts[PART_KV_B];
    const bool joined = view.slot != SIZE_MAX;
    if (joined)
        view.row += head * (l->plain + values) + (of_key ? 0 : l->plain);
    else {
        view = g->layer->plan->parts[of_key ? PART_K_B : PART_V_B];
        view.row += head * (of_key ? l->rank : values);
    }
    organ_product_operand factor = organ_forward_linear_of(g->layer, view, 0).w;
    factor.transposed = of_key && joined;
    return factor;
}

/* The plain part of each query is multiplied by the head's matrix K; the rotated part is copied after the result. */
void organ_forward_latent_query(const forward_group *g, size_t head, const float *q, size_t queries, float *to,
                                void *packing)
{
    const organ_latent_config *l = &g->forward->config.latent;
    const organ_layer_kind *const kind = g->layer->kind;
    const size_t stride = (size_t)kind->heads * kind->head_dim, width = mla_width(l);
    const organ_product product = {.m = queries,
                                   .n = l->rank,
                                   .k = l->plain,
                                   .a = {.values = q, .type = ORGAN_REAL_F32, .stride = stride},
                                   .b = factor_of_head(g, head, /*of_key=*/true),
                                   .c = to,
                                   .c_stride = width};
    g->forward->engine->kernels->product(&product, packing);
    for (size_t i = 0; i < queries; i++)
        memcpy(to + i * width + l->rank, q + i * stride + l->plain, l->rotated * sizeof *to);
}

void organ_forward_latent_value(const forward_group *g, size_t head, const float *sums, size_t queries, float *out,
                                void *packing)
{
    const organ_latent_config *l = &g->forward->config.latent;
    const organ_layer_kind *const kind = g->layer->kind;
    const organ_product product = {.m = queries,
                                   .n = kind->value_dim,
                                   .k = l->rank,
                                   .a = {.values = sums, .type = ORGAN_REAL_F32, .stride = l->rank},
                                   .b = factor_of_head(g, head, /*of_key=*/false),
                                   .c = out,
                                   .c_stride = (size_t)kind->heads * kind->value_dim};
    g->forward->engine->kernels->product(&product, packing);
}
