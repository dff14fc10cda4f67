/* SPDX-License-Identifier: MIT
 * QR factorisation by Householder reflections in blocks. A block of vectors is reduced in FP64. The product of its
 * reflections is I - V T V^T, with V rounded to FP32, so that two matrix products apply it to all other vectors. */
#include "orchestrator/surgery/algebra/algebra.h"

#include "orchestrator/machine/extent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((size_t)16) /* vectors that are reduced together */

typedef struct reduction {
    const organ_kernels *kernels;
    float *vectors;
    size_t count, n, stride, k; /* as in organ_orthonormal; k = min(count, n) */
    double *panel;              /* vectors of the current block in FP64: [BLOCK][n] */
    float *reflectors;          /* V^T, [k][n]: row c has the vector v of reflection c, 0 before element c */
    double (*t)[BLOCK];         /* [k][BLOCK]: rows i to i + BLOCK - 1 have T of the block that begins at vector i */
    float *across;              /* X V: products of the other vectors X with the block's V, [count][BLOCK] */
    float *turned;              /* `across` times T or T^T, [count][BLOCK] */
    void *scratch;              /* for products */
} reduction;

/* v becomes the vector of the Householder reflection that turns it into (length, 0, .., 0); `rounded` gets it too.
 * Its first element is 1, and it is rounded to FP32. Returns the factor of the reflection, 2 / v^T v; 0 if v is
 * zero. T and the products must use the same rounded vector. */
static double make_reflector(const reduction *q, double *v, size_t n, float *rounded)
{
    const double square = q->kernels->dot_f64(v, v, n), length = v[0] > 0 ? -sqrt(square) : sqrt(square);
    const double first = v[0] - length;
    if (square == 0) {
        memset(v, 0, n * sizeof *v);
        memset(rounded, 0, n * sizeof *rounded);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        rounded[i] = i == 0 ? 1.0f : (float)(v[i] / first);
        v[i] = (double)rounded[i];
    }
    return 2 / q->kernels->dot_f64(v, v, n);
}

/* The vectors of the reflections and T are stored; the factorised vectors become their part of R. */
static void reduce_panel(const reduction *q, size_t from, size_t width)
{
    const size_t n = q->n - from;
    double(*const t)[BLOCK] = q->t + from;
    for (size_t c = 0; c < width; c++)
        for (size_t i = 0; i < n; i++)
            q->panel[c * n + i] = (double)q->vectors[(from + c) * q->stride + from + i];
    for (size_t c = 0; c < width; c++) {
        double *const v = q->panel + c * n, products[BLOCK];
        float *const rounded = q->reflectors + (from + c) * q->n + from;
        /* applies the earlier reflections of the block to vector c */
        for (size_t b = 0; b < c; b++) {
            const double *const other = q->panel + b * n;
            q->kernels->add_scaled_f64(v + b, -t[b][b] * q->kernels->dot_f64(other + b, v + b, n - b), other + b,
                                       n - b);
        }
        /* stores column c of R: elements above the diagonal, then the diagonal element */
        for (size_t i = 0; i < c; i++)
            q->vectors[(from + c) * q->stride + from + i] = (float)v[i];
        const double before = v[c], length = sqrt(q->kernels->dot_f64(v + c, v + c, n - c));
        q->vectors[(from + c) * q->stride + from + c] = (float)(before > 0 ? -length : length);
        memset(v, 0, c * sizeof *v);
        memset(q->reflectors + (from + c) * q->n, 0, (from + c) * sizeof *rounded);
        /* column c of T extends I - V T V^T by reflection c */
        t[c][c] = make_reflector(q, v + c, n - c, rounded + c);
        for (size_t b = 0; b < c; b++)
            products[b] = q->kernels->dot_f64(q->panel + b * n + c, v + c, n - c);
        for (size_t b = 0; b < c; b++) {
            double sum = 0;
            for (size_t e = b; e < c; e++)
                sum += t[b][e] * products[e];
            t[b][c] = -t[c][c] * sum;
        }
    }
}

/* x -= V T V^T x for elements `from` and later of `count` vectors. If `transposed`, T^T replaces T, which applies
 * the reflections in the other order. */
static void apply_block_reflector(const reduction *q, size_t from, size_t width, bool transposed, float *vectors,
                                  size_t count)
{
    const float *const v = q->reflectors + from * q->n + from;
    const size_t n = q->n - from;
    double(*const t)[BLOCK] = q->t + from;
    const organ_product across = {.m = count,
                                  .n = width,
                                  .k = n,
                                  .a = organ_by_rows(vectors + from, q->stride),
                                  .b = organ_by_rows(v, q->n),
                                  .c = q->across,
                                  .c_stride = BLOCK};
    const organ_product back = {.m = count,
                                .n = n,
                                .k = width,
                                .a = organ_by_rows(q->turned, BLOCK),
                                .b = organ_by_columns(v, q->n),
                                .c = vectors + from,
                                .c_stride = q->stride,
                                .into = ORGAN_PRODUCT_SUBTRACT};
    q->kernels->product(&across, q->scratch);
    for (size_t x = 0; x < count; x++)
        for (size_t b = 0; b < width; b++) {
            double sum = 0;
            for (size_t e = transposed ? 0 : b; e < (transposed ? b + 1 : width); e++)
                sum += (transposed ? t[e][b] : t[b][e]) * (double)q->across[x * BLOCK + e];
            q->turned[x * BLOCK + b] = (float)sum;
        }
    q->kernels->product(&back, q->scratch);
}

static void copy_triangle(const reduction *q, float *r)
{
    for (size_t c = 0; c < q->count; c++)
        for (size_t i = 0; i < q->k; i++)
            r[c * q->k + i] = i <= c ? q->vectors[c * q->stride + i] : 0.0f;
}

/* The vectors of Q are the reflections in reverse order, applied to unit vectors. */
static void orthonormal_run(reduction *q, float *r)
{
    size_t from = 0;
    for (; from < q->k; from += BLOCK) {
        const size_t width = organ_min(BLOCK, q->k - from), rest = from + width;
        reduce_panel(q, from, width);
        apply_block_reflector(q, from, width, true, q->vectors + rest * q->stride, q->count - rest);
    }
    if (r)
        copy_triangle(q, r);
    for (size_t c = 0; c < q->k; c++) {
        memset(q->vectors + c * q->stride, 0, q->n * sizeof *q->vectors);
        q->vectors[c * q->stride + c] = 1;
    }
    while (from > 0) {
        from -= BLOCK;
        apply_block_reflector(q, from, organ_min(BLOCK, q->k - from), false, q->vectors + from * q->stride,
                              q->k - from);
    }
}

bool organ_orthonormal(const organ_kernels *kernels, float *vectors, size_t count, size_t n, size_t stride, float *r)
{
    reduction q = {
        .kernels = kernels, .vectors = vectors, .count = count, .n = n, .stride = stride, .k = organ_min(count, n)};
    q.panel = malloc((BLOCK * n + 1) * sizeof *q.panel);
    q.reflectors = organ_floats(q.k, n);
    q.t = calloc(q.k + 1, sizeof *q.t);
    q.across = organ_floats(BLOCK, count);
    q.turned = organ_floats(BLOCK, count);
    q.scratch = organ_floats(ORGAN_PRODUCT_SCRATCH / sizeof(float), 1);
    const bool done = q.panel && q.reflectors && q.t && q.across && q.turned && q.scratch;
    if (done)
        orthonormal_run(&q, r);
    free(q.panel);
    free(q.reflectors);
    free(q.t);
    free(q.across);
    free(q.turned);
    free(q.scratch);
    return done;
}
