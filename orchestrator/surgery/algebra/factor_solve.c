/* SPDX-License-Identifier: MIT
 * Solution of V H = X with the factor R of organ_block_factor, H = R R^T: first Y R^T = X, block columns from the last
 * to the first, then V R = Y, from the first to the last. Both overwrite X. A block column of ORGAN_FACTOR_BLOCK
 * columns first loses the products of the columns that are solved already, then is multiplied by the inverse of its
 * diagonal block. Columns outside of its GROUP of block columns are subtracted for the group together, so that the
 * solved columns are read from memory less often. */
#include "orchestrator/surgery/algebra/algebra.h"

#include "orchestrator/machine/extent.h"

#include <string.h>

#define BLOCK ORGAN_FACTOR_BLOCK
#define GROUP (4 * BLOCK) /* columns of a group; the bits of the result depend on it, as on BLOCK */

typedef struct row_solution {
    const organ_kernels *kernels;
    const float *r;         /* the factor, [n][n] */
    size_t n, rows;         /* columns and rows of X */
    float *x;               /* X, then Y, then V */
    size_t stride;          /* values from one row of x to the next */
    float *panel;           /* a block column of x: [rows][BLOCK] */
    unsigned char *scratch; /* for a product */
} row_solution;

static void multiply_block(const row_solution *s, size_t from, size_t width, bool transposed)
{
    const float *const inverse = s->r + from * (s->n + 1);
    for (size_t i = 0; i < s->rows; i++)
        memcpy(s->panel + i * BLOCK, s->x + i * s->stride + from, width * sizeof *s->panel);
    const organ_product own = {.m = s->rows,
                               .n = width,
                               .k = width,
                               .a = organ_by_rows(s->panel, BLOCK),
                               .b = transposed ? organ_by_rows(inverse, s->n) : organ_by_columns(inverse, s->n),
                               .c = s->x + from,
                               .c_stride = s->stride};
    s->kernels->product(&own, s->scratch);
}

/* The solved columns are [first, first + count); their products are with R, or with R^T if `transposed`. */
static void subtract_solved(const row_solution *s, size_t from, size_t width, size_t first, size_t count,
                            bool transposed)
{
    const organ_product product = {.m = s->rows,
                                   .n = width,
                                   .k = count,
                                   .a = organ_by_rows(s->x + first, s->stride),
                                   .b = transposed ? organ_by_rows(s->r + from * s->n + first, s->n)
                                                   : organ_by_columns(s->r + first * s->n + from, s->n),
                                   .c = s->x + from,
                                   .c_stride = s->stride,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    if (count > 0)
        s->kernels->product(&product, s->scratch);
}

/* X becomes Y with Y R^T = X. */
static void solve_transposed(const row_solution *s)
{
    for (size_t group = (s->n + GROUP - 1) / GROUP; group-- > 0;) {
        const size_t first = group * GROUP, end = organ_min(first + GROUP, s->n);
        subtract_solved(s, first, end - first, end, s->n - end, true);
        for (size_t block = organ_pieces_of(end - first, BLOCK); block-- > 0;) {
            const size_t from = first + block * BLOCK, right = organ_min(from + BLOCK, end);
            subtract_solved(s, from, right - from, right, end - right, true);
            multiply_block(s, from, right - from, true);
        }
    }
}

/* Y becomes V with V R = Y. */
static void solve_plain(const row_solution *s)
{
    for (size_t first = 0; first < s->n; first += GROUP) {
        const size_t end = organ_min(first + GROUP, s->n);
        subtract_solved(s, first, end - first, 0, first, false);
        for (size_t from = first; from < end; from += BLOCK) {
            const size_t width = organ_min(BLOCK, end - from);
            subtract_solved(s, from, width, first, from - first, false);
            multiply_block(s, from, width, false);
        }
    }
}

void organ_factor_solve(const organ_kernels *kernels, const float *factor, size_t n, float *rows, size_t count,
                        size_t stride, float *panel, void *scratch)
{
    const row_solution s = {kernels, factor, n, count, rows, stride, panel, scratch};
    solve_transposed(&s);
    solve_plain(&s);
}
