/* SPDX-License-Identifier: MIT
 * Product from dot products of BF16 numbers by tile registers (simd/tiles.h), with the sums that dots.h describes. The
 * tile instruction takes the rows of a in their own order and the rows of b as columns of pairs, so rows of b are
 * transposed when they are packed. The other assignment would not transpose weights, but it yields transposed sums, and
 * transposing these costs more.
 *
 * A product is a sequence of steps: a step is a block of rows of a with a chunk of k, and passes over all strips of
 * TILE_COLUMNS rows of b. The unit that multiplies tiles leaves the vector units free. So while one block of sums is
 * multiplied, the vector units combine the totals of the block before with c, pack squares of the next strip of b, and
 * pack squares of the next step's a. Each of these has two places in the scratch, which are used in turn. */
#include "kernels/dot_terms.h"

#define TILE_STEPS             (DOT_CHUNK / DOT_DEPTH)            /* calls of tiles_add in a chunk */
#define TILE_STRIP_TERM        (TILE_STEPS * 2 * TILE_WORDS)      /* words of one term of a strip */
#define TILE_BLOCK(terms)      ((size_t)((terms) > 1 ? 64 : 256)) /* rows of a in a block */
#define TILE_BLOCK_TERM(terms) (TILE_BLOCK(terms) * DOT_CHUNK)    /* words of one term of a block */
#define TILE_TOTALS            (TILE_ROWS * TILE_COLUMNS)
#define TILE_SCRATCH(terms)                                                                                            \
    (2 * ((terms) * (TILE_STRIP_TERM + TILE_BLOCK_TERM(terms)) * sizeof(uint16_t) + TILE_TOTALS * sizeof(float)))
_Static_assert(TILE_SCRATCH(1) <= ORGAN_PRODUCT_SCRATCH && TILE_SCRATCH(DOT_TERMS) <= ORGAN_PRODUCT_SCRATCH,
               "strips, blocks and totals fit");

/* A step: rows [row, row + rows) of a, values [k, k + depth). */
typedef struct tile_step {
    product_part a;
    size_t row, k, depth;
    organ_product_into into;
    uint16_t *block; /* its place for packed rows of a */
    size_t packed;   /* squares of 16 rows x DOT_DEPTH columns that are packed */
} tile_step;

/* A strip of TILE_COLUMNS rows of b for a step. */
typedef struct tile_strip {
    product_part b;
    size_t column, rows; /* the first row, and the number of rows of b */
    uint16_t *words;     /* its place for packed rows */
    size_t packed;       /* squares of 16 rows x DOT_DEPTH columns that are packed */
} tile_strip;

/* Totals of a block of sums that are combined with c row by row. */
typedef struct tile_totals {
    product_place place;
    size_t rows, combined; /* rows to combine; rows that are combined already */
    float *values;
} tile_totals;

typedef struct tile_work {
    const organ_product *product;
    int a_terms, b_terms;
    tile_step step, next_step;    /* rows 0: there is no next step */
    tile_strip strip, next_strip; /* rows 0: there is no next strip */
    product_ahead ahead;          /* lines of the strip after the next one */
    tile_totals before;           /* of the block of sums that was multiplied last */
    float *totals;                /* the place for the totals of the next block */
} tile_work;

/* ---- packing ---- */

INLINE size_t squares_of(const product_part *part)
{
    return (part->rows + 15) / 16 * ((part->columns + DOT_DEPTH - 1) / DOT_DEPTH);
}

/* Packs the square of 16 rows x DOT_DEPTH columns of a from row `row` and column `from` on as `terms` terms, at `to`
 * and TILE_BLOCK_TERM(terms) words further each. */
INLINE void pack_a_square(uint16_t *to, const product_part *part, size_t row, size_t from, const int terms,
                          const enum element_type type)
{
    for (size_t l = 0; l < 16; l++) {
        prefetch_row(part, row + l + 16, from, type);
        pack_terms(to + l * 32, TILE_BLOCK_TERM(terms), part, row + l, from, terms, type);
    }
}

/* Packs the next `count` squares of the step's rows, as many as remain, all rows of the same columns before the next
 * columns. The tiles of 32 rows are adjacent in the block, two for each DOT_DEPTH columns. */
static void pack_step(tile_step *step, int terms, organ_real type, size_t count)
{
    const size_t down = (step->a.rows + 15) / 16, all = squares_of(&step->a);
    for (; count > 0 && step->packed < all; count--, step->packed++) {
        const size_t row = step->packed % down, at = step->packed / down;
        uint16_t *const to = step->block + ((row / 2 * TILE_STEPS + at) * 2 + row % 2) * TILE_WORDS;
        if (type == ORGAN_REAL_BF16)
            pack_a_square(to, &step->a, row * 16, at * DOT_DEPTH, 1, BF16);
        else if (terms == 1)
            pack_a_square(to, &step->a, row * 16, at * DOT_DEPTH, 1, F32);
        else
            pack_a_square(to, &step->a, row * 16, at * DOT_DEPTH, DOT_TERMS, F32);
    }
}

/* Packs the next `count` squares of the strip, as many as remain. Both squares of a strip are always packed, with zeros
 * for rows that do not exist. */
static void pack_strip(tile_strip *strip, int terms, const organ_product_operand *b, size_t count)
{
    const size_t all = strip->rows ? 2 * ((depth_of(&strip->b, b) + DOT_DEPTH - 1) / DOT_DEPTH) : 0;
    for (; count > 0 && strip->packed < all; count--, strip->packed++)
        pack_square((dot_square){strip->words + strip->packed * TILE_WORDS, 32, TILE_STRIP_TERM}, &strip->b,
                    strip->packed % 2 * 16, strip->packed / 2 * DOT_DEPTH, terms, b);
}

/* ---- sums ---- */

INLINE void combine_rows(tile_totals *t, size_t count)
{
    const organ_product *const p = t->place.product;
    if (t->combined == t->rows)
        return;
    if (t->place.columns < TILE_COLUMNS || p->wide) {
        combine_totals(&t->place, t->values, TILE_COLUMNS, t->rows);
        t->combined = t->rows;
        return;
    }
    for (const size_t until = min_size(t->rows, t->combined + count); t->combined < until; t->combined++) {
        const float *const from = t->values + t->combined * TILE_COLUMNS;
        float *const c = (float *)p->c + (t->place.row + t->combined) * p->c_stride + t->place.column;
        combine_f32(c, 16, f32_load(from), t->place.into);
        combine_f32(c + 16, 16, f32_load(from + 16), t->place.into);
    }
}

/* Multiplies a block of `rows` rows with the strip: adds the dot products of term i of a and term j of b, smallest
 * first. Pairs with i + j >= a_terms are omitted: they rank below the last term of a. Combines the totals of the block
 * before meanwhile. */
INLINE void tile_sums(tile_work *w, const uint16_t *block, const int rows)
{
    const size_t steps = (w->step.depth + DOT_DEPTH - 1) / DOT_DEPTH;
    tiles_zero(rows);
    for (int order = w->a_terms - 1; order >= 0; order--)
        for (int j = 0; j <= order && j < w->b_terms; j++) {
            const uint16_t *a = block + (size_t)(order - j) * TILE_BLOCK_TERM(w->a_terms),
                           *b = w->strip.words + (size_t)j * TILE_STRIP_TERM;
            for (size_t s = 0; s < steps; s++, a += 2 * TILE_WORDS, b += 2 * TILE_WORDS) {
                tiles_add(a, b, rows);
                combine_rows(&w->before, TILE_ROWS / TILE_STEPS);
            }
        }
    combine_rows(&w->before, TILE_ROWS);
    tiles_store(w->totals, rows);
}

/* tile_sums with TILE_ROWS rows. This and the next function have constant numbers of rows, so that loops unroll. */
__attribute__((noinline)) static void full_tile_sums(tile_work *w, const uint16_t *block)
{
    tile_sums(w, block, TILE_ROWS);
}
__attribute__((noinline)) static void half_tile_sums(tile_work *w, const uint16_t *block)
{
    tile_sums(w, block, TILE_ROWS / 2);
}

/* Multiplies the packed rows of the step with the packed strip. With each block of sums packs a share of the next
 * strip, and of the next step's rows the share that makes it complete after the last strip. */
static void multiply_strip(tile_work *w, size_t strips)
{
    const organ_product *const p = w->product;
    const size_t blocks = (w->step.a.rows + TILE_ROWS - 1) / TILE_ROWS,
                 strip_share = (2 * TILE_STEPS + blocks - 1) / blocks,
                 step_share = (squares_of(&w->next_step.a) + blocks * strips - 1) / (blocks * strips),
                 line_share = (lines_of(&w->ahead) + blocks - 1) / blocks;
    for (size_t row = 0; row < w->step.a.rows; row += TILE_ROWS) {
        const size_t rows = min_size(TILE_ROWS, w->step.a.rows - row);
        const uint16_t *const block = w->step.block + row * DOT_CHUNK;
        const product_place place = {p, w->step.row + row, w->strip.column, w->strip.rows, w->step.into};
        prefetch_totals(&place, TILE_COLUMNS, rows);
        prefetch_lines(&w->ahead, line_share);
        if (rows > TILE_ROWS / 2)
            full_tile_sums(w, block);
        else
            half_tile_sums(w, block);
        float *const free_totals = w->before.values;
        w->before = (tile_totals){place, rows, 0, w->totals};
        w->totals = free_totals;
        pack_strip(&w->next_strip, w->b_terms, &p->b, strip_share);
        pack_step(&w->next_step, w->a_terms, p->a.type, step_share);
    }
    pack_strip(&w->next_strip, w->b_terms, &p->b, 2 * TILE_STEPS);
}

/* Returns step number `index` with its place in the scratch; a step without rows if there is no such step. */
static tile_step step_of(const tile_work *w, size_t index, uint16_t *block)
{
    const organ_product *const p = w->product;
    const size_t max = TILE_BLOCK(w->a_terms), blocks = (p->m + max - 1) / max, k = index / blocks * DOT_CHUNK;
    tile_step step = {.row = index % blocks * max, .k = k, .block = block};
    if (k > 0 && k >= p->k)
        return step;
    step.depth = min_size(DOT_CHUNK, p->k - k);
    step.a = part_of(&p->a, step.row, min_size(max, p->m - step.row), k, step.depth);
    step.into = k > 0 && p->into == ORGAN_PRODUCT_SET ? ORGAN_PRODUCT_ADD : p->into;
    return step;
}

/* Returns strip number `index` for a step; a strip without rows if the step has none or there is no such strip. */
static tile_strip strip_of(const tile_work *w, const tile_step *step, size_t index, uint16_t *words)
{
    const organ_product *const p = w->product;
    tile_strip strip = {.column = index * TILE_COLUMNS, .words = words};
    if (step->a.rows > 0 && strip.column < p->n) {
        strip.rows = min_size(TILE_COLUMNS, p->n - strip.column);
        strip.b = part_of(&p->b, strip.column, strip.rows, step->k, step->depth);
    }
    return strip;
}

/* Computes the product from dot products of BF16 pairs, in chunks of k like the exact product. With
 * ORGAN_COMPUTE_SPLIT a value of a is a sum of DOT_TERMS BF16 terms, and a value of b of as many terms as its type
 * needs. If k is 0, the only steps have no values: SET stores +0, ADD and SUBTRACT leave c unchanged.
 * `scratch` has two places each for strips, blocks and totals: one in use and one for the next or the last. */
static void tile_product(const organ_product *p, void *scratch)
{
    const int terms = p->compute == ORGAN_COMPUTE_SPLIT ? DOT_TERMS : 1;
    const size_t strips = (p->n + TILE_COLUMNS - 1) / TILE_COLUMNS;
    if (p->m == 0 || p->n == 0 || (p->k == 0 && p->into != ORGAN_PRODUCT_SET))
        return;
    uint16_t *const words = scratch;
    const size_t strip_words = (size_t)terms * TILE_STRIP_TERM, block_words = (size_t)terms * TILE_BLOCK_TERM(terms);
    float *const totals = (float *)(void *)(words + 2 * (strip_words + block_words));
    tile_work w = {.product = p, .a_terms = terms, .b_terms = b_terms_of(p), .totals = totals};
    w.before.values = totals + TILE_TOTALS;
    tiles_begin();
    w.next_step = step_of(&w, 0, words + 2 * strip_words);
    w.next_strip = strip_of(&w, &w.next_step, 0, words);
    pack_strip(&w.next_strip, w.b_terms, &p->b, 2 * TILE_STEPS);
    for (size_t s = 0; w.next_step.a.rows > 0; s++) {
        pack_step(&w.next_step, terms, p->a.type, SIZE_MAX);
        w.step = w.next_step;
        w.next_step = step_of(&w, s + 1, words + 2 * strip_words + (s + 1) % 2 * block_words);
        for (size_t t = 0; t < strips; t++) {
            const bool last = t + 1 == strips;
            w.strip = w.next_strip;
            w.next_strip = strip_of(&w, last ? &w.next_step : &w.step, last ? 0 : t + 1,
                                    words + (s * strips + t + 1) % 2 * strip_words);
            const tile_strip after = strip_of(&w, &w.step, t + 2, NULL);
            w.ahead = prefetch_of(&after.b, bytes_of_real(p->b.type));
            multiply_strip(&w, strips);
        }
    }
    combine_rows(&w.before, TILE_ROWS);
    tiles_end();
}
