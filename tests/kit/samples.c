/* SPDX-License-Identifier: MIT */
#include "tests/kit/samples.h"
#include <math.h>

uint64_t samples_bits(samples *s)
{
    uint64_t z = s->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double samples_uniform(samples *s) { return ((double)(samples_bits(s) >> 12) + 0.5) * 0x1p-52; }

/* Returns ln x for x in (0, 1): x = 2^e m, with the atanh series for ln m. The last bit of libm's log varies between
 * machines; this result does not. */
static double exact_log(double x)
{
    int exponent;
    const double m = frexp(x, &exponent), y = (m - 1) / (m + 1), y2 = y * y;
    double sum = 0, power = y;
    for (int k = 1; k < 60; k += 2, power *= y2)
        sum += power / k;
    return 2 * sum + exponent * 0.69314718055994530942;
}

static double normal(samples *s)
{
    double sum = -6;
    for (int k = 0; k < 12; k++)
        sum += samples_uniform(s);
    return sum;
}

const char *sample_shape_name(enum sample_shape shape)
{
    static const char *const names[] = {"uniform", "normal", "laplace", "student t(4)"};
    return names[shape];
}

static double sample(samples *s, enum sample_shape shape)
{
    if (shape == UNIFORM)
        return 2 * samples_uniform(s) - 1;
    if (shape == NORMAL)
        return normal(s);
    const double a = exact_log(samples_uniform(s));
    if (shape == LAPLACE)
        return samples_bits(s) & 1 ? a : -a;
    const double chi_squared = -2 * (a + exact_log(samples_uniform(s))); /* 4 degrees of freedom */
    return normal(s) / sqrt(chi_squared / 4);
}

void samples_fill(samples *s, enum sample_shape shape, float *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        values[k] = (float)sample(s, shape);
}
