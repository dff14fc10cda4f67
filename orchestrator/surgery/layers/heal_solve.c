/* SPDX-License-Identifier: MIT
 * Refits one part of a block, heal->part: records the inputs of its matrices in the smaller model and the targets in
 * the donor, and solves for the change of the matrices. */
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/layers/layers_heal_job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Returns the configuration of the forward pass. */
static const organ_forward_config *config_of(const organ_layers_heal *h) { return organ_forward_describe(h->forward); }

/* ---- recording of inputs ---- */

/* Finds a matrix of the part by its name in the forward pass. Returns NULL if the part has no such matrix. */
static const heal_matrix *find_matrix_named(const organ_layers_heal *h, const char *name)
{
    for (size_t k = 0; k < h->part.count; k++)
        if (strcmp(h->part.matrices[k].name, name) == 0)
            return &h->part.matrices[k];
    return NULL;
}

/* Returns whether the part is the down projections of routed experts. */
static bool is_mixture(const organ_layers_heal *h) { return h->part.blocks > 1; }

/* Copies `inputs` (tokens x width), the inputs of matrix `m` that heal_solve_capture gets, to their rows of `to`.
 *
 * If the part is not a mixture, these are tokens [first, first + tokens) of the chunk, and row t of `to` is for token
 * t.
 *
 * In a mixture, `to` has a row for each pair of token and choice: token x used + choice. The inputs are tokens [first,
 * first + tokens) of those that the router sent to the expert of `m`; h->routed has their rows. Each input is
 * multiplied by the router's weight. */
static void heal_solve_take_rows(organ_layers_heal *h, const heal_matrix *m, size_t first, size_t tokens,
                                 const float *inputs, float *to)
{
    const size_t width = h->part.width;
    if (!is_mixture(h)) {
        memcpy(to + first * width, inputs, tokens * width * sizeof *to);
        return;
    }
    const size_t *const rows = h->routed + h->begin[m->expert] + first;
    for (size_t k = 0; k < tokens; k++)
        for (size_t c = 0; c < width; c++)
            to[rows[k] * width + c] = h->gates[rows[k]] * inputs[k * width + c];
}

/* Context of heal_solve_capture and capture_router, which record inputs of heal->part.matrices in `to`. */
typedef struct recording {
    organ_layers_heal *heal;
    float *to; /* heal->inputs, or heal->target for the inputs in the donor */
} recording;

/* Implements organ_tap: records `inputs` of matrix `tensor` while the layer runs, if the matrix is in the part. Does
 * nothing for gate and up of experts: capture_router records their inputs, because an expert receives only some
 * tokens. */
static organ_status heal_solve_capture(void *context, const char *tensor, size_t first, size_t tokens, size_t in,
                                       const float *inputs, organ_error *error)
{
    const recording *const l = context;
    const bool mixed = l->heal->kind == ORGAN_HEAL_FFN_INPUTS && organ_layer_experts(l->heal->loaded);
    const heal_matrix *const m = mixed ? NULL : find_matrix_named(l->heal, tensor);
    if (m && in == l->heal->part.width)
        heal_solve_take_rows(l->heal, m, first, tokens, inputs, l->to);
    return error->status;
}

/* Sorts the numbers of rows 0 .. rows - 1 (token x used + choice) by expert into h->routed. Entries h->begin[e] to
 * h->begin[e + 1] - 1 are the rows of expert e. */
static void sort_rows(organ_layers_heal *h, size_t rows)
{
    const size_t experts = config_of(h)->experts;
    size_t *const begin = h->begin;
    memset(begin, 0, (experts + 2) * sizeof *begin);
    /* First counts the rows of expert e in begin[e + 2]. The sums then make begin[e + 1] the index of the next row of
     * expert e, which has become the begin of expert e + 1 after all rows are placed. */
    for (size_t r = 0; r < rows; r++)
        begin[h->blocks[r] + 2]++;
    for (size_t e = 2; e < experts + 2; e++)
        begin[e] += begin[e - 1];
    for (size_t r = 0; r < rows; r++)
        h->routed[begin[h->blocks[r] + 1]++] = r;
}

/* Implements organ_routed, for tokens [first, first + tokens) of the chunk.
 *
 * If the part is router, gate and up, records their common input `normed`.
 *
 * If the part is the down projections of experts, records in h->blocks and h->gates the experts that the router chose
 * for these tokens and their weights. Then sorts the rows of all tokens of the chunk so far by expert into h->routed,
 * for heal_solve_take_rows. */
static organ_status capture_router(void *context, int32_t layer, size_t first, size_t tokens, const float *normed,
                                   const float *logits, organ_error *error)
{
    const recording *const l = context;
    organ_layers_heal *const h = l->heal;
    const organ_forward_config *const c = config_of(h);
    (void)layer;
    if (!is_mixture(h)) { /* the part is router, gate and up, which have this input */
        memcpy(l->to + first * h->part.width, normed, tokens * h->part.width * sizeof *normed);
        return error->status;
    }
    organ_choice *const chosen = malloc(c->experts_used * sizeof *chosen);
    float *const scratch = malloc(c->experts * sizeof *scratch);
    if (!chosen || !scratch)
        organ_fail_memory(error, h->options.model->path);
    const organ_router router = organ_layer_router(h->loaded);
    for (size_t t = 0; t < tokens && !error->status; t++) {
        organ_forward_route(&router, NULL, logits + t * c->experts, scratch, chosen);
        for (size_t k = 0; k < c->experts_used; k++) {
            h->blocks[(first + t) * c->experts_used + k] = chosen[k].expert;
            h->gates[(first + t) * c->experts_used + k] = chosen[k].weight;
        }
    }
    sort_rows(h, (first + tokens) * c->experts_used);
    free(chosen);
    free(scratch);
    return error->status;
}

/* ---- a chunk ---- */

/* Returns the windows of a chunk. */
organ_windows organ_layers_heal_chunk_at(const organ_layers_heal *h, size_t chunk)
{
    const size_t first = chunk * h->chunks.together;
    return (organ_windows){h->windows.tokens + h->windows.begin[first],
                           organ_calibration_chunk_windows(&h->chunks, chunk), h->windows.begin};
}

/* Runs `layer` on a copy of the hidden states of a chunk in `states`. Records the part's inputs in `to`, unless `to` is
 * NULL. Returns the states after the layer, which stay valid until the next organ_calibration_states_copy from
 * `states`; NULL on error. */
static float *run_and_capture(organ_layers_heal *h, organ_calibration_states *states, organ_layer *layer, size_t chunk,
                              float *to, organ_error *error)
{
    const organ_windows windows = organ_layers_heal_chunk_at(h, chunk);
    recording l = {h, to};
    const organ_tap tap = {&l, heal_solve_capture};
    float *const values = organ_calibration_states_copy(states, chunk, error);
    const bool routes = h->kind == ORGAN_HEAL_FFN_INPUTS || h->kind == ORGAN_HEAL_FFN_OUTPUT;
    if (!values)
        return NULL;
    organ_layer_tap_router(layer, &l, routes && to && organ_layer_experts(layer) ? capture_router : NULL);
    organ_layer_run(h->forward, layer, &windows, values, to ? &tap : NULL, error);
    organ_layer_tap_router(layer, NULL, NULL);
    return error->status ? NULL : values;
}

/* For parts that read the inputs of the block: sets h->inputs to the part's inputs in the smaller model for the
 * `tokens` tokens of a chunk, and h->target to those in the donor minus h->inputs. */
static organ_status capture_inputs(organ_layers_heal *h, size_t chunk, size_t tokens, organ_error *error)
{
    if (!run_and_capture(h, h->donor, h->loaded_donor, chunk, h->target, error) ||
        !run_and_capture(h, h->cut, h->loaded, chunk, h->inputs, error))
        return error->status;
    for (size_t k = 0; k < tokens * h->part.width; k++)
        h->target[k] -= h->inputs[k];
    return ORGAN_OK;
}

/* Returns the weight of a token in the least-squares sum: 1 / rms of its target state (`outputs` values), 0 if the
 * state is zero. Later blocks normalise the state before they read it, so an error counts relative to the length of the
 * state. */
static float token_weight(const float *target, size_t outputs)
{
    const double mean = organ_dot(target, target, outputs) / (double)outputs;
    return mean > 0 ? (float)(1 / sqrt(mean)) : 0;
}

/* For output projections: sets h->inputs to the inputs of the projection in the smaller model for the `tokens` tokens
 * of a chunk, and h->target to the donor's hidden state minus that of the smaller model after this block. Inputs and
 * target of a token are multiplied by its weight (token_weight). The donor's state is that after this block or, if
 * h->donor_at_next is set, before the next kept block. */
static organ_status capture_outputs(organ_layers_heal *h, size_t chunk, size_t tokens, organ_error *error)
{
    const size_t outputs = h->part.outputs, inputs = h->part.used * h->part.width;
    const float *const target = h->donor_at_next ? organ_calibration_states_copy(h->donor, chunk, error)
                                                 : run_and_capture(h, h->donor, h->loaded_donor, chunk, NULL, error);
    if (!target)
        return error->status;
    memcpy(h->target, target, tokens * outputs * sizeof *target);
    const float *const here = run_and_capture(h, h->cut, h->loaded, chunk, h->inputs, error);
    if (!here)
        return error->status;
    for (size_t t = 0; t < tokens; t++) {
        float *const row = h->target + t * outputs, *const z = h->inputs + t * inputs;
        const float scale = token_weight(row, outputs);
        for (size_t k = 0; k < outputs; k++)
            row[k] = scale * (row[k] - here[t * outputs + k]);
        for (size_t k = 0; k < inputs; k++)
            z[k] *= scale;
    }
    return ORGAN_OK;
}

/* Records inputs and targets of a chunk in h->inputs and h->target, and adds those of the windows that refit blocks
 * (HEAL_BLOCKS) to the equations h->ridge. */
static organ_status capture_chunk(organ_layers_heal *h, size_t chunk, organ_error *error)
{
    const size_t windows = organ_calibration_chunk_windows(&h->chunks, chunk),
                 context = h->options.walk.calibration.context;
    const size_t inputs = h->part.used * h->part.width;
    const bool is_inputs = organ_layers_heal_is_inputs(h->kind);
    if ((is_inputs ? capture_inputs : capture_outputs)(h, chunk, windows * context, error) != ORGAN_OK)
        return error->status;
    for (size_t w = 0; w < windows && !error->status; w++) {
        const size_t first = w * context;
        if (organ_layers_heal_use(h, chunk, w) == HEAL_BLOCKS)
            organ_ridge_add(h->ridge, ORGAN_RIDGE_FIT, context, is_mixture(h) ? h->blocks + first * h->part.used : NULL,
                            h->inputs + first * inputs, h->target + first * h->part.outputs, error);
    }
    return error->status;
}

/* ---- the solution ---- */

/* Adds W D to `weights`, where W is the matrix in `weights` and D is `change`, cols x cols. The new matrix maps an
 * input x of the smaller model to W (x + D x), and D was fitted so that x + D x approximates the donor's input. */
static organ_status heal_solve_add_product(const organ_layers_heal *h, const heal_matrix *m, const float *change,
                                           float *weights, organ_error *error)
{
    const size_t rows = (size_t)m->rows, cols = (size_t)m->cols;
    float *const before = organ_floats(rows, cols);
    void *const scratch = aligned_alloc(64, organ_products_scratch(h->options.engine));
    if (before && scratch) {
        memcpy(before, weights, rows * cols * sizeof *weights);
        const organ_product product = {.m = rows,
                                       .n = cols,
                                       .k = cols,
                                       .a = organ_by_rows(before, cols),
                                       .b = organ_by_columns(change, cols),
                                       .c = weights,
                                       .c_stride = cols,
                                       .into = ORGAN_PRODUCT_ADD};
        organ_products_run(h->options.engine, NULL, &product, 1, scratch);
    } else
        organ_fail_memory(error, m->name);
    free(before);
    free(scratch);
    return error->status;
}

/* Sets `weights` to the donor's matrix W plus `step` times its change. `change` is the solution D of the equations,
 * outputs x width. The change of an output projection is D. The change of a matrix that reads the inputs of the block
 * is W D (heal_solve_add_product). */
static organ_status heal_solve_make(const organ_layers_heal *h, const heal_matrix *m, const float *change, double step,
                                    float *weights, organ_error *error)
{
    const size_t values = (size_t)(m->rows * m->cols);
    organ_layer_read(h->loaded_donor, m->name, weights);
    if (!organ_layers_heal_is_inputs(h->kind)) {
        for (size_t k = 0; k < values; k++)
            weights[k] += (float)step * change[k];
        return ORGAN_OK;
    }
    float *const scaled = organ_floats(h->part.outputs, h->part.width);
    if (!scaled)
        return organ_fail_memory(error, m->name);
    for (size_t k = 0; k < h->part.outputs * h->part.width; k++)
        scaled[k] = (float)step * change[k];
    heal_solve_add_product(h, m, scaled, weights, error);
    free(scaled);
    return error->status;
}

/* Computes, for each matrix of the part, the donor's matrix plus `step` times its change, and calls `take` with the
 * result. `take` may change the result, which is freed afterwards. h->ridge must have a solution. */
static organ_status make_matrices(organ_layers_heal *h, double step,
                                  organ_status (*take)(organ_layers_heal *heal, const heal_matrix *m, float *weights,
                                                       organ_error *error),
                                  organ_error *error)
{
    float *const change = organ_floats(h->part.outputs, h->part.width);
    if (!change)
        return organ_fail_memory(error, h->options.model->path);
    for (size_t k = 0; k < h->part.count && !error->status; k++) {
        const heal_matrix *const m = &h->part.matrices[k];
        float *const weights = organ_floats((size_t)m->rows, (size_t)m->cols);
        if (!weights) {
            organ_fail_memory(error, m->name);
            break;
        }
        organ_ridge_block(h->ridge, is_mixture(h) ? m->expert : 0, change);
        if (heal_solve_make(h, m, change, step, weights, error) == ORGAN_OK)
            take(h, m, weights, error);
        free(weights);
    }
    free(change);
    return error->status;
}

/* For make_matrices: puts the new matrix `weights` into the loaded layer, to judge it. */
static organ_status put_into_loaded_layer(organ_layers_heal *h, const heal_matrix *m, float *weights,
                                          organ_error *error)
{
    organ_layer_write(h->loaded, m->name, weights);
    return error->status;
}

/* For make_matrices: puts the new matrix `weights` into the loaded layer and writes it to the output. If `weights` is
 * NULL, writes the donor's matrix and does not change the loaded layer. If an interrupted run has already written the
 * tensor, only rounds `weights` to the stored type. */
static organ_status store_matrix(organ_layers_heal *h, const heal_matrix *m, float *weights, organ_error *error)
{
    if (weights) { /* the output has the rows in the order of the file */
        organ_layer_write(h->loaded, m->name, weights);
        organ_calibration_reorder_rows(h->calib, m->tensor, weights, m->rows, true, error);
    }
    if (error->status)
        return error->status;
    if (organ_cut_done(h->run, m->tensor))
        return organ_cut_put(h->run, m->tensor, m->matrix, false, weights, error);
    return organ_cut_put_once(h->run, m->tensor, m->matrix, weights, error);
}

/* Returns the address of a matrix in a loaded layer: its values, or its quantised blocks if it has none. Sets *bytes to
 * their size. NULL if the layer has neither. */
static void *stored_matrix(organ_layer *layer, const heal_matrix *m, uint64_t *bytes)
{
    void *const values = organ_layer_values(layer, m->name, bytes);
    return values ? values : organ_layer_blocks(layer, m->name, bytes);
}

/* Copies the donor's matrices of the part from h->loaded_donor to h->loaded, which has those of the last candidate, and
 * writes them to the output. */
static organ_status restore_matrices(organ_layers_heal *h, organ_error *error)
{
    for (size_t k = 0; k < h->part.count && !error->status; k++) {
        const heal_matrix *const m = &h->part.matrices[k];
        uint64_t bytes = 0;
        void *const to = stored_matrix(h->loaded, m, &bytes);
        const void *const from = stored_matrix(h->loaded_donor, m, &bytes);
        if (to && from)
            memcpy(to, from, (size_t)bytes);
        store_matrix(h, m, NULL, error);
    }
    return error->status;
}

/* ---- choice of the solution ---- */

/* A candidate solution of the part. */
typedef struct heal_solve_trial {
    double lambda;     /* the ridge */
    double step;       /* fraction of the change that is applied */
    bool found;        /* the equations have a solution */
    double divergence; /* KL divergence of the smaller model with it from the donor, in nats per token */
} heal_solve_trial;

/* Judges `count` trials, whose lambda and step are set: solves the equations with lambda, puts the matrices into the
 * loaded layer and sets `found` and `divergence`. Consecutive trials with the same lambda are solved once. A trial
 * whose equations have no solution gets `found` false and no divergence. */
static organ_status judge_trials(organ_layers_heal *h, heal_solve_trial *trials, size_t count, organ_error *error)
{
    double solved = 0; /* lambda of the solution that h->ridge has; 0: none */
    for (size_t k = 0; k < count && !error->status; k++) {
        heal_solve_trial *const t = &trials[k];
        t->found = k > 0 && t->lambda == solved && trials[k - 1].found;
        if (t->lambda != solved && organ_ridge_solve(h->ridge, t->lambda, &t->found, error) != ORGAN_OK)
            break;
        solved = t->lambda;
        if (t->found && make_matrices(h, t->step, put_into_loaded_layer, error) == ORGAN_OK)
            organ_layers_heal_try(h, &t->divergence, error);
    }
    return error->status ? error->status : organ_layers_heal_finish(h, error);
}

/* Returns the trial with the least divergence: *best (NULL: none yet) or one of the `count` trials that have a
 * solution. NULL if there is none. */
static const heal_solve_trial *best_trial(const heal_solve_trial *best, const heal_solve_trial *trials, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (trials[k].found && (!best || trials[k].divergence < best->divergence))
            best = &trials[k];
    return best;
}

/* Sets *chosen to the trial with the least divergence of the whole smaller model. Judges the complete change (step 1)
 * for several lambdas, from the largest on, then other steps with the lambda of the best trial. The error after the
 * block, which the equations minimise, does not decide, because less of it may still give worse predictions. If no
 * trial has a divergence below h->divergence, chosen->step is 0, which keeps the donor's weights. */
static organ_status heal_solve_choose(organ_layers_heal *h, heal_solve_trial *chosen, organ_error *error)
{
    heal_solve_trial complete[] = {{.lambda = 3, .step = 1},    {.lambda = 1, .step = 1},
                                   {.lambda = 0.3, .step = 1},  {.lambda = 0.1, .step = 1},
                                   {.lambda = 0.03, .step = 1}, {.lambda = 0.01, .step = 1}};
    heal_solve_trial parts[] = {{.step = 1.5}, {.step = 0.5}, {.step = 0.25}};
    const size_t complete_count = sizeof complete / sizeof *complete, part_count = sizeof parts / sizeof *parts;
    *chosen = (heal_solve_trial){.divergence = h->divergence};
    if (judge_trials(h, complete, complete_count, error) != ORGAN_OK)
        return error->status;
    const heal_solve_trial *best = best_trial(NULL, complete, complete_count);
    for (size_t k = 0; k < part_count && best; k++)
        parts[k].lambda = best->lambda;
    if (best && judge_trials(h, parts, part_count, error) == ORGAN_OK)
        best = best_trial(best, parts, part_count);
    if (best && !error->status && best->divergence < h->divergence)
        *chosen = *best;
    return error->status;
}

/* Allocates the buffers for a chunk: inputs, target, blocks, gates, routed and begin of `h`. */
static organ_status heal_solve_allocate(organ_layers_heal *h, organ_error *error)
{
    const size_t tokens = organ_layers_heal_chunk_tokens(h), experts = config_of(h)->experts;
    h->inputs = organ_floats(tokens, h->part.used * h->part.width);
    h->target = organ_floats(tokens, h->part.outputs);
    h->blocks = calloc(tokens * h->part.used, sizeof *h->blocks);
    h->gates = organ_floats(tokens, h->part.used);
    h->routed = calloc(tokens * h->part.used, sizeof *h->routed);
    h->begin = calloc(experts + 2, sizeof *h->begin); /* two entries more, for counting in sort_rows */
    return h->inputs && h->target && h->blocks && h->gates && h->routed && h->begin
               ? ORGAN_OK
               : organ_fail_memory(error, h->options.model->path);
}

/* Frees the buffers of heal_solve_allocate and closes the equations. */
static void heal_solve_free_buffers(organ_layers_heal *h)
{
    ORGAN_FREE_ARRAYS(h->inputs, h->target, h->blocks, h->gates, h->routed, h->begin);
    h->inputs = h->target = h->gates = NULL;
    h->blocks = NULL;
    h->routed = h->begin = NULL;
    organ_ridge_close(h->ridge);
    h->ridge = NULL;
}

/* Puts the matrices of the chosen solution into the loaded layer and writes them to the output; those of the donor if
 * chosen->step is 0. Solves the equations again, because h->ridge has the solution of the last trial. */
static organ_status heal_solve_put(organ_layers_heal *h, const heal_solve_trial *chosen, organ_error *error)
{
    bool found = false;
    if (chosen->step == 0)
        return restore_matrices(h, error);
    return organ_ridge_solve(h->ridge, chosen->lambda, &found, error)
               ? error->status
               : make_matrices(h, chosen->step, store_matrix, error);
}

/* Refits h->part: records inputs and targets of all chunks, chooses a solution, puts it into h->loaded and the output,
 * and stores it in h->known and h->solved. */
organ_status organ_layers_heal_solve(organ_layers_heal *h, organ_error *error)
{
    const organ_ridge_shape shape = organ_layers_heal_shape(h, &h->part);
    organ_layers_solved *const known = &h->known[organ_layers_heal_number(h, h->part.matrices[0].tensor)];
    heal_solve_trial chosen = {0};
    if (heal_solve_allocate(h, error) == ORGAN_OK)
        organ_ridge_open(&shape, h->options.engine, &h->ridge, error);
    for (size_t chunk = 0; chunk < organ_calibration_chunks_count(&h->chunks) && !error->status; chunk++)
        capture_chunk(h, chunk, error);
    if (!error->status && heal_solve_choose(h, &chosen, error) == ORGAN_OK) {
        *known = (organ_layers_solved){.layer = h->layer,
                                       .kind = h->kind,
                                       .lambda = chosen.lambda,
                                       .step = chosen.step,
                                       .before = h->divergence,
                                       .after = chosen.divergence};
        h->divergence = chosen.divergence;
        if (heal_solve_put(h, &chosen, error) == ORGAN_OK)
            h->solved[h->solved_count++] = *known;
    }
    heal_solve_free_buffers(h);
    return error->status;
}
