/* SPDX-License-Identifier: MIT
 * Hadamard matrices of the order size = K 2^m: the Kronecker product C x S of a core C of order K and the matrix S of
 * Sylvester of order 2^m, S[i][j] = (-1)^(number of bits that i and j share). */
#ifndef ORGAN_FORMATS_HADAMARD_H
#define ORGAN_FORMATS_HADAMARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool organ_is_power_of_two(uint64_t n) { return n > 0 && (n & (n - 1)) == 0; }

/* Returns the order K of the core that AutoRound uses for matrices of this size: 1 for a power of two, else the first
 * of 172, 156, 140, 108, 60, 52, 40, 36, 28, 20 and 12 that divides it with a power of two as quotient; 0: there is
 * none. */
uint64_t organ_hadamard_order(uint64_t size);

/* Writes the core of an order that organ_hadamard_order returns, row after row: values 1 and -1. */
void organ_hadamard_core(uint64_t order, double *core);

/* Multiplies by S: of the numbers x[(i n + k) width + w], i < count, the n with the same i and w become their sums with
 * the signs of each row of S. n is a power of two. The order of additions depends on n alone. */
void organ_hadamard_sums(double *x, size_t count, size_t n, size_t width);

#endif
