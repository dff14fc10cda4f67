/* SPDX-License-Identifier: MIT
 * Grids: the values that codes can represent. A value is an integer of few bits or an E4M3 number, times a scale, plus
 * a minimum in some GGUF blocks. */
#ifndef ORGAN_GRID_H
#define ORGAN_GRID_H

#include "kernels/ggml_parts.h"
#include "kernels/kernels.h"

/* Bounds of column weights in the search for the scales of blocks; the weights of a row have the mean 1. */
#define ORGAN_MIN_WEIGHT 0x1p-20
#define ORGAN_MAX_WEIGHT 0x1p24

/* The values that share one scale. ORGAN_SCALE_GGUF: as in the blocks of a GGUF type, with scales that these can
 * store. */
typedef enum organ_scale_of {
    ORGAN_SCALE_BLOCK,
    ORGAN_SCALE_TENSOR,
    ORGAN_SCALE_CHANNEL,
    ORGAN_SCALE_GROUP,
    ORGAN_SCALE_GGUF
} organ_scale_of;

typedef struct organ_grid {
    unsigned bits; /* of integer codes, 2 to 8; 0: E4M3 */
    organ_scale_of scale_of;
    size_t size; /* edge of a block, columns of a group, or number of a GGUF type; else 0 */
} organ_grid;

/* Returns the quotient of the greatest magnitude of a group and its scale: (2^bits - 1) / 2 as in compressed-tensors,
 * or 448 for E4M3. */
float organ_grid_max(const organ_grid *grid);
/* Returns the scale, rounded to its stored type, of values with this greatest magnitude. Blocks have FP32 scales, 1 if
 * all values are zero; all others have BF16 scales, 2^-7 if all values are zero. */
float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest);
/* Rounds a scale to its stored type. */
float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale);

/* Sets values[k] to scales[k] times the code nearest to values[k] / scales[k], ties to even, or to 0 if the scale is 0.
 * On grids with minima the minimum is subtracted before and added after. Values are finite; n is a multiple of 16. */
void organ_grid_round(const organ_grid *grid, const float *scales, const float *minima, float *values, size_t n);
/* Computes the codes of n values that share a scale and a minimum (0 if the grid has no minima), as floats. n is any
 * number. */
void organ_grid_codes(const organ_grid *grid, float scale, float minimum, const float *values, float *codes, size_t n);

/* Returns the GGUF block type of ORGAN_SCALE_GGUF; else NULL. */
const organ_ggml_kind *organ_grid_blocks(const organ_grid *grid);

/* Returns the number of rows that share their scales in a matrix of `rows` rows. */
size_t organ_grid_band(const organ_grid *grid, size_t rows);

/* Return the number of consecutive columns of a row that share a scale, and the number of such groups. */
size_t organ_grid_group(const organ_grid *grid, size_t cols);
size_t organ_grid_groups(const organ_grid *grid, size_t cols);
/* Returns true if a group has a minimum in addition to its scale. */
bool organ_grid_affine(const organ_grid *grid);
/* Returns the number of blocks of a row whose group scales are themselves codes times a scale; 0 if the grid has
 * none. */
size_t organ_grid_supers(const organ_grid *grid, size_t cols);
/* Returns the count of numbers that decode a row: the scales of its groups, then their minima, then d and dmin of each
 * block if the group scales are codes times d. */
size_t organ_grid_numbers(const organ_grid *grid, size_t cols);

/* Reads these numbers from a row of blocks; they are stored `stride` floats apart. */
void organ_grid_split(const organ_grid *grid, const void *blocks, size_t cols, float *numbers, size_t stride);
/* Writes the blocks of a row. Each value must equal a code times these numbers, so that the codes are recovered. */
void organ_grid_join(const organ_grid *grid, const float *values, const float *numbers, size_t cols, void *blocks);

#endif
