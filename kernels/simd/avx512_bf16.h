/* SPDX-License-Identifier: MIT
 * The operations on a tile of sums from which dots.h builds products, with VDPBF16PS. One instruction multiplies a pair
 * of neighbouring values of a row of a, copied to all lanes, by the pairs of 16 columns of b. Needs AVX512-BF16. */
#include <immintrin.h>
#include <string.h>

#define DOT_ROWS  12  /* rows of a in the largest tile */
#define DOT_SOME  4   /* rows of a in a smaller tile */
#define DOT_MIN   1   /* rows of a in the smallest tile */
#define DOT_STRIP 32  /* columns of a tile: rows of b */
#define DOT_PITCH 288 /* words from one row of a to the next: a power of two would map rows to the same cache sets */

/* The sums of a tile: two vectors, 32 columns, for each row. */
typedef struct dot_sums {
    __m512 at[DOT_ROWS][2];
} dot_sums;

/* Sets the first `rows` rows of sums to +0. */
INLINE void dots_zero(dot_sums *sums, const int rows)
{
    UNROLL for (int r = 0; r < rows; r++) sums->at[r][0] = sums->at[r][1] = _mm512_setzero_ps();
}

/* Adds to the sums of `rows` rows the products of DOT_DEPTH values of k. Rows of a are DOT_PITCH words apart. Row p of
 * b has the values 2 p and 2 p + 1 of each of the 32 columns, adjacent in pairs. */
INLINE void dots_add(dot_sums *sums, const uint16_t *a, const uint16_t *b, const int rows)
{
    for (int pair = 0; pair < DOT_DEPTH / 2; pair++, a += 2, b += 2 * DOT_STRIP) {
        const __m512bh left = (__m512bh)_mm512_loadu_si512(b), right = (__m512bh)_mm512_loadu_si512(b + 32);
        UNROLL for (int r = 0; r < rows; r++)
        {
            int32_t both;
            memcpy(&both, a + r * DOT_PITCH, sizeof both);
            const __m512bh values = (__m512bh)_mm512_set1_epi32(both);
            sums->at[r][0] = _mm512_dpbf16_ps(sums->at[r][0], left, values);
            sums->at[r][1] = _mm512_dpbf16_ps(sums->at[r][1], right, values);
        }
    }
}

/* Stores the sums of `rows` rows, DOT_STRIP floats each. */
INLINE void dots_store(const dot_sums *sums, float *totals, const int rows)
{
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < 2; v++)
        _mm512_storeu_ps(totals + r * DOT_STRIP + 16 * v, sums->at[r][v]);
}
