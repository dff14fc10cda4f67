/* SPDX-License-Identifier: MIT
 * Operations on FP64 vectors, with the same results on all machines. */
#include "orchestrator/solve/algebra.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <stdint.h>

/* ---- random numbers that depend only on seed, stream and index: Philox4x32-10 ---- */

/* Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */

void organ_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u; /* Weyl steps: the golden ratio and sqrt(3) - 1 */
        k1 += 0xBB67AE85u;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

/* The key is the seed; the counter is index and stream. */
static void philox_block(uint64_t seed, uint64_t stream, uint64_t index, uint32_t words[4])
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    organ_philox4x32(counter, key, words);
}

/* Number k is made of word k % 4 of block k / 4: its upper 24 bits, which FP32 represents exactly. */
void organ_philox_uniform(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n)
{
    uint32_t words[4] = {0};
    for (size_t k = 0; k < n; k++) {
        const uint64_t at = first + k;
        if (k == 0 || at % 4 == 0)
            philox_block(seed, stream, at / 4, words);
        values[k] = (float)((int32_t)(words[at % 4] >> 8) - (1 << 23)) * 0x1p-23f;
    }
}

/* Only operations whose results IEEE 754 defines are used for ln x, x in (0, 1], so the bits are equal on every
 * machine. With x = m 2^e and t = (m - 1) / (m + 1), it is 2 (t + t^3 / 3 + t^5 / 5 ..) + e ln 2. */
static double exact_logarithm(double x)
{
    int exponent;
    double m = frexp(x, &exponent);
    if (m < M_SQRT1_2) {
        m *= 2;
        exponent--;
    }
    const double t = (m - 1) / (m + 1), square = t * t;
    double sum = 0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * square + 1.0 / k;
    return 2 * t * sum + exponent * M_LN2;
}

/* cos(2 pi x) for x in [0, 1) has the same bits on every machine: symmetry reduces x to a quarter turn, whose cosine
 * is a Taylor series. */
static double cosine_of_turns(double x)
{
    const double half = x > 0.5 ? 1 - x : x;                /* 0 .. 1/2 */
    const double quarter = half > 0.25 ? 0.5 - half : half; /* 0 .. 1/4 */
    const double angle = 2 * M_PI * quarter, square = angle * angle;
    double sum = 1;
    for (int k = 24; k >= 2; k -= 2)
        sum = 1 - sum * square / (k * (k - 1));
    return half > 0.25 ? -sum : sum;
}

/* Number k is sqrt(-2 ln u) cos(2 pi v), with u and v from two consecutive words of block k / 2, scaled to [0, 1):
 * words 0 and 1 if k is even, 2 and 3 if it is odd. Adding 0.5 keeps u above 0. */
void organ_philox_normal(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n)
{
    uint32_t words[4] = {0};
    for (size_t k = 0; k < n; k++) {
        const uint64_t at = first + k;
        if (k == 0 || at % 2 == 0)
            philox_block(seed, stream, at / 2, words);
        const uint32_t *pair = words + at % 2 * 2;
        const double radius = sqrt(-2 * exact_logarithm(((double)pair[0] + 0.5) * 0x1p-32));
        values[k] = (float)(radius * cosine_of_turns((double)pair[1] * 0x1p-32));
    }
}

#define STREAM 0 /* number of the stream of organ_philox_uniform */
/* Greatest number of times that projections are subtracted from a vector. Twice is enough, unless only rounding errors
 * of the vector are left. */
#define TIMES 8

/* The result is NAN if any value is NAN, else infinity if a value is infinite. */
double organ_max_magnitude(const double *values, size_t n)
{
    double max = 0;
    for (size_t k = 0; k < n; k++) {
        const double size = fabs(values[k]);
        if (!(size <= max))
            max = size;
        if (isnan(max))
            break;
    }
    return max;
}

void organ_random_vector(uint64_t seed, double *values, size_t n)
{
    float some[256];
    for (size_t from = 0; from < n; from += sizeof some / sizeof *some) {
        const size_t count = organ_min(n - from, sizeof some / sizeof *some);
        organ_philox_uniform(seed, STREAM, from, some, count);
        for (size_t k = 0; k < count; k++)
            values[from + k] = (double)some[k];
    }
}

/* The division by the largest magnitude comes first, so that no square overflows. Returns the former length; 0, with
 * z unchanged, if z is zero or not finite. */
static double normalise_length(const organ_kernels *kernels, double *z, size_t n)
{
    const double max = organ_max_magnitude(z, n);
    if (max == 0 || !isfinite(max))
        return 0;
    for (size_t k = 0; k < n; k++)
        z[k] /= max;
    const double length = sqrt(kernels->dot_f64(z, z, n));
    for (size_t k = 0; k < n; k++)
        z[k] /= length;
    return max * length;
}

/* Gram-Schmidt subtracts the projections again if at most 0.7 of the length is left: the rounding errors of this
 * subtraction are then not small relative to the remaining vector. If less than 1e-14 of the length is left, the
 * vector was a combination of the vectors before it and is replaced by a random one. */
double organ_orthonormal_next(const organ_kernels *kernels, double *vectors, size_t at, size_t n)
{
    double *const z = vectors + at * n, left = normalise_length(kernels, z, n);
    double share = 0; /* of its length that the last subtraction left */
    if (left == 0)
        organ_random_vector(at + 1, z, n);
    for (int time = 0; time < TIMES && !(share > 0.7); time++) {
        for (size_t k = 0; k < at; k++)
            kernels->add_scaled_f64(z, -kernels->dot_f64(vectors + k * n, z, n), vectors + k * n, n);
        share = normalise_length(kernels, z, n);
        left *= share;
        if (share < 1e-14) {
            organ_random_vector(at + 1 + (size_t)time * n, z, n);
            left = share = 0;
        }
    }
    return left;
}

/* ---- sums of FP32 values in an order that does not depend on vector instructions ---- */

#define LANES 8 /* partial sums of organ_dot */

/* Partial sums in a fixed order give the same bits with and without vector instructions. */
double organ_dot(const float *a, const float *b, size_t n)
{
    double lanes[LANES] = {0};
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += (double)a[k + l] * (double)b[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += (double)a[k] * (double)b[k];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* The order, 16 partial sums that are added pairwise, is part of the definition: with and without vector
 * instructions the bits are equal. */
double organ_sum_of_squares(const float *values, size_t n)
{
    double lanes[16] = {0};
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += (double)values[k + l] * (double)values[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += (double)values[k] * (double)values[k];
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}
