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

/* The parts of the tokens: those to which D is fitted while lambda is chosen, and held-out ones that judge it. */
typedef enum organ_ridge_part { ORGAN_RIDGE_FIT, ORGAN_RIDGE_HELD, ORGAN_RIDGE_PARTS } organ_ridge_part;

/* The sizes of a regression. */
typedef struct organ_ridge_shape {
    const char *name;                 /* for messages; must outlive the ridge */
    size_t tokens[ORGAN_RIDGE_PARTS]; /* number of tokens of each part that will be added; FIT has at least 1 */
    size_t blocks, width, used; /* inputs are `blocks` blocks of `width`; a token uses `used` blocks, and its inputs of
                                   other blocks are 0 */
    size_t outputs;
    size_t largest;      /* replaces ORGAN_RIDGE_LARGEST in tests; 0: no replacement */
    const char *scratch; /* directory for the inputs of tokens if D is solved block by block; NULL: they are in memory.
                            Does not change bits. Must outlive the ridge */
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

/* Opens a ridge; `engine` must outlive it. Returns ORGAN_USAGE for a shape without inputs, outputs or tokens; ORGAN_IO
 * if memory cannot be allocated or the scratch directory has no room; then *ridge is NULL. */
organ_status organ_ridge_open(const organ_ridge_shape *shape, const organ_engine *engine, organ_ridge **ridge,
                              organ_error *error);
void organ_ridge_close(organ_ridge *ridge); /* NULL is allowed */

/* Adds tokens of a part. `blocks`: tokens x used indices, ascending for each token; NULL if each token uses all blocks.
 * `inputs`: tokens x used x width. `target`: tokens x outputs, the rows of R. Returns ORGAN_BAD_INPUT, naming the
 * token, for a value that is not finite or beyond 1e15; ORGAN_USAGE for more tokens than the shape has; ORGAN_IO if the
 * scratch file cannot be written. */
organ_status organ_ridge_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                             const float *inputs, const float *target, organ_error *error);

#define ORGAN_RIDGE_LAMBDAS 5
extern const double organ_ridge_lambdas[ORGAN_RIDGE_LAMBDAS]; /* candidates, ascending */

/* The choice of lambda on the held-out tokens. */
typedef struct organ_ridge_choice {
    double lambda;        /* the chosen lambda; 0: no lambda lowers the error of the held-out tokens, and D is 0 */
    double before, after; /* error of the held-out tokens: ||R||^2, and ||R - Z D||^2 with D fitted to FIT */
    double rests[ORGAN_RIDGE_LAMBDAS]; /* ||R - Z D||^2 of the held-out tokens for each lambda; NAN if no D was found */
} organ_ridge_choice;

/* Called after the last token. Fits D to the tokens of FIT with each lambda and judges it on those of HELD; then fits
 * it to all tokens with the best lambda (of equal ones the greater). Returns ORGAN_USAGE if fewer tokens were added
 * than the shape has, or none is held out; ORGAN_INTERRUPTED if the engine is stopped; ORGAN_IO for an error of memory
 * or of the scratch file. */
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
