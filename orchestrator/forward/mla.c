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
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/forward/latent.h"
#include "orchestrator/machine/extent.h"

#include <string.h>

/* Epsilon of the norms of latent vectors: the default of the norm's class in transformers, which creates these norms
 * without rms_norm_eps. */
#define LATENT_EPS 1e-6

typedef struct mla_job {
    const forward_latent *latent;
    forward_group *group;
    float
        *low; /* tokens x q_rank: the latent vectors of queries; then tap_latents copies those of keys: tokens x rank */
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

/* ---- projections ---- */

/* In layers with a rotation the part of the key that all heads share is rotated. */
static void norm_latents(void *context, size_t t)
{
    const mla_job *j = context;
    const forward_latent *l = j->latent;
    const organ_latent_config *c = &j->group->forward->config.latent;
    const float *const of_q = organ_forward_values(j->group->layer, PART_NORM_Q_A), *const of_kv = organ_forward_values(
                                                                                        j->group->layer,
                                                                                        PART_NORM_KV_A);
    float *const row = l->rows + t * mla_width(c), *const low = j->low + t * c->q_rank;
    if (c->q_rank)
        organ_forward_norm(low, of_q, 0, LATENT_EPS, c->q_rank, low);
    organ_forward_norm(row, of_kv, 0, LATENT_EPS, c->rank, row);
    for (size_t x = 0; c->scale != 0 && x < c->rank; x++)
        row[x] *= c->scale;
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
    const float *const bias_q = organ_forward_values(g->layer, PART_BIAS_Q_A), *const bias_kv = organ_forward_values(
                                                                                   g->layer, PART_BIAS_KV_A);
    if (organ_forward_add_linear(g, low ? PART_Q_A : PART_Q, bias_q, normed, low ? j.low : l->q,
                                 low ? c->latent.q_rank : q, error) ||
        organ_forward_add_linear(g, PART_KV_A, bias_kv, normed, l->rows, mla_width(&c->latent), error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_tokens(engine, g->tokens, number * (double)(c->latent.q_rank + mla_width(&c->latent)),
                             norm_latents, &j, error))
        return error->status;
    if (low && (organ_forward_add_linear(g, PART_Q_B, NULL, j.low, l->q, q, error) ||
                organ_forward_products_run(&g->products, g->forward, g->scratch, error)))
        return error->status;
    if (organ_forward_tokens(engine, g->tokens, number * (double)q, rotate_queries, &j, error) ||
        (kind->indexed && organ_forward_index_project(g, index, l, j.low, normed, error)))
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
                                   .b = factor_of_head(g, head, true),
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
                                   .b = factor_of_head(g, head, false),
                                   .c = out,
                                   .c_stride = (size_t)kind->heads * kind->value_dim};
    g->forward->engine->kernels->product(&product, packing);
}
