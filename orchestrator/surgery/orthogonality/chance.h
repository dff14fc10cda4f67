/* SPDX-License-Identifier: MIT
 * What chance alone does. A matrix G of n independent normal values has the cosine t = <G, K> / (|G| |K|) with any
 * fixed K; <G, K> / |K| is one normal value g, and the rest of |G|^2 is an independent chi-square of n - 1 degrees, so
 * that t = g / sqrt(g^2 + chi^2(n-1)): drawn exactly by two numbers instead of n. Its mean is 0 and its standard
 * deviation 1 / sqrt(n). Scaling G to another norm does not change it.
 */
#ifndef ORGAN_ORTHOGONALITY_CHANCE_H
#define ORGAN_ORTHOGONALITY_CHANCE_H

#include <stddef.h>
#include <stdint.h>

/* Draw number `draw` of the stream, for matrices of `elements` values (at least 1). */
double organ_chance_cosine(uint64_t seed, uint64_t stream, uint64_t draw, uint64_t elements);

/* Mean and standard deviation (with draws - 1) of the draws 0 .. draws - 1; draws >= 2. */
void organ_chance_baseline(uint64_t seed, uint64_t stream, unsigned draws, uint64_t elements, double *mean,
                           double *std);

/* The standard deviation of the share of a random matrix that lies in k of m output directions, n values each: it is
 * Beta distributed. */
double organ_chance_share_std(double k, double m, double n);

/* The most of `count` independent normal values that may lie beyond 3 standard deviations before chance (1 %) no longer
 * explains it. */
size_t organ_chance_beyond(size_t count);

#endif
