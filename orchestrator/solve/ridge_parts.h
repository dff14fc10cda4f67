/* SPDX-License-Identifier: MIT
 * State and functions that the sources of ridge.h share: ridge.c adds tokens, chooses the solver and lambda. The solver
 * by inputs has the normal matrix Z^T Z; that by tokens Z Z^T, whose first rows are the tokens of FIT; that by blocks a
 * normal matrix for some inputs of a block at a time. */
#ifndef ORGAN_SOLVE_RIDGE_PARTS_H
#define ORGAN_SOLVE_RIDGE_PARTS_H

#include "orchestrator/solve/low_rank.h"
#include "orchestrator/solve/ridge.h"

#define ORGAN_RIDGE_TILE  ((size_t)256) /* rows and columns of a tile of a normal matrix */
#define ORGAN_RIDGE_CHUNK ((size_t)512) /* solver by inputs: tokens that are collected before their sums are added */

typedef struct organ_ridge_sums {
    size_t added;  /* number of tokens that were added */
    double trace;  /* trace of Z^T Z; valid after organ_ridge_solver.finish */
    double energy; /* ||R||^2 */
    /* Solver by inputs; NULL for the others: */
    double *square, *cross; /* Z^T Z on and above the diagonal, [n][n]; Z^T R, [n][outputs] */
    float *inputs, *target; /* tokens that are not in these sums yet, [ORGAN_RIDGE_CHUNK][features] and [..][outputs] */
} organ_ridge_sums;

typedef struct organ_ridge_rows organ_ridge_rows;

/* State of the solver by blocks; all 0 for the others. */
typedef struct organ_ridge_blocks {
    organ_ridge_rows *rows; /* inputs of all tokens */
    float *residual;        /* R - Z D of all tokens, those of FIT first: [tokens][outputs] */
    float *gathered;        /* residuals of the tokens of a batch: [ORGAN_RIDGE_READ][outputs] */
    double *gram, *cross;   /* Z^T Z, [n][n], and Z^T (R - Z D), [n][outputs], with the inputs Z of a piece */
    float *rhs, *step;      /* right-hand sides: cross - shift D; solution: the change of D. [n][outputs] */
} organ_ridge_blocks;

/* A regression: the sums over the tokens added so far, and the solution. */
struct organ_ridge {
    organ_ridge_shape shape;
    const organ_engine *engine;
    const struct organ_ridge_solver *solver;
    size_t n;        /* greatest number of rows of a normal matrix */
    size_t features; /* inputs of all blocks: blocks x width */
    organ_ridge_sums sums[ORGAN_RIDGE_PARTS];
    bool finished;           /* organ_ridge_solver.finish was called: no more tokens may be added */
    bool found;              /* `solution` is valid; false: the normal matrix is singular, or nothing was solved */
    float *factor;           /* the normal matrix, then U of organ_ridge_invert: [n][n]; by blocks: [features][n] */
    float *solution;         /* D; by tokens: A with D = Z^T A. [n][outputs]; by blocks: [features][outputs] */
    float *workspace;        /* [n][outputs] */
    organ_product *products; /* one for each row of tiles of a normal matrix */
    unsigned char *scratch;  /* worker_bytes for each worker; products use the first ORGAN_PRODUCT_SCRATCH */
    size_t worker_bytes;
    /* Solver by tokens; NULL for the others. A row of inputs is a block of a token. */
    float *inputs;   /* a row of `width` inputs for each block that a token uses */
    float *target;   /* R, [tokens][outputs] */
    float *gram;     /* Z Z^T, [tokens][tokens] */
    uint32_t *block; /* block of each row of inputs; not valid after `finish` */
    uint32_t *token; /* token of each row of inputs; valid after `finish`, which sorts the rows by block, then token */
    size_t *begin;   /* first row of inputs of each block after `finish`, and the end: blocks + 1 entries */
    organ_ridge_blocks by_blocks;
    organ_buffers buffers;
};

/* A way to solve: by inputs, by tokens or by blocks. */
typedef struct organ_ridge_solver {
    const char *name;      /* result of organ_ridge_solved_by */
    uint64_t worker_bytes; /* scratch of each worker in addition to that of products */
    void (*lay_out)(organ_ridge *ridge, organ_buffers *buffers);   /* takes the solver's members */
    organ_status (*begin)(organ_ridge *ridge, organ_error *error); /* called after `lay_out`; NULL: nothing to do */
    /* Adds checked tokens, as organ_ridge_add. */
    organ_status (*add)(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                        const float *inputs, const float *target, organ_error *error);
    /* Called after the last token; sets organ_ridge_sums.trace, unless `add` has done so. */
    organ_status (*finish)(organ_ridge *ridge, organ_error *error);
    /* Computes `solution` for all tokens (`all`), or for those of FIT alone. `shift`: lambda times m. NULL: ridge.c
     * solves with the matrix of `prepare`. */
    organ_status (*solve)(organ_ridge *ridge, bool all, double shift, organ_error *error);
    /* Writes the normal matrix of all tokens, or of FIT alone, with `shift` added to its diagonal, to ridge->factor.
     * Sets *rhs to the right-hand sides, [rows of the matrix][outputs]. Returns the number of rows. NULL if `solve` is
     * set. */
    size_t (*prepare)(organ_ridge *ridge, bool all, double shift, const float **rhs);
    /* Returns ||R - Z D||^2 over the held-out tokens for the D that was last fitted to FIT. */
    double (*held_error)(organ_ridge *ridge);
    void (*block)(organ_ridge *ridge, size_t block, float *values); /* organ_ridge_block; called if D was found */
} organ_ridge_solver;

extern const organ_ridge_solver organ_ridge_by_inputs, organ_ridge_by_tokens, organ_ridge_by_blocks;

/* Replaces A (n x n), in `factor`, by the upper triangular U with A^-1 = U^T U, with zeros below its diagonal. Sets
 * ridge->found to whether A is positive definite. Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_ridge_invert(organ_ridge *ridge, float *factor, size_t n, organ_error *error);
/* Computes solution = U^T (U rhs), with U of organ_ridge_invert; both are [n][outputs]. `solution` may be `rhs`. Uses
 * ridge->workspace. */
void organ_ridge_apply(organ_ridge *ridge, const float *factor, size_t n, const float *rhs, float *solution);
/* organ_ridge_solver.block of the solvers by inputs and by blocks, whose ridge->solution is D. Writes the rows of D
 * that belong to block `index` to `values`, transposed: [outputs][width]. */
void organ_ridge_transposed(organ_ridge *ridge, size_t index, float *values);

/* Returns the number of inputs of a block that the solver by blocks solves for at a time (a piece). */
size_t organ_ridge_piece(const organ_ridge_shape *shape);

/* ---- a store of the inputs of tokens, over which the solver by blocks sweeps repeatedly ---- */

/* A row has the inputs of a token in one block. The store has a list of rows for each block and part, in the order in
 * which they were added. Rows are stored in batches, in memory or in a scratch file, and several batches are read at
 * once. */

/* Rows of a batch. A wide product adds as many rows in FP32 before it adds them to FP64 sums, so the number of batches
 * that a product covers changes no bit. */
#define ORGAN_RIDGE_BATCH ((size_t)256)
/* Greatest number of rows that a call of organ_ridge_rows_read reads: enough work for all workers. */
#define ORGAN_RIDGE_READ ((size_t)8 * ORGAN_RIDGE_BATCH)
#define ORGAN_RIDGE_NONE UINT32_MAX /* number of a batch: there is none */

/* Rows of one block and part that organ_ridge_rows_read has read; valid until its next call. */
typedef struct organ_ridge_batch {
    size_t rows; /* ORGAN_RIDGE_READ, or fewer at the end of the block and part */
    /* Number of the token of each row: tokens of FIT from 0 on, then those of HELD. No token occurs twice. */
    const uint32_t *tokens;
    const float *inputs; /* [rows][width] */
} organ_ridge_batch;

/* Returns the bytes of memory that a store needs; with shape->scratch most rows are in a file. */
uint64_t organ_ridge_rows_memory(const organ_ridge_shape *shape);

/* Opens an empty store. Returns ORGAN_IO, with *rows NULL, if memory cannot be allocated or the scratch directory has
 * too little space. */
organ_status organ_ridge_rows_open(const organ_ridge_shape *shape, organ_ridge_rows **rows, organ_error *error);
void organ_ridge_rows_close(organ_ridge_rows *rows); /* NULL is allowed */

/* Appends the row with the `width` inputs of a token in one block. `token`: number as in organ_ridge_batch. Returns
 * ORGAN_IO if the scratch file cannot be written. */
organ_status organ_ridge_rows_add(organ_ridge_rows *rows, organ_ridge_part part, size_t block, size_t token,
                                  const float *inputs, organ_error *error);
/* Called after the last row: writes the rows that are still in memory to the scratch file, if there is one. Returns
 * ORGAN_IO if the file cannot be written. */
organ_status organ_ridge_rows_finish(organ_ridge_rows *rows, organ_error *error);

/* Returns the number of the first batch of a block and part; ORGAN_RIDGE_NONE if they have no rows. */
uint32_t organ_ridge_rows_first(const organ_ridge_rows *rows, organ_ridge_part part, size_t block);

/* Reads up to ORGAN_RIDGE_READ rows into *batch, from batch *number on. Sets *number to the next batch of the same
 * block and part, or to ORGAN_RIDGE_NONE at the end. Returns ORGAN_IO if the file cannot be read or has other bytes
 * than were written, which network file systems can cause. */
organ_status organ_ridge_rows_read(organ_ridge_rows *rows, uint32_t *number, organ_ridge_batch *batch,
                                   organ_error *error);

/* ---- the sources of low_rank.h ---- */

/* "Vectors" are stored one after another. */

/* Allocates a decomposition. Returns false if memory cannot be allocated. The caller calls organ_svd_release in any
 * case.
 */
bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank);
/* Returns the bytes that organ_svd_make allocates. */
uint64_t organ_svd_bytes(size_t rows, size_t cols, size_t rank);

/* Returns the bytes that organ_krylov allocates in addition to the strips and *svd. */
uint64_t organ_krylov_bytes(uint64_t rows, uint64_t cols, size_t rank, size_t oversampling, size_t workers);

/* Decomposes a matrix by block Krylov iteration (organ_low_rank). With l = rank + oversampling, it needs at least 2 l
 * rows and columns. Sets *svd except energy and captured. Returns ORGAN_IO if memory cannot be allocated, or the errors
 * of organ_strips_run. */
organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd,
                          organ_error *error);

#endif
