/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/feedback.h"

#include "orchestrator/stream/widen.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8 }; /* partial sums of a product, which are added in order */

/* The code has 15 bits of magnitude. The result is the code itself if the next number would be infinite; `infinity`
 * is the code of infinity. */
static uint16_t neighbour_of(uint16_t code, bool up, uint16_t infinity)
{
    const bool negative = code & 0x8000, away = up != negative; /* away from zero */
    const uint16_t magnitude = code & 0x7fff;
    if (magnitude == 0)
        return up ? 1 : 0x8001;
    if (away && magnitude + 1 >= infinity)
        return code;
    return (uint16_t)((code & 0x8000) | (away ? magnitude + 1 : magnitude - 1));
}

static double product_of(const double *sums, const float *direction, size_t rank)
{
    double lanes[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= rank; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += sums[k + l] * (double)direction[k + l];
    for (size_t l = 0; k + l < rank; l++)
        lanes[l] += sums[k + l] * (double)direction[k + l];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

double organ_lora_square(const float *direction, size_t rank)
{
    double sum = 0;
    for (size_t k = 0; k < rank; k++)
        sum += (double)direction[k] * (double)direction[k];
    return sum;
}

static float number_of(const organ_kernels *kernels, organ_dtype dtype, uint16_t code)
{
    const uint32_t bits = (uint32_t)code << 16;
    float value;
    if (dtype == ORGAN_BF16)
        memcpy(&value, &bits, sizeof value);
    else
        organ_widen(kernels, dtype, &code, &value, 1);
    return value;
}

/* `nearest` is the number nearest to the value, and `code` its code. The error times the direction is added to
 * `sums`. With the error e the squared norm of the sums changes by 2 e <sums, direction> + e^2 `square`, the square
 * of the norm of the direction. */
static uint16_t round_value(const organ_kernels *kernels, organ_dtype dtype, float value, uint16_t code, float nearest,
                            const float *direction, size_t rank, double square, double *sums)
{
    const uint16_t other = neighbour_of(code, value > nearest, dtype == ORGAN_F16 ? 0x7c00 : 0x7f80);
    double error = (double)value - (double)nearest;
    const double far = (double)value - (double)number_of(kernels, dtype, other),
                 along = product_of(sums, direction, rank);
    if (far * (2 * along + far * square) < error * (2 * along + error * square)) {
        code = other;
        error = far;
    }
    for (size_t k = 0; k < rank; k++)
        sums[k] += error * (double)direction[k];
    return code;
}

void organ_lora_round_with_feedback(const organ_kernels *kernels, organ_dtype dtype, const float *values, size_t rows,
                                    size_t cols, const organ_lora_directions *d, double *sums, float *nearest,
                                    void *codes)
{
    for (size_t i = 0; i < rows; i++) {
        const float *const row = values + i * cols;
        uint16_t *const out = (uint16_t *)codes + i * cols;
        organ_narrow(kernels, dtype, row, out, cols);
        organ_widen(kernels, dtype, out, nearest, cols);
        memset(sums, 0, d->rank * sizeof *sums);
        for (size_t j = 0; j < cols; j++)
            if (nearest[j] != row[j] && isfinite(nearest[j]))
                out[j] = round_value(kernels, dtype, row[j], out[j], nearest[j], d->values + j * d->rank, d->rank,
                                     d->squares[j], sums);
    }
}
