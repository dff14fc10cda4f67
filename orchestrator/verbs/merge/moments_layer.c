/* SPDX-License-Identifier: MIT
 * Fits the matrices of a layer. A first run of a chunk finds which matrices have the same inputs and the order in which
 * the forward pass uses them; these groups are then gathered and fitted, stage by stage. */
#include "orchestrator/verbs/merge/merge_moments.h"

#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the matrices of the layer ---- */

static void add_matrices(moments_layer *l, size_t tensor)
{
    const model_merge *const job = l->moments->job;
    const merge_tensor *const t = &job->tensors[tensor];
    const organ_matrices own = organ_weight_matrices(t->like);
    for (uint64_t e = 0; e < own.count; e++) {
        moments_matrix *const m = &l->matrices[l->matrix_count++];
        *m = (moments_matrix){.tensor = tensor,
                              .matrix = e,
                              .rows = (size_t)(t->fitted->transposed ? own.cols : own.rows),
                              .cols = (size_t)(t->fitted->transposed ? own.rows : own.cols),
                              .expert = own.count > 1 || t->like->anatomy.expert >= 0,
                              .transposed = t->fitted->transposed,
                              .done = organ_write_done(job->writing, tensor),
                              .group = MERGE_NONE};
        snprintf(m->name, sizeof m->name, own.count > 1 ? "%.300s[%llu]" : "%.399s", t->name, (unsigned long long)e);
    }
}

static organ_status list_matrices(moments_layer *l, organ_error *error)
{
    const model_merge *const job = l->moments->job;
    size_t count = 0;
    for (size_t k = 0; k < job->tensor_count; k++)
        if (job->tensors[k].fitted && job->tensors[k].fitted->layer == l->number)
            count += (size_t)organ_weight_matrices(job->tensors[k].like).count;
    l->matrices = calloc(count + 1, sizeof *l->matrices);
    l->groups = calloc(count + 1, sizeof *l->groups);
    l->scratch = aligned_alloc(64, organ_products_scratch(job->engine));
    if (!l->matrices || !l->groups || !l->scratch)
        return organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < job->tensor_count; k++)
        if (job->tensors[k].fitted && job->tensors[k].fitted->layer == l->number)
            add_matrices(l, k);
    return ORGAN_OK;
}

/* Returns l->matrix_count if no matrix of the layer has the name. */
static size_t matrix_named(const moments_layer *l, const char *name)
{
    size_t k = 0;
    while (k < l->matrix_count && strcmp(l->matrices[k].name, name) != 0)
        k++;
    return k;
}

static const organ_anatomy *anatomy_of(const moments_layer *l, const moments_matrix *m)
{
    return &l->moments->job->tensors[m->tensor].like->anatomy;
}

/* ---- groups ---- */

/* "model.layers.0.mlp" of "model.layers.0.mlp.up_proj.weight"; 0: there is none. */
static size_t parent_length(const char *name)
{
    const char *end = strrchr(name, '.');
    while (end && end > name && *--end != '.')
        ;
    return end ? (size_t)(end - name) : 0;
}

/* Ridge, weights and drift must be the same, too. */
static bool may_share(const moments_layer *l, const moments_matrix *a, const moments_matrix *b)
{
    const merge_tensor *const x = &l->moments->job->tensors[a->tensor], *const y = &l->moments->job->tensors[b->tensor];
    const size_t length = parent_length(a->name), inputs = x->item.task.inputs;
    return a->cols == b->cols && a->matrix == b->matrix && length && length == parent_length(b->name) &&
           strncmp(a->name, b->name, length) == 0 && anatomy_of(l, a)->group == anatomy_of(l, b)->group &&
           inputs == y->item.task.inputs &&
           memcmp(x->item.task.values, y->item.task.values,
                  x->item.task.method->parameter_count * inputs * sizeof *x->item.task.values) == 0 &&
           memcmp(x->donors, y->donors, inputs * sizeof *x->donors) == 0;
}

static void join(moments_layer *l, size_t group, size_t matrix)
{
    l->matrices[matrix].group = group;
    l->groups[group].rows += l->matrices[matrix].rows;
    l->groups[group].fit_count++;
}

static size_t open_group(moments_layer *l, size_t matrix, size_t stage)
{
    const moments_matrix *const m = &l->matrices[matrix];
    const merge_tensor *const t = &l->moments->job->tensors[m->tensor];
    l->groups[l->group_count] =
        (moments_group){.leader = matrix,
                        .stage = stage,
                        .drift = !m->expert && organ_merge_value(&t->item.task, ORGAN_MOMENTS_DRIFT, 0) != 0};
    join(l, l->group_count, matrix);
    return l->group_count++;
}

/* A tap: opens groups of dense matrices in the order of their first use. A matrix joins the group of the call before
 * it if that had the same inputs. */
static organ_status find_groups(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                const float *inputs, organ_error *error)
{
    moments_layer *const l = context;
    const size_t at = matrix_named(l, tensor), before = l->last_matrix;
    (void)first;
    (void)tokens;
    if (at < l->matrix_count && l->matrices[at].cols != features)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' has rows of %zu weights, but %zu inputs", tensor,
                          l->matrices[at].cols, features);
    if (at < l->matrix_count && l->matrices[at].group == MERGE_NONE) {
        const moments_matrix *const m = &l->matrices[at];
        if (before < l->matrix_count && inputs == l->last && may_share(l, m, &l->matrices[before]))
            join(l, l->matrices[before].group, at);
        else
            open_group(l, at, l->stages++);
    }
    l->last = inputs;
    l->last_matrix = at;
    return ORGAN_OK;
}

/* Experts that no token of the chunk has reached belong to the stages of the others: their down projections to one,
 * all other matrices to the stage before it. */
static void complete_experts(moments_layer *l)
{
    size_t stages[2] = {MERGE_NONE, MERGE_NONE}; /* first stage of the experts reached: of other matrices, of down */
    for (unsigned down = 0; down < 2; down++)
        for (size_t k = 0; k < l->matrix_count; k++) {
            const moments_matrix *const m = &l->matrices[k];
            if (m->expert && (anatomy_of(l, m)->role == ORGAN_ROLE_DOWN) == (down == 1) && m->group != MERGE_NONE &&
                l->groups[m->group].stage < stages[down])
                stages[down] = l->groups[m->group].stage;
        }
    for (size_t k = 0; k < l->matrix_count; k++) {
        moments_matrix *const m = &l->matrices[k];
        const unsigned down = anatomy_of(l, m)->role == ORGAN_ROLE_DOWN;
        if (!m->expert)
            continue;
        for (size_t other = 0; other < k && m->group == MERGE_NONE; other++)
            if (l->matrices[other].expert && (anatomy_of(l, &l->matrices[other])->role == ORGAN_ROLE_DOWN) == down &&
                !down && may_share(l, m, &l->matrices[other]))
                join(l, l->matrices[other].group, k);
        if (m->group == MERGE_NONE)
            open_group(l, k, /*stage=*/0);
        l->groups[m->group].stage = stages[down] == MERGE_NONE ? l->stages + down : stages[down];
    }
}

static organ_status list_rows(moments_layer *l, organ_error *error)
{
    for (size_t k = 0, at = 0; k < l->group_count; k++, at = 0) {
        moments_group *const g = &l->groups[k];
        if (!(g->fit_rows = calloc(g->fit_count, sizeof *g->fit_rows)))
            return organ_fail_memory(error, l->matrices[g->leader].name);
        for (size_t m = 0; m < l->matrix_count; m++)
            if (l->matrices[m].group == k)
                g->fit_rows[at++] = l->matrices[m].rows;
    }
    return ORGAN_OK;
}

/* Matrices that the forward pass has not used get a group without inputs: they keep the mean. */
static organ_status open_groups(moments_layer *l, organ_error *error)
{
    const moments_input *const in = &l->moments->inputs[0];
    const organ_tap tap = {l, find_groups};
    l->last_matrix = l->matrix_count;
    if (organ_merge_run_chunk(l->moments->forward, l->loaded, in, in->states, 0, /*copy=*/true, &tap, error) !=
        ORGAN_OK)
        return error->status;
    complete_experts(l);
    for (size_t k = 0; k < l->matrix_count; k++)
        if (l->matrices[k].group == MERGE_NONE)
            open_group(l, k, l->stages + 2); /* after the two stages that complete_experts may have added */
    return list_rows(l, error);
}

static int by_stage(const void *a, const void *b)
{
    const moments_group *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->stage, y->stage), ORGAN_ORDER(x->leader, y->leader));
}

/* Matrices follow their groups, which are found by their former numbers. */
static organ_status sort_groups(moments_layer *l, organ_error *error)
{
    ORGAN_OWNED size_t *const now = calloc(l->group_count + 1, sizeof *now);
    if (!now)
        return organ_fail_memory(error, l->moments->job->recipe.label);
    qsort(l->groups, l->group_count, sizeof *l->groups, by_stage);
    for (size_t k = 0; k < l->group_count; k++)
        now[l->matrices[l->groups[k].leader].group] = k;
    for (size_t m = 0; m < l->matrix_count; m++)
        l->matrices[m].group = now[l->matrices[m].group];
    return ORGAN_OK;
}

/* ---- moments ---- */

/* Returns whether a matrix of the group is left to write. */
static bool is_left(const moments_layer *l, size_t group)
{
    for (size_t m = 0; m < l->matrix_count; m++)
        if (l->matrices[m].group == group && !l->matrices[m].done)
            return true;
    return false;
}

static size_t chunk_tokens(const moments_input *in) { return in->chunks.together * in->walk.calibration.context; }

static uint64_t sums_memory(const merge_moments *m, uint64_t cols, uint64_t rows, bool drift)
{
    size_t tokens = 0;
    for (size_t k = 0; k < m->count; k++)
        tokens = organ_max(tokens, chunk_tokens(&m->inputs[k]));
    return organ_calibration_memory(cols, 0, drift, /*undivided=*/true) +
           (drift ? organ_calibration_memory(cols, 0, /*two_streams=*/false, /*undivided=*/true) : 0) +
           (drift ? tokens * cols * sizeof(float) : 0) + organ_moments_fit_memory(m->job->engine, cols, rows, drift);
}

/* A matrix is written while its group is in memory: its values, and in the type of the output. */
uint64_t organ_merge_group_memory(const merge_moments *m, uint64_t cols, uint64_t rows, bool expert)
{
    return sums_memory(m, cols, rows, m->drift && !expert) + 4 * rows * cols * sizeof(float) +
           (m->count + 3) * MOMENTS_ROWS * cols * sizeof(float);
}

static organ_status open_calibrations(moments_layer *l, moments_group *g, organ_error *error)
{
    const moments_matrix *const m = &l->matrices[g->leader];
    const moments_input *const in = &l->moments->inputs[l->input];
    organ_calibration_options options = {.features = m->cols,
                                         .name = m->name,
                                         .moments_only = true,
                                         .two_streams = g->drift,
                                         .scratch = l->scratch,
                                         .tokens = in->walk.calibration.samples * in->walk.calibration.context};
    const organ_engine *const engine = organ_calibration_engine(in->calib);
    g->tokens = 0;
    if (organ_calibration_create(&options, engine, &g->moments, error) != ORGAN_OK || !g->drift)
        return error->status;
    options.two_streams = false;
    if (!(g->kept = malloc(chunk_tokens(in) * m->cols * sizeof *g->kept)))
        return organ_fail_memory(error, m->name);
    return organ_calibration_create(&options, engine, &g->own, error);
}

static void close_calibrations(moments_group *g)
{
    organ_calibration_destroy(g->moments);
    organ_calibration_destroy(g->own);
    free(g->kept);
    g->moments = g->own = NULL;
    g->kept = NULL;
}

/* Returns the group of the pass whose leader has this name, if its inputs are gathered; else NULL. */
static moments_group *group_led_by(const moments_layer *l, const char *name)
{
    const size_t at = matrix_named(l, name);
    const size_t group = at < l->matrix_count ? l->matrices[at].group : MERGE_NONE;
    return group != MERGE_NONE && group >= l->first && group < l->end && l->groups[group].leader == at &&
                   l->groups[group].moments
               ? &l->groups[group]
               : NULL;
}

/* Ends a run of the layer once all groups of the pass have their inputs of the chunk; the error is no fault. */
static organ_status end_early(moments_layer *l, size_t tokens, organ_error *error)
{
    const moments_input *const in = &l->moments->inputs[l->input];
    l->seen += tokens;
    if (!l->early || l->seen < l->wanted * l->chunk_windows * in->walk.calibration.context)
        return ORGAN_OK;
    l->ended = true;
    return organ_fail(error, ORGAN_INTERRUPTED, "all inputs of the pass are gathered");
}

/* A tap of the output; with drift the inputs stay in g->kept for gather_own. */
static organ_status gather(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                           const float *inputs, organ_error *error)
{
    moments_layer *const l = context;
    moments_group *const g = group_led_by(l, tensor);
    if (!g)
        return ORGAN_OK;
    g->tokens += tokens;
    if (g->kept)
        memcpy(g->kept + first * features, inputs, tokens * features * sizeof *inputs);
    else if (organ_calibration_add(g->moments, inputs, NULL, tokens, error) != ORGAN_OK)
        return error->status;
    return end_early(l, tokens, error);
}

/* A tap of the model itself: adds its inputs, together with g->kept, which gather has set for the same chunk. */
static organ_status gather_own(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                               const float *inputs, organ_error *error)
{
    moments_layer *const l = context;
    for (size_t k = l->first; k < l->end; k++) {
        const moments_group *const g = &l->groups[k];
        const char *const name = l->moments->inputs[l->input].names[l->matrices[g->leader].tensor];
        if (!g->kept || !name || strcmp(name, tensor) != 0)
            continue;
        return organ_calibration_add(g->moments, g->kept + first * features, inputs, tokens, error) ||
                       organ_calibration_add(g->own, inputs, NULL, tokens, error)
                   ? error->status
                   : end_early(l, tokens, error);
    }
    return ORGAN_OK;
}

/* The inputs of the output head, whose tensor has other names in other models. */
static organ_status gather_head(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                const float *inputs, organ_error *error)
{
    (void)tensor;
    return gather(context, ((moments_layer *)context)->matrices[0].name, first, tokens, features, inputs, error);
}

static organ_status gather_own_head(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                    const float *inputs, organ_error *error)
{
    const moments_layer *const l = context;
    (void)tensor;
    return gather_own(context, l->moments->inputs[l->input].names[l->matrices[0].tensor], first, tokens, features,
                      inputs, error);
}

/* Runs a chunk with a tap of the pass, to its end if `in_place`, else until the tap has what it needs. */
static organ_status gather_chunk(moments_layer *l, organ_forward *forward, const organ_layer *layer,
                                 organ_calibration_states *states, size_t chunk, const organ_tap *tap, bool in_place,
                                 organ_error *error)
{
    const moments_input *const in = &l->moments->inputs[l->input];
    l->chunk_windows = organ_calibration_chunk_windows(&in->chunks, chunk);
    l->seen = 0;
    l->ended = false;
    l->early = !in_place && l->wanted > 0 && l->number >= 0;
    if (l->number < 0)
        return organ_merge_tap_head(forward, in, states, chunk, tap, error);
    organ_merge_run_chunk(forward, layer, in, states, chunk, !in_place, tap, error);
    if (l->ended)
        *error = (organ_error){0};
    return error->status;
}

/* Returns the number of groups whose taps end a run of the output or of the model itself (`own`). 0: one of them gets
 * an unknown number of tokens. */
static size_t count_wanted(const moments_layer *l, bool own)
{
    size_t count = 0;
    for (size_t k = l->first; k < l->end; k++) {
        if (l->groups[k].moments && l->matrices[l->groups[k].leader].expert)
            return 0;
        count += own ? l->groups[k].kept != NULL : l->groups[k].moments != NULL;
    }
    return count;
}

/* In the last pass the model's own stream moves to the next layer. */
static organ_status gather_input(moments_layer *l, const organ_layer *own, bool drift, organ_error *error)
{
    const moments_input *const in = &l->moments->inputs[l->input];
    const organ_tap tap = {l, l->number < 0 ? gather_head : gather};
    const organ_tap tap_own = {l, l->number < 0 ? gather_own_head : gather_own};
    for (size_t c = 0; c < organ_calibration_chunks_count(&in->chunks) && !error->status; c++) {
        if (organ_stop_is_requested(l->moments->job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "stopped in layer %d", (int)l->number);
        l->wanted = count_wanted(l, /*own=*/false);
        if (gather_chunk(l, l->moments->forward, l->loaded, in->states, c, &tap, /*in_place=*/false, error) !=
                ORGAN_OK ||
            !drift)
            continue;
        l->wanted = count_wanted(l, /*own=*/true);
        gather_chunk(l, in->forward, own, in->own, c, &tap_own, /*in_place=*/l->end == l->group_count, error);
    }
    return error->status;
}

/* A GGUF file may have the columns of a matrix in another order than the host, and its inputs with them. */
static organ_status check_order(const moments_layer *l, const moments_group *g, const organ_layer *own,
                                organ_error *error)
{
    const moments_matrix *const m = &l->matrices[g->leader];
    const merge_tensor *const t = &l->moments->job->tensors[m->tensor];
    const moments_input *const in = &l->moments->inputs[l->input];
    ORGAN_OWNED float *const values = organ_floats(m->rows, m->cols);
    moments_rows r;
    size_t input = 0;
    bool same = true;
    if (!values)
        return organ_fail_memory(error, m->name);
    while (input + 1 < t->item.task.inputs && t->donors[input] != in->donor)
        input++;
    organ_layer_read(own, in->names[m->tensor], values);
    organ_merge_rows_open(l->moments->job, m, &r, error);
    for (size_t first = 0; first < m->rows && same && !error->status; first += MOMENTS_ROWS) {
        const size_t rows = organ_min(MOMENTS_ROWS, m->rows - first);
        if (organ_merge_rows_read(&r, first, rows, error) == ORGAN_OK)
            same = memcmp(r.values[input], values + first * m->cols, rows * m->cols * sizeof *values) == 0;
    }
    organ_merge_rows_close(&r);
    if (!error->status && !same)
        organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s: tensor '%s' has another order than '%s': convert the model to safetensors first, or give `settings` "
            "drift=false",
            l->moments->job->donors[in->donor].path, in->names[m->tensor], t->name);
    return error->status;
}

/* ---- fits ---- */

static organ_status add_matrix(moments_layer *l, const moments_group *g, const moments_matrix *m, size_t index,
                               size_t input, organ_error *error)
{
    moments_rows r;
    organ_merge_rows_open(l->moments->job, m, &r, error);
    for (size_t first = 0; first < m->rows && !error->status; first += MOMENTS_ROWS) {
        const size_t rows = organ_min(MOMENTS_ROWS, m->rows - first);
        if (organ_merge_rows_read(&r, first, rows, error) == ORGAN_OK)
            organ_moments_fit_add(g->fit, index, first, rows, r.values[input], r.mean);
    }
    organ_merge_rows_close(&r);
    return error->status;
}

/* A group whose tokens are few for this input counts less: squared errors are sums over the tokens of the text. */
static organ_status add_to_fit(moments_layer *l, size_t group, organ_error *error)
{
    moments_group *const g = &l->groups[group];
    const moments_matrix *const leader = &l->matrices[g->leader];
    const merge_tensor *const t = &l->moments->job->tensors[leader->tensor];
    const moments_input *const in = &l->moments->inputs[l->input];
    size_t input = 0, index = 0;
    while (input < t->item.task.inputs && t->donors[input] != in->donor)
        input++;
    if (!g->tokens || input == t->item.task.inputs)
        return ORGAN_OK;
    g->total += g->tokens;
    if (organ_calibration_finish(g->moments, error) || (g->own && organ_calibration_finish(g->own, error)))
        return error->status;
    const double share = (double)g->tokens / ((double)in->walk.calibration.samples * in->walk.calibration.context);
    const organ_moments_part part = {share * organ_merge_value(&t->item.task, ORGAN_MOMENTS_WEIGHT, input),
                                     organ_calibration_moments(g->moments),
                                     g->own ? organ_calibration_moments(g->own) : NULL};
    if (!g->fit && organ_moments_fit_open(l->moments->job->engine, leader->name, leader->cols, g->fit_rows,
                                          g->fit_count, &g->fit, error) != ORGAN_OK)
        return error->status;
    if (organ_moments_fit_begin(g->fit, &part, error) != ORGAN_OK)
        return error->status;
    for (size_t m = 0; m < l->matrix_count && !error->status; m++)
        if (l->matrices[m].group == group)
            add_matrix(l, g, &l->matrices[m], index++, input, error);
    return error->status;
}

static organ_status run_input(moments_layer *l, organ_error *error)
{
    const moments_input *const in = &l->moments->inputs[l->input];
    organ_layer *own = NULL;
    bool drift = false;
    for (size_t k = l->first; k < l->end && !error->status; k++) {
        if (is_left(l, k))
            open_calibrations(l, &l->groups[k], error);
        drift |= l->groups[k].kept != NULL;
    }
    if (!error->status && drift && l->number >= 0)
        organ_layer_load_to_run(in->forward, l->number, &own, error);
    const bool gguf = organ_merge_is_gguf(&l->moments->job->donors[in->donor]);
    for (size_t k = l->first; own && gguf && k < l->end && !error->status; k++)
        if (l->groups[k].kept)
            check_order(l, &l->groups[k], own, error);
    if (!error->status)
        gather_input(l, own, drift, error);
    l->moved = own && l->end == l->group_count;
    organ_layer_free(own);
    for (size_t k = l->first; k < l->end; k++) {
        if (!error->status && l->groups[k].moments)
            add_to_fit(l, k, error);
        close_calibrations(&l->groups[k]);
    }
    return error->status;
}

/* Experts that hardly any token reaches keep the mean. */
static organ_status write_group(moments_layer *l, size_t group, organ_error *error)
{
    moments_group *const g = &l->groups[group];
    const merge_tensor *const t = &l->moments->job->tensors[l->matrices[g->leader].tensor];
    size_t index = 0;
    if (g->fit && g->total < ORGAN_CALIBRATION_MIN_TOKENS) {
        organ_moments_fit_close(g->fit);
        g->fit = NULL;
    }
    if (g->fit)
        organ_moments_fit_factor(g->fit, organ_merge_value(&t->item.task, ORGAN_MOMENTS_RIDGE, 0), error);
    for (size_t m = 0; m < l->matrix_count && !error->status; m++)
        if (l->matrices[m].group == group) {
            if (!l->matrices[m].done)
                organ_merge_write_matrix(l, &l->matrices[m], index, g, error);
            index++;
        }
    organ_moments_fit_close(g->fit);
    g->fit = NULL;
    return error->status;
}

/* A pass has groups of one stage, as many as fit the memory. */
static void choose_pass(moments_layer *l)
{
    uint64_t bytes = 0;
    for (l->end = l->first; l->end < l->group_count && l->groups[l->end].stage == l->groups[l->first].stage; l->end++) {
        const moments_group *const g = &l->groups[l->end];
        bytes += organ_merge_group_memory(l->moments, l->matrices[g->leader].cols, g->rows, !g->drift);
        if (l->end > l->first && bytes > l->moments->spare)
            break;
    }
}

static organ_status run_pass(moments_layer *l, organ_error *error)
{
    bool left = false;
    choose_pass(l);
    for (size_t k = l->first; k < l->end; k++)
        left |= is_left(l, k);
    for (l->input = 0; left && l->input < l->moments->count && !error->status; l->input++)
        run_input(l, error);
    for (size_t k = l->first; left && k < l->end && !error->status; k++)
        write_group(l, k, error);
    l->first = l->end;
    return error->status;
}

static organ_status move_own_streams(const moments_layer *l, organ_error *error)
{
    const merge_moments *const m = l->moments;
    for (size_t k = 0; k < m->count && !error->status; k++) {
        const moments_input *const in = &m->inputs[k];
        organ_layer *own = NULL;
        if (in->forward && organ_layer_load_to_run(in->forward, l->number, &own, error) == ORGAN_OK)
            for (size_t c = 0; c < organ_calibration_chunks_count(&in->chunks) && !error->status; c++)
                organ_merge_run_chunk(in->forward, own, in, in->own, c, /*copy=*/false, NULL, error);
        organ_layer_free(own);
    }
    return error->status;
}

static void close_layer(moments_layer *l)
{
    for (size_t k = 0; k < l->group_count; k++) {
        close_calibrations(&l->groups[k]);
        organ_moments_fit_close(l->groups[k].fit);
        free(l->groups[k].fit_rows);
    }
    ORGAN_FREE_ARRAYS(l->matrices, l->groups, l->scratch);
}

organ_status organ_merge_fit_layer(merge_moments *m, int32_t number, organ_layer *loaded, organ_error *error)
{
    moments_layer l = {.moments = m, .number = number, .loaded = loaded};
    bool left = false;
    organ_rows_rest();
    if (list_matrices(&l, error) == ORGAN_OK)
        for (size_t k = 0; k < l.matrix_count; k++)
            left |= !l.matrices[k].done;
    if (left && !error->status && open_groups(&l, error) == ORGAN_OK && sort_groups(&l, error) == ORGAN_OK)
        while (l.first < l.group_count && !error->status)
            run_pass(&l, error);
    if (!error->status && !l.moved)
        move_own_streams(&l, error);
    close_layer(&l);
    return error->status;
}

organ_status organ_merge_fit_head(merge_moments *m, organ_error *error)
{
    moments_layer l = {.moments = m, .number = -1};
    if (list_matrices(&l, error) == ORGAN_OK && l.matrix_count) {
        open_group(&l, /*matrix=*/0, /*stage=*/0);
        if (list_rows(&l, error) == ORGAN_OK)
            run_pass(&l, error);
    }
    close_layer(&l);
    return error->status;
}
