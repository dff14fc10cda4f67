/* SPDX-License-Identifier: MIT
 * What the parts of ridge.h share: ridge.c takes tokens, solves and chooses; ridge_inputs.c and ridge_tokens.c have the normal matrix of
 * the inputs, or of the tokens, of which those of FIT stand first. */
#ifndef ORGAN_RIDGE_JOB_H
#define ORGAN_RIDGE_JOB_H

#include "orchestrator/surgery/algebra/ridge.h"

#define ORGAN_RIDGE_TILE  ((size_t)256) /* of a normal matrix, each way */
#define ORGAN_RIDGE_CHUNK ((size_t)512) /* tokens that are gathered before they are summed */

/* Sums over the tokens of a part. */
typedef struct organ_ridge_sums {
    size_t added;           /* tokens */
    double trace, energy;   /* of Z^T Z, once finished; ||R||^2 */
    double *square, *cross; /* by the inputs: Z^T Z on and above the diagonal, n x n; Z^T R, n x outputs; */
    float *inputs, *wanted; /* and tokens that are gathered */
} organ_ridge_sums;

struct organ_ridge {
    organ_ridge_shape shape;
    const organ_engine *engine;
    const struct organ_ridge_way *way;
    size_t n, features; /* rows of the normal matrix; inputs in all */
    organ_ridge_sums sums[ORGAN_RIDGE_PARTS];
    bool finished, found;
    float *factor, *solution, *room; /* n x n; n x outputs each */
    organ_product *products;         /* one for each row of tiles */
    unsigned char *scratch;          /* `worker_bytes` for each worker, the same for products */
    size_t worker_bytes;
    /* By the tokens: */
    float *inputs, *wanted, *gram; /* a row for each block of a token; tokens x outputs; Z Z^T */
    uint32_t *block, *token;       /* of each row of inputs. Once finished these go by block and then token: */
    size_t *begin;                 /* where those of each block begin, blocks + 1 */
};

/* How the two ways differ. */
typedef struct organ_ridge_way {
    uint64_t worker_bytes; /* beside those of products */
    bool (*take_memory)(organ_ridge *ridge);
    void (*add)(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks, const float *inputs, const float *wanted);
    void (*finish)(organ_ridge *ridge); /* after the last token: sets the traces */
    /* The normal matrix of all tokens, or of FIT alone, with `shift` on its diagonal, to `factor`; *sides becomes what stands beside it, a
     * row for each of its rows, the number of which is returned. */
    size_t (*prepare)(organ_ridge *ridge, bool all, double shift, const float **sides);
    double (*rest)(organ_ridge *ridge); /* ||R - Z D||^2 over the tokens held back, for the solution of FIT */
    void (*block)(organ_ridge *ridge, size_t block, float *values);
} organ_ridge_way;

extern const organ_ridge_way organ_ridge_by_inputs, organ_ridge_by_tokens;

#endif
