/* SPDX-License-Identifier: MIT
 * The output head. Unless a caller has loaded it, its matrix is never in memory as a whole: products read panels of
 * rows. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

#include <string.h>

/* Least and greatest number of tokens whose logits are computed in one pass over the head. */
#define MIN_TOKENS  ((size_t)64)
#define HEAD_TOKENS ((size_t)128)

/* ---- output head ---- */

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
}

typedef struct head_job {
    organ_forward *forward;
    forward_source source; /* without a reader if the head is in memory */
    forward_linear head;
    forward_products products;
    float *normed, *logits; /* of the tokens in this pass */
    float *room;            /* with AltUp: scratch for merging the streams of these tokens; else NULL */
    void *scratch, *context;
    void (*each)(void *context, size_t k, float *logits);
    size_t first, tokens; /* the range of this pass in the caller's rows */
} head_job;

static void pass_logits_row(void *context, size_t index, size_t worker)
{
    (void)worker;
    const head_job *const j = context;
    const organ_forward_config *c = &j->forward->config;
    float *logits = j->logits + index * c->vocabulary;
    for (size_t w = 0; c->logit_scale != 1 && w < (size_t)c->vocabulary; w++)
        logits[w] *= (float)c->logit_scale;
    if (c->final_softcap > 0)
        j->forward->engine->kernels->softcap(logits, (size_t)c->vocabulary, (float)c->final_softcap);
    j->each(j->context, j->first + index, logits);
}

/* The logits fit in a quarter of `memory`, for at least MIN_TOKENS and at most HEAD_TOKENS tokens. */
size_t organ_forward_head_rows(const organ_forward *f, uint64_t memory)
{
    const uint64_t fit = memory / 4 / (f->config.vocabulary * sizeof(float));
    return fit < MIN_TOKENS ? MIN_TOKENS : organ_min((size_t)fit, HEAD_TOKENS);
}

/* A token needs its normed hidden state and logits, and in models with streams two more hidden states for merging
 * the streams. */
uint64_t organ_forward_head_bytes(const organ_forward *f, size_t rows)
{
    const uint64_t width = f->config.streams ? 3 * f->config.hidden : f->config.hidden;
    return rows * (width + f->config.vocabulary) * (uint64_t)sizeof(float);
}

/* rows[k] is the index of token k in `hidden`. */
static organ_status compute_logits(head_job *j, const float *hidden, const size_t *rows, organ_error *error)
{
    const organ_forward *f = j->forward;
    const size_t width = (size_t)f->config.hidden;
    if (f->config.streams &&
        organ_forward_streams_merge(f, hidden, rows, j->tokens, j->room, j->scratch, j->normed, error))
        return error->status;
    for (size_t k = 0; k < j->tokens; k++)
        organ_forward_final(f, f->config.streams ? j->normed + k * width : hidden + rows[k] * f->config.state, 1,
                            j->normed + k * width);
    if (organ_forward_products_add(&j->products, j->normed, &j->head, j->logits, j->tokens, error) ||
        organ_forward_products_run(&j->products, f, j->scratch, error))
        return error->status;
    const double work = ORGAN_SHARE_HARD * (double)j->tokens * (double)f->config.vocabulary;
    return organ_forward_share(f->engine, j->tokens, work, pass_logits_row, j, error);
}

/* `held` is the loaded output head. If it is NULL, j->head becomes panels of rows that the products read from the
 * file. */
static organ_status open_head(head_job *j, const organ_layer *held, organ_error *error)
{
    const organ_forward *const f = j->forward;
    const size_t words = (size_t)f->config.vocabulary;
    if (held) {
        j->head = organ_forward_linear_of(held, (forward_view){0, 0}, words);
        j->head.bias = f->head_biases;
        return ORGAN_OK;
    }
    j->source.type = organ_forward_type(f->output);
    j->head = (forward_linear){.panels = organ_forward_panels(&j->source, 0),
                               .in = (size_t)f->config.hidden,
                               .out = words,
                               .bias = f->head_biases};
    return organ_weight_reader_open(f->model, f->output, f->engine->kernels, NULL, &j->source.reader, error);
}

organ_status organ_forward_logits_by(organ_forward *forward, const organ_layer *held, const float *hidden,
                                     const size_t *rows, size_t count, void *context,
                                     void (*each)(void *context, size_t k, float *logits), organ_error *error)
{
    const size_t together = organ_min(count, organ_forward_head_rows(forward, forward->engine->memory));
    if (count == 0)
        return ORGAN_OK;
    head_job j = {.forward = forward, .context = context, .each = each};
    j.normed = organ_forward_floats(together * (size_t)forward->config.hidden, error);
    j.logits = organ_forward_floats(together * (size_t)forward->config.vocabulary, error);
    if (forward->config.streams)
        j.room = organ_forward_floats(2 * together * (size_t)forward->config.hidden, error);
    j.scratch = organ_forward_scratch(forward, error);
    if (!error->status)
        open_head(&j, held, error);
    for (; j.first < count && error->status == ORGAN_OK; j.first += together) {
        j.tokens = organ_min(together, count - j.first);
        compute_logits(&j, hidden, rows + j.first, error);
    }
    organ_weight_reader_close(j.source.reader);
    organ_forward_products_release(&j.products);
    organ_forward_free(j.normed);
    organ_forward_free(j.room);
    organ_forward_free(j.logits);
    return error->status;
}

organ_status organ_forward_logits(organ_forward *forward, const float *hidden, const size_t *rows, size_t count,
                                  void *context, void (*each)(void *context, size_t k, float *logits),
                                  organ_error *error)
{
    return organ_forward_logits_by(forward, NULL, hidden, rows, count, context, each, error);
}
