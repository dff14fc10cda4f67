/* SPDX-License-Identifier: MIT
 * Code shared by the implementations of products: loading of elements as vectors, transposition of squares,
 * combination of totals with c. */
#ifndef ORGAN_KERNELS_PRODUCT_PARTS_H
#define ORGAN_KERNELS_PRODUCT_PARTS_H
#include <string.h>

#define PRODUCT_CHUNK 256 /* values of k in one sum: part of the definition of the product */

/* A part of an operand: rows x columns elements, from element `at` of `values` on, rows `stride` elements apart. */
typedef struct product_part {
    const void *values;
    size_t at, stride, rows, columns;
} product_part;

/* Loads 16 elements of a row of the part from column `from` on as FP32; zeros beyond the last row or column. */
INLINE f32x16 load_row_vector(const product_part *part, size_t row, size_t from, const enum element_type type)
{
    const size_t at = part->at + row * part->stride + from;
    if (row >= part->rows || from >= part->columns)
        return f32_set1(0);
    return from + 16 <= part->columns ? load_elements(part->values, at, type)
                                      : load_elements_part(part->values, at, part->columns - from, type);
}

/* Stores in `to` the transposed square of 16 rows and 16 columns of the part from row `row` and column `from` on, for
 * squares that end beyond the part. */
SHARED void ragged_square(float to[256], const product_part *part, size_t row, size_t from,
                          const enum element_type type)
{
    f32x16 square[16];
    for (size_t l = 0; l < 16; l++)
        square[l] = load_row_vector(part, row + l, from, type);
    transpose_square(square);
    for (size_t l = 0; l < 16; l++)
        f32_store(to + 16 * l, square[l]);
}

/* A cursor over the cache lines of the data to pack next, which are prefetched line by line while tiles are summed,
 * because many prefetches at once would stall. `row` is the address of the current row, and `rows` the number of
 * remaining rows. `stride` is the distance of rows in bytes, and `bytes` the part of each row to prefetch. `at` is the
 * offset in the current row of the next line to prefetch. */
typedef struct product_ahead {
    const char *row;
    size_t rows, stride, bytes, at;
} product_ahead;

INLINE product_ahead prefetch_of(const product_part *part, size_t bytes)
{
    return (product_ahead){(const char *)part->values + part->at * bytes, part->rows, part->stride * bytes,
                           part->columns * bytes, 0};
}

INLINE size_t lines_of(const product_ahead *ahead) { return ahead->rows * ((ahead->bytes + 63) / 64); }

INLINE void prefetch_lines(product_ahead *ahead, size_t count)
{
    for (; count > 0 && ahead->rows > 0; count--) {
        __builtin_prefetch(ahead->row + ahead->at);
        ahead->at += 64;
        if (ahead->at >= ahead->bytes) {
            ahead->at = 0;
            ahead->row += ahead->stride;
            ahead->rows--;
        }
    }
}

/* Returns the part of a factor with its rows [row, row + rows) and its columns [k, k + depth). The rows of the part are
 * those in memory: columns of the factor if the factor is stored transposed. */
INLINE product_part part_of(const organ_product_operand *o, size_t row, size_t rows, size_t k, size_t depth)
{
    return o->transposed ? (product_part){o->values, k * o->stride + row, o->stride, depth, rows}
                         : (product_part){o->values, row * o->stride + k, o->stride, rows, depth};
}

/* The destination of totals in c: rows from `row` on, `columns` columns from `column` on, and how they are combined. */
typedef struct product_place {
    const organ_product *product;
    size_t row, column, columns;
    organ_product_into into;
} product_place;

INLINE void combine_f32(float *c, size_t n, f32x16 total, organ_product_into into)
{
    f32x16 after = total;
    if (into != ORGAN_PRODUCT_SET) {
        const f32x16 before = n < 16 ? f32_load_part(c, n) : f32_load(c);
        after = into == ORGAN_PRODUCT_ADD ? f32_add(before, total) : f32_sub(before, total);
    }
    after = one_nan(after);
    if (n < 16)
        f32_store_part(c, after, n);
    else
        f32_store(c, after);
}

INLINE void combine_f64(double *c, size_t n, f32x16 total, organ_product_into into)
{
    double some[16] = {0}, *const place = n < 16 ? some : c;
    f64x16 wide = f64_of_f32(total);
    if (n < 16)
        memcpy(some, c, n * sizeof *c);
    if (into == ORGAN_PRODUCT_ADD)
        wide = f64_add(f64_load(place), wide);
    else if (into == ORGAN_PRODUCT_SUBTRACT)
        wide = f64_sub(f64_load(place), wide);
    f64_store(place, f64_one_nan(wide));
    if (n < 16)
        memcpy(c, some, n * sizeof *c);
}

/* Sets c to `rows` rows of totals, or adds them to c or subtracts them from c, depending on place->into. The rows of
 * totals are `pitch` floats apart and have place->columns values, rounded up to whole vectors. */
static void combine_totals(const product_place *place, const float *totals, size_t pitch, size_t rows)
{
    const organ_product *const p = place->product;
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < place->columns; j += 16) {
            const size_t at = (place->row + r) * p->c_stride + place->column + j, n = min_size(16, place->columns - j);
            const f32x16 total = f32_load(totals + r * pitch + j);
            if (p->wide)
                combine_f64((double *)p->c + at, n, total, place->into);
            else
                combine_f32((float *)p->c + at, n, total, place->into);
        }
}

INLINE void prefetch_totals(const product_place *place, size_t columns, size_t rows)
{
    const size_t bytes = place->product->wide ? sizeof(double) : sizeof(float);
    const char *c = (const char *)place->product->c + (place->row * place->product->c_stride + place->column) * bytes;
    for (size_t r = 0; r < rows; r++, c += place->product->c_stride * bytes)
        for (size_t at = 0; at < columns * bytes; at += 64)
            __builtin_prefetch(c + at, 1);
}

#endif
