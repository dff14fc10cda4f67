/* SPDX-License-Identifier: MIT
 * The blocks for multi-token prediction that follow the layers (DeepSeek-AI 2024, "DeepSeek-V3", arXiv:2412.19437,
 * section 2.2, equations 21 to 24). From h_i, the output of the last layer for token i, and e_i+1, the embedding of the
 * next token, the first block predicts token i + 2:
 *
 *     x_i = M [norm_e(e_i+1) ; norm_h(h_i)],
 *
 * then a layer like one of the model's, and the output head on a norm of the layer's output. Block k, counted from 0,
 * has these normed outputs of block k - 1 in place of h and e_i+1+k. The last tokens of a window have no such token and
 * are left out. A family (formats/tensor/drafts.h) says whether h has the final norm of the model, which of the
 * two halves comes first, and whether outputs are normed. */
#include "orchestrator/forward/drafting.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)64) /* tokens whose inputs of M are computed together */

static const char *name_of_draft(const organ_forward *f, unsigned k, organ_draft_part part, char name[256])
{
    const organ_draft_family *const family = f->drafts[k].family;
    const unsigned layer = f->config.layers + k;
    const bool gguf = f->model->gguf != NULL;
    char own[256] = "";
    organ_draft_name(family, gguf, k, part, own);
    if (!gguf && family->layer_prefix)
        return strcpy(name, own);
    organ_forward_layer_name(f, layer, own, name);
    if (gguf && *own && !organ_weights_named(f->weights, name)) /* it may have the name that most families have */
        organ_forward_layer_name(f, layer, organ_draft_gguf_parts[part], name);
    return name;
}

static const organ_weight *find_draft(const organ_forward *f, unsigned k, organ_draft_part part)
{
    char name[256];
    return organ_weights_named(f->weights, name_of_draft(f, k, part, name));
}

static float *read_norm(const organ_forward *f, unsigned k, organ_draft_part part, organ_error *error)
{
    char name[256];
    const organ_weight *const weight =
        error->status ? NULL
                      : organ_forward_weight_named(f, name_of_draft(f, k, part, name), 0, f->config.hidden, error);
    return weight ? organ_forward_vector(f, weight, error) : NULL;
}

/* The block has the structure of the last layer whose tensors it has, with its feed-forward (tried first, k at least
 * f->config.layers), or with a dense one. */
static organ_status plan_draft(organ_forward *f, unsigned block, organ_error *error)
{
    const unsigned at = f->config.layers + block;
    organ_error first_fault = {0}; /* of the structure that is tried first */
    for (unsigned k = 2 * f->config.layers; k-- > 0;) {
        organ_error fault = {0};
        const bool dense = k < f->config.layers;
        const organ_layer_kind *const like = &f->config.kinds[k % f->config.layers];
        if ((dense && (!like->mixture || !f->config.intermediate)) ||
            (f->drafts[block].family->windowed && !like->window))
            continue;
        f->config.kinds[at] = *like;
        f->config.kinds[at].shares_with = at;
        if (dense) {
            f->config.kinds[at].mixture = false;
            f->config.kinds[at].intermediate = f->config.intermediate;
        }
        f->plans[at] = (forward_plan){0};
        if (organ_forward_plan_make(f, at, &f->plans[at], &fault) == ORGAN_OK)
            return ORGAN_OK;
        organ_forward_plan_release(&f->plans[at]);
        f->plans[at] = (forward_plan){0};
        if (!first_fault.status)
            first_fault = fault;
        if (fault.status != ORGAN_BAD_INPUT)
            break;
    }
    *error = first_fault;
    return error->status;
}

/* Extends the kinds and plans of the layers by those of the blocks up to `block`. */
static organ_status make_room(organ_forward *f, unsigned block, organ_error *error)
{
    const size_t count = (size_t)f->config.layers + block + 1;
    organ_layer_kind *const kinds = realloc(f->config.kinds, count * sizeof *kinds);
    if (kinds)
        f->config.kinds = kinds;
    forward_plan *const plans = kinds ? realloc(f->plans, count * sizeof *plans) : NULL;
    if (!plans)
        return organ_fail_memory(error, f->model->path);
    f->plans = plans;
    return ORGAN_OK;
}

/* Sets family, prefix and project of block k. Returns false if the model has no such block of the family.
 * Where blocks share M, only the layer shows whether there is a further one. */
static bool is_of_family(organ_forward *f, unsigned k, const organ_draft_family *family)
{
    forward_draft *const d = &f->drafts[k];
    char name[256];
    d->family = family;
    *d->layer_prefix = '\0';
    if (family->layer_prefix && !f->model->gguf) {
        char layer_prefix[128]; /* room for any layer number; that of a block has few digits */
        organ_forward_number_name(family->layer_prefix, k, layer_prefix);
        snprintf(d->layer_prefix, sizeof d->layer_prefix, "%.40s", layer_prefix);
    }
    d->project = find_draft(f, k, DRAFT_PROJECT);
    const bool normed = f->model->gguf || !family->parts[DRAFT_NORM_HEAD] || find_draft(f, k, DRAFT_NORM_HEAD);
    const char *const first = organ_forward_layer_name(f, f->config.layers + k, "input_layernorm.weight", name);
    const bool further = k == 0 || !family->shared || f->model->gguf || organ_weights_named(f->weights, first);
    return d->project && normed && further;
}

/* Sets f->drafts[k]. Returns false if the model has no such block, or one of several layers. All blocks of a model are
 * of one family: that of its type or, if none lists the type, the first whose names the file has. */
static bool find_project(organ_forward *f, unsigned k)
{
    forward_draft *const d = &f->drafts[k];
    const organ_draft_family *const only = k ? f->drafts[0].family : organ_mtp_family_of(f->model->config.model_type);
    const organ_draft_family *family;
    *d = (forward_draft){0};
    bool found = only && is_of_family(f, k, only);
    for (size_t index = 0; !only && !found && (family = organ_draft_family_at(index)); index++)
        found = !family->listed && is_of_family(f, k, family);
    if (found && d->family->layers == 1)
        return true;
    *d = (forward_draft){0};
    return false;
}

static organ_status open_block(organ_forward *f, unsigned k, organ_error *error)
{
    forward_draft *const d = &f->drafts[k];
    if (make_room(f, k, error))
        return error->status;
    d->embedding_norm = read_norm(f, k, DRAFT_NORM_EMBEDDING, error);
    d->hidden_norm = read_norm(f, k, DRAFT_NORM_HIDDEN, error);
    char name[256];
    if (find_draft(f, k, DRAFT_HEAD) && !error->status)
        d->head = organ_forward_weight_named(f, name_of_draft(f, k, DRAFT_HEAD, name), f->config.vocabulary,
                                             f->config.hidden, error);
    if (find_draft(f, k, DRAFT_NORM_HEAD))
        d->head_norm = read_norm(f, k, DRAFT_NORM_HEAD, error);
    size_t panel = 0;
    if (!error->status && organ_draft_has_head(f, k) && organ_forward_panel_size(f, d->head, &panel, error) == ORGAN_OK)
        f->draft_panel = organ_max(f->draft_panel, panel);
    return error->status ? error->status : plan_draft(f, k, error);
}

/* States with more than a hidden state per token are those of other architectures, or of indexers that share their
 * choice with later layers. */
organ_status organ_forward_open_draft(organ_forward *f, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    if (f->config.state != f->config.hidden || f->config.shortcut || organ_forward_has_draft(f))
        return ORGAN_OK;
    for (unsigned k = 0; k < FORWARD_DRAFTS && find_project(f, k); k++) {
        organ_error fault = {0};
        if (open_block(f, k, &fault) != ORGAN_OK) {
            const bool known = k == 0 && !f->drafts[0].family->listed;
            organ_forward_release_draft(&f->drafts[k]);
            if (known || fault.status != ORGAN_BAD_INPUT)
                *error = fault;
            break;
        }
        f->plan_count = f->config.layers + k + 1;
    }
    if (error->status || !organ_forward_has_draft(f))
        return error->status;
    return organ_forward_measure(f, error);
}

bool organ_forward_has_draft(const organ_forward *f) { return organ_forward_drafts(f) > 0; }

unsigned organ_forward_drafts(const organ_forward *f) { return f->plan_count - f->config.layers; }

uint64_t organ_draft_bytes(const organ_forward *f, size_t context)
{
    const uint64_t rows = (uint64_t)organ_forward_drafts(f) * context;
    return rows ? (rows + 4 * PIECE) * f->config.hidden * sizeof(float) : 0;
}

/* ---- blocks that are not run ---- */

static bool is_run(const organ_forward *f, const organ_weight *weight)
{
    for (unsigned k = 0; k < organ_forward_drafts(f); k++) {
        const forward_plan *const plan = &f->plans[f->config.layers + k];
        if (weight == f->drafts[k].project || weight == f->drafts[k].head)
            return true;
        for (size_t s = 0; s < plan->count; s++)
            if (plan->slots[s].weight == weight)
                return true;
    }
    return false;
}

void organ_forward_visit_unrun_drafts(const organ_forward *f, void *context,
                                      void (*each)(void *context, const char *tensor))
{
    for (size_t k = 0; k < f->weights->count; k++) {
        const organ_weight *const w = &f->weights->weights[k];
        const organ_role role = w->anatomy.role;
        const bool block = w->anatomy.layer >= 0 && (unsigned)w->anatomy.layer >= f->config.layers;
        organ_rows_passed();
        if (w->rank > 1 && w->shape[w->rank - 1] > 1 && (role == ORGAN_ROLE_MTP || block) && role != ORGAN_ROLE_EMBED &&
            role != ORGAN_ROLE_NORM && role != ORGAN_ROLE_BIAS && !is_run(f, w))
            each(context, w->name);
    }
}

/* ---- the run ---- */

/* Computes x of `count` rows from row `first` on. */
static organ_status project_piece(forward_drafting *r, size_t first, size_t count, organ_error *error)
{
    organ_forward *const f = r->forward, *const trunk = r->trunk ? r->trunk : f;
    const forward_draft *const draft = &f->drafts[r->block];
    const size_t width = (size_t)f->config.hidden, begin[2] = {0, count}, hidden_first = draft->family->hidden_first;
    const organ_windows next = {.tokens = r->next + first, .count = 1, .begin = begin};
    const float plus = organ_forward_final_norm(f).plus;
    const double eps = f->config.rms_eps;
    if (organ_forward_embed(trunk, &next, r->normed, error) != ORGAN_OK)
        return error->status;
    for (size_t t = 0; t < count; t++)
        organ_forward_norm(r->normed + t * width, draft->embedding_norm, plus, eps, width,
                           r->joined + (2 * t + hidden_first) * width);
    if (!r->of_trunk || draft->family->raw_state)
        memcpy(r->normed, r->hidden + first * width, count * width * sizeof(float));
    else
        organ_forward_final(trunk, r->hidden + first * width, count, r->normed);
    for (size_t t = 0; t < count; t++)
        organ_forward_norm(r->normed + t * width, draft->hidden_norm, plus, eps, width,
                           r->joined + (2 * t + 1 - hidden_first) * width);
    const forward_linear linear = organ_forward_linear_of(r->layer, (forward_view){draft->slot, 0}, width);
    if (r->tap && r->tap->inputs(r->tap->context, draft->project->name, first, count, 2 * width, r->joined, error))
        return error->status;
    return organ_forward_products_add(&r->products, r->joined, &linear, r->states + first * width, count, error)
               ? error->status
               : organ_forward_products_run(&r->products, f, r->scratch, error);
}

uint64_t organ_draft_project_bytes(const organ_forward *f)
{
    return 3 * PIECE * f->config.hidden * (uint64_t)sizeof(float);
}

organ_status organ_draft_project(forward_drafting *r, size_t rows, organ_error *error)
{
    const size_t width = (size_t)r->forward->config.hidden, piece = organ_min(PIECE, rows);
    r->scratch = organ_forward_scratch(r->forward, error);
    r->joined = organ_forward_floats(2 * piece * width, error);
    r->normed = organ_forward_floats(piece * width, error);
    for (size_t first = 0; first < rows && !error->status; first += PIECE)
        project_piece(r, first, organ_min(PIECE, rows - first), error);
    organ_forward_products_release(&r->products);
    organ_forward_free(r->joined);
    organ_forward_free(r->normed);
    return error->status;
}

organ_status organ_draft_rows(forward_drafting *r, const uint32_t *tokens, size_t rows, organ_error *error)
{
    const size_t begin[2] = {0, rows};
    const organ_windows windows = {.tokens = tokens, .count = 1, .begin = begin};
    r->states = organ_forward_floats(rows * (size_t)r->forward->config.hidden, error);
    return error->status || organ_draft_project(r, rows, error)
               ? error->status
               : organ_layer_run(r->forward, r->layer, &windows, r->states, r->tap, error);
}

bool organ_draft_has_head(const organ_forward *f, unsigned block)
{
    const forward_draft *const draft = &f->drafts[block];
    return draft->head && (f->model->gguf || draft->family->own_head);
}

void organ_draft_outputs(const organ_forward *f, unsigned block, const float *states, size_t count, bool raw, float *to)
{
    const forward_draft *const draft = &f->drafts[block];
    const size_t width = (size_t)f->config.hidden;
    const float plus = organ_forward_final_norm(f).plus;
    if (raw)
        memcpy(to, states, count * width * sizeof(float));
    else if (!draft->head_norm)
        organ_forward_final(f, states, count, to);
    for (size_t t = 0; !raw && draft->head_norm && t < count; t++)
        organ_forward_norm(states + t * width, draft->head_norm, plus, f->config.rms_eps, width, to + t * width);
}

static organ_status tap_draft_head(const forward_drafting *r, size_t count, organ_error *error)
{
    const forward_draft *const draft = &r->forward->drafts[r->block];
    const size_t width = (size_t)r->forward->config.hidden;
    float *const normed = r->tap && draft->head ? organ_forward_floats(organ_min(PIECE, count) * width, error) : NULL;
    for (size_t first = 0; normed && first < count && !error->status; first += PIECE) {
        const size_t tokens = organ_min(PIECE, count - first);
        organ_draft_outputs(r->forward, r->block, r->states + first * width, tokens, draft->family->raw_end, normed);
        r->tap->inputs(r->tap->context, draft->head->name, first, tokens, width, normed, error);
    }
    organ_forward_free(normed);
    return error->status;
}

/* Keeps the outputs of `count` tokens if another block follows. */
static organ_status keep_outputs(const forward_drafting *r, size_t count, organ_error *error)
{
    organ_forward *const f = r->forward;
    forward_draft *const d = &f->drafts[r->block];
    organ_forward_free(d->outputs);
    d->outputs = NULL;
    if (r->block + 1 < organ_forward_drafts(f) && (d->outputs = organ_forward_floats(count * f->config.hidden, error)))
        organ_draft_outputs(f, r->block, r->states, count, d->family->raw_again, d->outputs);
    return error->status;
}

organ_status organ_draft_run(organ_forward *forward, const organ_layer *layer, const uint32_t *tokens, size_t count,
                             const float *hidden, const organ_tap *tap, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const unsigned block = (unsigned)(layer->plan - forward->plans) - forward->config.layers;
    if (count < block + 2)
        return error->status;
    const size_t rows = count - 1 - block;
    forward_drafting r = {.forward = forward,
                          .block = block,
                          .layer = layer,
                          .next = tokens + 1 + block,
                          .hidden = block ? forward->drafts[block - 1].outputs : hidden,
                          .of_trunk = block == 0,
                          .tap = tap};
    if (organ_draft_rows(&r, tokens, rows, error) == ORGAN_OK && tap_draft_head(&r, rows, error) == ORGAN_OK)
        keep_outputs(&r, rows, error);
    organ_forward_free(r.states);
    return error->status;
}
