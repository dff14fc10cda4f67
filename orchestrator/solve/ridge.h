/* SPDX-License-Identifier: MIT
 * Ridge regression over tokens: D = argmin ||R - Z D||^2 + lambda m ||D||^2. Row x of Z has the inputs of token x, row
 * x of R the desired change of its outputs, and m is the mean of the diagonal of Z^T Z.
 *
 * With at most as many inputs as tokens, D = (Z^T Z + lambda m I)^-1 Z^T R is solved, whose normal matrix has a row for
 * each input. Otherwise D = Z^T (Z Z^T + lambda m I)^-1 R, which is equal, is solved: the normal matrix has a row for
 * each token. Inputs may consist of blocks of which each token uses few, such as the experts of a mixture. If there are
 * too many inputs and tokens for a normal matrix, D is solved block by block, which approximates the same solution. The
 * choice depends only on the shape. The result has the same bits on every machine, for any number of threads and any
 * division of the tokens into calls. */
#ifndef ORGAN_SOLVE_RIDGE_H
#define ORGAN_SOLVE_RIDGE_H

#include <organ/stream.h>

/* A token is either of part FIT, to which D is fitted while lambda is chosen, or of part HELD, the held-out tokens on
 * which lambda is judged. */
typedef enum organ_ridge_part { ORGAN_RIDGE_FIT, ORGAN_RIDGE_HELD, ORGAN_RIDGE_PARTS } organ_ridge_part;

typedef struct organ_ridge_shape {
    const char *name;                 /* for messages; must outlive the ridge */
    size_t tokens[ORGAN_RIDGE_PARTS]; /* number of tokens of each part that will be added; at least 1 of FIT */
    size_t blocks, width;             /* Z has `blocks` blocks of `width` inputs */
    size_t used;                      /* number of blocks that each token uses; its inputs of the other blocks are 0 */
    size_t outputs;                   /* columns of R and D */
    size_t largest;                   /* for tests: replaces ORGAN_RIDGE_LARGEST; 0: does not */
    /* Directory for a file with the inputs of tokens, if D is solved block by block; NULL: they are in memory. Changes
     * no bit of the result. Must outlive the ridge. */
    const char *scratch;
} organ_ridge_shape;

/* Greatest number of rows of a normal matrix if there are several blocks; above it D is solved block by block. */
#define ORGAN_RIDGE_LARGEST ((size_t)8192)
/* Greatest number of inputs of a block that are solved for at a time if D is solved block by block. */
#define ORGAN_RIDGE_PIECE ((size_t)2048)

/* Returns how D is solved for a shape: "inputs" or "tokens", after the rows of the normal matrix, or "blocks". */
const char *organ_ridge_solved_by(const organ_ridge_shape *shape);

typedef struct organ_ridge organ_ridge; /* a regression: sums over the tokens added so far, and D */

/* Returns an upper bound of the bytes that a ridge of this shape allocates; at most 2^62. */
uint64_t organ_ridge_memory(const organ_engine *engine, const organ_ridge_shape *shape);

/* Opens a ridge; `engine` must outlive it. Returns ORGAN_USAGE for a shape without inputs, outputs or tokens, or for
 * too many of them; ORGAN_IO if memory cannot be allocated or the scratch directory has too little space. *ridge is
 * then NULL. */
organ_status organ_ridge_open(const organ_ridge_shape *shape, const organ_engine *engine, organ_ridge **ridge,
                              organ_error *error);
void organ_ridge_close(organ_ridge *ridge); /* NULL is allowed */

/* Adds tokens of a part. `blocks`: [tokens][used], indices of the blocks that each token uses, ascending; NULL if each
 * token uses all blocks. `inputs`: [tokens][used][width]. `target`: [tokens][outputs], the rows of R. Returns
 * ORGAN_BAD_INPUT, naming the token, for a value that is not finite or beyond 1e15; ORGAN_USAGE for more tokens than
 * the shape has; ORGAN_IO if the scratch file cannot be written. */
organ_status organ_ridge_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                             const float *inputs, const float *target, organ_error *error);

#define ORGAN_RIDGE_LAMBDAS 5
extern const double organ_ridge_lambdas[ORGAN_RIDGE_LAMBDAS]; /* candidates of organ_ridge_choose, ascending */

typedef struct organ_ridge_choice {
    double lambda; /* the chosen lambda; 0: no lambda lowers the error of the held-out tokens, and D is 0 */
    /* Squared error of the held-out tokens: ||R||^2, and ||R - Z D||^2 with D fitted to FIT with this lambda. */
    double before, after;
    double rests[ORGAN_RIDGE_LAMBDAS]; /* `after` for each candidate; NAN: no D was found */
} organ_ridge_choice;

/* Chooses lambda and fits D, after the last token was added. Fits D to the tokens of FIT with each candidate and
 * computes its error on those of HELD; then fits D to all tokens with the best lambda (of equal ones the greater).
 * Returns ORGAN_USAGE if fewer tokens were added than the shape has, or none is held out; ORGAN_INTERRUPTED if a stop
 * was requested; ORGAN_IO for an error of memory or of the scratch file. */
organ_status organ_ridge_choose(organ_ridge *ridge, organ_ridge_choice *choice, organ_error *error);

/* Fits D to the tokens of FIT with a given lambda > 0 and sets *rest to ||R - Z D||^2 over those of HELD; NAN: no D was
 * found. Returns the errors of organ_ridge_choose. */
organ_status organ_ridge_judge(organ_ridge *ridge, double lambda, double *rest, organ_error *error);
/* Returns ||R||^2 over the held-out tokens that were added: the error of D = 0. */
double organ_ridge_held_energy(const organ_ridge *ridge);

/* Fits D to all tokens, FIT and HELD, with a given lambda > 0. Sets *found to false, and D to 0, if all inputs are 0 or
 * the normal matrix is singular in FP32. Returns the errors of organ_ridge_choose; no token need be held out. */
organ_status organ_ridge_solve(organ_ridge *ridge, double lambda, bool *found, organ_error *error);

/* Writes the rows of D that belong to block `block`, transposed as a layer stores them: [outputs][width]. Writes zeros
 * if no D was found. */
void organ_ridge_block(organ_ridge *ridge, size_t block, float *values);

/* Estimate for dry runs: average number of sweeps over all inputs if D is solved block by block, over all lambdas of
 * organ_ridge_choose together. */
#define ORGAN_RIDGE_SWEEPS 60.0

#endif
