/* SPDX-License-Identifier: MIT
 * The operations on a tile of sums from which dots.h builds products, 32 columns wide, over eight tile registers of 16
 * rows of 64 bytes. The including header defines the instructions TILE_ZERO, TILE_LOAD, TILE_DOT, TILE_STORE and
 * TILE_BARRIER: AMX, or a model of it in plain C.
 *
 * dots_begin and dots_end enclose all other calls, on one thread.
 *
 * dots_zero sets `rows` rows of sums to +0; rows is DOT_ROWS, DOT_SOME or DOT_MIN.
 *
 * dots_add adds to each sum the products of DOT_DEPTH values of k, in FP32, in an order that the ISA defines. Rows of a
 * are DOT_PITCH words apart. The pair of b for column c is at b[2 c], the next pair of k 2 DOT_STRIP words further.
 *
 * dots_store stores the sums row by row, DOT_STRIP floats each. */
#define DOT_ROWS  32  /* rows of a in the largest tile */
#define DOT_SOME  16  /* rows of a in a smaller tile */
#define DOT_MIN   16  /* rows of a in the smallest tile */
#define DOT_STRIP 32  /* columns of a tile: rows of b */
#define DOT_DEPTH 32  /* values of k of one dots_add */
#define DOT_PITCH 288 /* words from one row of a to the next: a power of two would map rows to the same cache sets */

/* Has no content, because tile registers 0 to 3 contain the sums: columns 0 to 15 and 16 to 31 of rows 0 to 15, then of
 * rows 16 to 31. */
typedef struct dot_sums {
    char none;
} dot_sums;

/* Sets `rows` (16 or 32) rows of sums to +0. */
INLINE void dots_zero(dot_sums *sums, const int rows)
{
    (void)sums;
    TILE_BARRIER;
    TILE_ZERO(0);
    TILE_ZERO(1);
    if (rows > 16) {
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
}

/* Adds the products of DOT_DEPTH values of k to `rows` rows of sums. Registers 4 and 5 contain the rows of a, 6 and 7
 * the pairs of columns 0 to 15 and 16 to 31 of b. */
INLINE void dots_add(dot_sums *sums, const uint16_t *a, const uint16_t *b, const int rows)
{
    (void)sums;
    TILE_LOAD(6, b, DOT_STRIP * 4);
    TILE_LOAD(4, a, DOT_PITCH * 2);
    TILE_LOAD(7, b + 32, DOT_STRIP * 4);
    TILE_DOT(0, 4, 6);
    TILE_DOT(1, 4, 7);
    if (rows > 16) {
        TILE_LOAD(5, a + 16 * DOT_PITCH, DOT_PITCH * 2);
        TILE_DOT(2, 5, 6);
        TILE_DOT(3, 5, 7);
    }
}

/* Stores `rows` rows of sums, DOT_STRIP floats each. */
INLINE void dots_store(const dot_sums *sums, float *totals, const int rows)
{
    (void)sums;
    TILE_STORE(0, totals, DOT_STRIP * 4);
    TILE_STORE(1, totals + 16, DOT_STRIP * 4);
    if (rows > 16) {
        TILE_STORE(2, totals + 16 * DOT_STRIP, DOT_STRIP * 4);
        TILE_STORE(3, totals + 16 * DOT_STRIP + 16, DOT_STRIP * 4);
    }
}
