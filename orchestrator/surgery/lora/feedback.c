/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/feedback.h"

#include "orchestrator/stream/widen.h"

#include <math.h>
#include <stdint.h>

enum { LANES = 8 }; /* partial sums of a product, which are added in order */

/* Returns the code of the next number above (`up`) or below that of a code with 15 bits of magnitude; the code itself
 * if that would be infinite. `infinity` is the code of infinity. */
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

/* Returns the product of `sums` and a direction, and sets *square to the square of the norm of the direction. */
static double product_of(const double *sums, const float *direction, size_t rank, double *square)
{
    double dot[LANES] = {0}, own[LANES] = {0};
    for (size_t k = 0; k < rank; k++) {
        dot[k % LANES] += sums[k] * (double)direction[k];
        own[k % LANES] += (double)direction[k] * (double)direction[k];
    }
    double sum = 0;
    *square = 0;
    for (size_t k = 0; k < LANES; k++) {
        sum += dot[k];
        *square += own[k];
    }
    return sum;
}

/* Rounds one value; adds its error times the direction to `sums`. With the error e the squared norm of the sums changes
 * by 2 e <sums, direction> + e^2 |direction|^2. */
static uint16_t round_value(const organ_kernels *kernels, organ_dtype dtype, float value, const float *direction,
                            size_t rank, double *sums)
{
    uint16_t code, other;
    float nearest, next;
    double square;
    organ_narrow(kernels, dtype, &value, &code, 1);
    organ_widen(kernels, dtype, &code, &nearest, 1);
    if (!isfinite(nearest) || nearest == value)
        return code;
    other = neighbour_of(code, value > nearest, dtype == ORGAN_F16 ? 0x7c00 : 0x7f80);
    organ_widen(kernels, dtype, &other, &next, 1);
    double error = (double)value - (double)nearest;
    const double far = (double)value - (double)next, along = product_of(sums, direction, rank, &square);
    if (far * (2 * along + far * square) < error * (2 * along + error * square)) {
        code = other;
        error = far;
    }
    for (size_t k = 0; k < rank; k++)
        sums[k] += error * (double)direction[k];
    return code;
}

void organ_lora_round_with_feedback(const organ_kernels *kernels, organ_dtype dtype, const float *values, size_t rows,
                                    size_t cols, const float *directions, size_t rank, double *sums, void *codes)
{
    uint16_t *const out = codes;
    for (size_t i = 0; i < rows; i++) {
        for (size_t k = 0; k < rank; k++)
            sums[k] = 0;
        for (size_t j = 0; j < cols; j++)
            out[i * cols + j] = round_value(kernels, dtype, values[i * cols + j], directions + j * rank, rank, sums);
    }
}
