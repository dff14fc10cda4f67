/* SPDX-License-Identifier: MIT
 * The embedding of tokens, their learned positions, and the norm of both. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

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
                               .scale = added ? 1 : (float)c->embedding_scale,
                               .added = added};
    float *const scratch = organ_forward_floats(floats * organ_workers_count(f->engine->workers), error);
    if (scratch)
        organ_forward_rows_read(f, &rows, numbers, tokens, states, scratch, floats, error);
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
    uint32_t *const numbers = malloc((tokens + 1) * sizeof *numbers);
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
        read_states(f, f->positions, true, numbers, tokens, states, error);
    free(numbers);
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
    if (read_states(f, f->embedding, false, windows->tokens, tokens, states, error) ||
        (c->positions && add_positions(f, windows, before, states, error)) ||
        ((c->embedding_norm || f->embedding_norm) && norm_embeddings(f, tokens, states, error)))
        return error->status;
    return c->streams ? organ_forward_streams_split(f, states, tokens, error) : ORGAN_OK;
}

organ_status organ_forward_embed(organ_forward *forward, const organ_windows *windows, float *states,
                                 organ_error *error)
{
    return organ_forward_embed_after(forward, windows, 0, states, error);
}
