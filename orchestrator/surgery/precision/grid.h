/* SPDX-License-Identifier: MIT
 * The values that a code can have: whole numbers of few bits, or E4M3; times a scale, and of some of GGUF's blocks plus
 * a minimum. */
#ifndef ORGAN_GRID_H
#define ORGAN_GRID_H

#include "kernels/ggml_parts.h"
#include "kernels/kernels.h"

/* What columns weigh as scales of blocks are searched for, beside the mean of a row, which is 1. */
#define ORGAN_LEAST_WEIGHT 0x1p-20
#define ORGAN_MOST_WEIGHT  0x1p24

/* What a scale is for; ORGAN_SCALE_GGUF: what the blocks of a GGUF type have it for, within what they can store. */
typedef enum organ_scale_of {
    ORGAN_SCALE_BLOCK,
    ORGAN_SCALE_TENSOR,
    ORGAN_SCALE_CHANNEL,
    ORGAN_SCALE_GROUP,
    ORGAN_SCALE_GGUF
} organ_scale_of;

typedef struct organ_grid {
    unsigned bits; /* of whole numbers, 2 to 8; 0: E4M3 */
    organ_scale_of scale_of;
    size_t size; /* edge of a block, columns of a group, number of a GGUF type; else 0 */
} organ_grid;

/* The magnitude that a scale brings to 1: half of the steps between the least and the greatest whole number, as
 * compressed-tensors has it; 448. */
float organ_grid_most(const organ_grid *grid);
/* The scale of values of which the greatest magnitude is that, as it is stored: FP32 of blocks, 1 where all are zero;
 * BF16 else, 2^-7. */
float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest);
/* A scale rounded to the type it is stored in. */
float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale);

/* values[k] = scales[k] x the code nearest to values[k] / scales[k], ties to even, 0 where the scale is 0. Values are
 * finite; n is a multiple of 16. Of grids with minima all that above the minimum. */
void organ_grid_round(const organ_grid *grid, const float *scales, const float *minima, float *values, size_t n);
/* The same with one scale, and one minimum (0 where there are none), for n values, any number; codes become the codes'
 * values. */
void organ_grid_codes(const organ_grid *grid, float scale, float minimum, const float *values, float *codes, size_t n);

/* The blocks of ORGAN_SCALE_GGUF; else NULL. */
const organ_ggml_kind *organ_grid_blocks(const organ_grid *grid);

/* Rows that have their scales together, of a matrix of `rows` rows. */
size_t organ_grid_band(const organ_grid *grid, size_t rows);

/* Columns that have one scale in a row, and how many such groups there are. */
size_t organ_grid_group(const organ_grid *grid, size_t cols);
size_t organ_grid_groups(const organ_grid *grid, size_t cols);
/* Whether a group has a minimum as well. */
bool organ_grid_affine(const organ_grid *grid);
/* Blocks of a row that have a scale for the scales of their groups; else 0. */
size_t organ_grid_supers(const organ_grid *grid, size_t cols);
/* How many numbers say what the codes of a row mean: the scales of its groups, their minima, then d and dmin of its
 * blocks where these have scales of scales. */
size_t organ_grid_numbers(const organ_grid *grid, size_t cols);

/* The numbers of a row of blocks, `stride` apart. */
void organ_grid_split(const organ_grid *grid, const void *blocks, size_t cols, float *numbers, size_t stride);
/* The blocks of a row of values that these numbers and codes make. */
void organ_grid_join(const organ_grid *grid, const float *values, const float *numbers, size_t cols, void *blocks);

#endif
