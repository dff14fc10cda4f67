/* SPDX-License-Identifier: MIT
 * Body of the product. Of each chunk of k, a block of rows of a is packed row by row, then each strip of b value by value, so that a vector
 * has one value of 16 rows of b; a tile of sums stays in registers over the chunk. How the tiles lie changes no sum. */
#include <string.h>

#define PRODUCT_CHUNK 256                    /* values of k a sum is long: part of the definition */
#define PRODUCT_BLOCK 256                    /* rows of a in the scratch */
#define PRODUCT_PITCH (PRODUCT_CHUNK + 16)   /* floats from one of them to the next: not a multiple of what a cache maps to one place */
#define PRODUCT_STRIP (16 * PRODUCT_VECTORS) /* rows of b in the scratch; at most 32 */
#define PACK_AHEAD    8                      /* rows asked for before they are packed */
_Static_assert((PRODUCT_BLOCK * PRODUCT_PITCH + PRODUCT_CHUNK * 32) * sizeof(float) == ORGAN_PRODUCT_SCRATCH, "both fit");

INLINE size_t lesser(size_t a, size_t b) { return a < b ? a : b; }

/* 16 rows become 16 columns: four times over, row l and row l + 8 in turn are rows 2 l and 2 l + 1. */
INLINE void turn_rows(f32x16 rows[16])
{
    UNROLL for (int round = 0; round < 4; round++)
    {
        f32x16 next[16];
        UNROLL for (int l = 0; l < 8; l++)
        {
            next[2 * l] = f32_zip_low(rows[l], rows[l + 8]);
            next[2 * l + 1] = f32_zip_high(rows[l], rows[l + 8]);
        }
        UNROLL for (int l = 0; l < 16; l++) rows[l] = next[l];
    }
}

/* rows x columns elements that lie `stride` apart. */
typedef struct product_part {
    const void *values;
    size_t at, stride, rows, columns;
} product_part;

/* Elements from column `from` of a row on; zeros where there are none. */
INLINE f32x16 part_vector(const product_part *part, size_t row, size_t from, const enum element_type type)
{
    const size_t at = part->at + row * part->stride + from;
    if (row >= part->rows || from >= part->columns)
        return f32_set1(0);
    return from + 16 <= part->columns ? load_elements(part->values, at, type)
                                      : load_elements_part(part->values, at, part->columns - from, type);
}

/* Row by row, each filled up with zeros to a multiple of `fill`. */
INLINE void pack_straight(float *to, size_t pitch, const product_part *part, size_t fill, const enum element_type type)
{
    for (size_t row = 0; row < part->rows; row++)
        for (size_t from = 0; from < (part->columns + fill - 1) / fill * fill; from += 16) {
            __builtin_prefetch((const char *)part->values + (part->at + (row + PACK_AHEAD) * part->stride + from) * element_size(type));
            f32_store(to + row * pitch + from, part_vector(part, row, from, type));
        }
}

/* Rows become columns, filled up likewise. */
INLINE void pack_turned(float *to, size_t pitch, const product_part *part, size_t fill, const enum element_type type)
{
    for (size_t row = 0; row < (part->rows + fill - 1) / fill * fill; row += 16)
        for (size_t from = 0; from < part->columns; from += 16) {
            f32x16 square[16];
            UNROLL for (int l = 0; l < 16; l++) square[l] = part_vector(part, row + (size_t)l, from, type);
            turn_rows(square);
            for (size_t l = 0; l < lesser(16, part->columns - from); l++)
                f32_store(to + (from + l) * pitch + row, square[l]);
        }
}

/* Asks for what is packed next while the tiles before it are summed up. */
INLINE void expect_part(const product_part *part, size_t bytes)
{
    for (size_t row = 0; row < part->rows; row++)
        for (size_t at = 0; at < part->columns * bytes; at += 64)
            __builtin_prefetch((const char *)part->values + (part->at + row * part->stride) * bytes + at, 0, 2);
}

INLINE void pack_as(float *to, size_t pitch, const product_part *part, size_t fill, bool turned, const enum element_type type)
{
    if (turned)
        pack_turned(to, pitch, part, fill, type);
    else
        pack_straight(to, pitch, part, fill, type);
}

static void pack_part(float *to, size_t pitch, const product_part *part, size_t fill, bool turned, organ_real type)
{
    if (type == ORGAN_REAL_BF16)
        pack_as(to, pitch, part, fill, turned, BF16);
    else if (type == ORGAN_REAL_F16)
        pack_as(to, pitch, part, fill, turned, F16);
    else
        pack_as(to, pitch, part, fill, turned, F32);
}

INLINE product_part part_of(const organ_factor *o, size_t row, size_t rows, size_t k, size_t depth)
{
    return o->transposed ? (product_part){o->values, k * o->stride + row, o->stride, depth, rows}
                         : (product_part){o->values, row * o->stride + k, o->stride, rows, depth};
}

/* Where totals go: the columns of c from `column` on. */
typedef struct product_place {
    const organ_product *product;
    size_t row, column, columns;
    organ_product_into into;
} product_place;

INLINE void meet_narrow(float *c, size_t n, f32x16 total, organ_product_into into)
{
    const f32x16 before = into == ORGAN_PRODUCT_SET ? total : n < 16 ? f32_load_part(c, n) : f32_load(c);
    const f32x16 after = one_nan(into == ORGAN_PRODUCT_SET   ? total
                                 : into == ORGAN_PRODUCT_ADD ? f32_add(before, total)
                                                             : f32_sub(before, total));
    if (n < 16)
        f32_store_part(c, after, n);
    else
        f32_store(c, after);
}

INLINE void meet_wide(double *c, size_t n, f32x16 total, organ_product_into into)
{
    double some[16] = {0}, *const place = n < 16 ? some : c;
    const f64x16 wide = f64_of_f32(total);
    if (n < 16)
        memcpy(some, c, n * sizeof *c);
    f64_store(place, f64_one_nan(into == ORGAN_PRODUCT_SET   ? wide
                                 : into == ORGAN_PRODUCT_ADD ? f64_add(f64_load(place), wide)
                                                             : f64_sub(f64_load(place), wide)));
    if (n < 16)
        memcpy(c, some, n * sizeof *c);
}

static void meet_totals(const product_place *place, const float *totals, size_t rows)
{
    const organ_product *const p = place->product;
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < place->columns; j += 16) {
            const size_t at = (place->row + r) * p->c_stride + place->column + j, n = lesser(16, place->columns - j);
            const f32x16 total = f32_load(totals + r * PRODUCT_STRIP + j);
            if (p->wide)
                meet_wide((double *)p->c + at, n, total, place->into);
            else
                meet_narrow((float *)p->c + at, n, total, place->into);
        }
}

INLINE void expect_totals(const product_place *place, size_t rows)
{
    const size_t bytes = place->product->wide ? sizeof(double) : sizeof(float);
    const char *c = (const char *)place->product->c + (place->row * place->product->c_stride + place->column) * bytes;
    for (size_t r = 0; r < rows; r++, c += place->product->c_stride * bytes)
        for (size_t at = 0; at < PRODUCT_STRIP * bytes; at += 64)
            __builtin_prefetch(c + at, 1);
}

/* The chunk's sums of `rows` rows of a packed block with a packed strip. */
INLINE void sum_tile(const product_place *place, const float *a, const float *b, size_t depth, const int rows)
{
    _Alignas(64) float totals[PRODUCT_ROWS * PRODUCT_STRIP];
    f32x16 sums[PRODUCT_ROWS][PRODUCT_VECTORS];
    expect_totals(place, (size_t)rows);
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++) sums[r][v] = f32_set1(0);
    for (size_t k = 0; k < depth; k++) {
        f32x16 column[PRODUCT_VECTORS];
        UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++) column[v] = f32_load(b + k * PRODUCT_STRIP + 16 * v);
        UNROLL for (int r = 0; r < rows; r++)
        {
            const f32x16 value = f32_set1(a[r * PRODUCT_PITCH + k]);
            UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++) sums[r][v] = f32_fma(value, column[v], sums[r][v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < PRODUCT_VECTORS; v++)
        f32_store(totals + r * PRODUCT_STRIP + 16 * v, sums[r][v]);
    meet_totals(place, totals, (size_t)rows);
}

static void sum_whole(const product_place *place, const float *a, const float *b, size_t depth)
{
    sum_tile(place, a, b, depth, PRODUCT_ROWS);
}
static void sum_eight(const product_place *place, const float *a, const float *b, size_t depth)
{
    sum_tile(place, a, b, depth, 8 < PRODUCT_ROWS ? 8 : 1);
}
static void sum_four(const product_place *place, const float *a, const float *b, size_t depth) { sum_tile(place, a, b, depth, 4); }
static void sum_two(const product_place *place, const float *a, const float *b, size_t depth) { sum_tile(place, a, b, depth, 2); }
static void sum_one(const product_place *place, const float *a, const float *b, size_t depth) { sum_tile(place, a, b, depth, 1); }

/* A packed block of rows with a packed strip, in the largest tiles that are left. */
static void sum_block(product_place place, const float *a, const float *b, size_t rows, size_t depth)
{
    static const struct {
        size_t rows;
        void (*sum)(const product_place *place, const float *a, const float *b, size_t depth);
    } tiles[] = {{PRODUCT_ROWS, sum_whole}, {8, sum_eight}, {4, sum_four}, {2, sum_two}, {1, sum_one}};
    for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++)
        for (; tiles[t].rows <= rows; rows -= tiles[t].rows, place.row += tiles[t].rows, a += tiles[t].rows * PRODUCT_PITCH)
            tiles[t].sum(&place, a, b, depth);
}

static void product(const organ_product *p, void *scratch)
{
    float *const strip = scratch, *const block = strip + PRODUCT_CHUNK * 32;
    size_t k = 0;
    do {
        const size_t depth = lesser(PRODUCT_CHUNK, p->k - k);
        const organ_product_into into = k > 0 && p->into == ORGAN_PRODUCT_SET ? ORGAN_PRODUCT_ADD : p->into;
        for (size_t row = 0; row < p->m && (p->k > 0 || into == ORGAN_PRODUCT_SET); row += PRODUCT_BLOCK) {
            const size_t rows = lesser(PRODUCT_BLOCK, p->m - row);
            const product_part a = part_of(&p->a, row, rows, k, depth);
            pack_part(block, PRODUCT_PITCH, &a, 16, p->a.transposed, p->a.type);
            for (size_t column = 0; column < p->n; column += PRODUCT_STRIP) {
                const size_t columns = lesser(PRODUCT_STRIP, p->n - column);
                const product_part b = part_of(&p->b, column, columns, k, depth);
                const product_place place = {p, row, column, columns, into};
                pack_part(strip, PRODUCT_STRIP, &b, PRODUCT_STRIP, !p->b.transposed, p->b.type);
                if (column + columns < p->n) {
                    const product_part next = part_of(&p->b, column + columns, lesser(PRODUCT_STRIP, p->n - column - columns), k, depth);
                    expect_part(&next, p->b.type == ORGAN_REAL_F32 ? sizeof(float) : sizeof(uint16_t));
                }
                sum_block(place, block, strip, rows, depth);
            }
        }
        k += depth;
    } while (k < p->k);
}
