/* SPDX-License-Identifier: MIT
 * AltUp (Baykal et al. 2023, as in modeling_gemma3n.py): a token has several hidden states, its streams. A layer
 * predicts each stream from all streams, computes on the prediction of stream 0, and corrects all streams by the change
 * of that prediction. Laurel adds a low-rank path in parallel with the attention. A state begins with the streams in
 * their order. */
#include "formats/base/owned.h"
#include "orchestrator/forward/forward_parts.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows of matrices that have a row for each token id or for each position ---- */

/* Such a matrix (the embedding, per-layer embeddings, learned positions) is never in memory as a whole. */

#define TOKENS_AT_ONCE ((size_t)64) /* tokens of one task */

/* Calls organ_forward_weight_named with the prefix of the text model before `name`. */
static const organ_weight *text_weight(const organ_forward *forward, const char *name, uint64_t rows, uint64_t cols,
                                       organ_error *error)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", forward->prefix, name);
    return organ_forward_weight_named(forward, full, rows, cols, error);
}

/* A task is TOKENS_AT_ONCE tokens. */
typedef struct row_job {
    const forward_rows *rows;
    const uint32_t *tokens;
    size_t count;
    float *to, *scratch;
    size_t scratch_floats; /* of a worker */
    organ_first_fault fault;
} row_job;

static size_t row_bytes_of(const organ_weight_reader *reader)
{
    return organ_to_line((size_t)organ_weight_reader_cols(reader) * sizeof(float));
}

size_t organ_forward_rows_scratch(const organ_weight_reader *reader)
{
    return row_bytes_of(reader) + organ_to_line(organ_weight_reader_scratch(reader, 1));
}

/* Ids beyond the table use row 0. With r->added, the results are added. */
static void embed_read(void *context, size_t index, size_t worker)
{
    row_job *const j = context;
    const forward_rows *const r = j->rows;
    const size_t until = organ_min((index + 1) * TOKENS_AT_ONCE, j->count);
    float *const row = j->scratch + worker * j->scratch_floats;
    float *const scratch = row + row_bytes_of(r->reader) / sizeof(float);
    organ_error error = {0};
    for (size_t t = index * TOKENS_AT_ONCE; t < until; t++) {
        const uint64_t number = j->tokens[t] < r->count ? j->tokens[t] : 0;
        if (organ_weight_read(r->reader, number, 1, ORGAN_F32, row, scratch, &error)) {
            organ_fault_keep(&j->fault, &error);
            return;
        }
        float *const to = j->to + t * r->stride;
        for (size_t k = 0; k < r->width; k++)
            to[k] = row[r->from + k] * r->scale + (r->added ? to[k] : 0);
    }
}

organ_status organ_forward_rows_read(const organ_forward *f, const forward_rows *rows, const uint32_t *tokens,
                                     size_t count, float *to, float *scratch, size_t scratch_floats, organ_error *error)
{
    row_job j = {.rows = rows,
                 .tokens = tokens,
                 .count = count,
                 .to = to,
                 .scratch = scratch,
                 .scratch_floats = scratch_floats,
                 .fault = {error, false}};
    return organ_forward_share(f->engine, organ_pieces_of(count, TOKENS_AT_ONCE), INFINITY, embed_read, &j, error);
}

/* ---- per-layer embeddings ---- */

/* transformers: modeling_gemma4.py and modeling_gemma3n.py, project_per_layer_inputs and the end of the decoder layer.
 * Layer l gets, of each token, p = width numbers:
 *   input = (norm(projection_l(embedding) / sqrt(hidden)) + sqrt(p) table_l[token]) / sqrt(2)
 * where table_l and projection_l are the columns and rows [l p, (l + 1) p) of matrices for all layers, and adds
 *   norm(out(act(gate(x)) * input))
 * to the hidden state. Input and embedding depend only on the token, so each run of a layer computes them again. */

/* The prefix of the text model stands before names in safetensors. `rows` 0 means a vector of `cols` numbers. */
static const organ_weight *find_named(const organ_forward *f, const char *name, const char *gguf, uint64_t rows,
                                      uint64_t cols, organ_error *error)
{
    return f->model->gguf ? organ_forward_weight_named(f, gguf, rows, cols, error)
                          : text_weight(f, name, rows, cols, error);
}

/* Gemma 3n and Gemma 4 have a table with a row of layers x width numbers for each token, a projection of the
 * embedding to the same number of values, and the norm of the projection. */
organ_status organ_forward_per_layer_open(organ_forward *f, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    const organ_kernels *const kernels = f->engine->kernels;
    forward_per_layer *const p = &f->per_layer;
    const uint64_t all = (uint64_t)c->layers * c->per_layer_width;
    if (c->per_layer_width == 0)
        return ORGAN_OK;
    const organ_weight *const table =
        find_named(f, "embed_tokens_per_layer.weight", ORGAN_PER_LAYER_TABLE, c->per_layer_vocabulary, all, error);
    p->weight =
        table ? find_named(f, "per_layer_model_projection.weight", "per_layer_model_proj.weight", all, c->hidden, error)
              : NULL;
    const organ_weight *const norm = p->weight ? find_named(f, "per_layer_projection_norm.weight",
                                                            "per_layer_proj_norm.weight", 0, c->per_layer_width, error)
                                               : NULL;
    if (!norm || !(p->norm = organ_forward_vector(f, norm, error)))
        return error->status;
    p->projection.type = organ_forward_type(p->weight);
    p->projection.weight = p->weight;
    if (organ_weight_reader_open(f->model, table, kernels, NULL, &p->table, error) ||
        organ_weight_reader_open(f->model, f->embedding, kernels, NULL, &p->embedding, error))
        return error->status;
    return organ_weight_reader_open(f->model, p->weight, kernels, NULL, &p->projection.reader, error);
}

void organ_forward_per_layer_close(forward_per_layer *p)
{
    organ_weight_reader_close(p->table);
    organ_weight_reader_close(p->embedding);
    organ_weight_reader_close(p->projection.reader);
    organ_forward_free(p->norm);
}

organ_status organ_forward_per_layer_scratch(const organ_forward *f, size_t *bytes, organ_error *error)
{
    *bytes = 0;
    if (f->config.per_layer_width == 0 || organ_forward_panel_size(f, f->per_layer.weight, bytes, error))
        return error->status;
    *bytes = organ_max(*bytes, organ_max(organ_forward_rows_scratch(f->per_layer.table),
                                         organ_forward_rows_scratch(f->per_layer.embedding)));
    return ORGAN_OK;
}

/* Output and (in streams.c) its source are for at most FORWARD_GROUP tokens. */
size_t organ_forward_per_layer_room(const organ_forward_config *c, size_t tokens)
{
    return c->per_layer_width ? organ_min(tokens, FORWARD_GROUP) * (2 * (size_t)c->per_layer_width + 2 * c->hidden) : 0;
}

/* ---- the input ---- */

/* `table` has the tokens' rows of the per-layer embedding. `inputs` has the projections at first, and then the
 * complete inputs. */
typedef struct input_job {
    const organ_forward *forward;
    const float *table;
    float *inputs;
    size_t tokens;
} input_job;

/* The complete input is (norm(projection / sqrt(hidden)) + row of the table) / sqrt(2). */
static void complete_inputs(void *context, size_t t)
{
    const input_job *const j = context;
    const organ_forward_config *const c = &j->forward->config;
    const size_t width = c->per_layer_width;
    const float scale = (float)(1 / sqrt((double)c->hidden)), half = (float)sqrt(0.5);
    float *const input = j->inputs + t * width;
    const float *const row = j->table + t * width;
    for (size_t k = 0; k < width; k++)
        input[k] *= scale;
    organ_forward_norm(input, j->forward->per_layer.norm, c->norm_adds_one ? 1 : 0, c->rms_eps, width, input);
    for (size_t k = 0; k < width; k++)
        input[k] = (input[k] + row[k]) * half;
}

/* `embedding` and `table` are scratch for the tokens' rows of the embedding and of the per-layer table. */
static organ_status make_inputs(forward_group *g, const uint32_t *tokens, size_t count, float *embedding, float *table,
                                float *inputs, organ_error *error)
{
    const organ_forward *const f = g->forward;
    const organ_forward_config *const c = &f->config;
    const forward_per_layer *const p = &f->per_layer;
    const size_t layer = (size_t)(g->layer->plan - f->plans), width = c->per_layer_width, hidden = (size_t)c->hidden;
    const size_t floats = f->worker_bytes / sizeof(float);
    const forward_rows embeddings = {p->embedding, c->vocabulary, 0, hidden, hidden, (float)c->embedding_scale, false},
                       rows = {p->table, c->per_layer_vocabulary,    layer * width, width,
                               width,    (float)sqrt((double)width), false};
    const forward_linear projection = {.panels = organ_forward_panels(&p->projection, layer * width),
                                       .inputs = p->projection.inputs.round ? &p->projection.inputs : NULL,
                                       .in = hidden,
                                       .out = width};
    input_job j = {f, table, inputs, count};
    if (organ_forward_rows_read(f, &embeddings, tokens, count, embedding, g->scratch, floats, error) ||
        organ_forward_rows_read(f, &rows, tokens, count, table, g->scratch, floats, error) ||
        organ_forward_products_add(&g->products, embedding, &projection, inputs, count, error) ||
        organ_forward_products_run(&g->products, f, g->scratch, error))
        return error->status;
    return organ_forward_tokens(f->engine, count, 3 * ORGAN_SHARE_NUMBER * (double)(count * width), complete_inputs, &j,
                                error);
}

/* out = norm(out(act(gate(x)) * input)), as in the equations at the top. Until the output is computed, `out` is
 * scratch for embeddings. */
organ_status organ_forward_per_layer(forward_group *g, size_t first, size_t tokens, const float *x, float *out,
                                     float *scratch, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t width = c->per_layer_width;
    float *const inputs = scratch, *const gate = inputs + tokens * width;
    if (make_inputs(g, g->windows->tokens + g->first + first, tokens, out, gate, inputs, error) ||
        organ_forward_apply(g, PART_PER_LAYER_GATE, first, tokens, x, gate, width, error) ||
        organ_forward_gate_all(g, /*routed=*/false, gate, inputs, tokens, width, error) ||
        organ_forward_apply(g, PART_PER_LAYER_OUT, first, tokens, gate, out, (size_t)c->hidden, error))
        return error->status;
    return organ_forward_norm_all(g, PART_NORM_PER_LAYER, out, out, tokens, error);
}

#define LEAST_SQUARE 1e-5f /* lower bound on the mean square by whose root scale_stream divides */

/* ---- the matrices at both ends of the model ---- */

/* `part` is PART_STREAMS_MAKE or PART_STREAMS_END, for stream number + 1. A GGUF file has the projections of all
 * streams in one stack, safetensors have a tensor for each. */
static organ_status open_projection(organ_forward *f, forward_part part, unsigned number, forward_source *source,
                                    organ_error *error)
{
    const char *const pattern = organ_forward_part_name(NULL, part, f->model->gguf != NULL, 0);
    const uint64_t hidden = f->config.hidden;
    char name[128];
    size_t panel;
    organ_forward_number_name(pattern, number, name);
    const organ_weight *const weight =
        f->model->gguf ? organ_forward_find_weight(f, pattern, f->config.streams - 1, hidden, hidden, error)
                       : text_weight(f, name, hidden, hidden, error);
    if (!weight || organ_forward_panel_size(f, weight, &panel, error))
        return error->status;
    f->streams.panel = organ_max(f->streams.panel, panel);
    source->type = organ_forward_type(weight);
    source->weight = weight;
    return organ_weight_reader_open(f->model, weight, f->engine->kernels, NULL, &source->reader, error);
}

/* Each of streams 1, 2, ... has two projections (AltUp, arXiv:2301.13310): one computes the stream from the
 * embedding before the first layer, the other maps the stream back after the last layer, before the streams are
 * merged. */
organ_status organ_forward_streams_open(organ_forward *f, organ_error *error)
{
    const unsigned others = f->config.streams ? f->config.streams - 1 : 0;
    if (others == 0)
        return ORGAN_OK;
    if (!(f->streams.ends = calloc((size_t)others * 2, sizeof *f->streams.ends)))
        return organ_fail_memory(error, f->model->path);
    for (unsigned k = 0; k < 2 * others && !error->status; k++)
        open_projection(f, k < others ? PART_STREAMS_MAKE : PART_STREAMS_END, k % others, &f->streams.ends[k], error);
    return error->status;
}

void organ_forward_streams_close(organ_forward *f)
{
    for (unsigned k = 0; f->streams.ends && k < 2 * (f->config.streams - 1); k++)
        organ_weight_reader_close(f->streams.ends[k].reader);
    free(f->streams.ends);
}

/* Rows of x and y are `stride` floats apart. */
static organ_status add_projection(forward_products *products, const organ_forward *f, unsigned end, const float *x,
                                   size_t stride, float *y, size_t tokens, organ_error *error)
{
    const size_t hidden = (size_t)f->config.hidden, row = f->model->gguf ? end % (f->config.streams - 1) * hidden : 0;
    const forward_source *const source = &f->streams.ends[end];
    const forward_linear linear = {.panels = organ_forward_panels(source, row),
                                   .inputs = source->inputs.round ? &source->inputs : NULL,
                                   .in = hidden,
                                   .out = hidden};
    if (organ_forward_products_add(products, x, &linear, y, tokens, error))
        return error->status;
    products->items[products->count - 1].a.stride = products->items[products->count - 1].c_stride = stride;
    return ORGAN_OK;
}

/* Gives the stream the root mean square of stream 0 (`first`). */
static void scale_stream(const float *first, float *stream, size_t n)
{
    const float target = sqrtf(organ_forward_mean_square(first, n)), own = organ_forward_mean_square(stream, n);
    const float factor = target / sqrtf(own < LEAST_SQUARE ? LEAST_SQUARE : own);
    for (size_t k = 0; k < n; k++)
        stream[k] *= factor;
}

typedef struct split_job {
    const organ_forward *forward;
    float *states;
} split_job;

static void split_token(void *context, size_t t, size_t worker)
{
    (void)worker;
    const split_job *const j = context;
    const organ_forward_config *const c = &j->forward->config;
    float *const state = j->states + t * c->state;
    for (unsigned k = 1; k < c->streams; k++)
        scale_stream(state, state + k * c->hidden, (size_t)c->hidden);
}

organ_status organ_forward_streams_split(organ_forward *f, float *states, size_t tokens, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    float *const scratch = organ_forward_scratch(f, error);
    ORGAN_RELEASED_BY(organ_forward_products_release) forward_products products = {0};
    for (size_t first = 0; first < tokens && !error->status; first += FORWARD_GROUP) {
        float *const group_states = states + first * c->state;
        const size_t count = organ_min(FORWARD_GROUP, tokens - first);
        split_job j = {f, group_states};
        for (unsigned k = 1; k < c->streams && !error->status; k++)
            add_projection(&products, f, k - 1, group_states, (size_t)c->state, group_states + k * c->hidden, count,
                           error);
        if (!error->status && organ_forward_products_run(&products, f, scratch, error) == ORGAN_OK)
            organ_forward_share(f->engine, count, 3 * ORGAN_SHARE_NUMBER * (double)(count * c->streams * c->hidden),
                                split_token, &j, error);
    }
    return error->status;
}

organ_status organ_forward_streams_merge(const organ_forward *f, const float *states, const size_t *rows, size_t count,
                                         float *work, void *scratch, float *merged, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    const size_t hidden = (size_t)c->hidden;
    float *const from = work, *const to = from + count * hidden;
    ORGAN_RELEASED_BY(organ_forward_products_release) forward_products products = {0};
    for (size_t t = 0; t < count; t++)
        memcpy(merged + t * hidden, states + rows[t] * c->state, hidden * sizeof *merged);
    for (unsigned k = 1; k < c->streams && !error->status; k++) {
        for (size_t t = 0; t < count; t++)
            memcpy(from + t * hidden, states + rows[t] * c->state + k * hidden, hidden * sizeof *from);
        if (add_projection(&products, f, c->streams - 2 + k, from, hidden, to, count, error) ||
            organ_forward_products_run(&products, f, scratch, error))
            break;
        for (size_t t = 0; t < count; t++) {
            scale_stream(states + rows[t] * c->state, to + t * hidden, hidden);
            for (size_t x = 0; x < hidden; x++)
                merged[t * hidden + x] += to[t * hidden + x];
        }
    }
    for (size_t k = 0; k < count * hidden; k++)
        merged[k] /= (float)c->streams;
    return error->status;
}

/* ---- a layer ---- */

/* A group counts at most FORWARD_GROUP tokens. A token needs its normed input, the product of Laurel's left matrix,
 * and the router's outputs and the coefficients of streams_job. */
size_t organ_forward_streams_room(const organ_forward_config *c, size_t tokens)
{
    const size_t streams = c->streams, together = organ_min(tokens, FORWARD_GROUP);
    return together * ((size_t)c->hidden + c->laurel_rank + streams + streams * streams);
}

typedef struct streams_job {
    forward_group *group;
    size_t first, tokens;
    const float *from; /* hidden states that the router reads, `stride` floats apart */
    size_t stride;
    float *normed;       /* tokens x hidden_size: the input of the router */
    float *coefficients; /* tokens x `width` of route_streams; after tokens x streams^2 floats: router's outputs */
} streams_job;

static organ_status share_streams(streams_job *j, organ_token_task *task, organ_error *error)
{
    const organ_forward_config *const c = &j->group->forward->config;
    return organ_forward_tokens(j->group->forward->engine, j->tokens,
                                ORGAN_SHARE_NUMBER * (double)(j->tokens * c->streams * c->streams * c->hidden), task, j,
                                error);
}

/* The input of the router of streams (AltUp, Gemma 3n) is the RMSNorm of the hidden state, divided by hidden_size. */
static void norm_inputs(void *context, size_t t)
{
    const streams_job *const j = context;
    const organ_forward_config *const c = &j->group->forward->config;
    const float *const weights = organ_forward_values(j->group->layer, PART_NORM_STREAMS);
    const size_t hidden = (size_t)c->hidden;
    float *const normed = j->normed + t * hidden;
    organ_forward_norm(j->from + t * j->stride, weights, 0, c->rms_eps, hidden, normed);
    for (size_t k = 0; k < hidden; k++)
        normed[k] /= (float)hidden;
}

/* coefficients = part(tanh(router(norm(from) / hidden_size))), `width` numbers for each token. */
static organ_status route_streams(streams_job *j, forward_part part, size_t width, organ_error *error)
{
    forward_group *const g = j->group;
    const size_t streams = g->forward->config.streams;
    float *const routed = j->coefficients + j->tokens * streams * streams;
    if (share_streams(j, norm_inputs, error) ||
        organ_forward_apply(g, PART_STREAMS_ROUTER, j->first, j->tokens, j->normed, routed, streams, error))
        return error->status;
    g->forward->engine->kernels->softcap(routed, j->tokens * streams, 1);
    return organ_forward_apply(g, part, j->first, j->tokens, routed, j->coefficients, width, error);
}

/* prediction_m = stream_m + sum over n of coefficient_mn stream_n. */
static void predict_tokens(void *context, size_t t)
{
    const streams_job *const j = context;
    const organ_forward_config *const c = &j->group->forward->config;
    const size_t hidden = (size_t)c->hidden, streams = c->streams;
    const float *const by = j->coefficients + t * streams * streams;
    float *const state = j->group->states + (j->first + t) * c->state;
    for (size_t x = 0; x < hidden; x++) {
        float old[16]; /* the readers of the configuration allow at most 16 streams */
        for (size_t n = 0; n < streams; n++)
            old[n] = state[n * hidden + x];
        for (size_t m = 0; m < streams; m++) {
            float sum = 0;
            for (size_t n = 0; n < streams; n++)
                sum += old[n] * by[m * streams + n];
            state[m * hidden + x] = sum + old[m];
        }
    }
    memcpy(j->group->hidden + (j->first + t) * hidden, state, hidden * sizeof *state);
}

static streams_job streams_job_of(forward_group *g, size_t first)
{
    const size_t tokens = organ_min(FORWARD_GROUP, g->tokens - first), hidden = (size_t)g->forward->config.hidden;
    return (streams_job){
        .group = g, .first = first, .tokens = tokens, .normed = g->room, .coefficients = g->room + tokens * hidden};
}

/* Computes the coefficients `part` of each token, `width` numbers, from the hidden states `from`, then calls the task.
 */
static organ_status route_and_share(forward_group *g, const float *from, size_t stride, forward_part part, size_t width,
                                    organ_token_task *task, organ_error *error)
{
    for (size_t first = 0; first < g->tokens && !error->status; first += FORWARD_GROUP) {
        streams_job j = streams_job_of(g, first);
        j.from = from + first * stride;
        j.stride = stride;
        if (route_streams(&j, part, width, error) == ORGAN_OK)
            share_streams(&j, task, error);
    }
    return error->status;
}

organ_status organ_forward_streams_predict(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    return route_and_share(g, g->states, (size_t)c->state, PART_STREAMS_PREDICT, (size_t)c->streams * c->streams,
                           predict_tokens, error);
}

/* stream_m = prediction_m + (hidden - prediction_0) x (1 + coefficient_m) for each stream m, where `hidden` is the
 * layer's result. */
static void correct_tokens(void *context, size_t t)
{
    const streams_job *const j = context;
    const organ_forward_config *const c = &j->group->forward->config;
    const size_t hidden = (size_t)c->hidden, streams = c->streams;
    const float *const by = j->coefficients + t * streams, *const after = j->from + t * hidden;
    float *const state = j->group->states + (j->first + t) * c->state;
    for (size_t x = 0; x < hidden; x++) {
        const float change = after[x] - state[x];
        for (size_t m = 0; m < streams; m++)
            state[m * hidden + x] += change * (by[m] + 1);
    }
}

organ_status organ_forward_streams_correct(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    return route_and_share(g, g->hidden, (size_t)c->hidden, PART_STREAMS_CORRECT, c->streams, correct_tokens, error);
}

/* ---- per-layer embeddings of streams ---- */

/* Copies stream 0 of token t to j->normed, multiplied by the weights PART_STREAMS_SCALE if the layer has them. */
static void scale_first(void *context, size_t t)
{
    const streams_job *const j = context;
    const organ_forward_config *const c = &j->group->forward->config;
    const float *const by = organ_forward_values(j->group->layer, PART_STREAMS_SCALE);
    const size_t hidden = (size_t)c->hidden;
    for (size_t x = 0; x < hidden; x++) {
        const float value = j->from[t * c->state + x];
        j->normed[t * hidden + x] = by ? value * by[x] : value;
    }
}

static void add_to_others(void *context, size_t t)
{
    const streams_job *const j = context;
    const organ_forward_config *const c = &j->group->forward->config;
    const size_t hidden = (size_t)c->hidden;
    for (size_t m = 1; m < c->streams; m++)
        for (size_t x = 0; x < hidden; x++)
            j->group->states[(j->first + t) * c->state + m * hidden + x] += j->coefficients[t * hidden + x];
}

organ_status organ_forward_streams_per_layer(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    for (size_t first = 0; first < g->tokens && !error->status; first += FORWARD_GROUP) {
        streams_job j = streams_job_of(g, first);
        float *const scratch = j.coefficients + j.tokens * c->hidden;
        j.from = g->states + first * c->state;
        if (share_streams(&j, scale_first, error) == ORGAN_OK &&
            organ_forward_per_layer(g, first, j.tokens, j.normed, j.coefficients, scratch, error) == ORGAN_OK)
            share_streams(&j, add_to_others, error);
    }
    return error->status;
}

/* ---- Laurel ---- */

/* laurel = n + norm(right(left(n))), where n is the norm of the hidden state, and left and right are a low-rank pair
 * of linear layers (LAuReL, arXiv:2411.07501). */
organ_status organ_forward_laurel(forward_group *g, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t hidden = (size_t)c->hidden;
    for (size_t first = 0; first < g->tokens && !error->status; first += FORWARD_GROUP) {
        const size_t tokens = organ_min(FORWARD_GROUP, g->tokens - first);
        float *const normed = g->laurel + first * hidden, *const right = g->room, *const left = right + tokens * hidden;
        if (organ_forward_norm_all(g, PART_NORM_ATTENTION, g->hidden + first * hidden, normed, tokens, error) ||
            organ_forward_apply(g, PART_LAUREL_LEFT, first, tokens, normed, left, c->laurel_rank, error) ||
            organ_forward_apply(g, PART_LAUREL_RIGHT, first, tokens, left, right, hidden, error) ||
            organ_forward_norm_all(g, PART_NORM_LAUREL, right, right, tokens, error))
            return error->status;
        organ_forward_combine(g, normed, right, tokens, /*scale=*/1, error);
    }
    return error->status;
}

/* hidden = (hidden + laurel) / sqrt(2), as modeling_gemma3n.py does after the attention. */
organ_status organ_forward_laurel_add(forward_group *g, organ_error *error)
{
    return organ_forward_combine(g, g->hidden, g->laurel, g->tokens, sqrtf(0.5f), error);
}
