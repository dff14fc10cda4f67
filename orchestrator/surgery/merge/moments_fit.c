/* SPDX-License-Identifier: MIT
 * With H_k = E x x^T, F_k = E (y - x) x^T and S_k = E y y^T - H_k, all of model k, W - M solves
 *
 *   (W - M) (sum_k w_k H_k + ridge m I) = G,  G = sum_k w_k ((W_k - M) H_k + W_k F_k)
 *
 * and the error of M is sum_k w_k (<(W_k - M) H_k, W_k - M> - 2 <W_k F_k, M> + <W_k S_k, W_k>). Differences are taken
 * before products, so that FP32 is enough. */
#include "orchestrator/surgery/merge/moments_fit.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <string.h>

#define TOGETHER ((size_t)32) /* rows that a worker solves at a time */

typedef struct fit_matrix {
    float *g; /* rows x features: G, then W - M */
    double before, after;
} fit_matrix;

struct organ_moments_fit {
    const organ_engine *engine;
    const char *name;
    size_t n, count;
    const size_t *rows;
    fit_matrix *matrices;
    float *h;             /* sum_k w_k H_k, n x n; with the ridge after organ_moments_fit_factor */
    float *factor;        /* of organ_block_factor; NULL before */
    float *hk, *fk, *sk;  /* of the current model; fk and sk NULL: 0 */
    double weight, ridge; /* w_k of the current model; ridge m */
    float *delta, *product;
    float *panels; /* for each worker */
    unsigned char *scratch;
    organ_buffers buffers, model; /* `model`: those of hk, fk and sk, then that of the factor */
};

static void lay_out(void *context, organ_buffers *b)
{
    organ_moments_fit *const f = context;
    f->matrices = organ_take_zeros(b, f->count, sizeof *f->matrices);
    f->h = organ_take_floats(b, f->n, f->n);
    f->delta = organ_take_floats(b, ORGAN_MOMENTS_ROWS, f->n);
    f->product = organ_take_floats(b, ORGAN_MOMENTS_ROWS, f->n);
    f->panels = organ_take_floats(b, organ_workers_count(f->engine->workers), TOGETHER * ORGAN_FACTOR_BLOCK);
    f->scratch = organ_take(b, organ_products_scratch(f->engine), 1);
    for (size_t k = 0; k < f->count; k++) {
        float *const g = organ_take_floats(b, f->rows[k], f->n);
        if (f->matrices)
            f->matrices[k].g = g;
    }
}

uint64_t organ_moments_fit_memory(const organ_engine *engine, uint64_t features, uint64_t rows, bool drift)
{
    const uint64_t square = sizeof(float) * features * features;
    organ_moments_fit f = {.engine = engine, .n = (size_t)features, .count = 1, .rows = (const size_t[]){(size_t)rows}};
    return organ_buffers_count(lay_out, &f) +
           organ_max(square * (drift ? 3 : 1), square + organ_inverse_factor_memory(engine, features));
}

static void free_model(organ_moments_fit *f)
{
    organ_buffers_release(&f->model);
    f->hk = f->fk = f->sk = NULL;
}

organ_status organ_moments_fit_open(const organ_engine *engine, const char *name, size_t n, const size_t *rows,
                                    size_t count, organ_moments_fit **fit, organ_error *error)
{
    organ_buffers buffers = {0};
    organ_moments_fit *const f = *fit = organ_take(&buffers, 1, sizeof *f);
    if (!f)
        return organ_fail_memory(error, name);
    *f = (organ_moments_fit){.engine = engine, .name = name, .n = n, .count = count, .rows = rows, .buffers = buffers};
    if (!organ_buffers_take(&f->buffers, lay_out, f)) {
        organ_moments_fit_close(f);
        *fit = NULL;
        return organ_fail_memory(error, name);
    }
    for (size_t k = 0; k < count; k++)
        memset(f->matrices[k].g, 0, rows[k] * n * sizeof(float));
    memset(f->h, 0, n * n * sizeof(float));
    return ORGAN_OK;
}

void organ_moments_fit_close(organ_moments_fit *f)
{
    if (!f)
        return;
    free_model(f);
    organ_buffers_release(&f->buffers);
}

/* ---- the models ---- */

organ_status organ_moments_fit_begin(organ_moments_fit *f, const organ_moments_part *part, organ_error *error)
{
    const size_t all = f->n * f->n;
    free_model(f);
    f->weight = part->weight;
    f->hk = organ_expand_moments(f->engine, part->inputs, /*c=*/0, /*h=*/1, /*damping=*/0, &f->model);
    if (part->own) {
        f->fk = organ_expand_moments(f->engine, part->inputs, /*c=*/1, /*h=*/-1, /*damping=*/0, &f->model);
        f->sk = organ_expand_moments(f->engine, part->own, /*c=*/0, /*h=*/1, /*damping=*/0, &f->model);
    }
    if (f->model.lacking)
        return organ_fail_memory(error, f->name);
    for (size_t k = 0; k < all; k++)
        f->h[k] += (float)f->weight * f->hk[k];
    for (size_t k = 0; f->sk && k < all; k++)
        f->sk[k] -= f->hk[k];
    return ORGAN_OK;
}

/* f->product = values b, rows x n. */
static void multiply(organ_moments_fit *f, const float *values, size_t rows, const organ_product_operand b)
{
    const organ_product product = {.m = rows,
                                   .n = f->n,
                                   .k = f->n,
                                   .a = organ_by_rows(values, f->n),
                                   .b = b,
                                   .c = f->product,
                                   .c_stride = f->n,
                                   .into = ORGAN_PRODUCT_SET};
    organ_products_run(f->engine, NULL, &product, 1, f->scratch);
}

static void add_scaled(float *to, double factor, const float *from, size_t n)
{
    for (size_t k = 0; k < n; k++)
        to[k] += (float)factor * from[k];
}

void organ_moments_fit_add(organ_moments_fit *f, size_t matrix, size_t first, size_t rows, const float *weights,
                           const float *mean)
{
    fit_matrix *const m = &f->matrices[matrix];
    const size_t count = rows * f->n;
    float *const g = m->g + first * f->n;
    double error;
    for (size_t k = 0; k < count; k++)
        f->delta[k] = weights[k] - mean[k];
    multiply(f, f->delta, rows, organ_by_rows(f->hk, f->n));
    error = organ_dot(f->product, f->delta, count);
    add_scaled(g, f->weight, f->product, count);
    if (f->fk) {
        multiply(f, weights, rows, organ_by_columns(f->fk, f->n));
        error -= 2 * organ_dot(f->product, mean, count);
        add_scaled(g, f->weight, f->product, count);
        multiply(f, weights, rows, organ_by_rows(f->sk, f->n));
        error += organ_dot(f->product, weights, count);
    }
    m->before += f->weight * error;
}

/* ---- the solution ---- */

organ_status organ_moments_fit_factor(organ_moments_fit *f, double ridge, organ_error *error)
{
    const size_t n = f->n;
    double diagonal = 0;
    bool definite = false;
    free_model(f);
    for (size_t k = 0; k < n; k++)
        diagonal += (double)f->h[k * (n + 1)];
    f->ridge = ridge * diagonal / (double)n;
    if (!(f->factor = organ_take_floats(&f->model, n, n)))
        return organ_fail_memory(error, f->name);
    memcpy(f->factor, f->h, n * n * sizeof(float));
    for (size_t k = 0; k < n; k++)
        f->factor[k * (n + 1)] += (float)f->ridge;
    if (!organ_block_factor(f->engine, f->factor, n, &definite))
        return organ_fail_memory(error, f->name);
    if (!definite)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': the second moments of its inputs cannot be inverted: give a larger ridge",
                          f->name);
    return ORGAN_OK;
}

typedef struct fit_rows {
    const organ_moments_fit *fit;
    float *rows;
    size_t count;
} fit_rows;

static void solve_rows(void *context, size_t index, size_t worker)
{
    const fit_rows *const r = context;
    const organ_moments_fit *const f = r->fit;
    const size_t first = index * TOGETHER;
    organ_factor_solve(f->engine->kernels, f->factor, f->n, r->rows + first * f->n,
                       organ_min(TOGETHER, r->count - first), f->n, f->panels + worker * TOGETHER * ORGAN_FACTOR_BLOCK,
                       f->scratch + worker * ORGAN_PRODUCT_SCRATCH);
}

static void solve_all(const organ_moments_fit *f, float *rows, size_t count)
{
    fit_rows r = {f, rows, count};
    organ_share(f->engine, NULL, (count + TOGETHER - 1) / TOGETHER, solve_rows, &r);
}

/* One step of iterative refinement removes the error of the FP32 factor. */
const float *organ_moments_fit_solve(organ_moments_fit *f, size_t matrix, size_t first, size_t rows)
{
    fit_matrix *const m = &f->matrices[matrix];
    const size_t count = rows * f->n;
    float *const g = m->g + first * f->n, *const x = f->delta;
    memcpy(x, g, count * sizeof *x);
    solve_all(f, x, rows);
    multiply(f, x, rows, organ_by_rows(f->h, f->n));
    for (size_t k = 0; k < count; k++)
        f->product[k] = g[k] - f->product[k] - (float)f->ridge * x[k];
    solve_all(f, f->product, rows);
    add_scaled(x, 1, f->product, count);
    multiply(f, x, rows, organ_by_rows(f->h, f->n));
    m->after += organ_dot(f->product, x, count) - 2 * organ_dot(x, g, count);
    memcpy(g, x, count * sizeof *x);
    return g;
}

void organ_moments_fit_errors(const organ_moments_fit *f, size_t matrix, double *before, double *after)
{
    *before = f->matrices[matrix].before;
    *after = f->matrices[matrix].before + f->matrices[matrix].after;
}
