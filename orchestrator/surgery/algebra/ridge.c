/* SPDX-License-Identifier: MIT
 * Both ways solve (A + shift I) X = B, A positive semidefinite, by the factor of its inverse: X = U^T U B. */
#include "orchestrator/surgery/algebra/ridge_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/algebra/cholesky.h"
#include "orchestrator/surgery/algebra/floats.h"
#include "orchestrator/surgery/algebra/multiply.h"
#include "orchestrator/surgery/algebra/strips.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST  1e15f /* sums of squares are far from the largest FP32 */
#define TOO_MUCH (UINT64_C(1) << 62)

const double organ_ridge_lambdas[ORGAN_RIDGE_LAMBDAS] = {0.01, 0.03, 0.1, 0.3, 1};

static size_t tokens_of(const organ_ridge_shape *shape) { return shape->tokens[ORGAN_RIDGE_FIT] + shape->tokens[ORGAN_RIDGE_HELD]; }

/* ---- memory ---- */

uint64_t organ_ridge_memory(const organ_ridge_shape *shape)
{
    const double width = (double)shape->width, used = (double)shape->used, blocks = (double)shape->blocks, outputs = (double)shape->outputs;
    const double tokens = (double)shape->tokens[ORGAN_RIDGE_FIT] + (double)shape->tokens[ORGAN_RIDGE_HELD], features = blocks * width;
    const double n = fmin(features, tokens), tiles = n / (double)ORGAN_RIDGE_TILE + 1;
    const double shared =
        (4 * n + 8 * outputs) * n + (double)organ_inverse_factor_memory((uint64_t)n) + tiles * (double)sizeof(organ_product);
    const double by_inputs = 16 * (n + outputs) * n + 8 * (double)ORGAN_RIDGE_CHUNK * (features + outputs);
    const double by_tokens = (4 * n + 4 * outputs + (4 * width + 12) * used) * tokens + 8 * blocks + 4 * width + 8;
    const double bytes = shared + (features <= tokens ? by_inputs : by_tokens);
    return bytes < (double)TOO_MUCH ? (uint64_t)bytes : TOO_MUCH;
}

static bool take_memory(organ_ridge *ridge)
{
    ridge->worker_bytes = ORGAN_PRODUCT_SCRATCH + ridge->way->worker_bytes;
    ridge->factor = organ_floats(ridge->n, ridge->n);
    ridge->solution = organ_floats(ridge->n, ridge->shape.outputs);
    ridge->room = organ_floats(ridge->n, ridge->shape.outputs);
    ridge->products = calloc(organ_pieces_of(ridge->n, ORGAN_RIDGE_TILE), sizeof *ridge->products);
    ridge->scratch = aligned_alloc(64, organ_workers_count(ridge->engine->workers) * ridge->worker_bytes);
    return ridge->factor && ridge->solution && ridge->room && ridge->products && ridge->scratch && ridge->way->take_memory(ridge);
}

organ_status organ_ridge_open(const organ_ridge_shape *shape, const organ_engine *engine, organ_ridge **ridge, organ_error *error)
{
    *ridge = NULL;
    if (shape->tokens[ORGAN_RIDGE_FIT] == 0 || shape->outputs == 0 || shape->width == 0 || shape->used == 0 ||
        shape->used > shape->blocks || organ_ridge_memory(shape) == TOO_MUCH ||
        (double)tokens_of(shape) * (double)shape->used > (double)UINT32_MAX)
        return organ_fail(error, ORGAN_USAGE, "%s: least squares over %zu tokens of %zu times %zu inputs, %zu used, and %zu outputs",
                          shape->name, tokens_of(shape), shape->blocks, shape->width, shape->used, shape->outputs);
    organ_ridge *made = calloc(1, sizeof *made);
    if (made) {
        const size_t features = shape->blocks * shape->width, tokens = tokens_of(shape);
        made->shape = *shape;
        made->engine = engine;
        made->features = features;
        made->n = organ_lesser(features, tokens);
        made->way = features <= tokens ? &organ_ridge_by_inputs : &organ_ridge_by_tokens;
    }
    if (!made || !take_memory(made)) {
        organ_ridge_close(made);
        return organ_fail_memory(error, shape->name);
    }
    *ridge = made;
    return ORGAN_OK;
}

void organ_ridge_close(organ_ridge *ridge)
{
    if (!ridge)
        return;
    for (size_t part = 0; part < ORGAN_RIDGE_PARTS; part++) {
        const organ_ridge_sums *const s = &ridge->sums[part];
        void *const parts[] = {s->square, s->cross, s->inputs, s->wanted};
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
            free(parts[k]);
    }
    void *const parts[] = {ridge->factor, ridge->solution, ridge->room,  ridge->products, ridge->scratch, ridge->inputs,
                           ridge->wanted, ridge->gram,     ridge->block, ridge->token,    ridge->begin,   ridge};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        free(parts[k]);
}

/* ---- tokens ---- */

static organ_status check_values(const organ_ridge *ridge, organ_ridge_part part, const float *values, size_t tokens, size_t each,
                                 const char *what, organ_error *error)
{
    for (size_t k = 0; k < tokens * each; k++)
        if (!(fabsf(values[k]) <= LARGEST))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: calibration token %zu%s, %s %zu: the activation is %g; it must be finite and within %g",
                              ridge->shape.name, ridge->sums[part].added + k / each, part == ORGAN_RIDGE_HELD ? " of those held back" : "",
                              what, k % each, (double)values[k], (double)LARGEST);
    return ORGAN_OK;
}

organ_status organ_ridge_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks, const float *inputs,
                             const float *wanted, organ_error *error)
{
    const organ_ridge_shape *const s = &ridge->shape;
    organ_ridge_sums *const sums = &ridge->sums[part];
    if (ridge->finished || tokens > s->tokens[part] - sums->added)
        return organ_fail(error, ORGAN_USAGE, "%s: more calibration tokens than the %zu announced", s->name, s->tokens[part]);
    if (check_values(ridge, part, inputs, tokens, s->used * s->width, "input", error) ||
        check_values(ridge, part, wanted, tokens, s->outputs, "output", error))
        return error->status;
    for (size_t t = 0; t < tokens; t++)
        sums->energy += organ_sum_of_squares(wanted + t * s->outputs, s->outputs);
    ridge->way->add(ridge, part, tokens, blocks, inputs, wanted);
    sums->added += tokens;
    return ORGAN_OK;
}

static organ_status finish(organ_ridge *ridge, organ_error *error)
{
    for (size_t part = 0; part < ORGAN_RIDGE_PARTS; part++)
        if (ridge->sums[part].added != ridge->shape.tokens[part])
            return organ_fail(error, ORGAN_USAGE, "%s: %zu calibration tokens came of the %zu announced", ridge->shape.name,
                              ridge->sums[part].added, ridge->shape.tokens[part]);
    if (!ridge->finished)
        ridge->way->finish(ridge);
    ridge->finished = true;
    return ORGAN_OK;
}

/* ---- solving ---- */

/* X = U^T U B, U on and above the diagonal of `factor`, n x n; from the first row and up to the last that is not zero. */
static void apply_inverse(const organ_ridge *ridge, size_t n, const float *sides)
{
    const size_t outputs = ridge->shape.outputs;
    size_t count = 0;
    for (size_t i = 1; i < n; i++)
        memset(ridge->factor + i * n, 0, i * sizeof *ridge->factor);
    for (size_t from = 0; from < n; from += ORGAN_RIDGE_TILE)
        ridge->products[count++] = (organ_product){.m = organ_lesser(ORGAN_RIDGE_TILE, n - from),
                                                   .n = outputs,
                                                   .k = n - from,
                                                   .a = organ_by_rows(ridge->factor + from * (n + 1), n),
                                                   .b = organ_by_columns(sides + from * outputs, outputs),
                                                   .c = ridge->room + from * outputs,
                                                   .c_stride = outputs};
    organ_products_run(ridge->engine, ridge->engine->stop, ridge->products, count, ridge->scratch);
    for (size_t k = 0; k < count; k++) {
        const size_t from = k * ORGAN_RIDGE_TILE;
        ridge->products[k].k = from + ridge->products[k].m;
        ridge->products[k].a = organ_by_columns(ridge->factor + from, n);
        ridge->products[k].b = organ_by_columns(ridge->room, outputs);
        ridge->products[k].c = ridge->solution + from * outputs;
    }
    organ_products_run(ridge->engine, ridge->engine->stop, ridge->products, count, ridge->scratch);
}

/* The solution of all tokens or of FIT. */
static organ_status solve(organ_ridge *ridge, bool all, double lambda, organ_error *error)
{
    const organ_ridge_sums *const fit = &ridge->sums[ORGAN_RIDGE_FIT], *const held = &ridge->sums[ORGAN_RIDGE_HELD];
    const double shift = lambda * (fit->trace + (all ? held->trace : 0)) / (double)ridge->features;
    const float *sides = NULL;
    ridge->found = false;
    if (!(shift > 0))
        return ORGAN_OK;
    const size_t n = ridge->way->prepare(ridge, all, shift, &sides);
    if (!organ_inverse_factor(ridge->engine, ridge->factor, n, &ridge->found))
        return organ_fail_memory(error, ridge->shape.name);
    if (ridge->found)
        apply_inverse(ridge, n, sides);
    for (size_t k = 0; k < n * ridge->shape.outputs && ridge->found; k++)
        ridge->found = isfinite(ridge->solution[k]);
    return organ_stop_asked(ridge->engine->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

organ_status organ_ridge_solve(organ_ridge *ridge, double lambda, bool *found, organ_error *error)
{
    *found = false;
    if (finish(ridge, error) == ORGAN_OK && solve(ridge, true, lambda, error) == ORGAN_OK)
        *found = ridge->found;
    return error->status;
}

organ_status organ_ridge_choose(organ_ridge *ridge, organ_ridge_choice *choice, organ_error *error)
{
    const organ_ridge_sums *const held = &ridge->sums[ORGAN_RIDGE_HELD];
    if (ridge->shape.tokens[ORGAN_RIDGE_HELD] == 0)
        return organ_fail(error, ORGAN_USAGE, "%s: no calibration token is held back", ridge->shape.name);
    if (finish(ridge, error))
        return error->status;
    *choice = (organ_ridge_choice){.before = held->energy, .after = held->energy};
    for (size_t k = 0; k < ORGAN_RIDGE_LAMBDAS; k++) {
        if (solve(ridge, false, organ_ridge_lambdas[k], error))
            return error->status;
        choice->rests[k] = ridge->found ? ridge->way->rest(ridge) : (double)NAN;
        if (choice->rests[k] < choice->before && choice->rests[k] <= choice->after) {
            choice->after = choice->rests[k];
            choice->lambda = organ_ridge_lambdas[k];
        }
    }
    ridge->found = false;
    if (choice->lambda > 0 && solve(ridge, true, choice->lambda, error) == ORGAN_OK && !ridge->found)
        *choice = (organ_ridge_choice){.before = held->energy, .after = held->energy};
    return error->status;
}

void organ_ridge_block(organ_ridge *ridge, size_t block, float *values)
{
    if (ridge->found)
        ridge->way->block(ridge, block, values);
    else
        memset(values, 0, ridge->shape.outputs * ridge->shape.width * sizeof *values);
}
