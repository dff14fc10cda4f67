/* SPDX-License-Identifier: MIT
 * Weights of one format that are read from weights of the other: a stack of experts of GGUF from the numbered experts
 * of safetensors, q_proj of safetensors from attn_q of GGUF, and so on. stream/weight_reader reads their rows. */
#ifndef ORGAN_WEIGHT_MADE_H
#define ORGAN_WEIGHT_MADE_H

#include <organ/weights.h>

/* The function of a value x of safetensors that GGUF stores. */
typedef enum organ_row_function {
    ORGAN_ROW_SAME,      /* x */
    ORGAN_ROW_PLUS_ONE,  /* x + 1 */
    ORGAN_ROW_MINUS_EXP, /* -exp(x) */
    ORGAN_ROW_SCALE      /* x * factors[0] * factors[1] */
} organ_row_function;

/* Rows of a weight of safetensors, a stack of matrices, that are rows of a weight of GGUF. Each matrix is divided into
 * blocks of `block` rows; the place has rows [first, first + rows) of a block. The first of these of block b of matrix
 * m is row at + (m - matrix) x per_matrix + (b - from) x per_block in GGUF; rows of GGUF are counted over all matrices.
 * A vector of n values counts as a matrix of n rows and one column. At most one of pairs, transposed, column_slice and
 * `tile` is set; without them the rows of a block keep their order and content. */
typedef struct organ_row_place {
    uint64_t matrix, matrices; /* matrices [matrix, matrix + matrices) */
    uint64_t block;            /* rows of a block; divides the rows of a matrix */
    uint64_t first, rows;      /* the rows of each block */
    uint64_t from, blocks;     /* blocks [from, from + blocks) of each matrix; `blocks` 0: all blocks */
    uint64_t at;               /* the first row in GGUF */
    uint64_t per_matrix;       /* rows of GGUF from the first row of one matrix to that of the next */
    uint64_t per_block;        /* rows of GGUF from the first row of one block to that of the next */
    bool pairs;                /* the n rows of a block have the order 0, n/2, 1, n/2 + 1, ... in GGUF */
    /* the rows of a block are transposed: each of the columns in `col`, `col_step`, `cols` is a row in GGUF */
    bool transposed;
    bool column_slice;            /* a block is one row, whose columns in `col`, `col_step`, `cols` are a row in GGUF */
    uint64_t col, col_step, cols; /* columns col, col + col_step, ..., `cols` in number */
    /* columns of a row are outer x inner tiles of `tile` columns, which GGUF has as inner x outer; 0: no tiles */
    uint64_t tile, outer, inner;
    organ_row_function function;
    float factors[2]; /* of ORGAN_ROW_SCALE */
} organ_row_place;

/* A part of a made weight: the rows that it has from one weight of the other format. */
typedef struct organ_made_part {
    const organ_weight *from;
    organ_row_place place;
} organ_made_part;

/* How a weight is made (organ_weight.made). Rows that no part has are zeros. */
typedef struct organ_made {
    bool inverse; /* the weight has the form of safetensors, and `from` are weights of GGUF; false: the reverse */
    const organ_made_part *parts;
    size_t count;
    const float *values; /* its values if they follow from the configuration; NULL: the parts have them */
} organ_made;

/* Returns the weight as a stack of matrices as a place counts them: a vector of n values is one matrix of n rows and
 * one column. */
organ_matrices organ_row_place_matrices(const organ_weight *weight);

/* Returns the number of values of the stack `m`, the matrices of the weight of safetensors, that the place has. */
uint64_t organ_row_place_values(const organ_row_place *place, const organ_matrices *m);

/* Finds row `row` of GGUF. Sets *source to the row of safetensors, counted over all matrices, and *left to the number
 * of rows of GGUF from `row` on that the same block has. If the place is transposed, *source is the block's first row
 * and *column the column that is the row in GGUF. Returns false if the place does not have the row. */
bool organ_row_place_to_gguf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *source,
                             uint64_t *column, uint64_t *left);
/* Finds row `row` of safetensors, counted over all matrices: sets *made to the row of GGUF, and *left to the number of
 * rows of safetensors from `row` on that the same block has. If the place is transposed, *made is the first row of GGUF
 * of the block, and *column the column in GGUF. Returns false if the place does not have the row. */
bool organ_row_place_to_hf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *made,
                           uint64_t *column, uint64_t *left);

#endif
