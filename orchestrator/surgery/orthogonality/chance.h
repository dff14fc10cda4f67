/* SPDX-License-Identifier: MIT
 * Statistics of random matrices. A matrix G of n independent normal values has the cosine t = <G, K> / (|G| |K|)
 * with any fixed K. <G, K> / |K| is one normal value g, and the rest of |G|^2 is an independent chi-square of n -
 * 1 degrees, so that t = g / sqrt(g^2 + chi^2(n-1)): two random numbers instead of n give an exact draw. Its mean
 * is 0 and its standard deviation 1 / sqrt(n), for any norm of G. */
#ifndef ORGAN_ORTHOGONALITY_CHANCE_H
#define ORGAN_ORTHOGONALITY_CHANCE_H

#include <stddef.h>
#include <stdint.h>

/* Returns draw number `draw` of the stream, for matrices of `elements` values (at least 1). */
double organ_chance_cosine(uint64_t seed, uint64_t stream, uint64_t draw, uint64_t elements);

/* Computes the mean and the standard deviation (divided by draws - 1) of the draws 0 .. draws - 1; draws >= 2. */
void organ_chance_baseline(uint64_t seed, uint64_t stream, unsigned draws, uint64_t elements, double *mean,
                           double *std);

/* Returns the standard deviation of the share of a random matrix in k of m output directions, n values each; the share
 * is Beta distributed. */
double organ_chance_share_std(double k, double m, double n);

/* Returns the largest number of `count` independent normal values beyond 3 standard deviations that chance explains
 * (at a level of 1 %). */
size_t organ_chance_beyond(size_t count);

#endif
