/* SPDX-License-Identifier: MIT
 * Statistics of random matrices. The cosine of a matrix G of n independent normal values with any fixed matrix K is t =
 * <G, K> / (|G| |K|). <G, K> / |K| is one normal value g, and the rest of |G|^2 is an independent chi-square value of n
 * - 1 degrees of freedom, so that t = g / sqrt(g^2 + chi^2(n-1)): two random numbers instead of n give an exact draw.
 * Its mean is 0 and its standard deviation 1 / sqrt(n), for any norm of G. */
#ifndef ORGAN_ORTHOGONALITY_CHANCE_H
#define ORGAN_ORTHOGONALITY_CHANCE_H

#include <stddef.h>
#include <stdint.h>

/* Returns the cosine of a random matrix of `elements` normal values (at least 1) with a fixed matrix. It is draw number
 * `draw` of the sequence of `stream`: equal arguments give equal numbers, and each stream of a seed has another
 * sequence. */
double organ_chance_cosine(uint64_t seed, uint64_t stream, uint64_t draw, uint64_t elements);

/* Sets *mean and *std to the mean and the standard deviation (divisor draws - 1) of the cosines that
 * organ_chance_cosine returns for 0 .. draws - 1; `draws` is at least 2. */
void organ_chance_baseline(uint64_t seed, uint64_t stream, unsigned draws, uint64_t elements, double *mean,
                           double *std);

/* Returns the standard deviation of the share of its squared norm that a random m x n matrix has in k of its m output
 * directions. This share has the distribution Beta(k n / 2, (m - k) n / 2), with mean k / m. */
double organ_chance_share_std(double k, double m, double n);

/* Returns the smallest k such that, with a probability of at least 99 %, at most k of `count` independent standard
 * normal values have a magnitude above 3. */
size_t organ_chance_beyond(size_t count);

#endif
