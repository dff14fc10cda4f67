/* SPDX-License-Identifier: MIT
 * Grids: the values that codes can represent. A value is a code (an integer of few bits or an E4M3 number) times a
 * scale, plus a minimum in some GGUF blocks. */
#ifndef ORGAN_GRID_H
#define ORGAN_GRID_H

#include "kernels/ggml_parts.h"
#include "kernels/kernels.h"

/* Bounds of column weights in the search for the scales of blocks; the weights of a row have the mean 1. */
#define ORGAN_MIN_WEIGHT 0x1p-20
#define ORGAN_MAX_WEIGHT 0x1p24

/* The values that share one scale: a square block of the matrix, the tensor, a row (channel), or a group of consecutive
 * columns of a row. ORGAN_SCALE_GGUF: the groups of a GGUF block type, with scales that its blocks can store. */
typedef enum organ_scale_of {
    ORGAN_SCALE_BLOCK,
    ORGAN_SCALE_TENSOR,
    ORGAN_SCALE_CHANNEL,
    ORGAN_SCALE_GROUP,
    ORGAN_SCALE_GGUF
} organ_scale_of;

typedef struct organ_grid {
    unsigned bits; /* bits of integer codes, 2 to 8; 0: codes are E4M3 numbers */
    organ_scale_of scale_of;
    size_t size; /* edge of a block, columns of a group, or number of the GGUF type; 0: tensor or channel */
} organ_grid;

/* Returns the greatest magnitude of a group divided by its scale: (2^bits - 1) / 2 as in compressed-tensors, or 448 for
 * E4M3. */
float organ_grid_max(const organ_grid *grid);
/* Returns the scale of values with this greatest magnitude, rounded to its stored type. Scales of ORGAN_SCALE_BLOCK are
 * FP32, 1 if all values are zero; others are BF16, 2^-7 if all values are zero. Not for GGUF. */
float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest);
/* Returns the scale rounded to its stored type. */
float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale);

/* Sets values[k] to scales[k] times the code nearest to values[k] / scales[k], ties to even, or to 0 if the scale is 0.
 * `minima` (NULL if the grid has none): minima[k] is subtracted before and added after. Values are finite; n is a
 * multiple of 16. */
void organ_grid_round(const organ_grid *grid, const float *scales, const float *minima, float *values, size_t n);
/* Computes the codes of n values that share a scale and a minimum (0 if the grid has no minima), as floats. n is any
 * number. */
void organ_grid_codes(const organ_grid *grid, float scale, float minimum, const float *values, float *codes, size_t n);

/* Returns the GGUF block type of the grid; NULL unless it is ORGAN_SCALE_GGUF. */
const organ_ggml_kind *organ_grid_blocks(const organ_grid *grid);

/* Returns the number of rows that share their scales in a matrix of `rows` rows. */
size_t organ_grid_band(const organ_grid *grid, size_t rows);

/* Return the number of consecutive columns of a row that share a scale, and the number of such groups. */
size_t organ_grid_group(const organ_grid *grid, size_t cols);
size_t organ_grid_groups(const organ_grid *grid, size_t cols);
/* Returns true if a group has a minimum in addition to its scale. */
bool organ_grid_affine(const organ_grid *grid);
/* Returns the number of blocks of a row if their group scales are themselves codes times a scale d (Q4_K and similar);
 * 0 if not. */
size_t organ_grid_supers(const organ_grid *grid, size_t cols);
/* Returns how many numbers decode a row: the scales of its groups, then their minima (if the grid has them), then d and
 * dmin of each block (if organ_grid_supers is not 0). */
size_t organ_grid_numbers(const organ_grid *grid, size_t cols);

/* Reads these numbers from a row of GGUF blocks into `numbers`, `stride` floats apart. */
void organ_grid_split(const organ_grid *grid, const void *blocks, size_t cols, float *numbers, size_t stride);
/* Writes a row of GGUF blocks. `numbers` are those of organ_grid_split with stride 1. Each value must equal a code
 * times its scale (plus minimum), so that the codes are recovered exactly. */
void organ_grid_join(const organ_grid *grid, const float *values, const float *numbers, size_t cols, void *blocks);

#endif
