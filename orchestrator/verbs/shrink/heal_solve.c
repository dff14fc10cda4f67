/* SPDX-License-Identifier: MIT
 * Refits one part of a block, heal->part: records the inputs of its matrices in the smaller model and the targets in
 * the donor, and solves for the change of the matrices. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NORM_DAMPING 0.1         /* of set_factors */
#define FIRST_LAMBDA ((size_t)3) /* index in `lambdas`: 0.3 */

static const double lambdas[] = {0.01, 0.03, 0.1, 0.3, 1, 3}; /* ridges that are tried */
#define LAMBDAS (sizeof lambdas / sizeof *lambdas)

static const organ_forward_config *config_of(const organ_layers_heal *h) { return organ_forward_describe(h->forward); }

/* ---- recording of inputs ---- */

static const heal_matrix *find_matrix_named(const organ_layers_heal *h, const char *name)
{
    for (size_t k = 0; k < h->part.count; k++)
        if (strcmp(h->part.matrices[k].name, name) == 0)
            return &h->part.matrices[k];
    return NULL;
}

static bool is_mixture(const organ_layers_heal *h) { return h->part.blocks > 1; }

/* If the part is not a mixture, `inputs` has tokens [first, first + tokens) of the chunk, and row t of `to` is for
 * token t. In a mixture, `to` has a row for each pair of token and choice: token x used + choice. `inputs` then has
 * tokens [first, first + tokens) of those that the router sent to the expert of `m`; h->routed has their rows. Each
 * input is multiplied by the router's weight. */
static void take_rows(organ_layers_heal *h, const heal_matrix *m, size_t first, size_t tokens, const float *inputs,
                      float *to)
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

/* Context of take_capture and capture_router, which record inputs of heal->part.matrices in `to`. */
typedef struct recording {
    organ_layers_heal *heal;
    float *to;     /* heal->inputs, or heal->target for the inputs in the donor */
    size_t tokens; /* tokens of the chunk */
    /* The run may stop when the inputs of all tokens are recorded, because nothing else of it is used. */
    bool brief;
    size_t complete; /* number of matrices whose inputs are recorded for all tokens */
} recording;

/* run_and_capture takes the ORGAN_INTERRUPTED back that ends the run of a brief recording. */
static organ_status end_when_recorded(const recording *r, organ_error *error)
{
    if (r->brief && r->complete >= r->heal->part.count)
        organ_fail(error, ORGAN_INTERRUPTED, "the inputs are recorded");
    return error->status;
}

/* Inputs of gate and up of experts are not recorded here but by capture_router, because an expert receives only some
 * tokens. */
static organ_status take_capture(void *context, const char *tensor, size_t first, size_t tokens, size_t in,
                                 const float *inputs, organ_error *error)
{
    recording *const r = context;
    const bool mixed = r->heal->kind == ORGAN_HEAL_FFN_INPUTS && organ_layer_experts(r->heal->loaded);
    const heal_matrix *const m = mixed ? NULL : find_matrix_named(r->heal, tensor);
    if (m && in == r->heal->part.width)
        take_rows(r->heal, m, first, tokens, inputs, r->to);
    r->complete += m && first + tokens == r->tokens;
    return end_when_recorded(r, error);
}

/* Row numbers are token x used + choice. Entries h->begin[e] to h->begin[e + 1] - 1 of h->routed are the rows of
 * expert e. */
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

/* If the part is the down projections of experts, the rows of all tokens of the chunk so far are sorted by expert
 * into h->routed, for take_rows. */
static organ_status capture_router(void *context, int32_t layer, size_t first, size_t tokens, const float *normed,
                                   const float *logits, organ_error *error)
{
    recording *const r = context;
    organ_layers_heal *const h = r->heal;
    const organ_forward_config *const c = config_of(h);
    (void)layer;
    if (!is_mixture(h)) { /* the part is router, gate and up, which have this input */
        memcpy(r->to + first * h->part.width, normed, tokens * h->part.width * sizeof *normed);
        r->complete += first + tokens == r->tokens ? h->part.count : 0;
        return end_when_recorded(r, error);
    }
    ORGAN_OWNED organ_expert_choice *const chosen = malloc(c->experts_used * sizeof *chosen);
    ORGAN_OWNED float *const scratch = malloc(c->experts * sizeof *scratch);
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
    return error->status;
}

/* ---- a chunk ---- */

/* Runs a copy of the states of a chunk through the block, and records the inputs of the part's matrices in `to` (NULL:
 * nowhere). The returned states, NULL on error, stay valid until the next organ_calibration_states_copy from `states`.
 * If the part reads the inputs of the block, the run only records, and the states are of no use. */
static float *run_and_capture(organ_layers_heal *h, organ_calibration_states *states, organ_layer *layer, size_t chunk,
                              float *to, organ_error *error)
{
    const organ_windows windows = organ_calibration_chunk_at(&h->chunks, &h->windows, chunk);
    recording r = {
        .heal = h, .to = to, .tokens = windows.begin[windows.count], .brief = organ_layers_heal_is_inputs(h->kind)};
    const organ_tap tap = {&r, take_capture};
    float *const values = organ_calibration_states_copy(states, chunk, error);
    const bool routes = h->kind == ORGAN_HEAL_FFN_INPUTS || h->kind == ORGAN_HEAL_FFN_OUTPUT;
    if (!values)
        return NULL;
    organ_layer_tap_router(layer, &r, routes && to && organ_layer_experts(layer) ? capture_router : NULL);
    organ_layer_run(h->forward, layer, &windows, values, to ? &tap : NULL, error);
    organ_layer_tap_router(layer, NULL, NULL);
    if (r.brief && r.complete >= h->part.count && error->status == ORGAN_INTERRUPTED)
        *error = (organ_error){0};
    return error->status ? NULL : values;
}

/* h->inputs are the part's inputs in the smaller model; h->target are those in the donor minus h->inputs. */
static organ_status capture_inputs(organ_layers_heal *h, size_t chunk, size_t tokens, organ_error *error)
{
    if (!run_and_capture(h, h->donor, h->loaded_donor, chunk, h->target, error) ||
        !run_and_capture(h, h->cut, h->loaded, chunk, h->inputs, error))
        return error->status;
    for (size_t k = 0; k < tokens * h->part.width; k++)
        h->target[k] -= h->inputs[k];
    return ORGAN_OK;
}

/* The weight is 1 / rms of the target state, 0 if the state is zero. Later blocks normalise the state before they
 * read it, so an error counts relative to the length of the state. */
static float token_weight(const float *target, size_t outputs)
{
    const double mean = organ_dot(target, target, outputs) / (double)outputs;
    return mean > 0 ? (float)(1 / sqrt(mean)) : 0;
}

/* The norm divides the outputs of the part's only matrix by their root mean square; the inputs of each token are
 * divided by the same. */
static organ_status divide_by_norm(organ_layers_heal *h, const organ_output_norm *norm, size_t tokens,
                                   organ_error *error)
{
    const size_t outputs = h->part.outputs, width = h->part.width;
    ORGAN_OWNED float *const matrix = organ_floats(outputs, width);
    ORGAN_OWNED void *const scratch = aligned_alloc(64, organ_products_scratch(h->options.engine));
    if (!matrix || !scratch)
        organ_fail_memory(error, h->part.matrices[0].name);
    else {
        organ_layer_read(h->loaded, h->part.matrices[0].name, matrix);
        const organ_product product = {.m = tokens,
                                       .n = outputs,
                                       .k = width,
                                       .a = organ_by_rows(h->inputs, width),
                                       .b = organ_by_rows(matrix, width),
                                       .c = h->made,
                                       .c_stride = outputs};
        organ_products_run(h->options.engine, NULL, &product, 1, scratch);
        for (size_t t = 0; t < tokens; t++) {
            const float *const row = h->made + t * outputs;
            const double rms = sqrt(organ_dot(row, row, outputs) / (double)outputs + norm->eps);
            for (size_t k = 0; k < width; k++)
                h->inputs[t * width + k] = (float)((double)h->inputs[t * width + k] / rms);
        }
    }
    return error->status;
}

/* The factor of output k of the target is the change of the matrix that changes the hidden state by one. That is 1 /
 * scale without a norm. With a norm of weights w it is w / (w^2 + NORM_DAMPING mean(w^2)) / scale, near 1 / w:
 * outputs of little weight get no great change, which would raise the length that the norm divides by. */
static void set_factors(const organ_output_norm *norm, size_t outputs, float *factors)
{
    double mean = 0;
    for (size_t k = 0; k < outputs; k++) {
        const double weight = norm->weights ? (double)norm->plus + (double)norm->weights[k] : 1;
        mean += weight * weight / (double)outputs;
    }
    for (size_t k = 0; k < outputs; k++) {
        const double weight = norm->weights ? (double)norm->plus + (double)norm->weights[k] : 1;
        const double inverse = norm->weights ? weight / (weight * weight + NORM_DAMPING * mean) : 1;
        factors[k] = mean > 0 && norm->scale != 0 ? (float)(inverse / (double)norm->scale) : 0;
    }
}

/* The divisor of a norm is computed from the outputs of one matrix, so a part of several matrices behind a norm has
 * no equations. */
bool organ_layers_heal_has_equations(const organ_layers_heal *h, organ_output_norm *norm)
{
    *norm = (organ_output_norm){.scale = 1};
    return organ_layers_heal_is_inputs(h->kind) ||
           (organ_layer_output_norm(h->loaded, h->kind == ORGAN_HEAL_FFN_OUTPUT, norm) &&
            (!norm->weights || h->part.count == 1));
}

/* h->target has the donor's states, `here` those of the smaller model. */
static void weigh_tokens(organ_layers_heal *h, const float *here, const float *factors, size_t tokens)
{
    const size_t outputs = h->part.outputs, inputs = h->part.used * h->part.width;
    for (size_t t = 0; t < tokens; t++) {
        float *const row = h->target + t * outputs, *const z = h->inputs + t * inputs;
        const float scale = token_weight(row, outputs);
        for (size_t k = 0; k < outputs; k++)
            row[k] = scale * factors[k] * (row[k] - here[t * outputs + k]);
        for (size_t k = 0; k < inputs; k++)
            z[k] *= scale;
    }
}

/* h->target is the donor's hidden state minus that of the smaller model after this block. Inputs and target of a
 * token are multiplied by its weight (token_weight); if a norm follows the projection, they are also divided by what
 * the norm multiplies by. The donor's state is that after this block or, if h->donor_at_next is set, before the next
 * kept block. */
static organ_status capture_outputs(organ_layers_heal *h, size_t chunk, size_t tokens, organ_error *error)
{
    const size_t outputs = h->part.outputs;
    organ_output_norm norm;
    const float *const target = h->donor_at_next
                                    ? organ_calibration_states_copy(h->donor, chunk, error)
                                    : run_and_capture(h, h->donor, h->loaded_donor, chunk, /*to=*/NULL, error);
    if (!target)
        return error->status;
    memcpy(h->target, target, tokens * outputs * sizeof *target);
    const float *const here = run_and_capture(h, h->cut, h->loaded, chunk, h->inputs, error);
    if (!here)
        return error->status;
    ORGAN_OWNED float *const factors = organ_floats(1, outputs);
    if (!factors)
        return organ_fail_memory(error, h->options.model->path);
    (void)organ_layers_heal_has_equations(h, &norm);
    set_factors(&norm, outputs, factors);
    if (!norm.weights || divide_by_norm(h, &norm, tokens, error) == ORGAN_OK)
        weigh_tokens(h, here, factors, tokens);
    return error->status;
}

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
        const heal_use use = organ_layers_heal_use(h, chunk, w);
        if (use == HEAL_BLOCKS || use == HEAL_LAMBDA)
            organ_ridge_add(h->ridge, use == HEAL_BLOCKS ? ORGAN_RIDGE_FIT : ORGAN_RIDGE_HELD, context,
                            is_mixture(h) ? h->blocks + first * h->part.used : NULL, h->inputs + first * inputs,
                            h->target + first * h->part.outputs, error);
    }
    return error->status;
}

/* ---- the solution ---- */

/* W is the matrix in `weights` and D is `change`, cols x cols. The new matrix maps an input x of the smaller model
 * to W (x + D x), and D was fitted so that x + D x approximates the donor's input. */
static organ_status add_product(const organ_layers_heal *h, const heal_matrix *m, const float *change, float *weights,
                                organ_error *error)
{
    const size_t rows = (size_t)m->rows, cols = (size_t)m->cols;
    ORGAN_OWNED float *const before = organ_floats(rows, cols);
    ORGAN_OWNED void *const scratch = aligned_alloc(64, organ_products_scratch(h->options.engine));
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
    return error->status;
}

/* `change` is the solution D of the equations, outputs x width. The change of an output projection is D. The change
 * of a matrix that reads the inputs of the block is W D (add_product). */
static organ_status apply_change(const organ_layers_heal *h, const heal_matrix *m, const float *change, double step,
                                 float *weights, organ_error *error)
{
    const size_t values = (size_t)(m->rows * m->cols);
    organ_layer_read(h->loaded_donor, m->name, weights);
    if (!organ_layers_heal_is_inputs(h->kind)) {
        for (size_t k = 0; k < values; k++)
            weights[k] += (float)step * change[k];
        return ORGAN_OK;
    }
    ORGAN_OWNED float *const scaled = organ_floats(h->part.outputs, h->part.width);
    if (!scaled)
        return organ_fail_memory(error, m->name);
    for (size_t k = 0; k < h->part.outputs * h->part.width; k++)
        scaled[k] = (float)step * change[k];
    return add_product(h, m, scaled, weights, error);
}

/* Calls `take` with each matrix of the part, changed by `step` times the solution of h->ridge, which must have one.
 * `take` may change the matrix, which is freed afterwards. */
static organ_status pass_changed_matrices(organ_layers_heal *h, double step,
                                          organ_status (*take)(organ_layers_heal *heal, const heal_matrix *m,
                                                               float *weights, organ_error *error),
                                          organ_error *error)
{
    ORGAN_OWNED float *const change = organ_floats(h->part.outputs, h->part.width);
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
        if (apply_change(h, m, change, step, weights, error) == ORGAN_OK)
            take(h, m, weights, error);
        free(weights);
    }
    return error->status;
}

static organ_status put_into_loaded_layer(organ_layers_heal *h, const heal_matrix *m, float *weights,
                                          organ_error *error)
{
    organ_layer_write(h->loaded, m->name, weights);
    return error->status;
}

/* If `weights` is NULL, the donor's matrix is written and the loaded layer does not change. If an interrupted run
 * has already written the tensor, `weights` is only rounded to the stored type. */
static organ_status store_matrix(organ_layers_heal *h, const heal_matrix *m, float *weights, organ_error *error)
{
    if (weights) { /* the output has the rows in the order of the file */
        organ_layer_write(h->loaded, m->name, weights);
        organ_calibration_reorder_rows(h->calib, m->tensor, weights, m->rows, /*to_file=*/true, error);
    }
    if (error->status)
        return error->status;
    if (organ_cut_done(h->run, m->tensor))
        return organ_cut_put(h->run, m->tensor, m->matrix, /*own=*/false, /*transposed=*/false, weights, error);
    return organ_cut_put_once(h->run, m->tensor, m->matrix, weights, error);
}

/* The address is that of the values, or of the quantised blocks if there are no values; NULL if there is neither. */
static void *stored_matrix(organ_layer *layer, const heal_matrix *m, uint64_t *bytes)
{
    void *const values = organ_layer_values(layer, m->name, bytes);
    return values ? values : organ_layer_blocks(layer, m->name, bytes);
}

/* Puts the donor's matrices into h->loaded, which has those of the last candidate, and into the output. */
static organ_status restore_matrices(organ_layers_heal *h, organ_error *error)
{
    for (size_t k = 0; k < h->part.count && !error->status; k++) {
        const heal_matrix *const m = &h->part.matrices[k];
        uint64_t bytes = 0;
        void *const changed = stored_matrix(h->loaded, m, &bytes);
        const void *const donor = stored_matrix(h->loaded_donor, m, &bytes);
        if (changed && donor)
            memcpy(changed, donor, (size_t)bytes);
        store_matrix(h, m, /*weights=*/NULL, error);
    }
    return error->status;
}

/* ---- choice of the solution ---- */

/* A trial is the change that solves the equations of the part, times `step`. */
typedef struct heal_solve_trial {
    double step;
    double divergence; /* KL divergence of the smaller model with it from the donor, in nats per token */
} heal_solve_trial;

/* h->ridge must have the solution. */
static organ_status judge_trials(organ_layers_heal *h, heal_solve_trial *trials, size_t count, organ_error *error)
{
    for (size_t k = 0; k < count && !error->status; k++)
        if (pass_changed_matrices(h, trials[k].step, put_into_loaded_layer, error) == ORGAN_OK)
            organ_layers_heal_try(h, &trials[k].divergence, error);
    return error->status ? error->status : organ_layers_heal_finish(h, error);
}

/* The search for the lambda of h->part starts from that of the last part of this kind that has one. */
static size_t first_lambda(const organ_layers_heal *h)
{
    for (size_t k = h->solved_count; k-- > 0;)
        for (size_t l = 0; h->solved[k].kind == h->kind && l < LAMBDAS; l++)
            if (h->solved[k].lambda == lambdas[l])
                return l;
    return FIRST_LAMBDA;
}

/* Greater lambdas than first_lambda are tried while the error of the tokens HEAL_LAMBDA falls. If the first of them
 * does not lower it, smaller ones are tried. *lambda is 0 if none is below the error without a change; else the
 * solution is fitted to all tokens with it. */
static organ_status choose_lambda(organ_layers_heal *h, double *lambda, organ_error *error)
{
    const size_t first = first_lambda(h);
    size_t best = first;
    double least_error, next_error;
    bool solved = false;
    *lambda = 0;
    if (organ_ridge_judge(h->ridge, lambdas[first], &least_error, error) != ORGAN_OK)
        return error->status;
    /* below index 0 `next` wraps around to SIZE_MAX, which ends the loop too */
    for (int direction = 1; direction >= -1 && best == first; direction -= 2)
        for (size_t next = best + (size_t)direction; next < LAMBDAS; next += (size_t)direction) {
            if (organ_ridge_judge(h->ridge, lambdas[next], &next_error, error) != ORGAN_OK)
                return error->status;
            if (!(next_error < least_error || isnan(least_error)))
                break;
            least_error = next_error;
            best = next;
        }
    if (!(least_error < organ_ridge_held_energy(h->ridge)) ||
        organ_ridge_solve(h->ridge, lambdas[best], &solved, error) != ORGAN_OK)
        return error->status;
    *lambda = solved ? lambdas[best] : 0;
    return ORGAN_OK;
}

/* The error after the block on other windows chooses lambda (choose_lambda), which takes no run of the model. The
 * share of the change that is applied, the step, is chosen by the divergence of the whole smaller model, because
 * less error after the block may still give worse predictions: first 1 and 0.5, then 1.5 if 1 is the better of the
 * two, else 0.25. If no lambda lowers the error, or no step the divergence h->divergence, step is 0, which keeps the
 * donor's weights. */
static organ_status choose_change(organ_layers_heal *h, organ_layers_solved *known, organ_error *error)
{
    heal_solve_trial trials[HEAL_TRIALS] = {{.step = 1}, {.step = 0.5}};
    if (choose_lambda(h, &known->lambda, error) != ORGAN_OK || known->lambda == 0 ||
        judge_trials(h, trials, 2, error) != ORGAN_OK)
        return error->status;
    trials[2].step = trials[0].divergence <= trials[1].divergence ? 1.5 : 0.25;
    if (judge_trials(h, &trials[2], 1, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < HEAL_TRIALS; k++)
        if (trials[k].divergence < known->after) {
            known->step = trials[k].step;
            known->after = trials[k].divergence;
        }
    return ORGAN_OK;
}

static void lay_out(void *context, organ_buffers *b)
{
    organ_layers_heal *const h = context;
    const size_t tokens = organ_layers_heal_chunk_tokens(h), used = h->part.used;
    h->inputs = organ_take_floats(b, tokens, used * h->part.width);
    h->target = organ_take_floats(b, tokens, h->part.outputs);
    h->blocks = organ_take_zeros(b, tokens, used * sizeof *h->blocks);
    h->gates = organ_take_floats(b, tokens, used);
    h->routed = organ_take_zeros(b, tokens, used * sizeof *h->routed);
    h->begin = organ_take_zeros(b, config_of(h)->experts + 2, sizeof *h->begin); /* two more, for sort_rows */
    h->made = config_of(h)->norms != ORGAN_NORMS_BEFORE ? organ_take_floats(b, tokens, h->part.outputs) : NULL;
}

/* Beside the layout, the bytes are for the equations, for two buffers of the size of the largest matrix, and for two of
 * the size of a change (outputs x width). */
uint64_t organ_layers_heal_memory(const organ_layers_heal *h, const heal_part *part, bool scratch)
{
    organ_ridge_shape shape = organ_layers_heal_shape(h, part);
    organ_layers_heal counted = *h;
    uint64_t largest = 0; /* values of the largest matrix */
    shape.scratch = scratch ? "" : NULL;
    counted.part = *part;
    for (size_t k = 0; k < part->count; k++)
        largest = organ_max(largest, part->matrices[k].rows * part->matrices[k].cols);
    return organ_ridge_memory(h->options.engine, &shape) + organ_buffers_count(lay_out, &counted) +
           2 * (largest + part->outputs * part->width) * sizeof(float);
}

static void free_buffers(organ_layers_heal *h)
{
    organ_buffers_release(&h->buffers);
    organ_ridge_close(h->ridge);
    h->ridge = NULL;
}

organ_status organ_layers_heal_leave(organ_layers_heal *h, organ_error *error)
{
    h->known[organ_layers_heal_number(h, h->part.matrices[0].tensor)] =
        (organ_layers_solved){.layer = h->layer, .kind = h->kind, .before = h->divergence, .after = h->divergence};
    return restore_matrices(h, error);
}

static organ_status solve_equations(organ_layers_heal *h, organ_layers_solved *known, organ_error *error)
{
    const organ_ridge_shape shape = organ_layers_heal_shape(h, &h->part);
    if (!organ_buffers_take(&h->buffers, lay_out, h))
        organ_fail_memory(error, h->options.model->path);
    else
        organ_ridge_open(&shape, h->options.engine, &h->ridge, error);
    for (size_t chunk = 0; chunk < organ_calibration_chunks_count(&h->chunks) && !error->status; chunk++)
        capture_chunk(h, chunk, error);
    return error->status ? error->status : choose_change(h, known, error);
}

organ_status organ_layers_heal_solve(organ_layers_heal *h, organ_error *error)
{
    organ_layers_solved *const known = &h->known[organ_layers_heal_number(h, h->part.matrices[0].tensor)];
    organ_output_norm norm;
    *known = (organ_layers_solved){.layer = h->layer,
                                   .kind = h->kind,
                                   .skipped = !organ_layers_heal_has_equations(h, &norm),
                                   .before = h->divergence,
                                   .after = h->divergence};
    if (known->skipped || solve_equations(h, known, error) == ORGAN_OK) {
        h->divergence = known->after;
        if (known->step == 0)
            restore_matrices(h, error);
        else
            pass_changed_matrices(h, known->step, store_matrix, error);
        if (!error->status)
            h->solved[h->solved_count++] = *known;
    }
    free_buffers(h);
    return error->status;
}
