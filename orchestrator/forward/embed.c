/* SPDX-License-Identifier: MIT
 * The embedding of tokens, their learned positions, and the norm of both. */
#include "orchestrator/forward/connections.h"
#include "orchestrator/forward/forward_parts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_AT_ONCE ((size_t)32) /* tokens of one task of add_waves */

organ_status organ_forward_check_window(const organ_forward *f, size_t tokens, organ_error *error)
{
    if (f->config.positions && tokens > f->config.positions)
        return organ_fail(error, ORGAN_USAGE, "%s: a window of %zu tokens exceeds the %" PRIu64 " learned positions",
                          f->model->path, tokens, f->config.positions);
    return ORGAN_OK;
}

organ_status organ_forward_check_tokens(const organ_forward *f, const uint32_t *tokens, size_t count,
                                        organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    for (size_t t = 0; t < count; t++)
        if (tokens[t] >= f->config.vocabulary)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: token %zu is %" PRIu32 ", outside the vocabulary of %" PRIu64
                              ": the tokenizer is not that of the model",
                              f->model->path, t, tokens[t], f->config.vocabulary);
    return ORGAN_OK;
}

static organ_status check_windows(const organ_forward *f, const organ_windows *windows, size_t before,
                                  organ_error *error)
{
    for (size_t w = 0; w < windows->count; w++)
        if (organ_forward_check_window(f, before + windows->begin[w + 1] - windows->begin[w], error))
            return error->status;
    return organ_forward_check_tokens(f, windows->tokens, windows->begin[windows->count], error);
}

void organ_forward_change_embeddings(organ_forward *f, organ_change_row *change, void *context)
{
    f->change_row = change;
    f->change_context = context;
}

static void change_embedding(const organ_forward *f, float *state)
{
    const size_t width = (size_t)f->config.hidden;
    f->change_row(f->change_context, state, width);
    for (size_t k = 0; k < width; k++)
        state[k] *= (float)f->config.embedding_scale;
}

/* With `added`, a row is added to the hidden state (a position); without it, the row times embedding_scale becomes
 * the hidden state (an embedding). */
static organ_status read_states(organ_forward *f, const organ_weight *weight, bool added, const uint32_t *numbers,
                                size_t tokens, float *states, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    organ_weight_reader *reader = NULL;
    if (organ_weight_reader_open(f->model, weight, f->engine->kernels, NULL, &reader, error))
        return error->status;
    const size_t floats = organ_forward_rows_scratch(reader) / sizeof(float);
    const forward_rows rows = {.reader = reader,
                               .count = weight->shape[0],
                               .width = (size_t)c->hidden,
                               .stride = (size_t)c->state,
                               .scale = added || f->change_row ? 1 : (float)c->embedding_scale,
                               .added = added};
    float *const scratch = organ_forward_floats(floats * organ_workers_count(f->engine->workers), error);
    if (scratch)
        organ_forward_rows_read(f, &rows, numbers, tokens, states, scratch, floats, error);
    for (size_t t = 0; t < tokens && !added && f->change_row && !error->status; t++)
        change_embedding(f, states + t * (size_t)c->state);
    organ_forward_free(scratch);
    organ_weight_reader_close(reader);
    return error->status;
}

typedef struct wave_job {
    const organ_forward_config *config;
    const uint32_t *numbers; /* rows of the table, one for each token */
    float *states;
    size_t tokens;
} wave_job;

/* Adds sin(p f) to number k of the first half of a state and cos(p f) to number k of the second, with p = numbers[t]
 * and f = 10000^(-k / (half - 1)). Skips tokens with p = position_padding. Frequencies and angles are rounded to
 * FP32 like those of the training code. */
static void add_waves(void *context, size_t index, size_t worker)
{
    (void)worker;
    const wave_job *const j = context;
    const size_t half = (size_t)j->config->hidden / 2, until = organ_min((index + 1) * TOKENS_AT_ONCE, j->tokens);
    const float step = (float)(-log(10000) / (double)(half - 1));
    for (size_t k = 0; k < half; k++) {
        const float frequency = (float)exp((double)((float)k * step));
        for (size_t t = index * TOKENS_AT_ONCE; t < until; t++) {
            const float angle = (float)j->numbers[t] * frequency;
            float *const state = j->states + t * (size_t)j->config->state;
            if (j->numbers[t] == j->config->position_padding)
                continue;
            state[k] += sinf(angle);
            state[half + k] += cosf(angle);
        }
    }
}

/* The first token of each window has position `before`. */
static organ_status add_positions(organ_forward *f, const organ_windows *windows, size_t before, float *states,
                                  organ_error *error)
{
    const size_t tokens = windows->begin[windows->count];
    ORGAN_OWNED uint32_t *const numbers = malloc((tokens + 1) * sizeof *numbers);
    if (!numbers)
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %zu positions", tokens);
    for (size_t w = 0; w < windows->count; w++)
        for (size_t t = windows->begin[w]; t < windows->begin[w + 1]; t++)
            numbers[t] = (uint32_t)(before + t - windows->begin[w]) + f->config.position_offset;
    wave_job j = {&f->config, numbers, states, tokens};
    if (f->config.sinusoidal)
        organ_forward_share(f->engine, organ_pieces_of(tokens, TOKENS_AT_ONCE),
                            ORGAN_SHARE_HARD * (double)tokens * (double)f->config.hidden, add_waves, &j, error);
    else
        read_states(f, f->positions, /*added=*/true, numbers, tokens, states, error);
    return error->status;
}

typedef struct norm_job {
    forward_norm norm;
    float *states;
    size_t tokens, width, stride;
} norm_job;

static void norm_states(void *context, size_t t)
{
    const norm_job *const j = context;
    organ_forward_norm_by(&j->norm, j->states + t * j->stride, j->width, j->states + t * j->stride);
}

static organ_status norm_embeddings(organ_forward *f, size_t tokens, float *states, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    norm_job j = {.norm = {c->norm, f->embedding_norm, f->embedding_norm_biases, 0, c->rms_eps},
                  .states = states,
                  .tokens = tokens,
                  .width = (size_t)c->hidden,
                  .stride = (size_t)c->state};
    return organ_forward_tokens(f->engine, tokens, 2 * ORGAN_SHARE_NUMBER * (double)tokens * (double)c->hidden,
                                norm_states, &j, error);
}

organ_status organ_forward_embed_after(organ_forward *f, const organ_windows *windows, size_t before, float *states,
                                       organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    const size_t tokens = windows->begin[windows->count];
    if (check_windows(f, windows, before, error))
        return error->status;
    if (c->state > c->hidden)
        memset(states, 0, tokens * (size_t)c->state * sizeof *states);
    if (read_states(f, f->embedding, /*added=*/false, windows->tokens, tokens, states, error) ||
        (c->positions && add_positions(f, windows, before, states, error)) ||
        ((c->embedding_norm || f->embedding_norm) && norm_embeddings(f, tokens, states, error)))
        return error->status;
    if (c->connections.streams)
        organ_forward_connections_split(f, states, tokens);
    return c->streams ? organ_forward_streams_split(f, states, tokens, error) : ORGAN_OK;
}

organ_status organ_forward_embed(organ_forward *forward, const organ_windows *windows, float *states,
                                 organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return organ_forward_embed_after(forward, windows, 0, states, error);
}

/* ---- the output head ---- */

/* Unless a caller has loaded it, its matrix is never in memory as a whole: products read panels of rows. */

#define MIN_TOKENS ((size_t)64) /* least number of tokens whose logits are computed in one pass over the head */

/* The forward pass owns the weights. */
organ_final_norm organ_forward_final_norm(const organ_forward *f)
{
    return (organ_final_norm){f->norm ? f->norm->codes : NULL, f->norm_values, f->config.norm_adds_one ? 1 : 0,
                              f->norm_biases != NULL};
}

void organ_forward_final(const organ_forward *f, const float *hidden, size_t tokens, float *normed)
{
    const size_t width = (size_t)f->config.hidden;
    const forward_norm norm = {f->config.norm, f->norm_values, f->norm_biases, f->config.norm_adds_one ? 1 : 0,
                               f->config.rms_eps};
    if (f->config.last_norm_missing)
        memcpy(normed, hidden, tokens * width * sizeof *normed);
    for (size_t t = 0; t < tokens && !f->config.last_norm_missing; t++)
        organ_forward_norm_by(&norm, hidden + t * width, width, normed + t * width);
    for (size_t k = 0; f->config.head_scale != 1 && k < tokens * width; k++)
        normed[k] *= (float)f->config.head_scale;
}

typedef struct head_matrix {
    forward_source source; /* without a reader if the matrix is in memory */
    forward_linear linear;
} head_matrix;

typedef struct head_job {
    organ_forward *forward;
    head_matrix head, head_beside; /* the latter if beside->matrix is another */
    forward_products products;
    float *normed, *logits;            /* of the tokens in this pass, then of their inputs beside */
    const organ_head_beside *beside;   /* NULL: none */
    size_t besides[ORGAN_HEAD_TOKENS]; /* for each token of this pass, the row of its input beside; SIZE_MAX: none */
    float *room;                       /* with AltUp: scratch for merging the streams of these tokens; else NULL */
    const organ_weight *matrix;        /* that of the head; NULL: the model's */
    bool normed_states;                /* the head reads the given states without a further norm */
    const organ_head_rows *other;      /* another matrix than the model's; NULL: none */
    void *other_scratch;               /* with `other`: scratch of the workers, other_bytes for each */
    size_t other_bytes;
    void *scratch, *context;
    void (*each)(void *context, size_t k, float *logits);
    size_t first, tokens; /* the range of this pass in the caller's rows */
} head_job;

/* Floats from the logits of a token to those of the next: an odd number of lines, because lines that are a multiple of
 * 4 KiB apart replace each other in the cache. */
static size_t logits_stride(const organ_forward *f) { return (((size_t)f->config.vocabulary + 15) / 16 | 1) * 16; }

/* Returns the logits of a row, scaled and capped as the model states. */
static float *finished_logits(const head_job *j, size_t row)
{
    const organ_forward_config *const c = &j->forward->config;
    float *const logits = j->logits + row * logits_stride(j->forward);
    for (size_t w = 0; c->logit_scale != 1 && w < (size_t)c->vocabulary; w++)
        logits[w] *= (float)c->logit_scale;
    if (c->final_softcap > 0)
        j->forward->engine->kernels->softcap(logits, (size_t)c->vocabulary, (float)c->final_softcap);
    return logits;
}

static void pass_logits_row(void *context, size_t index, size_t worker)
{
    (void)worker;
    const head_job *const j = context;
    float *const logits = finished_logits(j, index);
    if (!j->beside) {
        j->each(j->context, j->first + index, logits);
        return;
    }
    float *const beside = j->besides[index] == SIZE_MAX ? NULL : finished_logits(j, j->besides[index]);
    j->beside->each(j->context, j->first + index, logits, beside);
}

/* The logits fit in a quarter of `memory`, for at least MIN_TOKENS and at most ORGAN_HEAD_TOKENS tokens. */
size_t organ_forward_head_rows(const organ_forward *f, uint64_t memory)
{
    const uint64_t fit = memory / 4 / (logits_stride(f) * sizeof(float));
    return fit < MIN_TOKENS ? MIN_TOKENS : organ_min((size_t)fit, ORGAN_HEAD_TOKENS);
}

/* A token needs its normed hidden state and logits, and in models with streams two more hidden states for merging
 * the streams. */
uint64_t organ_forward_head_bytes(const organ_forward *f, size_t rows)
{
    const uint64_t width = f->config.streams ? 3 * f->config.hidden : f->config.hidden;
    return rows * (width + logits_stride(f)) * (uint64_t)sizeof(float);
}

static organ_status make_other_rows(const void *source, size_t first, size_t count, void *values, void *scratch,
                                    organ_error *error)
{
    const organ_head_rows *const other = source;
    (void)scratch;
    other->make(other->source, first, count, values);
    return error->status;
}

/* Panels of another matrix are FP32, for which the scratch of the forward pass may have no room. */
static organ_status run_head_products(head_job *j, organ_error *error)
{
    const organ_engine *const engine = j->forward->engine;
    if (!j->other)
        return organ_forward_products_run(&j->products, j->forward, j->scratch, error);
    organ_panel_products_run(engine, engine->stop, j->products.items, j->products.panels, j->products.count,
                             j->other_scratch, j->other_bytes, error);
    j->products.count = 0;
    return error->status;
}

/* rows[k] is the index of token k in `hidden`. */
static organ_status norm_tokens(const head_job *j, const float *hidden, const size_t *rows, organ_error *error)
{
    const organ_forward *f = j->forward;
    const size_t width = (size_t)f->config.hidden;
    for (size_t k = 0; j->normed_states && k < j->tokens; k++)
        memcpy(j->normed + k * width, hidden + rows[k] * width, width * sizeof *hidden);
    if (j->normed_states)
        return ORGAN_OK;
    if (f->config.streams &&
        organ_forward_streams_merge(f, hidden, rows, j->tokens, j->room, j->scratch, j->normed, error))
        return error->status;
    if (f->config.connections.streams && organ_forward_connections_merge(f, hidden, rows, j->tokens, j->normed, error))
        return error->status;
    const bool merged = f->config.streams || f->config.connections.streams;
    for (size_t k = 0; k < j->tokens; k++)
        organ_forward_final(f, merged ? j->normed + k * width : hidden + rows[k] * f->config.state, 1,
                            j->normed + k * width);
    return error->status;
}

/* Copies the inputs beside to rows after those of the tokens; returns their number. */
static size_t place_besides(head_job *j)
{
    const size_t width = (size_t)j->forward->config.hidden;
    size_t row = j->tokens;
    for (size_t k = 0; k < j->tokens; k++) {
        const size_t place = j->beside->places[j->first + k];
        j->besides[k] = place == SIZE_MAX ? SIZE_MAX : row;
        if (place != SIZE_MAX)
            memcpy(j->normed + row++ * width, j->beside->inputs + place * width, width * sizeof *j->normed);
    }
    return row - j->tokens;
}

/* Adds the products of `count` inputs from row `row` on to the list. */
static organ_status add_rows(head_job *j, const head_matrix *matrix, size_t row, size_t count, organ_error *error)
{
    const size_t width = (size_t)j->forward->config.hidden, stride = logits_stride(j->forward);
    if (error->status == ORGAN_OK && organ_forward_products_add(&j->products, j->normed + row * width, &matrix->linear,
                                                                j->logits + row * stride, count, error) == ORGAN_OK)
        j->products.items[j->products.count - 1].c_stride = stride;
    return error->status;
}

static organ_status compute_logits(head_job *j, const float *hidden, const size_t *rows, organ_error *error)
{
    const organ_forward *const f = j->forward;
    size_t beside = 0;
    if (norm_tokens(j, hidden, rows, error))
        return error->status;
    if (j->beside)
        beside = place_besides(j);
    const bool apart = j->beside && j->beside->matrix;
    add_rows(j, &j->head, 0, apart ? j->tokens : j->tokens + beside, error);
    if (apart && beside)
        add_rows(j, &j->head_beside, j->tokens, beside, error);
    if (error->status || run_head_products(j, error))
        return error->status;
    const double work = ORGAN_SHARE_HARD * (double)(j->tokens + beside) * (double)f->config.vocabulary;
    return organ_forward_share(f->engine, j->tokens, work, pass_logits_row, j, error);
}

/* The matrix becomes panels of rows that the products read from the file. `weight` NULL: the model's head. */
static organ_status open_matrix(const organ_forward *f, const organ_weight *weight, head_matrix *matrix,
                                organ_error *error)
{
    const bool own = !weight || weight == f->output;
    const organ_weight *const output = own ? f->output : weight;
    matrix->source.type = organ_forward_type(output);
    matrix->linear = (forward_linear){.panels = organ_forward_panels(&matrix->source, 0),
                                      .inputs = f->head.slots[0].inputs.round && own ? &f->head.slots[0].inputs : NULL,
                                      .in = (size_t)f->config.hidden,
                                      .out = (size_t)f->config.vocabulary,
                                      .bias = own ? f->head_biases : NULL};
    return organ_weight_reader_open(f->model, output, f->engine->kernels, NULL, &matrix->source.reader, error);
}

/* `held` is the loaded output head, or NULL. */
static organ_status open_head(head_job *j, const organ_layer *held, organ_error *error)
{
    const organ_forward *const f = j->forward;
    const size_t words = (size_t)f->config.vocabulary, width = (size_t)f->config.hidden;
    if (j->other) {
        j->other_bytes = organ_to_line(ORGAN_PRODUCT_SCRATCH) + organ_panel_bytes(width, ORGAN_REAL_F32);
        j->other_scratch = aligned_alloc(64, organ_workers_count(f->engine->workers) * j->other_bytes);
        j->head.linear =
            (forward_linear){.panels = {.make = make_other_rows, .source = j->other, .type = ORGAN_REAL_F32},
                             .in = width,
                             .out = words,
                             .bias = f->head_biases};
        return j->other_scratch ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "panels of an output head");
    }
    if (held) {
        j->head.linear = organ_forward_linear_of(held, (forward_view){0, 0}, words);
        j->head.linear.bias = f->head_biases;
        return ORGAN_OK;
    }
    if (open_matrix(f, j->matrix, &j->head, error) == ORGAN_OK && j->beside && j->beside->matrix)
        open_matrix(f, j->beside->matrix, &j->head_beside, error);
    return error->status;
}

/* Returns the number of tokens in a pass; those beside need as many rows again. */
static size_t pass_tokens(const head_job *j, size_t count)
{
    const size_t rows = organ_forward_head_rows(j->forward, organ_engine_memory(j->forward->engine));
    return organ_min(count, j->beside ? organ_min(ORGAN_HEAD_TOKENS, (rows + j->beside->rows) / 2) : rows);
}

static organ_status pass_logits(head_job *j, const organ_layer *held, const float *hidden, const size_t *rows,
                                size_t count, organ_error *error)
{
    organ_forward *const forward = j->forward;
    ORGAN_IN_PHASE(ORGAN_PHASE_HEAD);
    const size_t together = pass_tokens(j, count), most = j->beside ? 2 * together : together;
    if (count == 0)
        return ORGAN_OK;
    j->normed = organ_forward_floats(most * (size_t)forward->config.hidden, error);
    j->logits = organ_forward_floats(most * logits_stride(forward), error);
    if (forward->config.streams)
        j->room = organ_forward_floats(2 * together * (size_t)forward->config.hidden, error);
    j->scratch = organ_forward_scratch(forward, error);
    if (!error->status)
        open_head(j, held, error);
    for (; j->first < count && error->status == ORGAN_OK; j->first += together) {
        j->tokens = organ_min(together, count - j->first);
        compute_logits(j, hidden, rows + j->first, error);
    }
    organ_weight_reader_close(j->head.source.reader);
    organ_weight_reader_close(j->head_beside.source.reader);
    organ_forward_products_release(&j->products);
    organ_forward_free(j->normed);
    organ_forward_free(j->room);
    organ_forward_free(j->logits);
    free(j->other_scratch);
    return error->status;
}

organ_status organ_forward_logits_by(organ_forward *forward, const organ_layer *held, const float *hidden,
                                     const size_t *rows, size_t count, void *context,
                                     void (*each)(void *context, size_t k, float *logits), organ_error *error)
{
    head_job j = {.forward = forward, .context = context, .each = each};
    return pass_logits(&j, held, hidden, rows, count, error);
}

organ_status organ_forward_logits_with(organ_forward *forward, const organ_head_rows *head, const float *hidden,
                                       const size_t *rows, size_t count, void *context,
                                       void (*each)(void *context, size_t k, float *logits), organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    head_job j = {.forward = forward, .context = context, .each = each, .other = head};
    return pass_logits(&j, /*held=*/NULL, hidden, rows, count, error);
}

organ_status organ_forward_logits_beside(organ_forward *forward, const organ_head_beside *beside, const float *hidden,
                                         const size_t *rows, size_t count, void *context, organ_error *error)
{
    head_job j = {.forward = forward, .context = context, .beside = beside};
    return pass_logits(&j, /*held=*/NULL, hidden, rows, count, error);
}

organ_status organ_forward_logits_of(organ_forward *forward, const organ_weight *matrix, const float *inputs,
                                     const size_t *rows, size_t count, void *context,
                                     void (*each)(void *context, size_t k, float *logits), organ_error *error)
{
    head_job j = {.forward = forward, .context = context, .each = each, .matrix = matrix, .normed_states = true};
    return pass_logits(&j, /*held=*/NULL, inputs, rows, count, error);
}

organ_status organ_forward_tap_head(organ_forward *forward, const float *hidden, size_t tokens, const organ_tap *tap,
                                    organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const size_t width = (size_t)forward->config.hidden;
    size_t rows[ORGAN_HEAD_TOKENS];
    head_job j = {.forward = forward, .normed = organ_forward_floats(ORGAN_HEAD_TOKENS * width, error)};
    if (forward->config.streams)
        j.room = organ_forward_floats(2 * ORGAN_HEAD_TOKENS * width, error);
    j.scratch = organ_forward_scratch(forward, error);
    for (; j.first < tokens && !error->status; j.first += j.tokens) {
        j.tokens = organ_min(ORGAN_HEAD_TOKENS, tokens - j.first);
        for (size_t k = 0; k < j.tokens; k++)
            rows[k] = j.first + k;
        if (norm_tokens(&j, hidden, rows, error) == ORGAN_OK)
            tap->inputs(tap->context, forward->output->name, j.first, j.tokens, width, j.normed, error);
    }
    organ_forward_free(j.normed);
    organ_forward_free(j.room);
    return error->status;
}

organ_status organ_forward_logits(organ_forward *forward, const float *hidden, const size_t *rows, size_t count,
                                  void *context, void (*each)(void *context, size_t k, float *logits),
                                  organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return organ_forward_logits_by(forward, NULL, hidden, rows, count, context, each, error);
}
