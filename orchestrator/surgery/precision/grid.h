/* SPDX-License-Identifier: MIT
 * Grids: the values that codes can represent. A value is a code (an integer of few bits or an E4M3 number) times a
 * scale, plus a minimum in some GGUF blocks. */
#ifndef ORGAN_GRID_H
#define ORGAN_GRID_H

#include "kernels/ggml_parts.h"
#include <organ/kernels.h>

/* Bounds of column weights in the search for the scales of GGUF blocks and in the choice of clipped scales. The weights
 * of all columns have the mean 1. */
#define ORGAN_MIN_WEIGHT 0x1p-20
#define ORGAN_MAX_WEIGHT 0x1p24

/* The values that share a scale: a square block of the matrix, the tensor, a row (channel), a group of consecutive
 * columns of a row, or a group of a GGUF block type (ORGAN_SCALE_GGUF), with scales that its blocks can store. */
typedef enum organ_scale_of {
    ORGAN_SCALE_BLOCK,
    ORGAN_SCALE_TENSOR,
    ORGAN_SCALE_CHANNEL,
    ORGAN_SCALE_GROUP,
    ORGAN_SCALE_GGUF
} organ_scale_of;

/* A grid: type of the codes, and values that share a scale. */
typedef struct organ_grid {
    unsigned bits; /* bits of integer codes, 2 to 8; 0: codes are E4M3 numbers */
    organ_scale_of scale_of;
    /* BLOCK: rows and columns of a block. GROUP: columns of a group. GGUF: number of the block type in GGUF files.
     * TENSOR, CHANNEL: 0. */
    size_t size;
} organ_grid;

/* Returns the number by which the greatest magnitude of a group is divided to get its scale: (2^bits - 1) / 2 for
 * integer codes, as in compressed-tensors; 448, the largest code, for E4M3. */
float organ_grid_max(const organ_grid *grid);
/* Returns the scale of values whose greatest magnitude is `greatest`, rounded to the type in which it is stored: FP32
 * for ORGAN_SCALE_BLOCK, else BF16. If it rounds to 0, returns 1 for ORGAN_SCALE_BLOCK, else 2^-7. Not for GGUF. */
float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest);
/* Returns `scale` rounded to the type in which it is stored: FP32 for blocks, F16 for GGUF, else BF16. */
float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale);

/* Returns the search for the scales of a grid without a text: tries whose scales are rounded to the stored type. Try 0
 * is organ_grid_scale. A constant; NULL for GGUF, whose blocks have a search of their own. */
const organ_scale_search *organ_grid_search(const organ_grid *grid);

/* Sets *low and *high to the least and greatest integer code; without meaning for E4M3. */
void organ_grid_range(const organ_grid *grid, float *low, float *high);
/* Rounds each of n values to the nearest that its scale and minimum can represent: values[k] becomes code x scales[k] +
 * minima[k], with the code nearest to (values[k] - minima[k]) / scales[k], ties to even. An integer code is 0 if
 * the scale is 0; for E4M3 codes no scale may be 0. `minima` NULL: the grid has none. Values are finite; n is a
 * multiple of 16. */
void organ_grid_round(const organ_grid *grid, const float *scales, const float *minima, float *values, size_t n);
/* Sets codes[k] to the code nearest to (values[k] - minimum) / scale, as a float, for n values of a group. `minimum` is
 * 0 if the grid has no minima. n is any number. */
void organ_grid_codes(const organ_grid *grid, float scale, float minimum, const float *values, float *codes, size_t n);

/* Returns the GGUF block type of the grid; NULL unless scale_of is ORGAN_SCALE_GGUF. */
const organ_ggml_kind *organ_grid_blocks(const organ_grid *grid);

/* Returns the number of consecutive rows that share their scales (a band), in a matrix of `rows` rows: grid->size if a
 * scale covers a block, `rows` if it covers the tensor, else 1. */
size_t organ_grid_band(const organ_grid *grid, size_t rows);

/* Returns the number of consecutive columns of a row of `cols` columns that share a scale (a group). */
size_t organ_grid_group(const organ_grid *grid, size_t cols);
/* Returns the number of groups of a row; the last one may be shorter. */
size_t organ_grid_groups(const organ_grid *grid, size_t cols);
/* Returns whether a group has a minimum in addition to its scale. */
bool organ_grid_affine(const organ_grid *grid);
/* Returns the number of blocks of a row if they store each group scale as a code times a scale d of the block (Q4_K,
 * Q5_K, Q6_K), and each minimum as a code times dmin; 0 for all other grids. */
size_t organ_grid_supers(const organ_grid *grid, size_t cols);
/* Returns how many numbers decode the codes of a row, in this order: a scale for each group; a minimum for each group
 * (organ_grid_affine); d of each block, and with minima dmin of each block (organ_grid_supers). */
size_t organ_grid_numbers(const organ_grid *grid, size_t cols);

/* Reads the numbers of organ_grid_numbers from a row of GGUF blocks into `numbers`, `stride` floats apart. */
void organ_grid_split(const organ_grid *grid, const void *blocks, size_t cols, float *numbers, size_t stride);
/* Writes a row of GGUF blocks. `numbers`: those of organ_grid_numbers, consecutive. Each value must equal a code times
 * its scale (plus minimum), so that the codes are recovered exactly. */
void organ_grid_join(const organ_grid *grid, const float *values, const float *numbers, size_t cols, void *blocks);

#endif
