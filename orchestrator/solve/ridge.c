/* SPDX-License-Identifier: MIT
 * Ridge regression: D minimises ||R - Z D||^2 + shift ||D||^2. Z has the inputs of the calibration tokens, R the
 * desired changes of their outputs; shift is lambda times the mean of the diagonal of Z^T Z. D = (Z^T Z + shift I)^-1
 * Z^T R = Z^T (Z Z^T + shift I)^-1 R, so the smaller of the two systems is solved: by inputs if there are no more of
 * them than tokens, else by tokens. If both are too large, D is solved block by block. organ_ridge_choose takes the
 * lambda with the least error on held-out tokens, because the error on fitted tokens always prefers the smallest
 * lambda. */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/ridge_parts.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <organ/machine.h>
#include <string.h>

/* greatest magnitude of inputs and targets: sums of their squares stay far below the largest FP32 */
#define LARGEST 1e15f
#define MOST    0x1p48 /* greatest number of inputs, tokens and outputs */

const double organ_ridge_lambdas[ORGAN_RIDGE_LAMBDAS] = {0.01, 0.03, 0.1, 0.3, 1};

static size_t ridge_tokens_of(const organ_ridge_shape *shape)
{
    return shape->tokens[ORGAN_RIDGE_FIT] + shape->tokens[ORGAN_RIDGE_HELD];
}

/* The normal matrix has a row for each input or for each token; the smaller one is solved. If both matrices are too
 * large and there are several blocks, the solver is the one by blocks. */
static const organ_ridge_solver *choose_solver(const organ_ridge_shape *shape)
{
    const size_t features = shape->blocks * shape->width, tokens = ridge_tokens_of(shape);
    const size_t largest = shape->largest ? shape->largest : ORGAN_RIDGE_LARGEST;
    if (organ_min(features, tokens) > largest && shape->blocks > 1)
        return &organ_ridge_by_blocks;
    return features <= tokens ? &organ_ridge_by_inputs : &organ_ridge_by_tokens;
}

const char *organ_ridge_solved_by(const organ_ridge_shape *shape) { return choose_solver(shape)->name; }

/* ---- memory ---- */

static size_t bytes_of_worker(const organ_ridge_solver *solver) { return ORGAN_PRODUCT_SCRATCH + solver->worker_bytes; }

/* The solver by blocks has a row of n values in `factor` for each input, the other solvers have one factor of n x n. */
static void lay_out(void *context, organ_buffers *b)
{
    organ_ridge *const ridge = context;
    const size_t rows = ridge->solver == &organ_ridge_by_blocks ? ridge->features : ridge->n;
    organ_take_beside(b, sizeof *ridge + organ_inverse_factor_memory(ridge->engine, ridge->n));
    ridge->factor = organ_take_floats(b, rows, ridge->n);
    ridge->solution = organ_take_floats(b, rows, ridge->shape.outputs);
    ridge->workspace = organ_take_floats(b, ridge->n, ridge->shape.outputs);
    ridge->products = organ_take(b, organ_pieces_of(ridge->n, ORGAN_RIDGE_TILE), sizeof *ridge->products);
    ridge->scratch = organ_take(b, organ_workers_count(ridge->engine->workers), ridge->worker_bytes);
    ridge->solver->lay_out(ridge, b);
}

static organ_ridge ridge_of(const organ_engine *engine, const organ_ridge_shape *shape)
{
    organ_ridge made = {.shape = *shape, .engine = engine, .solver = choose_solver(shape)};
    made.features = shape->blocks * shape->width;
    made.n = made.solver == &organ_ridge_by_blocks ? organ_ridge_piece(shape)
                                                   : organ_min(made.features, ridge_tokens_of(shape));
    made.worker_bytes = bytes_of_worker(made.solver);
    return made;
}

/* Of shapes with sizes above MOST no sizes are multiplied, because the products could overflow. */
uint64_t organ_ridge_memory(const organ_engine *engine, const organ_ridge_shape *shape)
{
    const double width = (double)shape->width, used = (double)shape->used, blocks = (double)shape->blocks,
                 outputs = (double)shape->outputs;
    const double tokens = (double)shape->tokens[ORGAN_RIDGE_FIT] + (double)shape->tokens[ORGAN_RIDGE_HELD];
    if (fmax(fmax(blocks * fmax(width, 1), tokens * fmax(used, 1)), fmax(outputs, width)) > MOST)
        return ORGAN_BUFFERS_MOST;
    organ_ridge counted = ridge_of(engine, shape);
    return organ_buffers_count(lay_out, &counted);
}

/* The number of (token, used block) pairs is limited to UINT32_MAX because solvers count them in 32 bits. */
organ_status organ_ridge_open(const organ_ridge_shape *shape, const organ_engine *engine, organ_ridge **ridge,
                              organ_error *error)
{
    *ridge = NULL;
    if (shape->tokens[ORGAN_RIDGE_FIT] == 0 || shape->outputs == 0 || shape->width == 0 || shape->used == 0 ||
        shape->used > shape->blocks || organ_ridge_memory(engine, shape) == ORGAN_BUFFERS_MOST ||
        (double)ridge_tokens_of(shape) * (double)shape->used > (double)UINT32_MAX)
        return organ_fail(
            error, ORGAN_USAGE, "%s: least squares over %zu tokens of %zu times %zu inputs, %zu used, and %zu outputs",
            shape->name, ridge_tokens_of(shape), shape->blocks, shape->width, shape->used, shape->outputs);
    organ_ridge begun = ridge_of(engine, shape);
    organ_ridge *const made = organ_take(&begun.buffers, 1, sizeof *made);
    if (made)
        *made = begun;
    if (!made || !organ_buffers_take(&made->buffers, lay_out, made))
        organ_fail_memory(error, shape->name);
    else if (!made->solver->begin || made->solver->begin(made, error) == ORGAN_OK) {
        *ridge = made;
        return ORGAN_OK;
    }
    organ_ridge_close(made);
    return error->status;
}

void organ_ridge_close(organ_ridge *ridge)
{
    if (!ridge)
        return;
    organ_ridge_rows_close(ridge->by_blocks.rows);
    organ_buffers_release(&ridge->buffers);
}

/* ---- tokens ---- */

/* The square of a value above LARGEST could overflow. The message names the token and the index of the value;
 * `what`: "input" or "output". */
static organ_status check_values(const organ_ridge *ridge, organ_ridge_part part, const float *values, size_t tokens,
                                 size_t each, const char *what, organ_error *error)
{
    for (size_t k = 0; k < tokens * each; k++)
        if (!(fabsf(values[k]) <= LARGEST))
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "%s: calibration token %zu%s, %s %zu: the activation is %g; it must be finite and within %g",
                ridge->shape.name, ridge->sums[part].added + k / each,
                part == ORGAN_RIDGE_HELD ? " of the held-out tokens" : "", what, k % each, (double)values[k],
                (double)LARGEST);
    return ORGAN_OK;
}

/* sums->energy becomes ||R||^2, the error of D = 0, with which organ_ridge_choose compares. */
organ_status organ_ridge_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                             const float *inputs, const float *target, organ_error *error)
{
    const organ_ridge_shape *const s = &ridge->shape;
    organ_ridge_sums *const sums = &ridge->sums[part];
    if (ridge->finished || tokens > s->tokens[part] - sums->added)
        return organ_fail(error, ORGAN_USAGE, "%s: more calibration tokens than the declared %zu", s->name,
                          s->tokens[part]);
    if (check_values(ridge, part, inputs, tokens, s->used * s->width, "input", error) ||
        check_values(ridge, part, target, tokens, s->outputs, "output", error))
        return error->status;
    for (size_t t = 0; t < tokens; t++)
        sums->energy += organ_sum_of_squares(target + t * s->outputs, s->outputs);
    if (ridge->solver->add(ridge, part, tokens, blocks, inputs, target, error) == ORGAN_OK)
        sums->added += tokens;
    return error->status;
}

/* Each part must have its declared number of tokens. The first call also completes the sums over the tokens. */
static organ_status ridge_finish(organ_ridge *ridge, organ_error *error)
{
    for (size_t part = 0; part < ORGAN_RIDGE_PARTS; part++)
        if (ridge->sums[part].added != ridge->shape.tokens[part])
            return organ_fail(error, ORGAN_USAGE, "%s: got %zu of the declared %zu calibration tokens",
                              ridge->shape.name, ridge->sums[part].added, ridge->shape.tokens[part]);
    if (!ridge->finished && ridge->solver->finish(ridge, error) != ORGAN_OK)
        return error->status;
    ridge->finished = true;
    return ORGAN_OK;
}

/* ---- solving ---- */

/* D is fitted to the tokens of FIT alone if `all` is false. ridge->found is false if all inputs are 0, if the normal
 * matrix is singular, or if D is not finite. */
static organ_status ridge_solve(organ_ridge *ridge, bool all, double lambda, organ_error *error)
{
    const organ_ridge_sums *const fit = &ridge->sums[ORGAN_RIDGE_FIT], *const held = &ridge->sums[ORGAN_RIDGE_HELD];
    const double shift = lambda * (fit->trace + (all ? held->trace : 0)) / (double)ridge->features;
    const float *rhs = NULL;
    ridge->found = false;
    if (!(shift > 0))
        return ORGAN_OK;
    if (ridge->solver->solve)
        return ridge->solver->solve(ridge, all, shift, error);
    const size_t n = ridge->solver->prepare(ridge, all, shift, &rhs);
    if (organ_ridge_invert(ridge, ridge->factor, n, error) != ORGAN_OK)
        return error->status;
    if (ridge->found)
        organ_ridge_apply(ridge, ridge->factor, n, rhs, ridge->solution);
    for (size_t k = 0; k < n * ridge->shape.outputs && ridge->found; k++)
        ridge->found = isfinite(ridge->solution[k]);
    return organ_stop_is_requested(ridge->engine->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted")
                                                        : ORGAN_OK;
}

organ_status organ_ridge_solve(organ_ridge *ridge, double lambda, bool *found, organ_error *error)
{
    *found = false;
    if (ridge_finish(ridge, error) == ORGAN_OK && ridge_solve(ridge, /*all=*/true, lambda, error) == ORGAN_OK)
        *found = ridge->found;
    return error->status;
}

organ_status organ_ridge_judge(organ_ridge *ridge, double lambda, double *rest, organ_error *error)
{
    *rest = (double)NAN;
    if (ridge->shape.tokens[ORGAN_RIDGE_HELD] == 0)
        return organ_fail(error, ORGAN_USAGE, "%s: there are no held-out calibration tokens", ridge->shape.name);
    if (ridge_finish(ridge, error) == ORGAN_OK && ridge_solve(ridge, /*all=*/false, lambda, error) == ORGAN_OK &&
        ridge->found)
        *rest = ridge->solver->held_error(ridge);
    return error->status;
}

double organ_ridge_held_energy(const organ_ridge *ridge) { return ridge->sums[ORGAN_RIDGE_HELD].energy; }

/* If no lambda lowers the error on the held-out tokens, choice->lambda stays 0 and D is 0: the caller keeps its
 * weights. */
organ_status organ_ridge_choose(organ_ridge *ridge, organ_ridge_choice *choice, organ_error *error)
{
    const organ_ridge_sums *const held = &ridge->sums[ORGAN_RIDGE_HELD];
    *choice = (organ_ridge_choice){.before = held->energy, .after = held->energy};
    /* from the greatest lambda down, because the solver by blocks starts from the D of the lambda before */
    for (size_t k = ORGAN_RIDGE_LAMBDAS; k-- > 0;) {
        if (organ_ridge_judge(ridge, organ_ridge_lambdas[k], &choice->rests[k], error))
            return error->status;
        if (choice->rests[k] < choice->after) {
            choice->after = choice->rests[k];
            choice->lambda = organ_ridge_lambdas[k];
        }
    }
    ridge->found = false;
    if (choice->lambda > 0 && ridge_solve(ridge, /*all=*/true, choice->lambda, error) == ORGAN_OK && !ridge->found)
        *choice = (organ_ridge_choice){.before = held->energy, .after = held->energy};
    return error->status;
}

void organ_ridge_block(organ_ridge *ridge, size_t block, float *values)
{
    if (ridge->found)
        ridge->solver->block(ridge, block, values);
    else
        memset(values, 0, ridge->shape.outputs * ridge->shape.width * sizeof *values);
}
