/* SPDX-License-Identifier: MIT
 * Random numbers that depend only on seed, stream and index: Philox4x32-10 (Salmon et al. 2011, "Parallel random
 * numbers: as easy as 1, 2, 3"). */
#include "orchestrator/surgery/algebra/algebra.h"

#include <math.h>

void organ_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1],
                                  (uint32_t)a};
        for (int w = 0; w < 4; w++)
            c[w] = next[w];
        k[0] += 0x9E3779B9u; /* Weyl steps: the golden ratio and sqrt(3) - 1 */
        k[1] += 0xBB67AE85u;
    }
    for (int w = 0; w < 4; w++)
        words[w] = c[w];
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
