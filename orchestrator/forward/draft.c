/* SPDX-License-Identifier: MIT
 * The block for multi-token prediction that follows the layers (DeepSeek-AI 2024, "DeepSeek-V3", arXiv:2412.19437,
 * section 2.2, equation 21; GLM-4.5, Qwen3-Next and Qwen3.5 have the same). From h_i, the normed output of the last
 * layer for token i, and e_i+1, the embedding of the next token, the block predicts token i + 2:
 *
 *     x_i = M [norm_e(e_i+1) ; norm_h(h_i)],
 *
 * then a layer like the last one, and the output head on a norm of the layer's output. The last token of a window has
 * no next token and is left out. */
#include "orchestrator/forward/forward_parts.h"

#include "orchestrator/machine/quantity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)64) /* tokens whose inputs of M are computed together */

/* The names of M, norm_e, norm_h, the norm before the head, and the head, which may be missing. */
enum { PROJECT, NORM_EMBEDDING, NORM_HIDDEN, NORM_HEAD, HEAD, NAMES };
static const char *const numbered[NAMES] = {"eh_proj.weight", "enorm.weight", "hnorm.weight", "shared_head.norm.weight",
                                            "shared_head.head.weight"};
static const char *const of_gguf[NAMES] = {"nextn.eh_proj.weight", "nextn.enorm.weight", "nextn.hnorm.weight",
                                           "nextn.shared_head_norm.weight", "nextn.shared_head_head.weight"};
static const char *const apart[NAMES] = {"mtp.fc.weight", "mtp.pre_fc_norm_embedding.weight",
                                         "mtp.pre_fc_norm_hidden.weight", "mtp.norm.weight", NULL};

static const char *name_of_draft(const organ_forward *f, unsigned which, char name[256])
{
    const char *const tail = f->model->gguf ? of_gguf[which] : numbered[which];
    if (!f->draft.ladder)
        return organ_forward_layer_name(f, f->config.layers, tail, name);
    snprintf(name, 256, "%s", apart[which] ? apart[which] : "");
    return name;
}

static const organ_weight *find_draft(const organ_forward *f, unsigned which)
{
    char name[256];
    return organ_weights_named(f->weights, name_of_draft(f, which, name));
}

static float *read_norm(const organ_forward *f, unsigned which, organ_error *error)
{
    char name[256];
    const organ_weight *const weight =
        error->status ? NULL : organ_forward_weight_named(f, name_of_draft(f, which, name), 0, f->config.hidden, error);
    return weight ? organ_forward_vector(f, weight, error) : NULL;
}

/* The block has the structure of the last layer whose tensors it has. */
static organ_status plan_draft(organ_forward *f, organ_error *error)
{
    const unsigned last = f->config.layers;
    organ_error first = {0};
    for (unsigned k = last; k-- > 0;) {
        organ_error found = {0};
        f->config.kinds[last] = f->config.kinds[k];
        f->config.kinds[last].shares_with = last;
        f->plans[last] = (forward_plan){0};
        if (organ_forward_plan_make(f, last, &f->plans[last], &found) == ORGAN_OK)
            return ORGAN_OK;
        organ_forward_plan_release(&f->plans[last]);
        f->plans[last] = (forward_plan){0};
        if (!first.status)
            first = found;
        if (found.status != ORGAN_BAD_INPUT)
            break;
    }
    *error = first;
    return error->status;
}

static organ_status make_room(organ_forward *f, organ_error *error)
{
    const size_t count = (size_t)f->config.layers + 1;
    organ_layer_kind *const kinds = realloc(f->config.kinds, count * sizeof *kinds);
    if (kinds)
        f->config.kinds = kinds;
    forward_plan *const plans = kinds ? realloc(f->plans, count * sizeof *plans) : NULL;
    if (!plans)
        return organ_fail_memory(error, f->model->path);
    f->plans = plans;
    return ORGAN_OK;
}

/* States with more than a hidden state per token are those of other architectures, or of indexers that share their
 * choice with later layers. */
organ_status organ_forward_open_draft(organ_forward *f, organ_error *error)
{
    forward_draft *const d = &f->draft;
    if (f->config.state != f->config.hidden || f->config.shortcut || d->project)
        return ORGAN_OK;
    if (!find_draft(f, PROJECT) && !f->model->gguf)
        d->ladder = "mtp.layers.0";
    if (!(d->project = find_draft(f, PROJECT)) || make_room(f, error)) {
        d->ladder = NULL;
        return error->status;
    }
    d->embedding_norm = read_norm(f, NORM_EMBEDDING, error);
    d->hidden_norm = read_norm(f, NORM_HIDDEN, error);
    d->head = find_draft(f, HEAD);
    if (find_draft(f, NORM_HEAD))
        d->head_norm = read_norm(f, NORM_HEAD, error);
    if (error->status || plan_draft(f, error))
        return error->status;
    f->plan_count = f->config.layers + 1;
    return organ_forward_measure(f, error);
}

bool organ_forward_has_draft(const organ_forward *f) { return f->plan_count > f->config.layers; }

uint64_t organ_draft_bytes(const organ_forward *f, size_t context)
{
    return organ_forward_has_draft(f) ? (uint64_t)(context + 4 * PIECE) * f->config.hidden * sizeof(float) : 0;
}

/* ---- the run ---- */

typedef struct draft_run {
    organ_forward *forward;
    const organ_layer *layer;
    const uint32_t *tokens;
    const float *hidden;
    const organ_tap *tap;
    float *states; /* x, which the layer replaces by its outputs: a row for each token but the last */
    float *joined; /* PIECE x 2 hidden_size: the inputs of M */
    float *normed; /* PIECE x hidden_size */
    float *scratch;
    forward_products products;
} draft_run;

/* Computes x of `count` tokens from token `first` on. */
static organ_status project_piece(draft_run *r, size_t first, size_t count, organ_error *error)
{
    organ_forward *const f = r->forward;
    const size_t width = (size_t)f->config.hidden, begin[2] = {0, count};
    const organ_windows next = {.tokens = r->tokens + first + 1, .count = 1, .begin = begin};
    const float plus = organ_forward_final_norm(f).plus;
    const double eps = f->config.rms_eps;
    if (organ_forward_embed(f, &next, r->normed, error) != ORGAN_OK)
        return error->status;
    for (size_t t = 0; t < count; t++)
        organ_forward_norm(r->normed + t * width, f->draft.embedding_norm, plus, eps, width, r->joined + 2 * t * width);
    organ_forward_final(f, r->hidden + first * width, count, r->normed);
    for (size_t t = 0; t < count; t++)
        organ_forward_norm(r->normed + t * width, f->draft.hidden_norm, plus, eps, width,
                           r->joined + (2 * t + 1) * width);
    const forward_linear linear = organ_forward_linear_of(r->layer, (forward_view){f->draft.slot, 0}, width);
    if (r->tap && r->tap->inputs(r->tap->context, f->draft.project->name, first, count, 2 * width, r->joined, error))
        return error->status;
    return organ_forward_products_add(&r->products, r->joined, &linear, r->states + first * width, count, error)
               ? error->status
               : organ_forward_products_run(&r->products, f, r->scratch, error);
}

static organ_status tap_draft_head(const draft_run *r, size_t count, organ_error *error)
{
    const organ_forward *const f = r->forward;
    const size_t width = (size_t)f->config.hidden;
    const float plus = organ_forward_final_norm(f).plus;
    const double eps = f->config.rms_eps;
    for (size_t first = 0; r->tap && f->draft.head && first < count && !error->status; first += PIECE) {
        const size_t tokens = organ_min(PIECE, count - first);
        if (f->draft.head_norm)
            for (size_t t = 0; t < tokens; t++)
                organ_forward_norm(r->states + (first + t) * width, f->draft.head_norm, plus, eps, width,
                                   r->normed + t * width);
        else
            organ_forward_final(f, r->states + first * width, tokens, r->normed);
        r->tap->inputs(r->tap->context, f->draft.head->name, first, tokens, width, r->normed, error);
    }
    return error->status;
}

organ_status organ_draft_run(organ_forward *forward, const organ_layer *layer, const uint32_t *tokens, size_t count,
                             const float *hidden, const organ_tap *tap, organ_error *error)
{
    if (count < 2)
        return error->status;
    const size_t width = (size_t)forward->config.hidden, begin[2] = {0, count - 1};
    const organ_windows windows = {.tokens = tokens, .count = 1, .begin = begin};
    draft_run r = {.forward = forward, .layer = layer, .tokens = tokens, .hidden = hidden, .tap = tap};
    r.scratch = organ_forward_scratch(forward, error);
    r.states = organ_forward_floats((count - 1) * width, error);
    r.joined = organ_forward_floats(2 * PIECE * width, error);
    r.normed = organ_forward_floats(PIECE * width, error);
    for (size_t first = 0; first < count - 1 && !error->status; first += PIECE)
        project_piece(&r, first, organ_min(PIECE, count - 1 - first), error);
    if (!error->status && organ_layer_run(forward, layer, &windows, r.states, tap, error) == ORGAN_OK)
        tap_draft_head(&r, count - 1, error);
    organ_forward_products_release(&r.products);
    organ_forward_free(r.states);
    organ_forward_free(r.joined);
    organ_forward_free(r.normed);
    return error->status;
}
