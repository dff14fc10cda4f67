/* SPDX-License-Identifier: MIT
 * Solver by inputs of the ridge regression: the normal equations (Z^T Z + shift I) D = Z^T R. Tokens are collected into
 * chunks, in which the inputs of blocks that a token does not use are zeros. Products of 256 tokens are computed in
 * FP32 and added in FP64, because FP32 sums over many tokens would lose the small eigenvalues. Fitted and held-out
 * tokens have separate sums. */
#include "orchestrator/surgery/algebra/ridge_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool ridge_inputs_allocate(organ_ridge *ridge)
{
    bool done = true;
    for (size_t part = 0; part < ORGAN_RIDGE_PARTS; part++) {
        organ_ridge_sums *const s = &ridge->sums[part];
        s->square = calloc(ridge->n * ridge->n, sizeof *s->square);
        s->cross = calloc(ridge->n * ridge->shape.outputs, sizeof *s->cross);
        s->inputs = organ_floats(ORGAN_RIDGE_CHUNK, ridge->features);
        s->target = organ_floats(ORGAN_RIDGE_CHUNK, ridge->shape.outputs);
        done = done && s->square && s->cross && s->inputs && s->target;
    }
    return done;
}

/* ---- sums ---- */

/* Z^T Z is symmetric, so a row of tiles is computed only from the diagonal on. */
static void ridge_inputs_add_chunk(const organ_ridge *ridge, const organ_ridge_sums *s, size_t tokens)
{
    const size_t n = ridge->n, outputs = ridge->shape.outputs;
    size_t count = 0;
    for (size_t from = 0; from < n; from += ORGAN_RIDGE_TILE)
        ridge->products[count++] = (organ_product){.m = organ_min(ORGAN_RIDGE_TILE, n - from),
                                                   .n = n - from,
                                                   .k = tokens,
                                                   .a = organ_by_columns(s->inputs + from, n),
                                                   .b = organ_by_columns(s->inputs + from, n),
                                                   .c = s->square + from * (n + 1),
                                                   .c_stride = n,
                                                   .wide = true,
                                                   .into = ORGAN_PRODUCT_ADD};
    organ_products_run(ridge->engine, NULL, ridge->products, count, ridge->scratch);
    const organ_product cross = {.m = n,
                                 .n = outputs,
                                 .k = tokens,
                                 .a = organ_by_columns(s->inputs, n),
                                 .b = organ_by_columns(s->target, outputs),
                                 .c = s->cross,
                                 .c_stride = outputs,
                                 .wide = true,
                                 .into = ORGAN_PRODUCT_ADD};
    organ_products_run(ridge->engine, NULL, &cross, 1, ridge->scratch);
}

static organ_status ridge_inputs_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                                     const float *inputs, const float *target, organ_error *error)
{
    const organ_ridge_shape *const shape = &ridge->shape;
    const organ_ridge_sums *const s = &ridge->sums[part];
    const size_t width = shape->width, outputs = shape->outputs;
    for (size_t t = 0; t < tokens; t++) {
        const size_t at = (s->added + t) % ORGAN_RIDGE_CHUNK;
        memset(s->inputs + at * ridge->n, 0, ridge->n * sizeof *s->inputs);
        for (size_t u = 0; u < shape->used; u++)
            memcpy(s->inputs + at * ridge->n + (blocks ? blocks[t * shape->used + u] : u) * width,
                   inputs + (t * shape->used + u) * width, width * sizeof *s->inputs);
        memcpy(s->target + at * outputs, target + t * outputs, outputs * sizeof *s->target);
        if (at + 1 == ORGAN_RIDGE_CHUNK)
            ridge_inputs_add_chunk(ridge, s, ORGAN_RIDGE_CHUNK);
    }
    return error->status;
}

static organ_status ridge_inputs_finish(organ_ridge *ridge, organ_error *error)
{
    for (size_t part = 0; part < ORGAN_RIDGE_PARTS; part++) {
        organ_ridge_sums *const s = &ridge->sums[part];
        if (s->added % ORGAN_RIDGE_CHUNK > 0)
            ridge_inputs_add_chunk(ridge, s, s->added % ORGAN_RIDGE_CHUNK);
        for (size_t i = 0; i < ridge->n; i++)
            s->trace += s->square[i * (ridge->n + 1)];
    }
    return error->status;
}

/* ---- FP32 copies ---- */

typedef struct ridge_inputs_copying {
    const organ_ridge *ridge;
    organ_ridge_part first, last;
    double shift;
} ridge_inputs_copying;

/* Elements below the diagonal are read from above it, where alone they are stored. */
static void copy_row(void *context, size_t i, size_t worker)
{
    const ridge_inputs_copying *const c = context;
    const size_t n = c->ridge->n;
    (void)worker;
    for (size_t j = 0; j < n; j++) {
        double sum = i == j ? c->shift : 0;
        for (organ_ridge_part part = c->first; part <= c->last; part++)
            sum += c->ridge->sums[part].square[organ_min(i, j) * n + organ_max(i, j)];
        c->ridge->factor[i * n + j] = (float)sum;
    }
}

/* ridge->factor gets the sum of Z^T Z over parts first .. last, plus shift I, in FP32. */
static void copy_square(const organ_ridge *ridge, organ_ridge_part first, organ_ridge_part last, double shift)
{
    ridge_inputs_copying c = {ridge, first, last, shift};
    organ_share(ridge->engine, NULL, ridge->n, copy_row, &c);
}

/* The right-hand sides Z^T R go to ridge->solution, where organ_ridge_apply replaces them by D. */
static size_t ridge_inputs_prepare(organ_ridge *ridge, bool all, double shift, const float **rhs)
{
    const double *const fit = ridge->sums[ORGAN_RIDGE_FIT].cross, *const held = ridge->sums[ORGAN_RIDGE_HELD].cross;
    copy_square(ridge, ORGAN_RIDGE_FIT, all ? ORGAN_RIDGE_HELD : ORGAN_RIDGE_FIT, shift);
    for (size_t k = 0; k < ridge->n * ridge->shape.outputs; k++)
        ridge->solution[k] = (float)(fit[k] + (all ? held[k] : 0));
    *rhs = ridge->solution;
    return ridge->n;
}

/* The error is ||R||^2 - 2 <D, Z^T R> + <D, Z^T Z D> over the held-out tokens, at least 0. Overwrites ridge->factor. */
static double ridge_inputs_held_error(organ_ridge *ridge)
{
    const size_t n = ridge->n, outputs = ridge->shape.outputs;
    const organ_ridge_sums *const held = &ridge->sums[ORGAN_RIDGE_HELD];
    copy_square(ridge, ORGAN_RIDGE_HELD, ORGAN_RIDGE_HELD, 0);
    const organ_product product = {.m = n,
                                   .n = outputs,
                                   .k = n,
                                   .a = organ_by_rows(ridge->factor, n),
                                   .b = organ_by_columns(ridge->solution, outputs),
                                   .c = ridge->workspace,
                                   .c_stride = outputs};
    organ_products_run(ridge->engine, NULL, &product, 1, ridge->scratch);
    double sum = held->energy;
    for (size_t i = 0; i < n; i++) {
        double row = 0;
        for (size_t k = i * outputs; k < (i + 1) * outputs; k++)
            row += (double)ridge->solution[k] * ((double)ridge->workspace[k] - 2 * held->cross[k]);
        sum += row;
    }
    return fmax(sum, 0);
}

const organ_ridge_solver organ_ridge_by_inputs = {.name = "inputs",
                                                  .allocate = ridge_inputs_allocate,
                                                  .add = ridge_inputs_add,
                                                  .finish = ridge_inputs_finish,
                                                  .prepare = ridge_inputs_prepare,
                                                  .held_error = ridge_inputs_held_error,
                                                  .block = organ_ridge_transposed};
