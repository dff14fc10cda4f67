/* SPDX-License-Identifier: MIT
 * Products of numbers with the matrix of a rotation (organ_rotation), which is stored or follows from its size. */
#ifndef ORGAN_STREAM_TURN_H
#define ORGAN_STREAM_TURN_H

#include "formats/weights/weight_search.h"

/* The square matrix R of a rotation: rotation->matrix times rotation->factor, or a Hadamard matrix. */
typedef struct organ_turn organ_turn;

/* Reads the matrix. A stored matrix that is a Hadamard matrix with random signs is recognised, so that a product needs
 * few additions; any other matrix of more than ORGAN_TURN_HELD rows stays in the file. Returns ORGAN_BAD_INPUT if a
 * permutation is none, or a stored number is not finite; ORGAN_IO if a read failed. *turn is NULL on error. */
organ_status organ_turn_open(const organ_model *model, const organ_rotation *rotation, organ_turn **turn,
                             organ_error *error);
void organ_turn_close(organ_turn *turn); /* NULL is allowed */
#define ORGAN_TURN_HELD ((uint64_t)512)

/* Returns whether the matrix is in memory, so that products need no file. */
bool organ_turn_is_held(const organ_turn *turn);

/* Replaces each row of `cols` numbers, a multiple of the size, by the products of its parts with R, or R^T if
 * `transposed`. `spare` has organ_turn_spare bytes, 64-byte aligned. The order of sums depends on the size alone.
 * Returns ORGAN_IO if a read failed. */
organ_status organ_turn_rows(const organ_turn *turn, bool transposed, double *x, size_t rows, size_t cols, void *spare,
                             organ_error *error);
size_t organ_turn_spare(const organ_rotation *rotation, size_t rows, size_t cols);

/* Writes R[row][first .. first + count). `spare`: organ_turn_spare bytes. */
organ_status organ_turn_values(const organ_turn *turn, uint64_t row, uint64_t first, uint64_t count, double *values,
                               void *spare, organ_error *error);

/* Returns the largest power of two s of at most `most` for which A[k][b s + r] g(b s + r) = A[k][b s] g(b s) S[k %
 * s][r] for all k, b and r < s, where A is R, or R^T if `transposed`, S the matrix of Sylvester, and g organ_turn_sign.
 */
uint64_t organ_turn_period(const organ_turn *turn, uint64_t most);
/* Returns the sign 1 or -1 of a column of R, or of R^T. */
double organ_turn_sign(const organ_turn *turn, bool transposed, uint64_t column);

#endif
