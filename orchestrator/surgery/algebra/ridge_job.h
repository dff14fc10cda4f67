/* SPDX-License-Identifier: MIT
 * State and functions that the sources of ridge.h share: ridge.c adds tokens and chooses lambda; ridge_factor.c
 * inverts; ridge_inputs.c and ridge_tokens.c build the normal matrix of the inputs or of the tokens (those of FIT
 * first); ridge_blocks.c solves block by block. */
#ifndef ORGAN_RIDGE_JOB_H
#define ORGAN_RIDGE_JOB_H

#include "orchestrator/surgery/algebra/ridge.h"

#define ORGAN_RIDGE_TILE  ((size_t)256) /* rows and columns of a tile of a normal matrix */
#define ORGAN_RIDGE_CHUNK ((size_t)512) /* tokens that are gathered before they are summed */

/* Sums over the tokens of a part. */
typedef struct organ_ridge_sums {
    size_t added;           /* number of tokens that were added */
    double trace, energy;   /* trace of Z^T Z, valid after `finish`; ||R||^2 */
    double *square, *cross; /* by inputs: Z^T Z on and above the diagonal, n x n; Z^T R, n x outputs */
    float *inputs, *target; /* by inputs: the current chunk of tokens, ORGAN_RIDGE_CHUNK x features and x outputs */
} organ_ridge_sums;

typedef struct organ_ridge_blocks organ_ridge_blocks;

/* A regression: the sums over the tokens added so far, and the solution. */
struct organ_ridge {
    organ_ridge_shape shape;
    const organ_engine *engine;
    const struct organ_ridge_way *way; /* how it is solved */
    size_t n, features;                /* largest number of rows of a normal matrix; blocks x width */
    organ_ridge_sums sums[ORGAN_RIDGE_PARTS];
    bool finished, found;     /* the last token was added; `solution` is valid */
    float *factor, *solution; /* n x n, n x outputs; by blocks: features x n, features x outputs */
    float *workspace;         /* n x outputs */
    organ_product *products;  /* one for each row of tiles */
    unsigned char *scratch; /* `worker_bytes` for each worker, of which products use the first ORGAN_PRODUCT_SCRATCH */
    size_t worker_bytes;
    /* Members for the solution by tokens: */
    /* A row of `width` inputs for each block that a token uses; tokens x outputs; Z Z^T, tokens x tokens. */
    float *inputs, *target, *gram;
    uint32_t *block, *token; /* of each row of inputs. `finish` sorts the rows by block, then token; only `token` is
                                valid after it */
    size_t *begin;           /* first row of each block after `finish`, and the end: blocks + 1 */
    organ_ridge_blocks *by_blocks;
};

/* The functions of a way of solving: by inputs, by tokens or by blocks. */
typedef struct organ_ridge_way {
    const char *name;
    uint64_t worker_bytes;                   /* scratch of each worker in addition to that of products */
    bool (*take_memory)(organ_ridge *ridge); /* allocates the members it needs; false: memory cannot be allocated */
    organ_status (*begin)(organ_ridge *ridge, organ_error *error); /* called after take_memory; NULL: nothing to do */
    organ_status (*add)(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                        const float *inputs, const float *target, organ_error *error);
    organ_status (*finish)(organ_ridge *ridge,
                           organ_error *error); /* called after the last token; sets the traces, unless `add` does */
    /* Computes the solution for all tokens (`all`), or for those of FIT alone. NULL: ridge.c solves the matrix of
     * `prepare`. */
    organ_status (*solve)(organ_ridge *ridge, bool all, double shift, organ_error *error);
    /* Writes the normal matrix of all tokens, or of FIT alone, with `shift` added to its diagonal, to `factor`. Sets
     * *sides to the right-hand sides, a row for each of the matrix's rows. Returns the number of rows. */
    size_t (*prepare)(organ_ridge *ridge, bool all, double shift, const float **sides);
    double (*rest)(organ_ridge *ridge); /* returns ||R - Z D||^2 over the held-out tokens for the solution of FIT */
    void (*block)(organ_ridge *ridge, size_t block, float *values); /* organ_ridge_block */
} organ_ridge_way;

extern const organ_ridge_way organ_ridge_by_inputs, organ_ridge_by_tokens, organ_ridge_by_blocks;

/* Replaces A (n x n) by U of A^-1 = U^T U, with zeros below its diagonal; sets ridge->found to false if A has no such
 * inverse. Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_ridge_invert(organ_ridge *ridge, float *factor, size_t n, organ_error *error);
/* Computes solution = U^T U sides, n x outputs each, with U of organ_ridge_invert. `solution` may be `sides`. */
void organ_ridge_apply(organ_ridge *ridge, const float *factor, size_t n, const float *sides, float *solution);
/* Implements organ_ridge_way.block for ridge->solution with the rows of D (by inputs, by blocks): writes the rows of
 * one block, transposed. */
void organ_ridge_transposed(organ_ridge *ridge, size_t index, float *values);

/* Return the number of a block's inputs that are solved for at a time, and the bytes that solving by blocks needs in
 * addition to factor, solution and workspace. */
size_t organ_ridge_piece(const organ_ridge_shape *shape);
double organ_ridge_blocks_memory(const organ_ridge_shape *shape);
void organ_ridge_blocks_free(organ_ridge_blocks *blocks); /* NULL is allowed */

#endif
