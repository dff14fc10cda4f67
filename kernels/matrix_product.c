/* SPDX-License-Identifier: MIT
 * Products with one row of a, whose speed is limited by reading b. Squares of b are transposed in registers and used
 * at once. All chunks of a strip are computed in sequence, so that each row of b is read from start to end. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/product_parts.h"

#define ROW_GROUPS 4 /* groups of 16 rows of b with independent sums, which hide the latency of fma */
#define ROW_STRIP  (16 * ROW_GROUPS)
#define ROW_AHEAD  256 /* bytes by which a row of b is prefetched ahead */

/* Loads a 16 x 16 square of b, from row `row` and column `from` of the part on, and transposes it: square[l] contains
 * column from + l. `complete` is true if all 16 rows and columns exist. */
INLINE void row_square(f32x16 square[16], const product_part *b, size_t row, size_t from, const bool complete,
                       const enum element_type type)
{
    if (!complete) {
        _Alignas(64) float some[256];
        ragged_square(some, b, row, from, type);
        UNROLL for (size_t l = 0; l < 16; l++) square[l] = f32_load(some + 16 * l);
        return;
    }
    UNROLL for (size_t l = 0; l < 16; l++)
    {
        const size_t at = b->at + (row + l) * b->stride + from;
        square[l] = load_elements(b->values, at, type);
        __builtin_prefetch((const char *)b->values + at * element_size(type) + ROW_AHEAD);
    }
    transpose_square(square);
}

/* The values [k, end) are the last ones of a chunk, fewer than 16. */
SHARED void add_last_columns(float totals[ROW_STRIP], const float *a, const product_part *b, size_t k, size_t end,
                             const enum element_type type)
{
    for (size_t g = 0; g < ROW_GROUPS; g++) {
        _Alignas(64) float square[256];
        f32x16 sum = f32_load(totals + 16 * g);
        ragged_square(square, b, 16 * g, k, type);
        for (size_t l = 0; l < end - k; l++)
            sum = f32_fma(f32_set1(a[k + l]), f32_load(square + 16 * l), sum);
        f32_store(totals + 16 * g, sum);
    }
}

/* `complete` is true if all ROW_STRIP rows of the strip exist. */
INLINE void row_chunk(float totals[ROW_STRIP], const float *a, const product_part *b, size_t k, size_t end,
                      const bool complete, const enum element_type type)
{
    for (size_t g = 0; g < ROW_GROUPS; g++)
        f32_store(totals + 16 * g, f32_set1(0));
    for (; k + 16 <= end; k += 16)
        for (size_t g = 0; g < ROW_GROUPS; g++) {
            f32x16 square[16], sum = f32_load(totals + 16 * g);
            row_square(square, b, 16 * g, k, complete, type);
            UNROLL for (size_t l = 0; l < 16; l++) sum = f32_fma(f32_set1(a[k + l]), square[l], sum);
            f32_store(totals + 16 * g, sum);
        }
    if (k < end)
        add_last_columns(totals, a, b, k, end, type);
}

/* Computes the product of one row `a` without packing b, because packing would cost more than the product. Computes
 * strip by strip of the rows of b, in the same chunks of k as the blocked product, so that the bits are the same. */
INLINE void row_by_strips(const organ_product *p, const float *a, const enum element_type type)
{
    _Alignas(64) float totals[ROW_STRIP];
    for (size_t column = 0; column < p->n; column += ROW_STRIP) {
        const size_t columns = min_size(ROW_STRIP, p->n - column);
        const product_part b = part_of(&p->b, column, columns, 0, p->k);
        product_place place = {p, 0, column, columns, p->into};
        for (size_t k = 0; k < p->k; k += PRODUCT_CHUNK) {
            row_chunk(totals, a, &b, k, min_size(p->k, k + PRODUCT_CHUNK), columns == ROW_STRIP, type);
            combine_totals(&place, totals, ROW_STRIP, 1);
            place.into = place.into == ORGAN_PRODUCT_SET ? ORGAN_PRODUCT_ADD : place.into;
        }
    }
}

static void row_by_bf16(const organ_product *p, const float *a) { row_by_strips(p, a, BF16); }
static void row_by_f16(const organ_product *p, const float *a) { row_by_strips(p, a, F16); }
static void row_by_f32(const organ_product *p, const float *a) { row_by_strips(p, a, F32); }

/* ---- the exact product of the factors a and b ---- */

/* For each chunk of k, a block of rows of a is packed row by row, then each strip of b is packed so that a vector
 * contains one value of k from 16 rows of b. A tile of sums stays in registers for the whole chunk. The arrangement of
 * tiles does not change the order of any sum. */

#define PRODUCT_BLOCK 256 /* rows of a in the scratch */
/* Floats from one packed row of a to the next. A power of two would map rows to the same cache sets. */
#define PRODUCT_PITCH (PRODUCT_CHUNK + 16)
#define PRODUCT_STRIP (16 * PRODUCT_VECTORS) /* rows of b in the scratch; at most 32 */
/* A tile prefetches some lines of the data to pack next after each PRODUCT_STEP values of k. */
#define PRODUCT_STEP 16
#define PACK_AHEAD   8 /* rows prefetched before they are packed */
_Static_assert((PRODUCT_BLOCK * PRODUCT_PITCH + PRODUCT_CHUNK * 32) * sizeof(float) == ORGAN_PRODUCT_SCRATCH,
               "the block of a and the strip of b fit");

/* The rows are `pitch` floats apart and padded with zeros to a multiple of `fill`. */
INLINE void pack_rows_as_rows(float *to, size_t pitch, const product_part *part, size_t fill,
                              const enum element_type type)
{
    const size_t width = (part->columns + fill - 1) / fill * fill;
    for (size_t row = 0; row < part->rows; row++)
        for (size_t from = 0; from < width; from += 16) {
            __builtin_prefetch((const char *)part->values +
                               (part->at + (row + PACK_AHEAD) * part->stride + from) * element_size(type));
            f32_store(to + row * pitch + from, load_row_vector(part, row, from, type));
        }
}

/* Prefetches the second square to the right of the loaded one. */
INLINE void load_square(f32x16 square[16], const product_part *part, size_t row, size_t from,
                        const enum element_type type)
{
    const size_t at = part->at + row * part->stride + from;
    UNROLL for (size_t l = 0; l < 16; l++)
    {
        square[l] = load_elements(part->values, at + l * part->stride, type);
        __builtin_prefetch((const char *)part->values + (at + l * part->stride + 32) * element_size(type));
    }
}

INLINE void pack_rows_as_columns(float *to, size_t pitch, const product_part *part, size_t fill,
                                 const enum element_type type)
{
    const size_t height = (part->rows + fill - 1) / fill * fill;
    for (size_t row = 0; row < height; row += 16)
        for (size_t from = 0; from < part->columns; from += 16) {
            if (row + 16 <= part->rows && from + 16 <= part->columns) {
                f32x16 square[16];
                load_square(square, part, row, from, type);
                transpose_square(square);
                UNROLL for (size_t l = 0; l < 16; l++) f32_store(to + (from + l) * pitch + row, square[l]);
                continue;
            }
            _Alignas(64) float some[256];
            ragged_square(some, part, row, from, type);
            for (size_t l = 0; l < min_size(16, part->columns - from); l++)
                f32_store(to + (from + l) * pitch + row, f32_load(some + 16 * l));
        }
}

/* Packs the rows of a part as rows, padded with zeros to a multiple of `fill` columns; or, if `transposed`, as columns,
 * padded to a multiple of `fill` rows. Packed rows or columns are `pitch` floats apart. */
INLINE void pack_panel(float *to, size_t pitch, const product_part *part, size_t fill, bool transposed,
                       const enum element_type type)
{
    if (transposed)
        pack_rows_as_columns(to, pitch, part, fill, type);
    else
        pack_rows_as_rows(to, pitch, part, fill, type);
}

static void pack_part(float *to, size_t pitch, const product_part *part, size_t fill, bool transposed, organ_real type)
{
    if (type == ORGAN_REAL_BF16)
        pack_panel(to, pitch, part, fill, transposed, BF16);
    else if (type == ORGAN_REAL_F16)
        pack_panel(to, pitch, part, fill, transposed, F16);
    else
        pack_panel(to, pitch, part, fill, transposed, F32);
}

typedef f32x16 product_sums[PRODUCT_ROWS][PRODUCT_VECTORS]; /* a tile of sums, in registers */

/* The sums go to c directly from registers, as place->into requests. */
INLINE void combine_sums(const product_place *place, product_sums sums, const int rows)
{
    const organ_product *const p = place->product;
    float *const c = (float *)p->c + place->row * p->c_stride + place->column;
    const f32x16 sign = f32_set1(place->into == ORGAN_PRODUCT_SUBTRACT ? -1 : 1);
    if (place->into == ORGAN_PRODUCT_SET) {
        UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++)
            f32_store(c + (size_t)r * p->c_stride + 16 * v, one_nan(sums[r][v]));
        return;
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++)
    {
        float *const at = c + (size_t)r * p->c_stride + 16 * v;
        f32_store(at, one_nan(f32_fma(sums[r][v], sign, f32_load(at))));
    }
}

/* A packed strip of b with `depth` values of k, and the data to pack after it, of which `share` lines are prefetched
 * for every PRODUCT_STEP values of k. */
typedef struct product_strip {
    const float *values;
    size_t depth;
    product_ahead *ahead;
    size_t share;
} product_strip;

INLINE void sum_tile(const product_place *place, const float *a, const product_strip *strip, const int rows)
{
    product_sums sums;
    const float *b = strip->values;
    prefetch_totals(place, PRODUCT_STRIP, (size_t)rows);
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++) sums[r][v] = f32_set1(0);
    for (size_t from = 0; from < strip->depth; from += PRODUCT_STEP) {
        const size_t end = min_size(from + PRODUCT_STEP, strip->depth);
        prefetch_lines(strip->ahead, strip->share);
        for (size_t k = from; k < end; k++, b += PRODUCT_STRIP) {
            f32x16 column[PRODUCT_VECTORS];
            UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++) column[v] = f32_load(b + 16 * v);
            UNROLL for (int r = 0; r < rows; r++)
            {
                const f32x16 value = f32_set1(a[r * PRODUCT_PITCH + k]);
                UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++) sums[r][v] = f32_fma(value, column[v], sums[r][v]);
            }
        }
    }
    if (place->columns == PRODUCT_STRIP && !place->product->wide) {
        combine_sums(place, sums, rows);
        return;
    }
    _Alignas(64) float totals[PRODUCT_ROWS * PRODUCT_STRIP];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++)
        f32_store(totals + r * PRODUCT_STRIP + 16 * v, sums[r][v]);
    combine_totals(place, totals, PRODUCT_STRIP, (size_t)rows);
}

/* This and the next functions have constant numbers of rows, so that the sums stay in registers. */
static void sum_full_tile(const product_place *place, const float *a, const product_strip *strip)
{
    sum_tile(place, a, strip, PRODUCT_ROWS);
}
/* Called only if a full tile has more than 8 rows. Otherwise the unused body is compiled for 1 row, because
 * product_sums is too small for 8. */
static void sum_eight(const product_place *place, const float *a, const product_strip *strip)
{
    sum_tile(place, a, strip, 8 < PRODUCT_ROWS ? 8 : 1);
}
static void sum_four(const product_place *place, const float *a, const product_strip *strip)
{
    sum_tile(place, a, strip, 4);
}
static void sum_two(const product_place *place, const float *a, const product_strip *strip)
{
    sum_tile(place, a, strip, 2);
}
static void sum_one(const product_place *place, const float *a, const product_strip *strip)
{
    sum_tile(place, a, strip, 1);
}

/* Spreads the prefetches of strip.ahead over the steps of all tiles. */
static void sum_block(product_place place, const float *a, size_t rows, product_strip strip)
{
    static const struct {
        size_t rows;
        void (*sum)(const product_place *place, const float *a, const product_strip *strip);
    } tiles[] = {{PRODUCT_ROWS, sum_full_tile}, {8, sum_eight}, {4, sum_four}, {2, sum_two}, {1, sum_one}};
    const size_t steps = (strip.depth + PRODUCT_STEP - 1) / PRODUCT_STEP * ((rows + PRODUCT_ROWS - 1) / PRODUCT_ROWS);
    strip.share = steps > 0 ? (lines_of(strip.ahead) + steps - 1) / steps : 0;
    for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++)
        for (; tiles[t].rows <= rows;
             rows -= tiles[t].rows, place.row += tiles[t].rows, a += tiles[t].rows * PRODUCT_PITCH)
            tiles[t].sum(&place, a, &strip);
}

/* Returns false and does nothing if a has more rows, k is 0, b is transposed, or the row does not fit the scratch. */
static bool product_of_row(const organ_product *p, float *scratch)
{
    const size_t padded = (p->k + 15) / 16 * 16;
    if (p->m != 1 || p->k == 0 || p->b.transposed || padded > ORGAN_PRODUCT_SCRATCH / sizeof *scratch)
        return false;
    const product_part a = part_of(&p->a, 0, 1, 0, p->k);
    pack_part(scratch, padded, &a, 16, p->a.transposed, p->a.type);
    if (p->b.type == ORGAN_REAL_BF16)
        row_by_bf16(p, scratch);
    else if (p->b.type == ORGAN_REAL_F16)
        row_by_f16(p, scratch);
    else
        row_by_f32(p, scratch);
    return true;
}

/* Sets c to a b^T, adds a b^T to c or subtracts it from c (p->into). Cuts the sum over k into chunks of PRODUCT_CHUNK.
 * For each chunk, packs a block of a and a strip of b, which stay in the cache, multiplies them, and prefetches the
 * next strip of b meanwhile. Chunks are added in ascending order of k, so every ISA and every division of rows and
 * columns gives the same bits. If k is 0, the only pass has no values: SET stores +0, ADD and SUBTRACT leave c
 * unchanged. */
void KERNEL(product)(const organ_product *p, void *scratch)
{
    if (product_of_row(p, scratch))
        return;
    float *const strip = scratch, *const block = strip + PRODUCT_CHUNK * 32;
    size_t k = 0;
    do {
        const size_t depth = min_size(PRODUCT_CHUNK, p->k - k);
        const organ_product_into into = k > 0 && p->into == ORGAN_PRODUCT_SET ? ORGAN_PRODUCT_ADD : p->into;
        for (size_t row = 0; row < p->m && (p->k > 0 || into == ORGAN_PRODUCT_SET); row += PRODUCT_BLOCK) {
            const size_t rows = min_size(PRODUCT_BLOCK, p->m - row);
            const product_part a = part_of(&p->a, row, rows, k, depth);
            pack_part(block, PRODUCT_PITCH, &a, 16, p->a.transposed, p->a.type);
            for (size_t column = 0; column < p->n; column += PRODUCT_STRIP) {
                const size_t columns = min_size(PRODUCT_STRIP, p->n - column);
                const product_part b = part_of(&p->b, column, columns, k, depth);
                const product_place place = {p, row, column, columns, into};
                pack_part(strip, PRODUCT_STRIP, &b, PRODUCT_STRIP, !p->b.transposed, p->b.type);
                const product_part next =
                    part_of(&p->b, column + columns, min_size(PRODUCT_STRIP, p->n - column - columns), k, depth);
                product_ahead ahead =
                    prefetch_of(&next, p->b.type == ORGAN_REAL_F32 ? sizeof(float) : sizeof(uint16_t));
                sum_block(place, block, rows, (product_strip){strip, depth, &ahead, 0});
            }
        }
        k += depth;
    } while (k < p->k);
}

#endif
