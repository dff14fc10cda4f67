/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/row_function.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Returns y with expf(y) = value. Of several, it returns the one with the shortest mantissa, so that an A_log that
 * was BF16 before a conversion to GGUF becomes the same number again. Returns logf(value) if there is no such y. */
static float shortest_log(float value)
{
    const float exact = logf(value);
    uint32_t bits;
    if (expf(exact) == value && (exact == 0 || !isfinite(exact))) /* no mantissa to shorten */
        return exact;
    memcpy(&bits, &exact, sizeof bits);
    for (unsigned dropped = 23; dropped > 0; dropped--) { /* round to 23 - dropped bits of mantissa */
        const uint32_t unit = UINT32_C(1) << dropped, rounded = (bits + unit / 2) & ~(unit - 1);
        float tried;
        memcpy(&tried, &rounded, sizeof tried);
        if (expf(tried) == value)
            return tried;
    }
    /* logf may be one unit off */
    const float above = nextafterf(exact, INFINITY), below = nextafterf(exact, -INFINITY);
    if (expf(exact) == value || (expf(above) != value && expf(below) != value))
        return exact;
    return expf(above) == value ? above : below;
}

static organ_row_function inverse_of(organ_row_function function)
{
    switch (function) {
    case ORGAN_ROW_PLUS_ONE:
        return ORGAN_ROW_MINUS_ONE;
    case ORGAN_ROW_MINUS_ONE:
        return ORGAN_ROW_PLUS_ONE;
    case ORGAN_ROW_EXP:
        return ORGAN_ROW_LOG;
    case ORGAN_ROW_LOG:
        return ORGAN_ROW_EXP;
    case ORGAN_ROW_MINUS_EXP:
        return ORGAN_ROW_LOG_MINUS;
    case ORGAN_ROW_LOG_MINUS:
        return ORGAN_ROW_MINUS_EXP;
    case ORGAN_ROW_SOFTPLUS:
        return ORGAN_ROW_SOFTPLUS_BACK;
    case ORGAN_ROW_SOFTPLUS_BACK:
        return ORGAN_ROW_SOFTPLUS;
    default:
        return function;
    }
}

static float scaled(const organ_row_place *place, bool inverse, float value)
{
    return inverse ? value / (place->factors[0] * place->factors[1]) : value * place->factors[0] * place->factors[1];
}

/* As in torch, the function is x itself above 20. */
static float softplus(float x) { return x > 20 ? x : (float)log1p(exp((double)x)); }
static float softplus_back(float y) { return y > 20 ? y : (float)log(expm1((double)y)); }

/* expf and logf of the C library give the same bits whatever instruction set organ selects. */
void organ_row_apply(const organ_row_place *place, bool inverse, float *values, size_t count)
{
    const organ_row_function function = inverse ? inverse_of(place->function) : place->function;
    for (size_t k = 0; k < count && function != ORGAN_ROW_SAME; k++)
        switch (function) {
        case ORGAN_ROW_SCALE:
            values[k] = scaled(place, inverse, values[k]);
            break;
        case ORGAN_ROW_PLUS_ONE:
            values[k] += 1;
            break;
        case ORGAN_ROW_MINUS_ONE:
            values[k] -= 1;
            break;
        case ORGAN_ROW_EXP:
            values[k] = expf(values[k]);
            break;
        case ORGAN_ROW_LOG:
            values[k] = shortest_log(values[k]);
            break;
        case ORGAN_ROW_MINUS_EXP:
            values[k] = -expf(values[k]);
            break;
        case ORGAN_ROW_LOG_MINUS:
            values[k] = shortest_log(-values[k]);
            break;
        case ORGAN_ROW_SOFTPLUS:
            values[k] = softplus(values[k]);
            break;
        case ORGAN_ROW_SOFTPLUS_BACK:
            values[k] = softplus_back(values[k]);
            break;
        case ORGAN_ROW_SAME:
            break;
        }
}
