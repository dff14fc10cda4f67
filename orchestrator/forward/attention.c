/* SPDX-License-Identifier: MIT
 * Attention of a group of windows. A tile of queries is multiplied with keys in blocks, with an online softmax
 * (Milakov and Gimelshein 2018) that carries maximum and sum from block to block. So memory does not grow with the
 * number of keys. */
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/extent.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_AT_ONCE ((size_t)32)

typedef struct attention_tile {
    size_t first, query, queries; /* first token of the window in the group; first query in the window */
} attention_tile;

typedef struct attention_job {
    forward_group *group;
    const organ_layer_kind *kind;
    const forward_rotation *rotation;
    float *q, *k, *v, *out;                      /* k and v begin with those of the tokens before the group */
    size_t q_width, k_width, v_width, out_width; /* floats of a token in q, k, v and out */
    size_t before;
    const size_t *position; /* for each token of the group, its row in the rotation tables */
    attention_tile *tiles;
    size_t tile_count;
} attention_job;

/* Scratch of a tile: scores of a block of keys, and for each query the sum of the softmax and the largest score. */
#define SCRATCH_FLOATS (FORWARD_QUERIES * (FORWARD_KEYS + 2))

size_t organ_forward_attention_scratch(void) { return SCRATCH_FLOATS * sizeof(float); }

/* The worker's scratch begins with the memory in which products pack their operands. */
static float *scratch_of(const attention_job *j, size_t worker)
{
    return j->group->scratch + (worker * j->group->forward->worker_bytes + ORGAN_PRODUCT_SCRATCH) / sizeof(float);
}

size_t organ_forward_attention_room(const organ_forward *f, size_t tokens)
{
    return tokens * (f->attention_width + 2 * (size_t)f->config.hidden) + 64 * 6;
}

/* ---- norms and rotation of heads ---- */

static void norm_heads(const attention_job *j, float *heads, size_t count, forward_part norm)
{
    const organ_forward_config *c = &j->group->forward->config;
    const float *const weights = organ_forward_values(j->group->layer, norm);
    const size_t dim = j->kind->head_dim, width = c->qk_norm == ORGAN_QK_NORM_ALL ? count * dim : dim;
    for (size_t at = 0; weights && at < count * dim; at += width)
        organ_forward_norm(heads + at, weights, c->norm_adds_one ? 1 : 0, c->rms_eps, width, heads + at);
}

static void rotate(const forward_rotation *rotation, size_t position, float *head)
{
    const float *cosines = rotation->cosines + position * rotation->half,
                *sines = rotation->sines + position * rotation->half;
    float *other = head + rotation->half;
    for (size_t k = 0; k < rotation->half; k++) {
        const float a = head[k], b = other[k];
        head[k] = a * cosines[k] - b * sines[k];
        other[k] = b * cosines[k] + a * sines[k];
    }
}

/* The same for pairs of neighbours, (2 k, 2 k + 1), of the rotated dimensions. */
static void rotate_neighbours(const forward_rotation *rotation, size_t position, float *head)
{
    const float *cosines = rotation->cosines + position * rotation->half,
                *sines = rotation->sines + position * rotation->half;
    for (size_t k = 0; k < rotation->half; k++) {
        const float a = head[2 * k], b = head[2 * k + 1];
        head[2 * k] = a * cosines[k] - b * sines[k];
        head[2 * k + 1] = b * cosines[k] + a * sines[k];
    }
}

static void turn_heads(const attention_job *j, float *heads, size_t count, size_t token, forward_part norm)
{
    norm_heads(j, heads, count, norm);
    for (size_t h = 0; h < count && j->kind->rotated; h++)
        (j->group->forward->config.rope_neighbours ? rotate_neighbours : rotate)(j->rotation, j->position[token],
                                                                                 heads + h * j->kind->head_dim);
}

static void turn_tokens(void *context, size_t index, size_t worker)
{
    (void)worker;
    const attention_job *j = context;
    const size_t first = index * TOKENS_AT_ONCE, until = organ_lesser(first + TOKENS_AT_ONCE, j->group->tokens);
    for (size_t t = first; t < until; t++) {
        turn_heads(j, j->q + t * j->q_width, j->kind->heads, t, PART_NORM_Q);
        turn_heads(j, j->k + (j->before + t) * j->k_width, j->kind->kv_heads, t, PART_NORM_K);
    }
}

/* ---- scores ---- */

/* Converts scores of keys [first, first + keys) to softmax numerators. Query `at` attends to keys at - window + 1 ..
 * at: all earlier keys without a sliding window. Other scores become 0. */
static void attention_weigh(const attention_job *j, const attention_tile *t, size_t first, size_t keys, float *scratch,
                            float *out)
{
    const organ_forward_config *c = &j->group->forward->config;
    const size_t window = j->kind->window ? j->kind->window : SIZE_MAX;
    const forward_softmax softmax = {j->group->forward->engine->kernels, (float)c->attention_scale,
                                     (float)c->attention_softcap, j->kind->value_dim};
    float *const sums = scratch + FORWARD_QUERIES * FORWARD_KEYS, *const tops = sums + FORWARD_QUERIES;
    for (size_t i = 0; i < t->queries; i++) {
        const size_t at = t->query + i, from = at >= window ? at - window + 1 : 0;
        const size_t lo = from > first ? organ_lesser(from - first, keys) : 0,
                     hi = at >= first ? organ_lesser(at + 1 - first, keys) : 0;
        organ_forward_softmax_block(&softmax, scratch + i * FORWARD_KEYS, lo, lo < hi ? hi : lo, keys, &tops[i],
                                    &sums[i], out + i * j->out_width);
    }
}

/* Processes keys [first, first + keys) of the window for all queries of the tile; k and v begin with those keys. */
static void attend_block(const attention_job *j, const attention_tile *t, size_t first, size_t keys, size_t worker,
                         const float *q, const float *k, const float *v, float *out)
{
    const organ_forward *const f = j->group->forward;
    float *const scratch = scratch_of(j, worker);
    void *const packed = scratch - ORGAN_PRODUCT_SCRATCH / sizeof(float);
    const organ_factor weights = {.values = scratch, .type = ORGAN_REAL_F32, .stride = FORWARD_KEYS};
    const organ_product scores = {.m = t->queries,
                                  .n = keys,
                                  .k = j->kind->head_dim,
                                  .a = {.values = q, .type = ORGAN_REAL_F32, .stride = j->q_width},
                                  .b = {.values = k, .type = ORGAN_REAL_F32, .stride = j->k_width},
                                  .c = scratch,
                                  .c_stride = FORWARD_KEYS};
    const organ_product sums = {.m = t->queries,
                                .n = j->kind->value_dim,
                                .k = keys,
                                .a = weights,
                                .b = {.values = v, .type = ORGAN_REAL_F32, .transposed = true, .stride = j->v_width},
                                .c = out,
                                .c_stride = j->out_width,
                                .into = ORGAN_PRODUCT_ADD};
    f->engine->kernels->product(&scores, packed);
    attention_weigh(j, t, first, keys, scratch, out);
    f->engine->kernels->product(&sums, packed);
}

static void attend(void *context, size_t index, size_t worker)
{
    const attention_job *j = context;
    const organ_layer_kind *const kind = j->kind;
    const attention_tile *t = &j->tiles[index / kind->heads];
    const size_t head = index % kind->heads, kv_head = head / (kind->heads / kind->kv_heads), dim = kind->value_dim;
    const size_t window = kind->window ? kind->window : SIZE_MAX;
    const size_t lo = t->query >= window ? t->query - window + 1 : 0, until = t->query + t->queries;
    const size_t token = t->first + t->query - j->before;
    const float *q = j->q + token * j->q_width + head * kind->head_dim;
    float *out = j->out + token * j->out_width + head * dim;
    float *sums = scratch_of(j, worker) + FORWARD_QUERIES * FORWARD_KEYS;
    const float *const sinks = organ_forward_values(j->group->layer, PART_SINKS);
    for (size_t i = 0; i < t->queries; i++) {
        memset(out + i * j->out_width, 0, dim * sizeof *out);
        /* A sink is a score that is not scaled and has no value: its numerator is e^0 = 1 while it is the maximum. */
        sums[i] = sinks ? 1 : 0;
        sums[FORWARD_QUERIES + i] = sinks ? sinks[head] : -INFINITY;
    }
    for (size_t first = lo, end; first < until; first = end) {
        const size_t key = t->first + first;
        end = organ_lesser(first / FORWARD_KEYS * FORWARD_KEYS + FORWARD_KEYS, until);
        attend_block(j, t, first, end - first, worker, q, j->k + key * j->k_width + kv_head * kind->head_dim,
                     j->v + key * j->v_width + kv_head * dim, out);
    }
    for (size_t i = 0; i < t->queries; i++)
        for (size_t x = 0; x < dim; x++)
            out[i * j->out_width + x] /= sums[i];
}

/* ---- all of it ---- */

/* Computes positions, tiles and rotation tables for the windows of the group. */
static organ_status cut_windows(attention_job *j, forward_rotation *rotation, size_t **positions, organ_error *error)
{
    const forward_group *g = j->group;
    size_t row;
    *positions = malloc(g->tokens * sizeof **positions);
    j->tiles = malloc((g->tokens / FORWARD_QUERIES + (g->until - g->window)) * sizeof *j->tiles);
    if (!*positions || !j->tiles)
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu tokens", g->tokens);
    for (size_t w = g->window; w < g->until; w++) {
        const size_t first = g->windows->begin[w] - g->first, tokens = g->windows->begin[w + 1] - g->windows->begin[w];
        if (organ_forward_rotation_reach(rotation, j->before + tokens, &row, error) != ORGAN_OK)
            return error->status;
        for (size_t t = 0; t < tokens; t++)
            (*positions)[first + t] = row + j->before + t;
        for (size_t t = 0; t < tokens; t += FORWARD_QUERIES)
            j->tiles[j->tile_count++] =
                (attention_tile){first, j->before + t, organ_lesser(FORWARD_QUERIES, tokens - t)};
    }
    j->position = *positions;
    return ORGAN_OK;
}

static organ_status project(attention_job *j, const float *normed, organ_error *error)
{
    forward_group *g = j->group;
    static const forward_part parts[3] = {PART_Q, PART_K, PART_V};
    float *const to[3] = {j->q, j->k + j->before * j->k_width, j->v + j->before * j->v_width};
    const size_t widths[3] = {j->q_width, j->k_width, j->v_width};
    size_t named = SIZE_MAX;
    for (size_t p = 0; p < 3; p++) {
        const forward_view view = g->layer->plan->parts[parts[p]];
        forward_linear linear = organ_forward_linear_of(g->layer, view, widths[p]);
        linear.bias = organ_forward_values(g->layer, (forward_part)(PART_BIAS_Q + p));
        if (view.slot != named && organ_forward_tap(g, view, g->first, g->tokens, linear.in, normed, error))
            return error->status;
        named = view.slot;
        if (organ_forward_products_add(&g->products, normed, &linear, to[p], g->tokens, error))
            return error->status;
    }
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}

static organ_status give_out(attention_job *j, float *projected, organ_error *error)
{
    forward_group *g = j->group;
    const forward_view view = g->layer->plan->parts[PART_O];
    forward_linear linear = organ_forward_linear_of(g->layer, view, (size_t)g->forward->config.hidden);
    linear.bias = organ_forward_values(g->layer, PART_BIAS_O);
    if (organ_forward_tap(g, view, g->first, g->tokens, linear.in, j->out, error))
        return error->status;
    if (organ_forward_products_add(&g->products, j->out, &linear, projected, g->tokens, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error))
        return error->status;
    return organ_forward_add_all(g, PART_NORM_ATTENDED, g->hidden, projected, g->tokens, error);
}

/* For each score: a dot product over a head, its share of the weighted sum over a head, and an exp. An upper bound
 * for sliding windows. */
static double work_of_tiles(const attention_job *j)
{
    const organ_layer_kind *const kind = j->kind;
    double scores = 0;
    for (size_t k = 0; k < j->tile_count; k++)
        scores += (double)j->tiles[k].queries * (double)(j->tiles[k].query + j->tiles[k].queries);
    return scores * (double)kind->heads * ((double)kind->head_dim + (double)kind->value_dim + ORGAN_SHARE_HARD);
}

static organ_status run_attention(attention_job *j, const float *normed, float *projected, organ_error *error)
{
    const forward_group *g = j->group;
    const organ_engine *engine = g->forward->engine;
    const size_t pieces = organ_pieces_of(g->tokens, TOKENS_AT_ONCE), tasks = j->tile_count * j->kind->heads;
    const double turned = 2 * ORGAN_SHARE_NUMBER * (double)g->tokens * (double)(j->q_width + j->k_width);
    if (project(j, normed, error) || organ_forward_share(engine, pieces, turned, turn_tokens, j, error))
        return error->status;
    if (organ_forward_share(engine, tasks, work_of_tiles(j), attend, j, error))
        return error->status;
    return give_out(j, projected, error);
}

organ_status organ_forward_attention(forward_group *g, organ_error *error)
{
    organ_forward *f = g->forward;
    const organ_forward_config *c = &f->config;
    const organ_layer_kind *const kind = g->layer->kind;
    attention_job j = {.group = g,
                       .kind = kind,
                       .q_width = (size_t)kind->heads * kind->head_dim,
                       .k_width = (size_t)kind->kv_heads * kind->head_dim,
                       .v_width = (size_t)kind->kv_heads * kind->value_dim,
                       .out_width = (size_t)kind->heads * kind->value_dim};
    float *normed = g->room, *projected = normed + g->tokens * c->hidden;
    j.q = projected + g->tokens * c->hidden;
    j.out = j.q + g->tokens * j.q_width;
    j.k = j.out + g->tokens * j.out_width;
    j.v = j.k + g->tokens * j.k_width;
    if (g->before) {
        j.k = g->before->keys;
        j.v = g->before->values;
        j.before = g->before->tokens;
    }
    forward_rotation *rotation = kind->window ? &f->rotation_local : &f->rotation;
    j.rotation = rotation;
    size_t *positions = NULL;
    organ_forward_rotation_begin(rotation);
    if (cut_windows(&j, rotation, &positions, error) == ORGAN_OK &&
        organ_forward_norm_all(g, PART_NORM_ATTENTION, g->hidden, normed, g->tokens, error) == ORGAN_OK)
        run_attention(&j, normed, projected, error);
    free(positions);
    free(j.tiles);
    return error->status;
}
