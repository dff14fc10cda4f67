/* SPDX-License-Identifier: MIT
 * Statistics of random matrices. The cosine of a matrix G of n independent normal values with any fixed matrix K is t =
 * <G, K> / (|G| |K|). <G, K> / |K| is one normal value g, and the rest of |G|^2 is an independent chi-square value of n
 * - 1 degrees of freedom, so that t = g / sqrt(g^2 + chi^2(n-1)): two random numbers instead of n give an exact draw.
 * Its mean is 0 and its standard deviation 1 / sqrt(n), for any norm of G. */
#ifndef ORGAN_ORTHOGONALITY_CHANCE_H
#define ORGAN_ORTHOGONALITY_CHANCE_H

#include <stddef.h>
#include <stdint.h>

/* Returns draw number `draw` of the cosine for matrices of `elements` values (at least 1). Each `stream` of a seed has
 * its own sequence of draws. */
double organ_chance_cosine(uint64_t seed, uint64_t stream, uint64_t draw, uint64_t elements);

/* Computes the mean and the standard deviation (divisor draws - 1) of the draws 0 .. draws - 1; draws >= 2. */
void organ_chance_baseline(uint64_t seed, uint64_t stream, unsigned draws, uint64_t elements, double *mean,
                           double *std);

/* Returns the standard deviation of the share of the squared norm of a random m x n matrix in k of its m output
 * directions. The share has a Beta distribution. */
double organ_chance_share_std(double k, double m, double n);

/* Returns how many of `count` independent normal values may be beyond 3 standard deviations by chance, at a level of 1
 * %. */
size_t organ_chance_beyond(size_t count);

#endif
