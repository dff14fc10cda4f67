/* SPDX-License-Identifier: MIT */
#include "orchestrator/forward/drafting.h"

#include "formats/base/owned.h"
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <string.h>

/* ---- the first drafted token ---- */

/* The row of the batch's last token gets that token again. */
static uint32_t *following_tokens(const uint32_t *tokens, size_t count, organ_error *error)
{
    uint32_t *const next = malloc((count + 1) * sizeof *next);
    if (!next) {
        organ_fail_memory(error, "rows of a draft");
        return NULL;
    }
    memcpy(next, tokens + 1, (count - 1) * sizeof *next);
    next[count - 1] = tokens[count - 1];
    return next;
}

organ_status organ_draft_windows(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                                 const float *hidden, float *states, organ_error *error)
{
    const size_t count = windows->begin[windows->count];
    ORGAN_OWNED uint32_t *const next = following_tokens(windows->tokens, count, error);
    forward_drafting r = {.forward = forward,
                          .block = (unsigned)(layer->plan - forward->plans) - forward->config.layers,
                          .layer = layer,
                          .next = next,
                          .hidden = hidden,
                          .of_trunk = true,
                          .states = states};
    if (!next || organ_draft_project(&r, count, error) != ORGAN_OK)
        return error->status;
    return organ_layer_run(forward, layer, windows, states, /*tap=*/NULL, error);
}

/* A tap that counts tokens from the beginning of all windows. */
typedef struct window_tap {
    const organ_tap *tap;
    size_t begin; /* of the window */
} window_tap;

static organ_status pass_on(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                            const float *inputs, organ_error *error)
{
    const window_tap *const w = context;
    return w->tap->inputs(w->tap->context, tensor, w->begin + first, tokens, features, inputs, error);
}

static organ_status tap_window(organ_forward *f, const organ_layer *layer, const uint32_t *tokens, size_t count,
                               const float *hidden, const organ_tap *tap, organ_error *error)
{
    forward_drafting r = {.forward = f,
                          .block = (unsigned)(layer->plan - f->plans) - f->config.layers,
                          .layer = layer,
                          .next = tokens + 1,
                          .hidden = hidden,
                          .of_trunk = true,
                          .tap = tap};
    organ_draft_rows(&r, tokens, count - 1, error);
    organ_forward_free(r.states);
    return error->status;
}

organ_status organ_draft_tap(organ_forward *forward, const organ_layer *layer, const organ_windows *windows,
                             const float *hidden, const organ_tap *tap, organ_error *error)
{
    for (size_t w = 0; w < windows->count && !error->status; w++) {
        const size_t begin = windows->begin[w], count = windows->begin[w + 1] - begin;
        window_tap passed = {.tap = tap, .begin = begin};
        const organ_tap own = {.context = &passed, .inputs = pass_on};
        if (count > 1)
            tap_window(forward, layer, windows->tokens + begin, count, hidden + begin * (size_t)forward->config.hidden,
                       &own, error);
    }
    return error->status;
}

/* Outputs of a block as an output head reads them, for some of `count` tokens. */
typedef struct head_inputs {
    float *values;
    size_t *places;             /* for each token, the number of its input; SIZE_MAX: none */
    const organ_weight *matrix; /* of the block's own head; NULL: the model's */
} head_inputs;

static void release_inputs(head_inputs *inputs)
{
    organ_forward_free(inputs->values);
    free(inputs->places);
}

/* rows[k] is the row of `states` for token k, or SIZE_MAX. The caller releases *inputs, also after an error. */
static organ_status make_inputs(const organ_forward *f, unsigned block, const float *states, const size_t *rows,
                                size_t count, head_inputs *inputs, organ_error *error)
{
    const forward_draft *const draft = &f->drafts[block];
    const size_t width = (size_t)f->config.hidden;
    size_t made = 0;
    inputs->matrix = organ_draft_has_head(f, block) ? draft->head : NULL;
    inputs->values = organ_forward_floats(organ_max(count, 1) * width, error);
    inputs->places = malloc((count + 1) * sizeof *inputs->places);
    if (!inputs->places)
        organ_fail_memory(error, f->model->path);
    for (size_t k = 0; k < count && !error->status; k++) {
        inputs->places[k] = rows[k] == SIZE_MAX ? SIZE_MAX : made++;
        if (rows[k] != SIZE_MAX)
            organ_draft_outputs(f, block, states + rows[k] * width, 1, draft->family->raw_end,
                                inputs->values + inputs->places[k] * width);
    }
    return error->status;
}

organ_status organ_draft_logits(organ_forward *f, unsigned block, const float *states, const size_t *rows, size_t count,
                                void *context, void (*each)(void *context, size_t k, float *logits), organ_error *error)
{
    ORGAN_RELEASED_BY(release_inputs) head_inputs inputs = {0};
    return make_inputs(f, block, states, rows, count, &inputs, error) == ORGAN_OK
               ? organ_forward_logits_of(f, inputs.matrix, inputs.values, inputs.places, count, context, each, error)
               : error->status;
}

organ_status organ_draft_logits_beside(organ_forward *f, const organ_drafted_beside *drafted, const float *hidden,
                                       const size_t *rows, size_t count, void *context, organ_error *error)
{
    ORGAN_RELEASED_BY(release_inputs) head_inputs inputs = {0};
    if (make_inputs(f, /*block=*/0, drafted->states, drafted->rows, count, &inputs, error) != ORGAN_OK)
        return error->status;
    const organ_head_beside beside = {.matrix = inputs.matrix,
                                      .inputs = inputs.values,
                                      .places = inputs.places,
                                      .rows = drafted->room,
                                      .each = drafted->each};
    return organ_forward_logits_beside(f, &beside, hidden, rows, count, context, error);
}

/* ---- further drafted tokens ---- */

struct organ_draft_cache {
    organ_forward *forward;
    size_t max; /* tokens */
    unsigned blocks;
    organ_layer *layers[FORWARD_DRAFTS]; /* of the blocks */
    float *values;                       /* for each block keys of `max` tokens, then their values */
    float *chain;                        /* outputs of the drafted rows, as the next rows read them */
    float *states;                       /* ORGAN_DRAFTED rows */
};

static const organ_layer_kind *kind_of(const organ_forward *f, unsigned block)
{
    return &f->config.kinds[f->config.layers + block];
}

static size_t keys_width(const organ_forward *f, unsigned block)
{
    return organ_forward_keys_width(&f->config, kind_of(f, block));
}

static size_t token_floats(const organ_forward *f, unsigned block)
{
    const organ_layer_kind *const kind = kind_of(f, block);
    return keys_width(f, block) + organ_forward_values_width(&f->config, kind) +
           organ_forward_index_width(&f->config, kind);
}

static size_t floats_of_blocks(const organ_forward *f, unsigned blocks)
{
    size_t floats = 0;
    for (unsigned b = 0; b < blocks; b++)
        floats += token_floats(f, b);
    return floats;
}

/* The layers of blocks whose rows are drafted have no states of recurrent mixers (organ_draft_cache_depth). */
static forward_keys keys_of(const organ_draft_cache *c, unsigned block, size_t tokens)
{
    const organ_forward *const f = c->forward;
    float *const keys = c->values + c->max * floats_of_blocks(f, block), *const values =
                                                                             keys + c->max * keys_width(f, block);
    return (forward_keys){.keys = keys,
                          .values = values,
                          .index = values + c->max * organ_forward_values_width(&f->config, kind_of(f, block)),
                          .state = keys,
                          .tokens = tokens};
}

unsigned organ_draft_cache_depth(const organ_forward *f)
{
    const unsigned blocks = organ_forward_drafts(f);
    for (unsigned b = 0; b < blocks; b++)
        if (organ_forward_mixer_state(&f->config, kind_of(f, b)) > 0)
            return 1;
    return blocks > 1 ? blocks : ORGAN_DRAFTED;
}

uint64_t organ_draft_cache_bytes(const organ_forward *f, size_t max)
{
    const unsigned blocks = organ_forward_drafts(f);
    uint64_t bytes = 0;
    for (unsigned b = 0; b < blocks; b++)
        bytes += organ_forward_layer_need(f, &f->plans[f->config.layers + b], organ_engine_memory(f->engine));
    return bytes + ((uint64_t)max * floats_of_blocks(f, blocks) + 2 * ORGAN_DRAFTED * f->config.hidden) * sizeof(float);
}

organ_status organ_draft_cache_open(organ_forward *forward, size_t max, organ_draft_cache **cache, organ_error *error)
{
    const size_t rows = ORGAN_DRAFTED * (size_t)forward->config.hidden;
    organ_draft_cache *const c = calloc(1, sizeof *c);
    *cache = c;
    if (!c)
        return organ_fail_memory(error, forward->model->path);
    c->forward = forward;
    c->max = max;
    c->blocks = organ_forward_drafts(forward);
    c->values = organ_forward_floats(max * floats_of_blocks(forward, c->blocks), error);
    c->chain = organ_forward_floats(rows, error);
    c->states = organ_forward_floats(rows, error);
    for (unsigned b = 0; b < c->blocks && !error->status; b++)
        organ_layer_load_to_run(forward, (int32_t)(forward->config.layers + b), &c->layers[b], error);
    return error->status;
}

void organ_draft_cache_close(organ_draft_cache *c)
{
    for (unsigned b = 0; c && b < FORWARD_DRAFTS; b++)
        organ_layer_free(c->layers[b]);
    if (c) {
        organ_forward_free(c->values);
        organ_forward_free(c->chain);
        organ_forward_free(c->states);
    }
    free(c);
}

/* Runs rows that continue after `before` rows of the cache of a block. */
static organ_status run_rows(const organ_draft_cache *c, unsigned block, forward_drafting *r, size_t before,
                             size_t rows, organ_error *error)
{
    const size_t begin[2] = {0, rows};
    const organ_windows windows = {.tokens = r->next, .count = 1, .begin = begin};
    const forward_keys keys = keys_of(c, block, before);
    r->forward = c->forward;
    r->block = block;
    r->layer = c->layers[block];
    return organ_draft_project(r, rows, error)
               ? error->status
               : organ_forward_layer_run(c->forward, r->layer, &windows, &keys, r->states, /*tap=*/NULL, error);
}

organ_status organ_draft_cache_fill(organ_draft_cache *c, const uint32_t *tokens, size_t count, const float *hidden,
                                    float *states, organ_error *error)
{
    for (unsigned b = c->blocks; b-- > 0 && !error->status;) /* block 0 is the last one to write `states` */
        run_rows(c, b, &(forward_drafting){.next = tokens + 1, .hidden = hidden, .of_trunk = true, .states = states},
                 /*before=*/0, count - 1, error);
    return error->status;
}

organ_status organ_draft_cache_step(organ_draft_cache *c, size_t row, const float *state, const uint32_t *drafted,
                                    unsigned step, void *context, void (*each)(void *context, size_t k, float *logits),
                                    organ_error *error)
{
    organ_forward *const f = c->forward;
    const size_t width = (size_t)f->config.hidden;
    const unsigned block = c->blocks > 1 ? step : 0, first = c->blocks > 1 ? 0 : step - 1, rows = step - first;
    const size_t last = rows - 1;
    if (step == 1)
        organ_draft_outputs(f, 0, state, 1, f->drafts[0].family->raw_again, c->chain);
    forward_drafting r = {.next = drafted + first, .hidden = c->chain + first * width, .states = c->states};
    if (run_rows(c, block, &r, row + 1 + first, rows, error) != ORGAN_OK)
        return error->status;
    if (step + 1 < ORGAN_DRAFTED)
        organ_draft_outputs(f, block, c->states + last * width, 1, f->drafts[block].family->raw_again,
                            c->chain + step * width);
    return organ_draft_logits(f, block, c->states, &last, 1, context, each, error);
}
