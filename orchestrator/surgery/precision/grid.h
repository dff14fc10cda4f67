/* SPDX-License-Identifier: MIT
 * The values that a code can have: whole numbers of few bits, or E4M3. */
#ifndef ORGAN_GRID_H
#define ORGAN_GRID_H

#include "kernels/kernels.h"

/* What a scale is for. */
typedef enum organ_scale_of { ORGAN_SCALE_BLOCK, ORGAN_SCALE_TENSOR, ORGAN_SCALE_CHANNEL, ORGAN_SCALE_GROUP } organ_scale_of;

typedef struct organ_grid {
    unsigned bits; /* of whole numbers, 2 to 8; 0: E4M3 */
    organ_scale_of scale_of;
    size_t size; /* edge of a block, columns of a group; else 0 */
} organ_grid;

/* The magnitude that a scale brings to 1: half of the steps between the least and the greatest whole number, as compressed-tensors has it;
 * 448. */
float organ_grid_most(const organ_grid *grid);
/* The scale of values of which the greatest magnitude is that, as it is stored: FP32 of blocks, 1 where all are zero; BF16 else, 2^-7. */
float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest);
/* A scale rounded to the type it is stored in. */
float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale);

/* values[k] = scales[k] x the code nearest to values[k] / scales[k], ties to even. Values are finite; n is a multiple of 16. */
void organ_grid_round(const organ_grid *grid, const float *scales, float *values, size_t n);
/* The same with one scale for n values, any number; codes become the codes' values. */
void organ_grid_codes(const organ_grid *grid, float scale, const float *values, float *codes, size_t n);

/* Columns that have one scale in a row. */
static inline size_t organ_grid_group(const organ_grid *grid, size_t cols) { return grid->size ? grid->size : cols; }

#endif
