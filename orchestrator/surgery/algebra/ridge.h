/* SPDX-License-Identifier: MIT
 * Ridge regression over tokens: D = argmin ||R - Z D||^2 + lambda m ||D||^2. Row x of Z has the inputs of token x, row
 * x of R the desired change of its outputs, and m is the mean of the diagonal of Z^T Z.
 *
 * With at most as many inputs as tokens the normal matrix is that of the inputs: D = (Z^T Z + lambda m I)^-1 Z^T R.
 * Otherwise it is that of the tokens: D = Z^T (Z Z^T + lambda m I)^-1 R, which is equal. Inputs may consist of blocks
 * of which each token uses few, such as the experts of a mixture. If both numbers are too large for such a matrix, D is
 * solved block by block, which approximates the same solution. The choice depends only on the shape. The result has the
 * same bits on every machine, for any number of threads and any division of the tokens into calls. */
#ifndef ORGAN_RIDGE_H
#define ORGAN_RIDGE_H

#include "orchestrator/stream/pass.h"

/* Tokens to which D is fitted while lambda is chosen, and held-out tokens that judge it. */
typedef enum organ_ridge_part { ORGAN_RIDGE_FIT, ORGAN_RIDGE_HELD, ORGAN_RIDGE_PARTS } organ_ridge_part;

typedef struct organ_ridge_shape {
    const char *name;                 /* for messages; must outlive the ridge */
    size_t tokens[ORGAN_RIDGE_PARTS]; /* number of tokens that will be added; of FIT at least 1 */
    size_t blocks, width,
        used; /* inputs: blocks of `width`, of which a token has `used`; the others are zeros for it */
    size_t outputs;
    size_t largest;      /* 0: ORGAN_RIDGE_LARGEST. Tests take less */
    const char *scratch; /* block by block: a directory for what blocks get, with the same bits; NULL: memory. Must
                            outlive the ridge */
} organ_ridge_shape;

/* Largest normal matrix (rows) that is solved as one if there are several blocks. */
#define ORGAN_RIDGE_LARGEST ((size_t)8192)
/* Most inputs of a block that are solved together in the solution block by block. */
#define ORGAN_RIDGE_PIECE ((size_t)2048)

/* Returns the way of solving for a shape: "inputs", "tokens" or "blocks", the rows of the normal matrix. */
const char *organ_ridge_solved_by(const organ_ridge_shape *shape);

typedef struct organ_ridge organ_ridge;

/* Returns an upper bound of the bytes of a ridge, without the scratch of each thread; at most 2^62. */
uint64_t organ_ridge_memory(const organ_ridge_shape *shape);

/* Opens a ridge; `engine` must outlive it. ORGAN_USAGE for a shape without inputs, outputs or tokens; ORGAN_IO without
 * memory or room in the scratch directory; then *ridge is NULL. */
organ_status organ_ridge_open(const organ_ridge_shape *shape, const organ_engine *engine, organ_ridge **ridge,
                              organ_error *error);
void organ_ridge_close(organ_ridge *ridge); /* NULL is allowed */

/* Adds tokens of a part. `blocks`: tokens x used, ascending for each token; NULL if each token uses all. `inputs`:
 * tokens x used x width. `target`: tokens x outputs. ORGAN_BAD_INPUT for a value that is not finite or beyond 1e15 (the
 * message names the token); ORGAN_USAGE for more tokens than the shape has; ORGAN_IO. */
organ_status organ_ridge_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                             const float *inputs, const float *target, organ_error *error);

#define ORGAN_RIDGE_LAMBDAS 5
extern const double organ_ridge_lambdas[ORGAN_RIDGE_LAMBDAS]; /* candidates, ascending */

/* The choice of lambda on the held-out tokens. */
typedef struct organ_ridge_choice {
    double lambda; /* 0: none makes the rest smaller, D is 0 */
    double before,
        after; /* ||R||^2 over the tokens held back, and ||R - Z D||^2 with D fitted to the others by lambda */
    double rests[ORGAN_RIDGE_LAMBDAS]; /* of each lambda; NAN where no D was found */
} organ_ridge_choice;

/* Called after the last token. Fits D to the tokens of FIT with each lambda and judges it on those of HELD; then fits
 * it to all tokens with the best lambda (of equal ones the greater). ORGAN_USAGE if fewer tokens were added than the
 * shape has, or none is held out; ORGAN_INTERRUPTED; ORGAN_IO. */
organ_status organ_ridge_choose(organ_ridge *ridge, organ_ridge_choice *choice, organ_error *error);

/* Fits D to the tokens of FIT and HELD with one lambda > 0. Sets *found to false, and D to 0, if the inputs are all 0
 * or their matrix is singular in FP32. */
organ_status organ_ridge_solve(organ_ridge *ridge, double lambda, bool *found, organ_error *error);

/* Writes the rows of D for block `block`, transposed as a layer stores them: outputs x width. Zeros if no D was found.
 */
void organ_ridge_block(organ_ridge *ridge, size_t block, float *values);

/* An estimate for dry runs: the average number of sweeps over all inputs in a solution block by block. */
#define ORGAN_RIDGE_SWEEPS 60.0

#endif
