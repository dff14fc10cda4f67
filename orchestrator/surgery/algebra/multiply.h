/* SPDX-License-Identifier: MIT
 * Products of FP32 matrices in the words of those who have them. */
#ifndef ORGAN_MULTIPLY_H
#define ORGAN_MULTIPLY_H

#include "kernels/kernels.h"

/* Rows of values, `stride` from one to the next: row i of a factor is what it brings to element (i, .) or (., i). */
static inline organ_factor organ_by_rows(const float *values, size_t stride)
{
    return (organ_factor){.values = values, .type = ORGAN_REAL_F32, .stride = stride};
}

/* The same of a factor that lies as columns: its row i is values[i], values[stride + i], ... */
static inline organ_factor organ_by_columns(const float *values, size_t stride)
{
    return (organ_factor){.values = values, .type = ORGAN_REAL_F32, .transposed = true, .stride = stride};
}

#endif
