/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/folds/scaling.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/surgery/folds/smooth_search.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the sides of each tensor ---- */

static size_t tensor_of(const organ_scaling *s, size_t side)
{
    return (size_t)(s->folds.sides[side].weight->codes - s->model->tensors);
}

/* Counting sort of the sides by their tensors. */
static void sort_sides(organ_scaling *s)
{
    for (size_t k = 0; k < s->folds.side_count; k++)
        s->of_tensor[tensor_of(s, k) + 1]++;
    for (size_t t = 0; t < s->model->tensor_count; t++)
        s->of_tensor[t + 1] += s->of_tensor[t];
    for (size_t f = s->folds.count; f-- > 0;)
        for (size_t k = s->folds.list[f].first + s->folds.list[f].count; k-- > s->folds.list[f].first;)
            s->sides[--s->of_tensor[tensor_of(s, k) + 1]] = (organ_scaled_side){f, k};
    for (size_t t = 0; t < s->model->tensor_count; t++)
        s->of_tensor[t] = s->of_tensor[t + 1];
    s->of_tensor[s->model->tensor_count] = s->folds.side_count;
}

organ_status organ_scaling_open(const organ_forward *forward, const organ_model *model, organ_scaling *s,
                                organ_error *error)
{
    *s = (organ_scaling){.model = model};
    if (organ_forward_folds(forward, &s->folds, error))
        return error->status;
    s->begin = calloc(s->folds.count + 1, sizeof *s->begin);
    for (size_t f = 0; s->begin && f < s->folds.count; f++) {
        s->begin[f] = s->channels;
        s->channels += s->folds.list[f].channels;
    }
    s->factors = malloc((s->channels + 1) * sizeof *s->factors);
    s->of_tensor = calloc(model->tensor_count + 1, sizeof *s->of_tensor);
    s->sides = calloc(s->folds.side_count + 1, sizeof *s->sides);
    if (!s->begin || !s->factors || !s->of_tensor || !s->sides)
        return organ_fail_memory(error, model->path);
    for (uint64_t c = 0; c < s->channels; c++)
        s->factors[c] = 1;
    sort_sides(s);
    return ORGAN_OK;
}

void organ_scaling_release(organ_scaling *s)
{
    organ_folds_release(&s->folds);
    ORGAN_FREE_ARRAYS(s->factors, s->begin, s->of_tensor, s->sides);
    *s = (organ_scaling){0};
}

uint64_t organ_scaling_changed(const organ_scaling *s)
{
    uint64_t changed = 0;
    for (uint64_t c = 0; c < s->channels; c++)
        changed += s->factors[c] != 1;
    return changed;
}

bool organ_scaling_has(const organ_scaling *s, size_t tensor)
{
    return s->of_tensor[tensor + 1] > s->of_tensor[tensor];
}

/* ---- rows ---- */

/* Powers of two are exact; other factors are rounded to FP32 once, before the row is rounded to its type. */
static float scaled(const organ_fold_side *side, float factor, float value)
{
    const double whole = (double)side->plus + (double)value;
    if (factor == 1)
        return value;
    if (side->plus != 0) /* what the forward pass multiplies by, in FP32 */
        return (float)((double)(side->plus + value) / (double)factor - (double)side->plus);
    return (float)(side->divided ? whole / (double)factor : whole * (double)factor);
}

/* One factor applies to the whole row. */
static void scale_alike(const organ_fold_side *side, float factor, float *values, size_t count)
{
    for (size_t k = 0; factor != 1 && k < count; k++)
        values[k] = scaled(side, factor, values[k]);
}

/* Value k is in row or column `first` + k of the matrix. */
static void scale_each(const organ_fold_side *side, const float *factors, uint64_t matrix, uint64_t first,
                       float *values, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        const uint64_t channel = organ_fold_channel(side, matrix, first + k);
        if (channel != ORGAN_NO_CHANNEL)
            values[k] = scaled(side, factors[channel], values[k]);
    }
}

/* A row of the file is one of out_features or, transposed, one of in_features. `values` are its values from number
 * `skipped` on. */
static void scale_row(const organ_fold_side *side, const float *factors, uint64_t row, uint64_t skipped, size_t count,
                      float *values)
{
    const uint64_t stored = side->transposed ? side->cols : side->rows, matrix = row / stored, within = row % stored;
    const bool along = side->of_rows == side->transposed; /* the channel changes along the row */
    if (along)
        scale_each(side, factors, matrix, skipped, values, count);
    else {
        const uint64_t channel = organ_fold_channel(side, matrix, within);
        scale_alike(side, channel == ORGAN_NO_CHANNEL ? 1 : factors[channel], values, count);
    }
}

static uint64_t stored_cols(const organ_scaling *s, size_t tensor)
{
    const organ_fold_side *const side = &s->folds.sides[s->sides[s->of_tensor[tensor]].side];
    return side->transposed ? side->rows : side->cols;
}

static void scale_part(const organ_scaling *s, size_t tensor, uint64_t row, uint64_t skipped, size_t count,
                       float *values)
{
    for (size_t k = s->of_tensor[tensor]; k < s->of_tensor[tensor + 1]; k++)
        scale_row(&s->folds.sides[s->sides[k].side], s->factors + s->begin[s->sides[k].fold], row, skipped, count,
                  values);
}

void organ_scaling_row(const organ_scaling *s, size_t tensor, uint64_t row, float *values)
{
    if (organ_scaling_has(s, tensor))
        scale_part(s, tensor, row, 0, (size_t)stored_cols(s, tensor), values);
}

void organ_scaling_values(const organ_scaling *s, size_t tensor, uint64_t first, size_t count, float *values)
{
    for (size_t done = 0; organ_scaling_has(s, tensor) && done < count;) {
        const uint64_t cols = stored_cols(s, tensor), row = (first + done) / cols, skipped = (first + done) % cols;
        const size_t part = (size_t)(cols - skipped < count - done ? cols - skipped : count - done);
        scale_part(s, tensor, row, skipped, part, values + done);
        done += part;
    }
}

/* ---- exact powers of two ---- */

/* Exponents of the largest power of two, and of the smallest value, that a type has. `bits`: of its mantissa. */
static const struct {
    organ_dtype dtype;
    int greatest, least, bits;
} types[] = {{ORGAN_F32, 127, -149, 23}, {ORGAN_BF16, 127, -133, 7}, {ORGAN_F16, 15, -24, 10}};

void organ_channel_narrow(organ_channel_range *range, float least, float most, organ_dtype dtype, bool divided)
{
    size_t t = 0;
    while (types[t].dtype != dtype && t + 1 < sizeof types / sizeof *types)
        t++;
    if (most == 0)
        return;
    const int up = types[t].greatest - ilogbf(most), down = types[t].least - (ilogbf(least) - types[t].bits);
    const int to = divided ? -down : up, from = divided ? -up : down;
    if (to < range->most)
        range->most = to < 0 ? 0 : to;
    if (from > range->least)
        range->least = from > 0 ? 0 : from;
}

static bool fits(organ_dtype dtype, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == ORGAN_BF16)
        return (bits & 0xFFFF) == 0;
    const float units = ldexpf(value, 24); /* of the smallest F16 */
    return dtype != ORGAN_F16 || ((bits & 0x1FFF) == 0 && fabsf(value) <= 65504 && units == truncf(units));
}

/* The weight that organ_scaling_row gives the norm must be one of its type, and the norm's factor must be the former
 * one over the power of two. */
static bool is_exact(const organ_channel_range *r, int exponent)
{
    const float factor = ldexpf(r->added + r->weight, -exponent);
    const float weight = (float)((double)factor - (double)r->added);
    return fits(r->dtype, weight) && r->added + weight == factor;
}

float organ_channel_factor(const organ_channel_range *range, const organ_kernels *kernels, float wanted)
{
    const float whole = range->added + range->weight,
                weight = (float)((double)whole / (double)wanted - (double)range->added);
    float stored, units = 0;
    if (!range->norm || wanted == 1)
        return wanted;
    organ_narrow(kernels, range->dtype, &weight, &units, 1);
    organ_widen(kernels, range->dtype, &units, &stored, 1);
    const float factor = whole / (range->added + stored);
    return isfinite(factor) && factor > 0 ? factor : wanted;
}

uint64_t organ_channel_exponents(const organ_channel_range *range)
{
    uint64_t allowed = (uint64_t)1 << ORGAN_SMOOTH_EXPONENTS; /* 2^0 changes nothing */
    for (int e = range->least; e <= range->most; e++)
        if (range->added == 0 || is_exact(range, e))
            allowed |= (uint64_t)1 << (e + ORGAN_SMOOTH_EXPONENTS);
    return allowed;
}
