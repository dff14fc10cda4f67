/* SPDX-License-Identifier: MIT
 * The operations on a block of sums from which tile_product.h builds products, TILE_ROWS x TILE_COLUMNS, over eight
 * tile registers of 16 rows of 64 bytes. The including header defines the instructions TILE_ZERO, TILE_LOAD, TILE_DOT,
 * TILE_STORE and TILE_BARRIER: AMX, or a model of it in plain C.
 *
 * tiles_begin and tiles_end enclose all other calls, on one thread. `rows` is TILE_ROWS or TILE_ROWS / 2.
 *
 * tiles_zero sets `rows` rows of sums to +0.
 *
 * tiles_add adds to each sum the products of 32 values of k, in FP32, in an order that the ISA defines. Each operand is
 * two tiles of TILE_WORDS words, in order, because a tile in adjacent cache lines loads fastest: rows 0 to
 * 15 and 16 to 31 of a, row by row; columns 0 to 15 and 16 to 31 of b, pair by pair of k. Four products need four
 * loads, so the loads, at half the time of a product, do not limit the speed as long as the tiles are in the
 * first-level cache. The sums of a block read each tile of b again, while those of a come from the second-level cache:
 * tiles_add prefetches the lines that it will read two calls later.
 *
 * tiles_store stores the sums row by row, TILE_COLUMNS floats each. */
#define TILE_ROWS    32  /* rows of a in a block of sums */
#define TILE_COLUMNS 32  /* columns of a block of sums: rows of b */
#define TILE_WORDS   512 /* BF16 numbers in a tile: 16 rows of 32 */

/* Sets `rows` (16 or 32) rows of sums to +0. Tile registers 0 to 3 contain the sums: columns 0 to 15 and 16 to 31 of
 * rows 0 to 15, then of rows 16 to 31. */
INLINE void tiles_zero(const int rows)
{
    TILE_BARRIER;
    TILE_ZERO(0);
    TILE_ZERO(1);
    if (rows > 16) {
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
}

/* Adds the products of 32 values of k to `rows` rows of sums. Registers 4 and 5 contain the rows of a, 6 and 7 the
 * columns of b. */
INLINE void tiles_add(const uint16_t *a, const uint16_t *b, const int rows)
{
    TILE_LOAD(6, b, 64);
    TILE_LOAD(4, a, 64);
    TILE_LOAD(7, b + TILE_WORDS, 64);
    UNROLL for (int line = 0; line < 16; line++) __builtin_prefetch(a + 4 * TILE_WORDS + 32 * line);
    TILE_DOT(0, 4, 6);
    TILE_DOT(1, 4, 7);
    if (rows > 16) {
        TILE_LOAD(5, a + TILE_WORDS, 64);
        UNROLL for (int line = 0; line < 16; line++) __builtin_prefetch(a + 5 * TILE_WORDS + 32 * line);
        TILE_DOT(2, 5, 6);
        TILE_DOT(3, 5, 7);
    }
}

/* Stores `rows` rows of sums, TILE_COLUMNS floats each. */
INLINE void tiles_store(float *totals, const int rows)
{
    TILE_STORE(0, totals, TILE_COLUMNS * 4);
    TILE_STORE(1, totals + 16, TILE_COLUMNS * 4);
    if (rows > 16) {
        TILE_STORE(2, totals + 16 * TILE_COLUMNS, TILE_COLUMNS * 4);
        TILE_STORE(3, totals + 16 * TILE_COLUMNS + 16, TILE_COLUMNS * 4);
    }
    TILE_BARRIER;
}
