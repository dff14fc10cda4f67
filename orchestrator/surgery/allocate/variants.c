/* SPDX-License-Identifier: MIT
 * Runs variants through the layers after their changed layer, and compares their logits with the donor's. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "orchestrator/machine/buffers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TILE ((size_t)128) /* tokens whose donor logits are in memory together */

/* Estimate for a plan: the exponentials and the comparison of one logit take as long as this many operations. */
#define LOGIT 150.0

struct organ_variants {
    organ_forward *forward;
    const organ_engine *engine;
    const organ_windows *windows;
    size_t tokens;               /* tokens of all windows */
    size_t width;                /* floats of a token's hidden state */
    size_t vocabulary;           /* logits of a token */
    size_t max_variants;         /* greatest number of variants in `states` */
    size_t held;                 /* number of variants in `states` whose divergence is not computed yet */
    int32_t reached;             /* the current layer: `donor` has its inputs */
    int32_t next;                /* layer through which the held variants run next */
    const organ_head_rows *head; /* output head of the compared streams; NULL: that of the model */
    float *donor, *last;         /* the donor's hidden states before the current layer, and after the last layer */
    float *states;               /* states of the variants after their current layer, max_variants x tokens x width */
    double **results;            /* for each variant in `states`, the address where its divergence will be stored */
    float *logits;               /* the donor's logits of a tile */
    size_t first, count;         /* the tile in `logits`: its first token and number of tokens; 0 tokens: none yet */
    double *sums;                /* log-sum-exp of the donor's logits of each token of the tile */
    size_t *rows;  /* indices of tokens in `states` whose logits are computed: those of a tile, of all variants */
    double *found; /* found[k]: divergence at token rows[k] */
    double times;  /* factor of a variant's logits (organ_variants_scale) */
    organ_buffers buffers;
};

static size_t variants_floats_of(const organ_variants *v) { return v->tokens * v->width; }

static organ_variants variants_of(const organ_forward *forward, size_t tokens, size_t together)
{
    const organ_forward_config *const c = organ_forward_describe(forward);
    return (organ_variants){
        .tokens = tokens, .width = (size_t)c->state, .vocabulary = (size_t)c->vocabulary, .max_variants = together};
}

static void lay_out(void *context, organ_buffers *b)
{
    organ_variants *const v = context;
    v->donor = organ_take(b, v->tokens, v->width * sizeof *v->donor);
    v->last = organ_take(b, v->tokens, v->width * sizeof *v->last);
    v->states = organ_take(b, v->max_variants, variants_floats_of(v) * sizeof *v->states);
    v->results = organ_take_zeros(b, v->max_variants, sizeof *v->results);
    v->logits = organ_take(b, TILE, v->vocabulary * sizeof *v->logits);
    v->sums = organ_take(b, TILE, sizeof *v->sums);
    v->rows = organ_take(b, v->max_variants, TILE * sizeof *v->rows);
    v->found = organ_take(b, v->max_variants, TILE * sizeof *v->found);
}

uint64_t organ_variants_memory(const organ_forward *forward, size_t tokens, size_t together)
{
    organ_variants v = variants_of(forward, tokens, together);
    return organ_buffers_count(lay_out, &v) + organ_forward_layer_bytes(forward);
}

/* ---- creation ---- */

static organ_status variants_stopped(const organ_variants *v, organ_error *error)
{
    return organ_stop_is_requested(v->engine->stop)
               ? organ_fail(error, ORGAN_INTERRUPTED, "stopped while measuring divergences")
               : ORGAN_OK;
}

static organ_status run_streams_through_layers(organ_variants *v, int32_t from, int32_t to, float *states,
                                               size_t streams, organ_error *error)
{
    for (int32_t l = from; l < to && !error->status; l++) {
        organ_layer *layer = NULL;
        if (variants_stopped(v, error) || organ_layer_load(v->forward, l, &layer, error))
            return error->status;
        for (size_t k = 0; k < streams && !error->status; k++)
            organ_layer_run(v->forward, layer, v->windows, states + k * variants_floats_of(v), /*tap=*/NULL, error);
        organ_layer_free(layer);
    }
    return error->status;
}

organ_status organ_variants_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                 size_t together, organ_variants **variants, organ_error *error)
{
    const organ_forward_config *const c = organ_forward_describe(forward);
    organ_variants begun = variants_of(forward, windows->begin[windows->count], together);
    organ_variants *const v = *variants = organ_take(&begun.buffers, 1, sizeof *v);
    if (!v)
        return organ_fail_errno(error, ENOMEM, "divergences of variants");
    *v = begun;
    v->forward = forward;
    v->engine = engine;
    v->windows = windows;
    v->times = 1;
    if (!organ_buffers_take(&v->buffers, lay_out, v))
        organ_fail_errno(error, ENOMEM, "hidden states of %zu variants of %zu tokens", together, v->tokens);
    else if (organ_forward_embed(forward, windows, v->donor, error) == ORGAN_OK) {
        memcpy(v->last, v->donor, variants_floats_of(v) * sizeof *v->last);
        run_streams_through_layers(v, 0, (int32_t)c->layers, v->last, /*streams=*/1, error);
    }
    if (error->status) {
        organ_variants_close(v);
        *variants = NULL;
    }
    return error->status;
}

void organ_variants_close(organ_variants *v)
{
    if (!v)
        return;
    organ_buffers_release(&v->buffers);
}

/* ---- divergences ---- */

/* organ_forward_logits calls this for token k of the tile. */
static void store_donor_logits(void *context, size_t k, float *logits)
{
    const organ_variants *const v = context;
    v->sums[k] = organ_logits_log_sum(v->engine->kernels, logits, v->vocabulary);
    memcpy(v->logits + k * v->vocabulary, logits, v->vocabulary * sizeof *logits);
}

/* The tile has `tokens` tokens of variant 0, then the same of variant 1, ... */
typedef struct variants_tile {
    const organ_variants *variants;
    size_t tokens;
} variants_tile;

/* organ_forward_logits calls this for token k % tokens of the tile, in variant k / tokens. found[k] is KL(donor ||
 * variant) in nats. The variant's logits are first multiplied by v->times. */
static void compare_logits(void *context, size_t k, float *logits)
{
    const variants_tile *const t = context;
    const organ_variants *const v = t->variants;
    const size_t token = k % t->tokens;
    for (size_t w = 0; w < v->vocabulary && v->times != 1; w++)
        logits[w] = (float)(v->times * (double)logits[w]);
    const double sum = organ_logits_log_sum(v->engine->kernels, logits, v->vocabulary);
    v->found[k] =
        v->engine->kernels->divergence(v->logits + token * v->vocabulary, v->sums[token], logits, sum, v->vocabulary);
}

static organ_status prepare_tile(organ_variants *v, size_t first, size_t tokens, organ_error *error)
{
    if (v->first == first && v->count == tokens)
        return ORGAN_OK;
    v->count = 0;
    if (organ_forward_logits(v->forward, v->last, v->rows, tokens, v, store_donor_logits, error) == ORGAN_OK) {
        v->first = first;
        v->count = tokens;
    }
    return error->status;
}

/* The divergences are added in the order of the tokens. `states` has the hidden states of `count` streams after the
 * last layer. */
static organ_status add_tile_divergences(organ_variants *v, const float *states, size_t count, size_t first,
                                         size_t tokens, double *divergence, organ_error *error)
{
    const variants_tile t = {v, tokens};
    for (size_t k = 0; k < count * tokens; k++)
        v->rows[k] = k / tokens * v->tokens + first + k % tokens;
    if (prepare_tile(v, first, tokens, error) ||
        (v->head
             ? organ_forward_logits_with(v->forward, v->head, states, v->rows, count * tokens, (void *)&t,
                                         compare_logits, error)
             : organ_forward_logits(v->forward, states, v->rows, count * tokens, (void *)&t, compare_logits, error)))
        return error->status;
    for (size_t k = 0; k < count * tokens; k++)
        divergence[k / tokens] += v->found[k];
    return ORGAN_OK;
}

/* TILE tokens at a time limit the memory of the logits. A mean that rounding made negative becomes 0. */
organ_status organ_variants_judge(organ_variants *v, const float *states, size_t count, double *divergence,
                                  organ_error *error)
{
    memset(divergence, 0, count * sizeof *divergence);
    for (size_t first = 0; first < v->tokens && !variants_stopped(v, error) && !error->status; first += TILE)
        add_tile_divergences(v, states, count, first, v->tokens - first < TILE ? v->tokens - first : TILE, divergence,
                             error);
    for (size_t k = 0; k < count && !error->status; k++) {
        divergence[k] /= (double)v->tokens;
        if (!isfinite(divergence[k]))
            return organ_fail(error, ORGAN_BAD_INPUT, "logits of the allocation's tokens are not finite numbers");
        divergence[k] = divergence[k] > 0 ? divergence[k] : 0;
    }
    return error->status;
}

organ_status organ_variants_judge_head(organ_variants *v, const organ_head_rows *head, double *divergence,
                                       organ_error *error)
{
    v->head = head;
    organ_variants_judge(v, v->last, 1, divergence, error);
    v->head = NULL;
    return error->status;
}

void organ_variants_scale(organ_variants *v, double times) { v->times = times; }

/* ---- variants ---- */

float *organ_variants_room(organ_variants *v) { return v->states; }

organ_status organ_variants_advance(organ_variants *v, int32_t layer, organ_error *error)
{
    if (run_streams_through_layers(v, v->reached, layer, v->donor, /*streams=*/1, error) == ORGAN_OK)
        v->reached = layer;
    return error->status;
}

/* The variants run together, so that each layer is read once for them all. */
organ_status organ_variants_finish(organ_variants *v, organ_error *error)
{
    ORGAN_OWNED double *const found = v->held ? malloc(v->held * sizeof *found) : NULL;
    if (!v->held)
        return ORGAN_OK;
    if (!found)
        return organ_fail_errno(error, ENOMEM, "divergences of %zu variants", v->held);
    const int32_t layers = (int32_t)organ_forward_describe(v->forward)->layers;
    if (run_streams_through_layers(v, v->next, layers, v->states, v->held, error) == ORGAN_OK)
        organ_variants_judge(v, v->states, v->held, found, error);
    for (size_t k = 0; k < v->held && !error->status; k++)
        *v->results[k] = found[k];
    v->held = 0;
    return error->status;
}

organ_status organ_variants_add(organ_variants *v, const organ_layer *changed, double *divergence, organ_error *error)
{
    if (v->held == v->max_variants && organ_variants_finish(v, error) != ORGAN_OK)
        return error->status;
    float *const states = v->states + v->held * variants_floats_of(v);
    memcpy(states, v->donor, variants_floats_of(v) * sizeof *states);
    v->results[v->held++] = divergence;
    v->next = v->reached + 1;
    return organ_layer_run(v->forward, changed, v->windows, states, /*tap=*/NULL, error);
}

organ_status organ_variants_add_embedded(organ_variants *v, double *divergence, organ_error *error)
{
    if ((v->held == v->max_variants || v->next > 0) && organ_variants_finish(v, error) != ORGAN_OK)
        return error->status;
    v->results[v->held] = divergence;
    v->next = 0;
    return organ_forward_embed(v->forward, v->windows, v->states + v->held++ * variants_floats_of(v), error);
}

organ_status organ_variants_pass(organ_variants *v, const organ_layer *loaded, organ_error *error)
{
    if (organ_variants_finish(v, error) ||
        organ_layer_run(v->forward, loaded, v->windows, v->donor, /*tap=*/NULL, error))
        return error->status;
    v->reached++;
    return ORGAN_OK;
}

double organ_variants_products(const organ_forward *forward, const organ_model *model, int32_t layer, size_t tokens,
                               size_t context)
{
    const organ_forward_config *const c = organ_forward_describe(forward);
    double token = (2 * (double)c->hidden + LOGIT) * (double)c->vocabulary;
    for (int32_t l = layer; l < (int32_t)c->layers; l++)
        token += organ_calibration_token_products(forward, model, l, context).all;
    return token * (double)tokens;
}
