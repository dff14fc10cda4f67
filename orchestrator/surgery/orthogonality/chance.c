/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/orthogonality/chance.h"

#include "orchestrator/surgery/algebra/algebra.h"

#include <math.h>

/* Largest number of tries of gamma_at. It rejects fewer than one try in 20, so 64 rejections in a row do not occur in
 * practice; gamma_at would then return shape - 1/3. */
enum { TRIES = 64 };

/* Returns normal number `at` of a stream (organ_philox_normal). Normal numbers use the even streams of the generator
 * and uniform numbers the odd streams, so that both are independent. */
static double normal_at(uint64_t seed, uint64_t stream, uint64_t at)
{
    float value;
    organ_philox_normal(seed, 2 * stream, at, &value, 1);
    return (double)value;
}

/* Returns uniform number `at` of a stream, in (0, 1). organ_philox_uniform returns multiples of 2^-23 from -1 on, which
 * become multiples of 2^-24 from 0 on. Adding 2^-25, half of such a step, excludes 0, whose logarithm gamma_at would
 * need. */
static double uniform_at(uint64_t seed, uint64_t stream, uint64_t at)
{
    float value;
    organ_philox_uniform(seed, 2 * stream + 1, at, &value, 1);
    return ((double)value + 1) / 2 + 0x1p-25;
}

/* Returns a random number of the gamma distribution with `shape` (at least 1) and scale 1, by the method of Marsaglia
 * and Tsang (2000). Try k, from 0 to TRIES - 1, uses the normal and the uniform number `at` + k of the stream. */
static double gamma_at(uint64_t seed, uint64_t stream, uint64_t at, double shape)
{
    const double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d); /* the names of the paper */
    double v = 1;
    for (uint64_t k = 0; k < TRIES; k++) {
        const double x = normal_at(seed, stream, at + k), u = uniform_at(seed, stream, at + k);
        v = 1 + c * x;
        v = v * v * v;
        if (v > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v))
            break;
        v = 1;
    }
    return d * v;
}

/* Returns a random number of the chi-square distribution with `degrees` degrees of freedom, or 0 if `degrees` is
 * below 1. Uses numbers `at` to `at` + TRIES of the stream. */
static double chi_square_at(uint64_t seed, uint64_t stream, uint64_t at, double degrees)
{
    if (degrees < 1)
        return 0;
    /* gamma_at needs a shape of 1 or more; Gamma(a) is distributed like Gamma(a + 1) times u^(1/a). */
    const double shape = degrees / 2, boost = shape < 1 ? pow(uniform_at(seed, stream, at + TRIES), 1 / shape) : 1;
    return 2 * boost * gamma_at(seed, stream, at, shape < 1 ? shape + 1 : shape);
}

/* Draws the cosine between a fixed vector and a random normal one. The cosine depends on two properties of the random
 * vector: its component parallel to the fixed vector, which is a normal number g, and the squared length `rest` of its
 * remainder, which has the chi-square distribution with elements - 1 degrees of freedom. So draws two numbers instead
 * of a vector, and returns g / sqrt(g^2 + rest). */
double organ_chance_cosine(uint64_t seed, uint64_t stream, uint64_t draw, uint64_t elements)
{
    const uint64_t at = draw * 128; /* each draw uses its own 128 numbers, enough for all tries */
    const double g = normal_at(seed, stream, at + 127), rest = chi_square_at(seed, stream, at, (double)(elements - 1));
    const double square = g * g + rest;
    return square > 0 ? g / sqrt(square) : 0;
}

/* Sets *mean and *std to the mean and the standard deviation (divisor draws - 1) of the random cosines 0 to draws - 1
 * of vectors with `elements` values. */
void organ_chance_baseline(uint64_t seed, uint64_t stream, unsigned draws, uint64_t elements, double *mean, double *std)
{
    double middle = 0, squares = 0; /* mean and sum of squared deviations, by Welford's recurrence */
    for (unsigned k = 0; k < draws; k++) {
        const double cosine = organ_chance_cosine(seed, stream, k, elements), off = cosine - middle;
        middle += off / (k + 1);
        squares += off * (cosine - middle);
    }
    *mean = middle;
    *std = sqrt(squares / (draws - 1));
}

/* The variance of Beta(a, b) is p (1 - p) / (a + b + 1), with p = a / (a + b) = k / m and a + b = m n / 2. */
double organ_chance_share_std(double k, double m, double n) { return sqrt(2 * (k / m) * (1 - k / m) / (m * n + 2)); }

/* Returns the smallest k such that, with a probability of at least 99 %, at most k of `count` independent standard
 * normal values have a magnitude above 3. Adds the terms of the binomial distribution until their sum reaches 0.99. */
size_t organ_chance_beyond(size_t count)
{
    const double p = 0.0026997960632601866, n = (double)count; /* p: probability of a normal value beyond 3 */
    double term = exp(n * log1p(-p)), below = term;
    size_t allowed = 0;
    /* The sum reaches 1 at allowed = count, up to rounding: the second condition ends the loop if it stays below. */
    while (below < 0.99 && allowed < count) {
        term *= (n - (double)allowed) / ((double)allowed + 1) * p / (1 - p);
        below += term;
        allowed++;
    }
    return allowed;
}
