/* SPDX-License-Identifier: MIT
 * The order of rows of queries and keys in which rotation pairs neighbours, as llama.cpp stores them for some
 * architectures. */
#ifndef ORGAN_FORMATS_BASE_TURNED_H
#define ORGAN_FORMATS_BASE_TURNED_H

#include <stdint.h>

/* An order of rows. Each head has `head` rows, of which the first n = `rotated`, an even number, are stored in the
 * order 0, n/2, 1, n/2 + 1, ...; the other rows keep their places. head 0: all rows keep their places. */
typedef struct organ_turned_rows {
    uint64_t head, rotated;
} organ_turned_rows;

/* Returns the place in the file of row `row` of the order of transformers. */
static inline uint64_t organ_turned_stored(organ_turned_rows turned, uint64_t row)
{
    const uint64_t k = turned.head ? row % turned.head : 0, half = turned.rotated / 2;
    return k < 2 * half ? row - k + k % half * 2 + k / half : row;
}

/* Returns the row, in the order of transformers, that the file has at place `stored`. */
static inline uint64_t organ_turned_row(organ_turned_rows turned, uint64_t stored)
{
    const uint64_t k = turned.head ? stored % turned.head : 0, half = turned.rotated / 2;
    return k < 2 * half ? stored - k + k % 2 * half + k / 2 : stored;
}

#endif
