/* SPDX-License-Identifier: MIT
 * Ridge regression over tokens: D = argmin ||R - Z D||^2 + lambda m ||D||^2, where row x of Z has the inputs of token
 * x, row x of R what is to be added to its outputs, and m is the mean of the diagonal of Z^T Z. Where the inputs are no
 * more than the tokens, by the inputs: (Z^T Z + lambda m I)^-1 Z^T R; else by the tokens: Z^T (Z Z^T + lambda m I)^-1
 * R, which is the same. Inputs may come as blocks of which each token has few: those of a mixture's experts. Where
 * neither inputs nor tokens are few enough for such a matrix, it is solved block by block, which comes near to the
 * same. The shape alone decides. The same bits on every machine, for any number of threads and however the tokens are
 * cut into calls. */
#ifndef ORGAN_RIDGE_H
#define ORGAN_RIDGE_H

#include "orchestrator/stream/pass.h"

/* Tokens that D is fitted to while lambda is chosen, and those that are held back to judge it. */
typedef enum organ_ridge_part { ORGAN_RIDGE_FIT, ORGAN_RIDGE_HELD, ORGAN_RIDGE_PARTS } organ_ridge_part;

typedef struct organ_ridge_shape {
    const char *name;                 /* for messages; must outlive the ridge */
    size_t tokens[ORGAN_RIDGE_PARTS]; /* that come; of FIT at least 1 */
    size_t blocks, width,
        used; /* inputs: blocks of `width`, of which a token has `used`; the others are zeros for it */
    size_t outputs;
    size_t largest;      /* 0: ORGAN_RIDGE_LARGEST. Tests take less */
    const char *scratch; /* block by block: a directory for what blocks get, with the same bits; NULL: memory. Must
                            outlive the ridge */
} organ_ridge_shape;

/* Rows of a matrix that is solved as one, where there are several blocks,. */
#define ORGAN_RIDGE_LARGEST ((size_t)8192)
#define ORGAN_RIDGE_PIECE   ((size_t)2048) /* and inputs of a block that are solved for at once where not */

/* What goes into the matrix that is inverted: "inputs", "tokens" or "blocks". */
const char *organ_ridge_solved_by(const organ_ridge_shape *shape);

typedef struct organ_ridge organ_ridge;

/* Bytes that it takes at most, whatever the number of threads: what each of these has for itself comes on top. 2^62
 * where that is more. */
uint64_t organ_ridge_memory(const organ_ridge_shape *shape);

/* `engine` must outlive it. ORGAN_USAGE for a shape without inputs, outputs or tokens, ORGAN_IO without memory or room
 * in the scratch directory; then *ridge is NULL. */
organ_status organ_ridge_open(const organ_ridge_shape *shape, const organ_engine *engine, organ_ridge **ridge,
                              organ_error *error);
void organ_ridge_close(organ_ridge *ridge); /* NULL is allowed */

/* The next tokens of a part. `blocks`: tokens x used, ascending for each token; NULL where a token has all. `inputs`:
 * tokens x used x width. `wanted`: tokens x outputs. ORGAN_BAD_INPUT for a value that is not finite or beyond 1e15,
 * named by token; ORGAN_USAGE for more tokens than were announced; ORGAN_IO. */
organ_status organ_ridge_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                             const float *inputs, const float *wanted, organ_error *error);

#define ORGAN_RIDGE_LAMBDAS 5
extern const double organ_ridge_lambdas[ORGAN_RIDGE_LAMBDAS]; /* that are tried, ascending */

/* What was chosen on the tokens held back. */
typedef struct organ_ridge_choice {
    double lambda; /* 0: none makes the rest smaller, D is 0 */
    double before,
        after; /* ||R||^2 over the tokens held back, and ||R - Z D||^2 with D fitted to the others by lambda */
    double rests[ORGAN_RIDGE_LAMBDAS]; /* of each lambda; NAN where no D was found */
} organ_ridge_choice;

/* After the last token. Fits D to the tokens of FIT by each lambda and judges it on those of HELD, of which there must
 * be some; then fits it to all tokens by the best (of equals the greater). ORGAN_USAGE where fewer tokens came than
 * were announced, or none is held back; ORGAN_INTERRUPTED; ORGAN_IO. */
organ_status organ_ridge_choose(organ_ridge *ridge, organ_ridge_choice *choice, organ_error *error);

/* The same by one lambda > 0, to all tokens of both parts. *found becomes false, and D 0, where the inputs are all 0 or
 * FP32 does not tell their matrix from one that has no inverse. */
organ_status organ_ridge_solve(organ_ridge *ridge, double lambda, bool *found, organ_error *error);

/* Of D what is behind block `block`, as a layer has it: values is outputs x width. Zeros before D was found. */
void organ_ridge_block(organ_ridge *ridge, size_t block, float *values);

/* Of the plan of a dry run: how often, on average, a solution goes through all of its inputs. */
#define ORGAN_RIDGE_SWEEPS 60.0

#endif
