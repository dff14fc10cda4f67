/* SPDX-License-Identifier: MIT
 * Compressed attention, as DeepseekV4Attention of transformers 5.24 computes it. From x, the normed input of a layer, a
 * token has a key k = RMSNorm(wkv(x)), which is also the value of all heads, and queries q_h, each divided by its root
 * mean square, of wq_b(c) with c = RMSNorm(wq_a(x)). The last dimensions of k and q_h are rotated, in pairs of
 * neighbours. A token attends to its window, to a sink of each head, and to compressed tokens; then the output of a
 * head is rotated back by the token's own angles. The heads are divided into groups: wo_a has a matrix for each group,
 * and wo_b reads the results of all groups.
 *
 * In layers with `compress` = m > 0, the compressed token i is computed from the tokens i m, ..., i m + m - 1
 * (DeepSeek-V4, "heavily compressed attention"): in each dimension the softmax over these tokens of wgate(x) + ape
 * weighs their wkv'(x), and the sum passes a norm and the rotation of position i m. `ape` has a row for each place in
 * the block. In layers with an indexer ("compressed sparse attention"), the m tokens of the block before take part too,
 * with projections of their own: the first half of the rows of wkv', wgate and ape is for the next block, the second
 * half for the token's own. Token t attends to compressed token i if i m + m - 1 <= t. The indexer has compressed
 * tokens of its own, K_i, and scores them by the sum over its heads of w_h heads^-1/2 max(Q_h . K_i dim^-1/2, 0), with
 * w = weights_proj(x) and Q = wq_b'(c), rotated; the index_topk best ones are attended to.
 *
 * The row of a token in the cache has, beside its key, what its block needs; the row of the last token of a block also
 * has the compressed token. So a row depends only on earlier rows, and compressed tokens are rows at equal distances.
 */
#include "orchestrator/forward/mixers.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HEADS FORWARD_QUERIES /* heads that attend together */
/* Floats of a worker's scratch: HEADS x FORWARD_KEYS scores, then the sum of the softmax and the largest score of each
 * head. */
#define SCRATCH_FLOATS (HEADS * (FORWARD_KEYS + 2))

/* Numbers of a token for compressed tokens of width `dim`, and where they begin in its row: its values, their weights
 * before the softmax, and the compressed token. `series`: 2 if the token takes part in two compressed tokens. */
typedef struct series {
    size_t dim, series, values, weights, whole;
    forward_part bias, norm;
} series;

typedef struct token_place {
    size_t first;    /* number in the group of the window's first token */
    size_t position; /* in the window, cached tokens included */
    size_t rotation; /* row of the window's first position in the rotation tables */
} token_place;

typedef struct compressed_job {
    forward_group *group;
    const organ_layer_kind *kind;
    const forward_rotation *rotation;
    const organ_compression_config *sizes;
    token_place *places;
    size_t cached;                /* tokens in the KV cache, before the only window of the group */
    float *q, *out, *keys, *rows; /* queries; outputs of heads; keys, and rows of the cache, cached tokens first */
    size_t q_width, row_width;    /* floats of a token in q and out, and in rows */
    float *low;                   /* tokens x q_rank */
    float *index_q, *index_weights;
    float *work;      /* results of projections, before they are copied to rows; later those of wo_a */
    float *scores;    /* of the indexer, for FORWARD_QUERIES tokens: `most` each */
    uint32_t *chosen; /* tokens x words, a bit for each compressed token; NULL: all are attended to */
    size_t words, most;
    size_t first; /* the first token of the FORWARD_QUERIES tokens whose scores are computed */
} compressed_job;

/* ---- sizes ---- */

static series main_series(const organ_layer_kind *kind)
{
    const size_t dim = kind->head_dim, count = kind->indexed ? 2 : 1;
    return (series){dim, count, 0, count * dim, 2 * count * dim, PART_COMPRESS_BIAS, PART_NORM_COMPRESS};
}

static series index_series(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const series before = main_series(kind);
    const size_t dim = c->compressed.index_dim, at = before.whole + before.dim;
    return (series){dim, 2, at, at + 2 * dim, at + 4 * dim, PART_INDEX_BIAS, PART_NORM_INDEX};
}

size_t organ_forward_compressed_row(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const series own = main_series(kind), index = index_series(c, kind);
    if (!kind->compress)
        return 0;
    return kind->indexed ? index.whole + index.dim : own.whole + own.dim;
}

/* Floats of compressed_job.work for a token. */
static size_t work_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    return organ_max(2 * (size_t)c->compressed.groups * c->compressed.group_rank,
                     organ_forward_compressed_row(c, kind));
}

size_t organ_forward_compressed_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const organ_compression_config *const z = &c->compressed;
    const size_t heads = (size_t)kind->heads * kind->head_dim, index = (size_t)z->index_heads * (z->index_dim + 1);
    return 2 * heads + kind->head_dim + organ_forward_compressed_row(c, kind) + z->q_rank + index + work_width(c, kind);
}

size_t organ_forward_compressed_scratch(const organ_forward_config *c)
{
    (void)c;
    return SCRATCH_FLOATS * sizeof(float);
}

/* ---- projections ---- */

/* Rotates the last dimensions, or with `back` by minus the angles. `row` is that of the rotation tables. */
static void rotate_last(const compressed_job *j, size_t row, bool back, float *head, size_t dim)
{
    const size_t half = j->rotation->half;
    const float *const cosines = j->rotation->cosines + row * half, *const sines = j->rotation->sines + row * half;
    float *const at = head + dim - 2 * half;
    for (size_t k = 0; k < half; k++) {
        const float a = at[2 * k], b = at[2 * k + 1], sine = back ? -sines[k] : sines[k];
        at[2 * k] = a * cosines[k] - b * sine;
        at[2 * k + 1] = b * cosines[k] + a * sine;
    }
}

static void norm_low(void *context, size_t t)
{
    const compressed_job *const j = context;
    const size_t rank = j->sizes->q_rank;
    organ_forward_norm(j->low + t * rank, organ_forward_values(j->group->layer, PART_NORM_Q_A), 0,
                       j->group->forward->config.rms_eps, rank, j->low + t * rank);
}

/* Copies the projections of a token, which are in j->work one after the other for all tokens, to its row. */
static void copy_series(const compressed_job *j, const series *of, size_t t, float *row, size_t *at)
{
    const size_t width = of->series * of->dim, tokens = j->group->tokens;
    memcpy(row + of->values, j->work + *at + t * width, width * sizeof *row);
    memcpy(row + of->weights, j->work + *at + (tokens + t) * width, width * sizeof *row);
    *at += 2 * tokens * width;
}

static void prepare_token(void *context, size_t t)
{
    const compressed_job *const j = context;
    const organ_forward_config *const c = &j->group->forward->config;
    const organ_layer_kind *const kind = j->kind;
    const series own = main_series(kind), index = index_series(c, kind);
    const size_t dim = kind->head_dim, row = j->places[t].rotation + j->places[t].position;
    float *const q = j->q + t * j->q_width, *const key = j->keys + (j->cached + t) * dim,
                 *const stored = j->rows + (j->cached + t) * j->row_width;
    size_t at = 0;
    for (size_t h = 0; h < kind->heads; h++) {
        organ_forward_norm(q + h * dim, NULL, 0, c->rms_eps, dim, q + h * dim);
        rotate_last(j, row, /*back=*/false, q + h * dim, dim);
    }
    organ_forward_norm(key, organ_forward_values(j->group->layer, PART_NORM_KV_A), 0, c->rms_eps, dim, key);
    rotate_last(j, row, /*back=*/false, key, dim);
    if (kind->compress)
        copy_series(j, &own, t, stored, &at);
    if (!kind->indexed)
        return;
    copy_series(j, &index, t, stored, &at);
    for (size_t h = 0; h < j->sizes->index_heads; h++)
        rotate_last(j, row, /*back=*/false, j->index_q + (t * j->sizes->index_heads + h) * index.dim, index.dim);
}

static organ_status project_series(const compressed_job *j, forward_part values, forward_part weights, size_t width,
                                   const float *normed, size_t *at, organ_error *error)
{
    const size_t floats = j->group->tokens * width;
    float *const to = j->work + *at;
    *at += 2 * floats;
    return organ_forward_run_linear(j->group, values, NULL, normed, to, width, error)
               ? error->status
               : organ_forward_run_linear(j->group, weights, NULL, normed, to + floats, width, error);
}

static organ_status project(compressed_job *j, const float *normed, organ_error *error)
{
    forward_group *const g = j->group;
    const organ_compression_config *const z = j->sizes;
    const organ_layer_kind *const kind = j->kind;
    const size_t dim = kind->head_dim, index = (size_t)z->index_heads * z->index_dim;
    const double number = 2 * ORGAN_SHARE_NUMBER * (double)g->tokens;
    size_t at = 0;
    if (organ_forward_run_linear(g, PART_Q_A, NULL, normed, j->low, z->q_rank, error) ||
        organ_forward_tokens(g->forward->engine, g->tokens, number * z->q_rank, norm_low, j, error) ||
        organ_forward_run_linear(g, PART_Q_B, NULL, j->low, j->q, j->q_width, error) ||
        organ_forward_run_linear(g, PART_KV_A, NULL, normed, j->keys + j->cached * dim, dim, error))
        return error->status;
    if (kind->compress &&
        project_series(j, PART_COMPRESS_KV, PART_COMPRESS_GATE, main_series(kind).series * dim, normed, &at, error))
        return error->status;
    if (kind->indexed &&
        (project_series(j, PART_INDEX_K, PART_INDEX_GATE, 2 * (size_t)z->index_dim, normed, &at, error) ||
         organ_forward_run_linear(g, PART_INDEX_Q, NULL, j->low, j->index_q, index, error) ||
         organ_forward_run_linear(g, PART_INDEX_WEIGHTS, NULL, normed, j->index_weights, z->index_heads, error)))
        return error->status;
    return organ_forward_tokens(g->forward->engine, g->tokens, number * (double)(j->q_width + j->row_width),
                                prepare_token, j, error);
}

/* ---- compressed tokens ---- */

/* Computes dimension x of the compressed token whose last token has the row `last`. `back`: rows of the block before
 * that take part, 0 or `rate`. */
static float compress_number(const compressed_job *j, const series *of, const float *last, size_t back, size_t x)
{
    const size_t rate = j->kind->compress, width = of->series * of->dim, own = of->series > 1 ? of->dim : 0;
    const float *const bias = organ_forward_values(j->group->layer, of->bias);
    float weights[2 * ORGAN_MOST_COMPRESSED], top = -INFINITY, sum = 0;
    const float *row = last - (rate + back - 1) * j->row_width;
    for (size_t k = 0; k < back + rate; k++) {
        const size_t column = (k < back ? 0 : own) + x;
        weights[k] = row[k * j->row_width + of->weights + column] + bias[k % rate * width + column];
        top = weights[k] > top ? weights[k] : top;
    }
    const float all = j->group->forward->engine->kernels->exp_below(weights, back + rate, top);
    for (size_t k = 0; k < back + rate; k++)
        sum += row[k * j->row_width + of->values + (k < back ? 0 : own) + x] * (weights[k] / all);
    return sum;
}

static void compress_series(const compressed_job *j, const series *of, size_t t, float *last)
{
    const token_place *const place = &j->places[t];
    const size_t rate = j->kind->compress, back = of->series > 1 && place->position >= 2 * rate - 1 ? rate : 0;
    float *const whole = last + of->whole;
    for (size_t x = 0; x < of->dim; x++)
        whole[x] = compress_number(j, of, last, back, x);
    organ_forward_norm(whole, organ_forward_values(j->group->layer, of->norm), 0, j->group->forward->config.rms_eps,
                       of->dim, whole);
    rotate_last(j, place->rotation + place->position + 1 - rate, /*back=*/false, whole, of->dim);
}

/* Does nothing unless the token is the last one of a block. */
static void compress_token(void *context, size_t t)
{
    const compressed_job *const j = context;
    const series own = main_series(j->kind), index = index_series(&j->group->forward->config, j->kind);
    float *const last = j->rows + (j->cached + t) * j->row_width;
    if ((j->places[t].position + 1) % j->kind->compress)
        return;
    compress_series(j, &own, t, last);
    if (j->kind->indexed)
        compress_series(j, &index, t, last);
}

/* Returns the compressed tokens that a token may attend to. */
static size_t whole_of(const compressed_job *j, size_t t)
{
    return j->kind->compress ? (j->places[t].position + 1) / j->kind->compress : 0;
}

/* Returns number `at` in the row of the last token of the first block of the token's window. */
static const float *first_whole(const compressed_job *j, size_t t, size_t at)
{
    return j->rows + (j->places[t].first + j->kind->compress - 1) * j->row_width + at;
}

/* ---- the indexer ---- */

/* Adds the terms of `heads` heads for `keys` compressed tokens to `scores` (equation at the top of the file). */
static void add_heads(const compressed_job *j, size_t t, size_t first, size_t heads, const float *products,
                      float *scores, size_t keys)
{
    const organ_compression_config *const z = j->sizes;
    const float scale = (float)(1 / sqrt((double)z->index_dim)), share = (float)(1 / sqrt((double)z->index_heads));
    for (size_t h = 0; h < heads; h++) {
        const float weight = j->index_weights[t * z->index_heads + first + h] * share;
        for (size_t k = 0; k < keys; k++) {
            const float score = products[h * FORWARD_KEYS + k];
            scores[k] += (score > 0 ? score : 0) * scale * weight;
        }
    }
}

static void score_token(const compressed_job *j, size_t t, float *scores, float *scratch)
{
    const organ_compression_config *const z = j->sizes;
    const size_t visible = whole_of(j, t), stride = j->kind->compress * j->row_width;
    const float *const whole = first_whole(j, t, index_series(&j->group->forward->config, j->kind).whole);
    memset(scores, 0, visible * sizeof *scores);
    for (size_t first = 0; first < visible; first += FORWARD_KEYS)
        for (size_t h = 0; h < z->index_heads; h += HEADS) {
            const size_t keys = organ_min(FORWARD_KEYS, visible - first), heads = organ_min(HEADS, z->index_heads - h);
            const organ_product product = {
                .m = heads,
                .n = keys,
                .k = z->index_dim,
                .a = {.values = j->index_q + (t * z->index_heads + h) * z->index_dim,
                      .type = ORGAN_REAL_F32,
                      .stride = z->index_dim},
                .b = {.values = whole + first * stride, .type = ORGAN_REAL_F32, .stride = stride},
                .c = scratch,
                .c_stride = FORWARD_KEYS};
            j->group->forward->engine->kernels->product(&product, scratch - ORGAN_PRODUCT_SCRATCH / sizeof(float));
            add_heads(j, t, h, heads, scratch, scores + first, keys);
        }
}

static void choose_whole(void *context, size_t index, size_t worker)
{
    const compressed_job *const j = context;
    const size_t t = j->first + index, visible = whole_of(j, t);
    float *const scores = j->scores + index * j->most;
    if (visible > j->sizes->keys)
        score_token(j, t, scores, organ_forward_mixer_scratch_of(j->group, worker));
    organ_forward_choose(scores, visible, j->sizes->keys, j->chosen + t * j->words, j->words);
}

static organ_status choose_all(compressed_job *j, organ_error *error)
{
    const forward_group *const g = j->group;
    const double work = (double)j->most * j->sizes->index_heads * ((double)j->sizes->index_dim + ORGAN_SHARE_NUMBER);
    for (j->first = 0; j->chosen && j->first < g->tokens && !error->status; j->first += FORWARD_QUERIES) {
        const size_t tokens = organ_min(FORWARD_QUERIES, g->tokens - j->first);
        organ_forward_share(g->forward->engine, tokens, (double)tokens * work, choose_whole, j, error);
    }
    return error->status;
}

/* ---- attention ---- */

/* Some heads of a token. `scratch`: SCRATCH_FLOATS. */
typedef struct attend_job {
    const compressed_job *job;
    size_t token, heads;
    const float *q;
    float *out, *scratch;
} attend_job;

/* Attends to keys [first, first + count), `stride` floats apart, of which `chosen` has bits (NULL: all). */
static void attend_block(const attend_job *h, const float *keys, size_t stride, size_t first, size_t count,
                         const uint32_t *chosen)
{
    const organ_forward_config *const c = &h->job->group->forward->config;
    const organ_kernels *const kernels = h->job->group->forward->engine->kernels;
    const size_t dim = h->job->kind->head_dim;
    const forward_softmax softmax = {kernels, (float)c->attention_scale, 0, dim};
    void *const packed = h->scratch - ORGAN_PRODUCT_SCRATCH / sizeof(float);
    float *const sums = h->scratch + HEADS * FORWARD_KEYS, *const tops = sums + HEADS;
    const organ_product_operand block = {.values = keys + first * stride, .type = ORGAN_REAL_F32, .stride = stride};
    organ_product product = {.m = h->heads,
                             .n = count,
                             .k = dim,
                             .a = {.values = h->q, .type = ORGAN_REAL_F32, .stride = dim},
                             .b = block,
                             .c = h->scratch,
                             .c_stride = FORWARD_KEYS};
    kernels->product(&product, packed);
    for (size_t i = 0; i < h->heads; i++) {
        float *const scores = h->scratch + i * FORWARD_KEYS;
        const bool any = !chosen || organ_forward_index_mask(chosen, first, count, scores);
        organ_forward_softmax_block(&softmax, scores, 0, any ? count : 0, count, &tops[i], &sums[i], h->out + i * dim);
    }
    product = (organ_product){.m = h->heads,
                              .n = dim,
                              .k = count,
                              .a = {.values = h->scratch, .type = ORGAN_REAL_F32, .stride = FORWARD_KEYS},
                              .b = block,
                              .c = h->out,
                              .c_stride = dim,
                              .into = ORGAN_PRODUCT_ADD};
    product.b.transposed = true;
    kernels->product(&product, packed);
}

/* Blocks begin at multiples of FORWARD_KEYS, so that sums do not depend on the cache. */
static void attend_range(const attend_job *h, const float *keys, size_t stride, size_t from, size_t until,
                         const uint32_t *chosen)
{
    for (size_t first = from, end; first < until; first = end) {
        end = organ_min(first / FORWARD_KEYS * FORWARD_KEYS + FORWARD_KEYS, until);
        attend_block(h, keys, stride, first, end - first, chosen);
    }
}

/* A sink is a score without a value. */
static void attend_heads(const attend_job *h, size_t head)
{
    const compressed_job *const j = h->job;
    const token_place *const place = &j->places[h->token];
    const size_t dim = j->kind->head_dim, window = j->kind->window;
    const size_t from = place->position >= window ? place->position - window + 1 : 0;
    const float *const sinks = organ_forward_values(j->group->layer, PART_SINKS) + head;
    float *const sums = h->scratch + HEADS * FORWARD_KEYS;
    for (size_t i = 0; i < h->heads; i++) {
        sums[i] = 1;
        sums[HEADS + i] = sinks[i];
    }
    memset(h->out, 0, h->heads * dim * sizeof *h->out);
    attend_range(h, j->keys + place->first * dim, dim, from, place->position + 1, NULL);
    if (j->kind->compress)
        attend_range(h, first_whole(j, h->token, main_series(j->kind).whole), j->kind->compress * j->row_width, 0,
                     whole_of(j, h->token), j->chosen ? j->chosen + h->token * j->words : NULL);
    for (size_t i = 0; i < h->heads; i++) {
        for (size_t x = 0; x < dim; x++)
            h->out[i * dim + x] /= sums[i];
        rotate_last(j, place->rotation + place->position, /*back=*/true, h->out + i * dim, dim);
    }
}

/* Task `index` is a part of the heads of a token. */
static void attend_task(void *context, size_t index, size_t worker)
{
    const compressed_job *const j = context;
    const size_t dim = j->kind->head_dim, parts = organ_pieces_of(j->kind->heads, HEADS);
    const size_t token = index / parts, head = index % parts * HEADS, at = token * j->q_width + head * dim;
    const attend_job h = {.job = j,
                          .token = token,
                          .heads = organ_min(HEADS, j->kind->heads - head),
                          .q = j->q + at,
                          .out = j->out + at,
                          .scratch = organ_forward_mixer_scratch_of(j->group, worker)};
    attend_heads(&h, head);
}

static organ_status attend_all(compressed_job *j, organ_error *error)
{
    const forward_group *const g = j->group;
    double keys = 0;
    ORGAN_IN_PHASE(ORGAN_PHASE_ATTENTION_SCORES);
    for (size_t t = 0; t < g->tokens; t++)
        keys += (double)organ_min(j->places[t].position + 1, j->kind->window) + (double)whole_of(j, t);
    return organ_forward_share(g->forward->engine, g->tokens * organ_pieces_of(j->kind->heads, HEADS),
                               keys * j->kind->heads * (2.0 * j->kind->head_dim + ORGAN_SHARE_HARD), attend_task, j,
                               error);
}

/* ---- output ---- */

/* Copies the outputs of a token's heads to the places of their groups in j->q, groups x tokens x width. */
static void divide_heads(void *context, size_t t)
{
    const compressed_job *const j = context;
    const size_t width = j->q_width / j->sizes->groups;
    for (size_t k = 0; k < j->sizes->groups; k++)
        memcpy(j->q + (k * j->group->tokens + t) * width, j->out + t * j->q_width + k * width, width * sizeof *j->q);
}

/* j->work has the results of the groups, groups x tokens x group_rank; the rows of tokens follow them. */
static void join_groups(void *context, size_t t)
{
    const compressed_job *const j = context;
    const size_t rank = j->sizes->group_rank, groups = j->sizes->groups, tokens = j->group->tokens;
    float *const to = j->work + (groups * tokens + t * groups) * rank;
    for (size_t k = 0; k < groups; k++)
        memcpy(to + k * rank, j->work + (k * tokens + t) * rank, rank * sizeof *to);
}

static organ_status project_output(compressed_job *j, float *out, organ_error *error)
{
    forward_group *const g = j->group;
    const size_t rank = j->sizes->group_rank, groups = j->sizes->groups, width = j->q_width / groups;
    const double number = ORGAN_SHARE_NUMBER * (double)g->tokens;
    const forward_view all = g->layer->plan->parts[PART_O_A];
    if (organ_forward_tokens(g->forward->engine, g->tokens, number * (double)j->q_width, divide_heads, j, error))
        return error->status;
    for (size_t k = 0; k < groups; k++) {
        const forward_linear linear = organ_forward_linear_of(g->layer, organ_view_from_row(all, k * rank), rank);
        if (organ_forward_products_add(&g->products, j->q + k * g->tokens * width, &linear,
                                       j->work + k * g->tokens * rank, g->tokens, error))
            return error->status;
    }
    if (organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_tokens(g->forward->engine, g->tokens, number * (double)(groups * rank), join_groups, j, error))
        return error->status;
    return organ_forward_run_linear(g, PART_O, NULL, j->work + groups * g->tokens * rank, out,
                                    (size_t)g->forward->config.hidden, error);
}

/* ---- a group ---- */

static organ_status place_tokens(compressed_job *j, forward_rotation *rotation, organ_error *error)
{
    const forward_group *const g = j->group;
    size_t longest = 0, row;
    if (!(j->places = malloc(g->tokens * sizeof *j->places)))
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu tokens", g->tokens);
    for (size_t w = g->window; w < g->until; w++) {
        const size_t first = g->windows->begin[w] - g->first, tokens = g->windows->begin[w + 1] - g->windows->begin[w];
        if (organ_forward_rotation_reach(rotation, j->cached + tokens, &row, error))
            return error->status;
        for (size_t t = 0; t < tokens; t++)
            j->places[first + t] = (token_place){first, j->cached + t, row};
        longest = organ_max(longest, j->cached + tokens);
    }
    j->most = j->kind->indexed ? longest / j->kind->compress : 0;
    return ORGAN_OK;
}

/* The choice is at the end of the room, if a window has more compressed tokens than are chosen. */
static void place_choice(compressed_job *j, float *room)
{
    if (j->most <= j->sizes->keys)
        return;
    j->words = organ_forward_index_words(j->most);
    j->scores = room;
    j->chosen = (uint32_t *)(void *)(room + organ_min(j->group->tokens, FORWARD_QUERIES) * j->most);
}

static void place_rows(compressed_job *j, float *scratch)
{
    const forward_group *const g = j->group;
    const organ_compression_config *const z = j->sizes;
    const size_t tokens = g->tokens;
    j->q = scratch;
    j->out = j->q + tokens * j->q_width;
    j->keys = j->out + tokens * j->q_width;
    j->rows = j->keys + tokens * j->kind->head_dim;
    j->low = j->rows + tokens * j->row_width;
    j->index_q = j->low + tokens * z->q_rank;
    j->index_weights = j->index_q + tokens * z->index_heads * z->index_dim;
    j->work = j->index_weights + tokens * z->index_heads;
    place_choice(j, j->work + tokens * work_width(&g->forward->config, j->kind));
    if (g->before) {
        j->keys = g->before->keys;
        j->rows = g->before->values;
    }
}

static organ_status run(compressed_job *j, const float *normed, float *out, organ_error *error)
{
    const forward_group *const g = j->group;
    const double numbers = (double)g->tokens * (double)j->row_width;
    if (project(j, normed, error))
        return error->status;
    if (j->kind->compress &&
        organ_forward_tokens(g->forward->engine, g->tokens, numbers * ORGAN_SHARE_HARD, compress_token, j, error))
        return error->status;
    if (choose_all(j, error) || attend_all(j, error))
        return error->status;
    return project_output(j, out, error);
}

organ_status organ_forward_compressed(forward_group *g, const float *normed, float *out, float *scratch,
                                      organ_error *error)
{
    organ_forward *const f = g->forward;
    const organ_layer_kind *const kind = g->layer->kind;
    forward_rotation *const rotation = kind->compress ? &f->rotation : &f->rotation_local;
    compressed_job j = {.group = g,
                        .kind = kind,
                        .rotation = rotation,
                        .sizes = &f->config.compressed,
                        .cached = g->before ? g->before->tokens : 0,
                        .q_width = (size_t)kind->heads * kind->head_dim,
                        .row_width = organ_forward_compressed_row(&f->config, kind)};
    organ_forward_rotation_begin(rotation);
    if (place_tokens(&j, rotation, error) == ORGAN_OK) {
        place_rows(&j, scratch);
        run(&j, normed, out, error);
    }
    free(j.places);
    return error->status;
}
