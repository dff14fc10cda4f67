/* SPDX-License-Identifier: MIT */
#include "tests/kernels/kernel_reference.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const small_float reference_bf16 = {8, 7}, reference_f16 = {5, 10};

uint16_t reference_infinity(small_float type) { return (uint16_t)(0x7fff >> type.fraction_bits << type.fraction_bits); }

double reference_magnitude(small_float type, unsigned code)
{
    const int bias = (1 << (type.exponent_bits - 1)) - 1;
    const int exponent = (int)(code >> type.fraction_bits);
    const double fraction = code & ((1u << type.fraction_bits) - 1), one = 1 << type.fraction_bits;
    return exponent == 0 ? ldexp(fraction / one, 1 - bias) : ldexp(1 + fraction / one, exponent - bias);
}

/* Returns the magnitudes of all codes, computed once, because a search needs seventeen of them. */
static const double *magnitudes_of(small_float type)
{
    static double magnitudes[2][1 << 15];
    static int made[2];
    const int which = type.fraction_bits == reference_f16.fraction_bits;
    for (unsigned code = 0; code < 1 << 15 && !made[which]; code++)
        magnitudes[which][code] = reference_magnitude(type, code);
    made[which] = 1;
    return magnitudes[which];
}

uint32_t reference_widen(small_float type, uint16_t code)
{
    const uint32_t sign = (uint32_t)(code & 0x8000) << 16, magnitude = code & 0x7fff,
                   infinity = reference_infinity(type);
    if (magnitude >= infinity)
        return sign | 0x7f800000 |
               (magnitude > infinity ? 0x400000 | (magnitude - infinity) << (23 - type.fraction_bits) : 0);
    const float value = (float)magnitudes_of(type)[magnitude];
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return sign | bits;
}

uint16_t reference_narrow(small_float type, uint32_t bits)
{
    const uint32_t magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    unsigned low = 0, high = reference_infinity(type);
    if (magnitude > 0x7f800000) /* sign, upper payload bits, quiet bit */
        return (uint16_t)(sign | high | (magnitude & 0x7fffff) >> (23 - type.fraction_bits) |
                          1u << (type.fraction_bits - 1));
    const double *const magnitudes = magnitudes_of(type);
    float value;
    memcpy(&value, &magnitude, sizeof value);
    if (value >= magnitudes[high])
        return (uint16_t)(sign | high);
    while (high - low > 1) { /* magnitude(low) <= value < magnitude(high) */
        const unsigned middle = (low + high) / 2;
        if (magnitudes[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    const double down = value - magnitudes[low], up = magnitudes[high] - value;
    return (uint16_t)(sign | (down < up || (down == up && low % 2 == 0) ? low : high));
}

/* Returns the value of an FP8 code with that many fraction bits; FNUZ has an exponent bias larger by one and a single
 * NaN. */
static double fp8_code(unsigned bits, int fraction_bits, int fnuz)
{
    const int exponent_bits = 7 - fraction_bits, bias = (1 << (exponent_bits - 1)) - 1 + fnuz;
    const int exponent = (int)(bits & 0x7f) >> fraction_bits, top = (1 << exponent_bits) - 1;
    const int fraction = (int)bits & ((1 << fraction_bits) - 1), one = 1 << fraction_bits;
    const double sign = bits & 0x80 ? -1 : 1;
    const int of_ieee = exponent == top && (fraction_bits == 3 ? fraction == 7 : fraction != 0);
    if (fnuz ? bits == 0x80 : of_ieee)
        return NAN;
    if (!fnuz && fraction_bits == 2 && exponent == top)
        return sign * INFINITY;
    return sign * (exponent == 0 ? ldexp(fraction, 1 - bias - fraction_bits)
                                 : ldexp(one + fraction, exponent - bias - fraction_bits));
}

double reference_code(organ_code code, unsigned bits)
{
    static const double e2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    switch (code) {
    case ORGAN_CODE_E4M3:
    case ORGAN_CODE_E4M3FNUZ:
        return fp8_code(bits, 3, code == ORGAN_CODE_E4M3FNUZ);
    case ORGAN_CODE_E5M2:
    case ORGAN_CODE_E5M2FNUZ:
        return fp8_code(bits, 2, code == ORGAN_CODE_E5M2FNUZ);
    case ORGAN_CODE_I8:
        return bits < 128 ? bits : (double)bits - 256;
    case ORGAN_CODE_E2M1:
        return bits & 8 ? -e2m1[bits & 7] : e2m1[bits & 7];
    default:
        return bits;
    }
}

void reference_moments(const float *values, size_t n, organ_moments *moments)
{
    organ_moments m = {.min = INFINITY, .max = -INFINITY};
    long double sum = 0, m2 = 0, m3 = 0, m4 = 0;
    for (size_t k = 0; k < n; k++) {
        const float x = values[k];
        m.nan += isnan(x) != 0;
        m.inf += isinf(x) != 0;
        if (!isfinite(x))
            continue;
        m.n++;
        m.zero += x == 0;
        m.min = x < m.min ? x : m.min;
        m.max = x > m.max ? x : m.max;
        sum += x;
    }
    const long double mean = m.n > 0 ? sum / (long double)m.n : 0;
    for (size_t k = 0; k < n; k++)
        if (isfinite(values[k])) {
            const long double d = values[k] - mean;
            m2 += d * d, m3 += d * d * d, m4 += d * d * d * d;
        }
    m.mean = (double)mean, m.m2 = (double)m2, m.m3 = (double)m3, m.m4 = (double)m4;
    *moments = m;
}

static double pull(double mean, double value, double coupling)
{
    return value > 0 ? pow(mean / value, coupling / 2) : 1;
}

static void means_of_flow(const double *food, const double *tube, size_t rows, size_t cols, double *row, double *col)
{
    memset(row, 0, rows * sizeof *row);
    memset(col, 0, cols * sizeof *col);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            const double g = food[i * cols + j] * tube[i * cols + j];
            row[i] += g / (double)cols;
            col[j] += g / (double)rows;
        }
}

void reference_physarum(const float *weights, size_t rows, size_t cols, size_t stride,
                        const organ_physarum_params *params, unsigned char *keep)
{
    double *food = malloc((2 * rows * cols + rows + cols) * sizeof *food);
    if (!food)
        abort();
    double *tube = food + rows * cols, *row = tube + rows * cols, *col = row + rows, sum = 0;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
            sum += food[i * cols + j] = fabs((double)weights[i * stride + j]);
    for (size_t k = 0; k < rows * cols; k++)
        tube[k] = food[k] = food[k] / (sum / (double)(rows * cols));
    for (int t = 0; t < params->iterations; t++) {
        double mean = 0;
        means_of_flow(food, tube, rows, cols, row, col);
        for (size_t i = 0; i < rows; i++)
            mean += row[i] / (double)rows;
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < cols; j++) {
                double *d = &tube[i * cols + j];
                const double g = food[i * cols + j] * *d;
                const double q =
                    params->gain * g * pull(mean, row[i], params->coupling) * pull(mean, col[j], params->coupling);
                const double x = params->beta == 2 ? q * q : pow(q, params->beta);
                *d = 0.5 * (x < 1e300 ? x / (1 + x) : 1) + 0.5 * *d;
            }
    }
    for (size_t k = 0; k < rows * cols; k++)
        keep[k] = tube[k] >= 0.25;
    free(food);
}
