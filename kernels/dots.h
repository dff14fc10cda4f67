/* SPDX-License-Identifier: MIT
 * Product from dot products of BF16 numbers, over the operations on a tile of sums that simd/avx512_bf16.h defines.
 * Each FP32 value is a sum of terms: BF16 numbers of decreasing magnitude. A block of rows of the factor a and a strip
 * of rows of the factor b are packed as terms: the terms of a are stored row by row, the terms of b as adjacent pairs
 * of k. The dot products of the terms of a with the terms of b, except pairs too small to count (dot_tile), are added
 * to the same sums. The smallest terms come first, so that their low bits are not lost. */
#include "kernels/dot_terms.h"

#define ROWS_AHEAD       8                         /* rows prefetched before they are packed */
#define DOT_STRIP_TERM   (DOT_CHUNK * DOT_STRIP)   /* words of one term of the strip */
#define DOT_BLOCK(terms) ((terms) > 1 ? 128 : 512) /* rows of a in the scratch */
_Static_assert((DOT_TERMS * (DOT_STRIP_TERM + DOT_BLOCK(DOT_TERMS) * DOT_PITCH)) * sizeof(uint16_t) <=
                   ORGAN_PRODUCT_SCRATCH,
               "all terms fit");
_Static_assert((DOT_STRIP_TERM + DOT_BLOCK(1) * DOT_PITCH) * sizeof(uint16_t) <= ORGAN_PRODUCT_SCRATCH,
               "one term fits");

/* ---- packing ---- */

/* Packs the rows of a part of the factor a as `terms` terms, padded with zeros to a multiple of DOT_MIN rows and of
 * DOT_DEPTH columns. Rows are DOT_PITCH words apart, terms DOT_BLOCK(terms) rows. */
INLINE void pack_rows(uint16_t *to, const product_part *part, const int terms, const enum element_type type)
{
    for (size_t row = 0; row < dot_round_up(part->rows, DOT_MIN); row++)
        for (size_t from = 0; from < part->columns; from += DOT_DEPTH) {
            prefetch_row(part, row + ROWS_AHEAD, from, type);
            pack_terms(to + row * DOT_PITCH + from, DOT_BLOCK(terms) * DOT_PITCH, part, row, from, terms, type);
        }
}

static void pack_block(uint16_t *to, const product_part *part, int terms, organ_real type)
{
    if (type == ORGAN_REAL_BF16)
        pack_rows(to, part, 1, BF16);
    else if (terms == 1)
        pack_rows(to, part, 1, F32);
    else
        pack_rows(to, part, DOT_TERMS, F32);
}

static void pack_dot_strip(uint16_t *to, const product_part *part, int terms, const organ_product_operand *b)
{
    for (size_t from = 0; from < depth_of(part, b); from += DOT_DEPTH)
        for (size_t row = 0; row < DOT_STRIP; row += 16)
            pack_square((dot_square){to + from * DOT_STRIP + 2 * row, 2 * DOT_STRIP, DOT_STRIP_TERM}, part, row, from,
                        terms, b);
}

/* ---- sums ---- */

typedef struct dot_operands {
    const uint16_t *a, *b; /* first terms; the next term is DOT_BLOCK(a_terms) rows or DOT_STRIP_TERM words further */
    int a_terms, b_terms;  /* numbers of terms */
    size_t depth;          /* values of k, a multiple of DOT_DEPTH */
} dot_operands;

/* The sums go to c (FP32) directly from registers. */
INLINE void combine_dots(const product_place *place, const dot_sums *sums, const int rows)
{
    const organ_product *const p = place->product;
    float *const c = (float *)p->c + place->row * p->c_stride + place->column;
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < 2; v++)
        combine_f32(c + (size_t)r * p->c_stride + 16 * v, 16, sums->at[r][v], place->into);
}

/* Computes a tile of `rows` rows, of which `stored_rows` are combined with c: adds the dot products of term i of a
 * and term j of b, smallest first. Pairs with i + j >= a_terms are omitted: they rank below the last term of a. */
INLINE void dot_tile(const product_place *place, const dot_operands *o, size_t stored_rows, const int rows)
{
    _Alignas(64) float totals[DOT_ROWS * DOT_STRIP];
    dot_sums sums;
    prefetch_totals(place, DOT_STRIP, stored_rows);
    dots_zero(&sums, rows);
    for (int order = o->a_terms - 1; order >= 0; order--)
        for (int j = 0; j <= order && j < o->b_terms; j++) {
            const uint16_t *a = o->a + (size_t)(order - j) * DOT_BLOCK(o->a_terms) * DOT_PITCH,
                           *b = o->b + j * DOT_STRIP_TERM;
            for (size_t k = 0; k < o->depth; k += DOT_DEPTH, a += DOT_DEPTH, b += DOT_DEPTH * DOT_STRIP)
                dots_add(&sums, a, b, rows);
        }
    if (stored_rows == (size_t)rows && place->columns == DOT_STRIP && !place->product->wide) {
        combine_dots(place, &sums, rows);
        return;
    }
    dots_store(&sums, totals, rows);
    combine_totals(place, totals, DOT_STRIP, stored_rows);
}

/* dot_tile with DOT_ROWS rows. This and the next two functions have constant numbers of rows, so that loops unroll. */
static void dot_full_tile(const product_place *place, const dot_operands *o, size_t stored_rows)
{
    dot_tile(place, o, stored_rows, DOT_ROWS);
}
static void dot_partial_tile(const product_place *place, const dot_operands *o, size_t stored_rows)
{
    dot_tile(place, o, stored_rows, DOT_SOME);
}
static void dot_smallest_tile(const product_place *place, const dot_operands *o, size_t stored_rows)
{
    dot_tile(place, o, stored_rows, DOT_MIN);
}

/* The last tile may compute rows that are not stored. Each tile first prefetches its share of `ahead`, the data to
 * pack next. */
static void dot_block(product_place place, dot_operands o, size_t rows, product_ahead *ahead)
{
    static const struct {
        size_t rows;
        void (*sum)(const product_place *place, const dot_operands *o, size_t stored_rows);
    } tiles[] = {{DOT_ROWS, dot_full_tile}, {DOT_SOME, dot_partial_tile}, {DOT_MIN, dot_smallest_tile}};
    const size_t share = 1 + lines_of(ahead) * DOT_ROWS / rows; /* lines to prefetch before each tile */
    for (size_t t = 0; rows > 0;) {
        const size_t stored_rows = min_size(rows, tiles[t].rows);
        if (stored_rows < tiles[t].rows && t + 1 < sizeof tiles / sizeof *tiles) {
            t++;
            continue;
        }
        prefetch_lines(ahead, share);
        tiles[t].sum(&place, &o, stored_rows);
        place.row += stored_rows, rows -= stored_rows, o.a += stored_rows * DOT_PITCH;
    }
}

static void dot_rows(const organ_product *p, product_place place, dot_operands o, uint16_t *strip, size_t rows,
                     size_t k, size_t depth)
{
    for (size_t column = 0; column < p->n; column += DOT_STRIP) {
        const size_t columns = min_size(DOT_STRIP, p->n - column), next = column + columns;
        const product_part b = part_of(&p->b, column, columns, k, depth);
        pack_dot_strip(strip, &b, o.b_terms, &p->b);
        const product_part after = part_of(&p->b, next, min_size(DOT_STRIP, p->n - next), k, depth);
        product_ahead ahead = prefetch_of(&after, bytes_of_real(p->b.type));
        place.column = column, place.columns = columns;
        dot_block(place, o, rows, &ahead);
    }
}

/* Computes the product from dot products of BF16 pairs, in chunks of k like the exact product. With
 * ORGAN_COMPUTE_SPLIT a value of a is a sum of DOT_TERMS BF16 terms, and a value of b of as many terms as its type
 * needs. If k is 0, the only pass has no values: SET stores +0, ADD and SUBTRACT leave c unchanged. */
static void dot_product(const organ_product *p, void *scratch)
{
    const bool split = p->compute == ORGAN_COMPUTE_SPLIT;
    const int a_terms = split ? DOT_TERMS : 1;
    uint16_t *const strip = scratch, *const block = strip + a_terms * DOT_STRIP_TERM;
    const int b_terms = b_terms_of(p);
    size_t k = 0;
    do {
        const size_t depth = min_size(DOT_CHUNK, p->k - k), max = DOT_BLOCK(a_terms);
        const organ_product_into into = k > 0 && p->into == ORGAN_PRODUCT_SET ? ORGAN_PRODUCT_ADD : p->into;
        const dot_operands o = {block, strip, a_terms, b_terms, dot_round_up(depth, DOT_DEPTH)};
        for (size_t row = 0; row < p->m && (p->k > 0 || into == ORGAN_PRODUCT_SET); row += max) {
            const size_t rows = min_size(max, p->m - row);
            const product_part a = part_of(&p->a, row, rows, k, depth);
            pack_block(block, &a, a_terms, p->a.type);
            dot_rows(p, (product_place){.product = p, .row = row, .into = into}, o, strip, rows, k, depth);
        }
        k += depth;
    } while (k < p->k);
}
