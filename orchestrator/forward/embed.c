/* SPDX-License-Identifier: MIT
 * The embedding of tokens. */
#include "orchestrator/forward/job.h"

#include <string.h>

static organ_status check_windows(const organ_forward *f, const organ_windows *windows, organ_error *error)
{
    for (size_t w = 0; w < windows->count; w++)
        for (size_t t = windows->begin[w]; t < windows->begin[w + 1]; t++)
            if (windows->tokens[t] >= f->config.vocabulary)
                return organ_fail(error, ORGAN_BAD_INPUT, "%s: token %zu is %lu, beyond a vocabulary of %llu",
                                  f->model->path, t, (unsigned long)windows->tokens[t],
                                  (unsigned long long)f->config.vocabulary);
    return ORGAN_OK;
}

static organ_status embed_all(organ_forward *f, organ_weight_reader *reader, const organ_windows *windows,
                              float *states, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    const size_t floats = organ_forward_rows_scratch(reader) / sizeof(float), tokens = windows->begin[windows->count];
    const forward_rows rows = {.reader = reader,
                               .count = c->vocabulary,
                               .width = (size_t)c->hidden,
                               .stride = (size_t)c->state,
                               .scale = (float)c->embedding_scale};
    float *const scratch = organ_forward_floats(floats * organ_workers_count(f->engine->workers), error);
    if (c->state > c->hidden)
        memset(states, 0, tokens * (size_t)c->state * sizeof *states);
    if (scratch)
        organ_forward_rows_read(f, &rows, windows->tokens, tokens, states, scratch, floats, error);
    for (size_t t = 0; c->embedding_norm && !error->status && t < tokens; t++)
        organ_forward_norm(states + t * c->state, NULL, 0, c->rms_eps, (size_t)c->hidden, states + t * c->state);
    organ_forward_free(scratch);
    return error->status || !c->streams ? error->status : organ_forward_streams_split(f, states, tokens, error);
}

organ_status organ_forward_embed(organ_forward *forward, const organ_windows *windows, float *states,
                                 organ_error *error)
{
    organ_weight_reader *reader = NULL;
    if (check_windows(forward, windows, error) == ORGAN_OK &&
        organ_weight_reader_open(forward->model, forward->embedding, forward->engine->kernels, NULL, &reader, error) ==
            ORGAN_OK)
        embed_all(forward, reader, windows, states, error);
    organ_weight_reader_close(reader);
    return error->status;
}
