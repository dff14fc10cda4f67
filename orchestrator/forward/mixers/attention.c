/* SPDX-License-Identifier: MIT
 * Attention of a group of windows. A tile of queries is multiplied with keys in blocks, with an online softmax
 * (Milakov and Gimelshein 2018) that carries maximum and sum from block to block. So memory does not grow with the
 * number of keys. */
#include "orchestrator/forward/mixers.h"
#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* k and v have a row for each cached token, then one for each token of the group. */
typedef struct attention_job {
    forward_group *group;
    const organ_layer_kind *kind;
    const forward_rotation *rotation;
    /* q and `out`, the outputs of the heads, have a row for each token of the group */
    float *q, *k, *v, *out;
    size_t q_width, k_width, v_width, out_width; /* floats of a token in q, k, v and out */
    size_t kv_heads, key_dim, value_dim;         /* heads of k and v, and their widths; with latent attention 1 head */
    size_t cached_tokens;    /* tokens in the KV cache, which come before the group's only window; 0 without a cache */
    float *room;             /* scratch: fused projections, or that of organ_forward_latent_project */
    float *factors;          /* by which the q of each token of the group is multiplied; NULL: none */
    forward_index index;     /* of sparse attention */
    const float *index_keys; /* keys of the indexer, a row for each row of k */
    forward_blocks blocks;   /* of block-sparse attention */
    bool shared;             /* k and v are those of an earlier layer */
    const size_t *position;  /* for each token of the group, its row in the rotation tables */
    attention_tile *tiles;
    size_t tile_count;
    size_t tapped; /* head whose sums of latent vectors are copied to `room` for a tap; SIZE_MAX: none */
} attention_job;

typedef struct attention_head {
    const float *q, *k, *v;      /* the first query of the tile; key and value of the first token of the window */
    const float *sink;           /* score of the head's attention sink; NULL: the layer has no sinks */
    size_t number;               /* of the head in the layer, for ALiBi */
    float *out;                  /* the output for the first query */
    size_t q_stride, out_stride; /* floats from one query, or output, to the next */
} attention_head;

/* Floats of a worker's scratch for a tile: FORWARD_QUERIES x FORWARD_KEYS scores of a block of keys, then the sum of
 * the softmax of each query, then the largest score of each query. With latent attention, the mapped queries and the
 * sums of a head follow. ORGAN_PRODUCT_SCRATCH bytes for products precede all of these. */
#define SCRATCH_FLOATS (FORWARD_QUERIES * (FORWARD_KEYS + 2))

size_t organ_forward_attention_scratch(const organ_forward_config *c)
{
    return (SCRATCH_FLOATS + organ_forward_latent_scratch(&c->latent)) * sizeof(float);
}

size_t organ_forward_keys_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    return kind->latent ? (size_t)c->latent.rank + c->latent.rotated : (size_t)kind->kv_heads * kind->head_dim;
}

/* With latent attention the rows of k are also the values. */
size_t organ_forward_values_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    if (kind->mixer == ORGAN_MIXER_COMPRESSED)
        return organ_forward_compressed_row(c, kind);
    const size_t of_index = kind->indexed ? c->latent.index_dim : 0;
    return kind->latent ? of_index : (size_t)kind->kv_heads * kind->value_dim;
}

/* Returns the floats of a token for its queries, whose memory the gates of the output reuse. */
static size_t queries_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const bool wide = c->gate != ORGAN_UNGATED && !c->gate_in_q && !c->gate_heads;
    return (size_t)kind->heads * organ_max(kind->head_dim, wide ? kind->value_dim : 0);
}

/* A token needs q, the output, k and v, and `room` for latent vectors, a fused projection or q with gates. */
size_t organ_forward_attention_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    const size_t heads = queries_width(c, kind) + (size_t)kind->heads * kind->value_dim;
    const size_t latent = kind->latent ? organ_forward_latent_room(&c->latent, 1) : 0;
    const size_t keys = organ_forward_keys_width(c, kind) + organ_forward_values_width(c, kind);
    const size_t fused = c->fused != ORGAN_FUSED_NONE ? (size_t)kind->heads * kind->head_dim + keys : 0;
    const size_t gated = c->gate_in_q ? 2 * (size_t)kind->heads * kind->head_dim : 0,
                 index = organ_forward_index_width(c, kind) * ((size_t)c->blocks.heads + 1);
    return heads + keys + latent + fused + gated + index;
}

/* ---- norms and rotation of heads ---- */

/* Normalises each head, or with ORGAN_QK_NORM_ALL all heads as one vector. If the plan has head_norms, each head has
 * weights of its own. With qk_norm_bare there are no weights, and only rotated layers are normalised. */
static void norm_heads(const attention_job *j, float *heads, size_t count, forward_part part)
{
    const organ_forward_config *c = &j->group->forward->config;
    const organ_layer *const layer = j->group->layer;
    const forward_view *const own = layer->plan->head_norms;
    const size_t dim = j->kind->head_dim, width = c->qk_norm == ORGAN_QK_NORM_ALL ? count * dim : dim;
    const bool bare = c->qk_norm_bare && c->qk_norm != ORGAN_QK_NORM_NONE && j->kind->rotated;
    forward_norm norm = {c->norm, organ_forward_values(layer, part), organ_forward_values(layer, organ_norm_bias(part)),
                         c->norm_adds_one ? 1 : 0, c->rms_eps};
    for (size_t at = 0; (norm.weights || own || bare) && at < count * dim; at += width) {
        if (own)
            norm.weights = organ_forward_view_values(layer, own[at / dim + (part == PART_NORM_K ? j->kind->heads : 0)]);
        organ_forward_norm_by(&norm, heads + at, width, heads + at);
    }
}

/* Values are normalised, limited to +-clip_qkv, and rotated, in this order (OLMoE). With qk_norm_last the norm comes
 * after the rotation. `norm` is PART_NORM_Q or PART_NORM_K. */
static void norm_and_rotate_heads(const attention_job *j, float *heads, size_t count, size_t token, forward_part norm)
{
    const bool last = j->group->forward->config.qk_norm_last;
    if (!last)
        norm_heads(j, heads, count, norm);
    organ_forward_clip((float)j->group->forward->config.clip_qkv, heads, count * j->kind->head_dim);
    for (size_t h = 0; h < count && j->kind->rotated; h++)
        organ_forward_rotate(j->rotation, j->position[token], j->group->forward->config.rope_neighbours,
                             heads + h * j->kind->head_dim);
    if (last)
        norm_heads(j, heads, count, norm);
}

static void norm_values(const attention_job *j, float *heads)
{
    const organ_forward_config *c = &j->group->forward->config;
    const size_t dim = j->kind->value_dim;
    for (size_t h = 0; c->value_norm && h < j->kind->kv_heads; h++)
        organ_forward_norm(heads + h * dim, NULL, 0, c->rms_eps, dim, heads + h * dim);
}

static void scale_values(float factor, float *values, size_t n)
{
    for (size_t k = 0; factor != 1 && k < n; k++)
        values[k] *= factor;
}

/* If the layer has no projection for v (value_is_key), v is a copy of k. If later layers use k and v (shared_at),
 * both are copied to the token's state, where these layers read them if there is no KV cache. */
static void complete_keys_and_values(const attention_job *j, size_t t)
{
    const organ_forward_config *const c = &j->group->forward->config;
    float *const k = j->k + (j->cached_tokens + t) * j->k_width, *const v = j->v + (j->cached_tokens + t) * j->v_width;
    scale_values(c->multipliers.key, k, j->k_width);
    scale_values(c->value_scale != 0 ? (float)c->value_scale : 1, v, j->v_width);
    if (j->kind->value_is_key)
        memcpy(v, k, j->v_width * sizeof *v);
    norm_values(j, v);
    norm_and_rotate_heads(j, k, j->kind->kv_heads, t, PART_NORM_K);
    organ_forward_round_cached(j->group->forward, j->kind, k, v);
    if (j->kind->shared_at) {
        float *const state = j->group->states + t * j->group->forward->config.state + j->kind->shared_at;
        memcpy(state, k, j->k_width * sizeof *k);
        memcpy(state + j->k_width, v, j->v_width * sizeof *v);
    }
}

/* The projection has `groups` groups of heads; each group has its q, then its k, then its v. In ORGAN_FUSED_QUARTERS
 * v comes before k. */
static void split_fused_qkv(const attention_job *j, const float *from, float *q, float *k, float *v)
{
    const organ_fused fused = j->group->forward->config.fused;
    const bool quarters = fused == ORGAN_FUSED_QUARTERS;
    const size_t of_heads = fused == ORGAN_FUSED_HEADS ? j->kind->kv_heads : 1, groups = quarters ? 4 : of_heads;
    const struct {
        float *to;
        size_t width;
    } parts[3] = {{q, j->q_width / groups},
                  {quarters ? v : k, (quarters ? j->v_width : j->k_width) / groups},
                  {quarters ? k : v, (quarters ? j->k_width : j->v_width) / groups}};
    for (size_t g = 0; g < groups; g++)
        for (unsigned p = 0; p < 3; from += parts[p++].width)
            memcpy(parts[p].to + g * parts[p].width, from, parts[p].width * sizeof *from);
}

/* `both` has, for each head of a token, its q and then its gate. The gates of all heads move to the beginning of
 * `both`. */
static void split_gates(const attention_job *j, float *both, float *q)
{
    const size_t dim = j->kind->head_dim;
    for (size_t h = 0; h < j->kind->heads; h++) {
        memcpy(q + h * dim, both + 2 * h * dim, dim * sizeof *q);
        memmove(both + h * dim, both + (2 * h + 1) * dim, dim * sizeof *q);
    }
}

/* The results of separate projections are in place already. */
static void split_token(const attention_job *j, size_t t, float *q, float *k, float *v)
{
    const organ_forward_config *c = &j->group->forward->config;
    if (c->fused != ORGAN_FUSED_NONE)
        split_fused_qkv(j, j->room + t * (j->q_width + j->k_width + j->v_width), q, k, v);
    if (c->gate_in_q)
        split_gates(j, j->room + t * 2 * j->q_width, q);
    organ_forward_clip((float)c->clip_qkv, v, j->v_width);
}

static void split_and_rotate_task(void *context, size_t t)
{
    const attention_job *j = context;
    split_token(j, t, j->q + t * j->q_width, j->k + (j->cached_tokens + t) * j->k_width,
                j->v + (j->cached_tokens + t) * j->v_width);
    norm_and_rotate_heads(j, j->q + t * j->q_width, j->kind->heads, t, PART_NORM_Q);
    for (size_t x = 0; j->factors && x < j->q_width; x++)
        j->q[t * j->q_width + x] *= j->factors[t];
    if (!j->shared)
        complete_keys_and_values(j, t);
}

/* ---- scores ---- */

/* The first key is 0, or that of the sliding window or of the chunk, whichever is later. */
static size_t first_key(const organ_layer_kind *kind, size_t at)
{
    const size_t window = kind->window ? kind->window : SIZE_MAX;
    const size_t from = at >= window ? at - window + 1 : 0;
    return kind->chunk ? organ_max(from, at / kind->chunk * kind->chunk) : from;
}

/* Scores become numerators of the softmax. Query `at` attends to keys first_key .. at, with sparse attention only to
 * the chosen ones; the numerators of all other keys become 0. Adds the biases of ALiBi to the scores first.
 * `scratch` is that of the tile (SCRATCH_FLOATS). */
static void attention_weigh(const attention_job *j, const attention_tile *t, size_t first, size_t keys, float *scratch,
                            const attention_head *head)
{
    const organ_forward_config *c = &j->group->forward->config;
    const forward_softmax softmax = {j->group->forward->engine->kernels, (float)c->attention_scale,
                                     (float)c->attention_softcap, j->value_dim};
    float *const sums = scratch + FORWARD_QUERIES * FORWARD_KEYS, *const tops = sums + FORWARD_QUERIES;
    for (size_t i = 0; i < t->queries; i++) {
        const size_t at = t->query + i, from = first_key(j->kind, at), token = t->first + at - j->cached_tokens;
        const uint32_t *const chosen = j->index.chosen ? j->index.chosen + token * j->index.words : NULL;
        /* the query attends to keys first + [lo, hi) of this block */
        size_t lo = from > first ? organ_min(from - first, keys) : 0,
               hi = at >= first ? organ_min(at + 1 - first, keys) : 0;
        if (chosen && !organ_forward_index_mask(chosen, first, hi, scratch + i * FORWARD_KEYS))
            lo = hi = 0;
        if (j->blocks.scores && !organ_forward_blocks_mask(j->group, &j->blocks, token, head->number, first, hi,
                                                           scratch + i * FORWARD_KEYS))
            lo = hi = 0;
        if (c->alibi_max > 0 && lo < hi)
            organ_forward_alibi(c, head->number, at, first + lo, scratch + i * FORWARD_KEYS + lo, hi - lo);
        organ_forward_softmax_block(&softmax, scratch + i * FORWARD_KEYS, lo, lo < hi ? hi : lo, keys, &tops[i],
                                    &sums[i], head->out + i * head->out_stride);
    }
}

/* `scratch` is that of the tile (SCRATCH_FLOATS). */
static void attend_block(const attention_job *j, const attention_tile *t, size_t first, size_t keys, float *scratch,
                         const attention_head *head)
{
    const organ_engine *const engine = j->group->forward->engine;
    /* the terms of `split` do not exist for transposed factors */
    const organ_compute compute = engine->compute == ORGAN_COMPUTE_BF16 ? ORGAN_COMPUTE_BF16 : ORGAN_COMPUTE_EXACT;
    void *const packed = scratch - ORGAN_PRODUCT_SCRATCH / sizeof(float);
    const float *const k = head->k + first * j->k_width, *const v = head->v + first * j->v_width;
    const organ_product scores = {.m = t->queries,
                                  .n = keys,
                                  .k = j->key_dim,
                                  .a = {.values = head->q, .type = ORGAN_REAL_F32, .stride = head->q_stride},
                                  .b = {.values = k, .type = ORGAN_REAL_F32, .stride = j->k_width},
                                  .c = scratch,
                                  .c_stride = FORWARD_KEYS,
                                  .compute = compute};
    const organ_product sums = {.m = t->queries,
                                .n = j->value_dim,
                                .k = keys,
                                .a = {.values = scratch, .type = ORGAN_REAL_F32, .stride = FORWARD_KEYS},
                                .b = {.values = v, .type = ORGAN_REAL_F32, .transposed = true, .stride = j->v_width},
                                .c = head->out,
                                .c_stride = head->out_stride,
                                .into = ORGAN_PRODUCT_ADD,
                                .compute = compute};
    organ_product_run(engine, &scores, packed);
    attention_weigh(j, t, first, keys, scratch, head);
    organ_product_run(engine, &sums, packed);
}

/* Attends to the keys of a head for a tile of queries. `scratch` is that of the tile: its sums and largest scores
 * follow the scores of a block. */
static void attend_head(const attention_job *j, const attention_tile *t, const attention_head *head, float *scratch)
{
    const size_t lo = first_key(j->kind, t->query), until = t->query + t->queries;
    float *const out = head->out, *const sums = scratch + FORWARD_QUERIES * FORWARD_KEYS;
    for (size_t i = 0; i < t->queries; i++) {
        memset(out + i * head->out_stride, 0, j->value_dim * sizeof *out);
        /* A sink is a score that is not scaled and has no value: its numerator is e^0 = 1 while it is the maximum. */
        sums[i] = head->sink ? 1 : 0;
        sums[FORWARD_QUERIES + i] = head->sink ? *head->sink : -INFINITY;
    }
    for (size_t first = lo, end; first < until; first = end) {
        end = organ_min(first / FORWARD_KEYS * FORWARD_KEYS + FORWARD_KEYS, until);
        attend_block(j, t, first, end - first, scratch, head);
    }
    for (size_t i = 0; i < t->queries; i++)
        for (size_t x = 0; x < j->value_dim; x++)
            out[i * head->out_stride + x] = out[i * head->out_stride + x] / sums[i];
}

/* Maps q to queries for the latent vectors, which are keys and values of all heads; attends to them; and maps the
 * weighted sums of latent vectors to values of the head. Mapped queries and sums are in the worker's scratch. */
static void attend_latent(const attention_job *j, const attention_tile *t, size_t number, attention_head head,
                          float *scratch)
{
    void *const packing = scratch - ORGAN_PRODUCT_SCRATCH / sizeof(float);
    float *const q = scratch + SCRATCH_FLOATS, *const sums = q + FORWARD_QUERIES * j->key_dim;
    organ_forward_latent_query(j->group, number, head.q, t->queries, q, packing);
    const attention_head latent = {.q = q,
                                   .k = head.k,
                                   .v = head.k,
                                   .sink = head.sink,
                                   .out = sums,
                                   .q_stride = j->key_dim,
                                   .out_stride = j->value_dim};
    attend_head(j, t, &latent, scratch);
    if (j->tapped == number)
        memcpy(j->room + (t->first + t->query - j->cached_tokens) * j->value_dim, sums,
               t->queries * j->value_dim * sizeof *sums);
    organ_forward_latent_value(j->group, number, sums, t->queries, head.out, packing);
}

/* Task `index` is head index % heads of tile index / heads. */
static void attend_task(void *context, size_t index, size_t worker)
{
    const attention_job *j = context;
    const organ_layer_kind *const kind = j->kind;
    const attention_tile *t = &j->tiles[index / kind->heads];
    const size_t number = index % kind->heads, kv_head = number / (kind->heads / j->kv_heads);
    const size_t token = t->first + t->query - j->cached_tokens;
    const float *const sinks = organ_forward_values(j->group->layer, PART_SINKS);
    const attention_head head = {.q = j->q + token * j->q_width + number * kind->head_dim,
                                 .k = j->k + t->first * j->k_width + kv_head * j->key_dim,
                                 .v = j->v + t->first * j->v_width + kv_head * j->value_dim,
                                 .out = j->out + token * j->out_width + number * kind->value_dim,
                                 .sink = sinks ? &sinks[number] : NULL,
                                 .number = number,
                                 .q_stride = j->q_width,
                                 .out_stride = j->out_width};
    if (kind->latent)
        attend_latent(j, t, number, head, organ_forward_mixer_scratch_of(j->group, worker));
    else
        attend_head(j, t, &head, organ_forward_mixer_scratch_of(j->group, worker));
}

/* ---- a group ---- */

/* *positions are rows in the rotation tables; j->factors (NULL without factors) are those of q. Tiles are cut from
 * the windows of the group. The caller frees the three lists, also after an error. */
static organ_status place_tokens_and_tiles(attention_job *j, forward_rotation *rotation, size_t **positions,
                                           organ_error *error)
{
    const forward_group *g = j->group;
    const organ_forward_config *const c = &g->forward->config;
    const bool scaled = c->query_scale.beta != 0 && !(c->query_scale.unrotated && j->kind->rotated);
    size_t row;
    *positions = malloc(g->tokens * sizeof **positions);
    /* each window has at most one tile with fewer than FORWARD_QUERIES queries */
    j->tiles = malloc((g->tokens / FORWARD_QUERIES + (g->until - g->window)) * sizeof *j->tiles);
    if (scaled)
        j->factors = malloc(g->tokens * sizeof *j->factors);
    if (!*positions || !j->tiles || (scaled && !j->factors))
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu tokens", g->tokens);
    for (size_t w = g->window; w < g->until; w++) {
        const size_t first = g->windows->begin[w] - g->first, tokens = g->windows->begin[w + 1] - g->windows->begin[w];
        if (organ_forward_rotation_reach(rotation, j->cached_tokens + tokens, &row, error) != ORGAN_OK)
            return error->status;
        for (size_t t = 0; t < tokens; t++)
            (*positions)[first + t] = row + j->cached_tokens + t;
        for (size_t t = 0; t < tokens && scaled; t++)
            j->factors[first + t] = organ_forward_query_factor(c, j->kind, j->cached_tokens + t);
        for (size_t t = 0; t < tokens; t += FORWARD_QUERIES)
            j->tiles[j->tile_count++] =
                (attention_tile){first, j->cached_tokens + t, organ_min(FORWARD_QUERIES, tokens - t)};
    }
    j->position = *positions;
    return ORGAN_OK;
}

/* If q, k and v are parts of one tensor, their biases are the same parts of one bias, PART_BIAS_Q. */
static const float *bias_of(const organ_layer *layer, unsigned p)
{
    const forward_view q = layer->plan->parts[PART_Q], own = layer->plan->parts[PART_Q + p];
    const bool fused = own.slot == q.slot;
    const float *const bias = organ_forward_values(layer, (forward_part)(PART_BIAS_Q + (fused ? 0 : p)));
    return bias && fused ? bias + own.row : bias;
}

/* Skips k and v of an earlier layer (shared). If q, k and v are in one tensor, passes their input to the
 * calibration's callback (organ_tap) once. */
static organ_status project_qkv(attention_job *j, const float *normed, organ_error *error)
{
    forward_group *g = j->group;
    static const forward_part parts[3] = {PART_Q, PART_K, PART_V};
    const bool gated = g->forward->config.gate_in_q;
    float *const to[3] = {gated ? j->room : j->q, j->k + j->cached_tokens * j->k_width,
                          j->v + j->cached_tokens * j->v_width};
    const size_t widths[3] = {gated ? 2 * j->q_width : j->q_width, j->k_width, j->v_width};
    size_t tapped = SIZE_MAX; /* slot whose input was passed to the tap last */
    const bool fused = g->forward->config.fused != ORGAN_FUSED_NONE;
    if (fused && organ_forward_add_linear(g, PART_Q, organ_forward_values(g->layer, PART_BIAS_Q), normed, j->room,
                                          widths[0] + widths[1] + widths[2], error))
        return error->status;
    for (size_t p = 0; p < 3 && !fused; p++) {
        const forward_view view = g->layer->plan->parts[parts[p]];
        if (view.slot == SIZE_MAX) /* k and v of an earlier layer, or v from the projection of k */
            continue;
        forward_linear linear = organ_forward_linear_of(g->layer, view, widths[p]);
        linear.bias = bias_of(g->layer, (unsigned)p);
        if (view.slot != tapped && organ_forward_tap(g, view, g->first, g->tokens, linear.in, normed, error))
            return error->status;
        tapped = view.slot;
        if (organ_forward_products_add(&g->products, normed, &linear, to[p], g->tokens, error))
            return error->status;
    }
    const double turned = 2 * ORGAN_SHARE_NUMBER * (double)g->tokens * (double)(j->q_width + j->k_width);
    if (organ_forward_products_run(&g->products, g->forward, g->scratch, error))
        return error->status;
    if (organ_forward_tokens(g->forward->engine, g->tokens, turned, split_and_rotate_task, j, error) || j->shared)
        return error->status;
    return organ_forward_tap_cache(g, to[1], to[2], error);
}

/* In sparse attention, a layer with an indexer chooses the keys to which each token attends, and stores the choice
 * in the tokens' states if later layers share it. A layer without an indexer takes the choice from the states. */
static organ_status choose_keys_of(attention_job *j, organ_error *error)
{
    const organ_forward_config *const c = &j->group->forward->config;
    const size_t max = c->latent.keys;
    for (size_t k = 0; j->index.chosen && k < j->tile_count && !error->status; k++) {
        const attention_tile *const t = &j->tiles[k];
        const size_t first = t->first + t->query - j->cached_tokens;
        if (j->kind->indexed)
            organ_forward_index_choose(j->group, &j->index, j->index_keys + t->first * c->latent.index_dim, first,
                                       t->query, t->queries, error);
        for (size_t token = first; c->latent.index_shared && token < first + t->queries; token++) {
            float *const state = j->group->states + token * c->state + organ_forward_streams_floats(c);
            if (j->kind->indexed)
                organ_forward_index_keep(&j->index, token, state, max);
            else
                organ_forward_index_take(&j->index, token, state, max);
        }
    }
    return error->status;
}

static organ_status project_latent(attention_job *j, const float *normed, organ_error *error)
{
    const forward_latent latent = {j->rotation, j->position, j->factors, j->q, j->k + j->cached_tokens * j->k_width};
    return organ_forward_latent_project(j->group, &latent, &j->index, normed, j->room, error)
               ? error->status
               : choose_keys_of(j, error);
}

static organ_status project_output(const attention_job *j, float *projected, organ_error *error)
{
    forward_group *g = j->group;
    if (organ_forward_norm_inner(g, PART_NORM_GIVEN, j->out, g->tokens, j->out_width, error))
        return error->status;
    return organ_forward_run_linear(g, PART_O, organ_forward_values(g->layer, PART_BIAS_O), j->out, projected,
                                    (size_t)g->forward->config.hidden, error);
}

/* Each score costs a dot product over key_dim, a term of the weighted sum over value_dim, and an exp. All keys up to
 * the end of a tile count, so with sliding windows the result is an upper bound. */
static double work_of_tiles(const attention_job *j)
{
    double scores = 0;
    for (size_t k = 0; k < j->tile_count; k++)
        scores += (double)j->tiles[k].queries * (double)(j->tiles[k].query + j->tiles[k].queries);
    return scores * (double)j->kind->heads * ((double)j->key_dim + (double)j->value_dim + ORGAN_SHARE_HARD);
}

static void attend_tapped(void *context, size_t tile, size_t worker)
{
    const attention_job *const j = context;
    attend_task(context, tile * j->kind->heads + j->tapped, worker);
}

/* With a tap, one head after the other attends: its sums take the room of the projections, which are complete. */
static organ_status attend_all(attention_job *j, organ_error *error)
{
    const organ_engine *const engine = j->group->forward->engine;
    const organ_head_tap *const tap = j->kind->latent ? j->group->layer->heads : NULL;
    const size_t heads = j->kind->heads;
    ORGAN_IN_PHASE(ORGAN_PHASE_ATTENTION_SCORES);
    j->tapped = SIZE_MAX;
    if (!tap)
        return organ_forward_share(engine, j->tile_count * heads, work_of_tiles(j), attend_task, j, error);
    for (j->tapped = 0; j->tapped < heads && !error->status; j->tapped++)
        if (organ_forward_share(engine, j->tile_count, work_of_tiles(j) / (double)heads, attend_tapped, j, error) ==
            ORGAN_OK)
            tap->inputs(tap->context, /*of_values=*/true, (unsigned)j->tapped, j->group->tokens, j->value_dim, j->room,
                        j->value_dim, error);
    return error->status;
}

static organ_status run_attention(attention_job *j, const float *normed, float *projected, organ_error *error)
{
    if (j->kind->latent ? project_latent(j, normed, error) : project_qkv(j, normed, error))
        return error->status;
    j->blocks.position = j->position;
    if (j->kind->indexed && j->group->forward->config.blocks.size &&
        organ_forward_blocks_choose(j->group, &j->blocks, normed, j->tiles, j->tile_count, error))
        return error->status;
    if (attend_all(j, error))
        return error->status;
    /* The gates reuse the memory of q, which is no longer needed. */
    float *const gates = j->group->forward->config.gate_in_q ? j->room : j->q;
    if (organ_forward_gate_output(j->group, normed, j->out, gates, error))
        return error->status;
    return project_output(j, projected, error);
}

/* Returns the length of the longest window of the group. */
static size_t longest_window(const attention_job *j)
{
    const forward_group *const g = j->group;
    size_t total = 0;
    for (size_t w = g->window; w < g->until; w++)
        total = organ_max(total, j->cached_tokens + g->windows->begin[w + 1] - g->windows->begin[w]);
    return total;
}

/* The arrays are in j->room, after the latent vectors of queries; keys are in v. If no window has more than
 * index_topk tokens, all keys are attended to, and scores and chosen keys stay unset. */
static void place_index(attention_job *j)
{
    const forward_group *const g = j->group;
    const organ_latent_config *const c = &g->forward->config.latent;
    const size_t total = longest_window(j);
    j->index.q = j->room + g->tokens * organ_max(c->q_rank, c->rank);
    j->index.weights = j->index.q + g->tokens * c->index_heads * c->index_dim;
    j->index.keys = j->v + j->cached_tokens * j->v_width;
    j->index_keys = j->v;
    if (organ_forward_index_room(&g->forward->config, g->tokens, total) == 0)
        return;
    j->index.words = organ_forward_index_words(total);
    j->index.scores = j->room + organ_forward_latent_room(c, g->tokens);
    j->index.chosen = (uint32_t *)(void *)(j->index.scores + organ_min(g->tokens, FORWARD_QUERIES) * total);
}

/* The keys and values are in the KV cache if there is one, else in the tokens' states if an earlier layer has computed
 * them, else where `j` has them already, in scratch. */
static void place_keys(attention_job *j)
{
    const organ_forward_config *const c = &j->group->forward->config;
    const forward_group *const g = j->group;
    if (g->before) {
        j->k = g->before->keys;
        j->v = g->before->values;
        j->cached_tokens = g->before->tokens;
    } else if (j->shared) {
        j->k = g->states + j->kind->shared_at;
        j->v = j->k + j->k_width;
        j->k_width = j->v_width = (size_t)c->state;
    }
    place_index(j);
    if (j->kind->indexed && g->forward->config.blocks.size)
        organ_forward_blocks_place(g, j->room, longest_window(j), &j->blocks);
    if (j->kind->latent) { /* MLA: a row is the key, and its first `rank` floats are the value */
        j->v_width = j->key_dim = j->k_width;
        j->value_dim = c->latent.rank;
        j->kv_heads = 1;
    }
}

organ_status organ_forward_attention(forward_group *g, const float *normed, float *out, float *scratch,
                                     organ_error *error)
{
    organ_forward *f = g->forward;
    const organ_forward_config *c = &f->config;
    const organ_layer_kind *const kind = g->layer->kind;
    attention_job j = {.group = g,
                       .kind = kind,
                       .shared = kind->shares_with != (size_t)(kind - c->kinds),
                       .q_width = (size_t)kind->heads * kind->head_dim,
                       .k_width = organ_forward_keys_width(c, kind),
                       .v_width = organ_forward_values_width(c, kind),
                       .out_width = (size_t)kind->heads * kind->value_dim,
                       .kv_heads = kind->kv_heads,
                       .key_dim = kind->head_dim,
                       .value_dim = kind->value_dim};
    j.q = scratch;
    j.out = j.q + g->tokens * queries_width(c, kind);
    j.k = j.out + g->tokens * j.out_width;
    j.v = j.k + g->tokens * j.k_width;
    j.room = j.v + g->tokens * j.v_width;
    place_keys(&j);
    forward_rotation *rotation = kind->window ? &f->rotation_local : &f->rotation;
    j.rotation = j.blocks.rotation = rotation;
    size_t *positions = NULL;
    organ_forward_rotation_begin(rotation);
    if (place_tokens_and_tiles(&j, rotation, &positions, error) == ORGAN_OK)
        run_attention(&j, normed, out, error);
    ORGAN_FREE_ARRAYS(positions, j.factors, j.tiles);
    return error->status;
}
