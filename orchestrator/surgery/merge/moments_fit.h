/* SPDX-License-Identifier: MIT
 * The least-squares mean of matrices with the same inputs. Of model k: the weights W_k, the inputs x_k in the model
 * itself and x in the merged model, over tokens of the model's text. The fitted W minimises
 *
 *   sum_k w_k E |W x - W_k y|^2 + ridge m |W - M|^2
 *
 * M are given weights (the mean of the W_k), m is the mean of the diagonal of sum_k w_k E x x^T. y is x_k, so that the
 * drift of the merged model's inputs is corrected (arXiv 2605.13030), or x (RegMean, arXiv 2212.09849). Results have
 * the same bits on every machine and for any number of threads. */
#ifndef ORGAN_SURGERY_MERGE_MOMENTS_FIT_H
#define ORGAN_SURGERY_MERGE_MOMENTS_FIT_H

#include "orchestrator/surgery/calibration/calibration.h"

typedef struct organ_moments_fit organ_moments_fit;

/* The moments of one model. */
typedef struct organ_moments_part {
    double weight;                     /* w_k */
    const organ_input_moments *inputs; /* of x; with C (x_k^T x) if y is x_k */
    const organ_input_moments *own;    /* of x_k; NULL: y is x */
} organ_moments_part;

/* Most rows of a call of organ_moments_fit_add and of organ_moments_fit_solve. */
#define ORGAN_MOMENTS_ROWS ((size_t)512)

/* Returns an upper bound of the bytes that a fit of matrices with `rows` rows together allocates. `drift`: with
 * organ_moments_part.own. */
uint64_t organ_moments_fit_memory(const organ_engine *engine, uint64_t features, uint64_t rows, bool drift);

/* Opens a fit of `count` matrices of rows[i] x features. `name` is for messages; it, `rows` and `engine` must outlive
 * the fit. Returns ORGAN_IO, with *fit NULL, if memory cannot be allocated. */
organ_status organ_moments_fit_open(const organ_engine *engine, const char *name, size_t features, const size_t *rows,
                                    size_t count, organ_moments_fit **fit, organ_error *error);
void organ_moments_fit_close(organ_moments_fit *fit); /* NULL is allowed */

/* Begins the next model; the moments may be released afterwards. Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_moments_fit_begin(organ_moments_fit *fit, const organ_moments_part *part, organ_error *error);
/* Adds rows [first, first + rows) of matrix `matrix` of this model, `weights`, with the same rows of M. Called once for
 * each row of each matrix after organ_moments_fit_begin. */
void organ_moments_fit_add(organ_moments_fit *fit, size_t matrix, size_t first, size_t rows, const float *weights,
                           const float *mean);

/* Factors the normal matrix, after the last model. Returns ORGAN_BAD_INPUT if it is singular in FP32, ORGAN_IO if
 * memory cannot be allocated. */
organ_status organ_moments_fit_factor(organ_moments_fit *fit, double ridge, organ_error *error);
/* Computes W - M for some rows of a matrix; the result is valid until the fit is closed. Called once for each row, in
 * ascending order. Returns NULL if memory cannot be allocated. */
const float *organ_moments_fit_solve(organ_moments_fit *fit, size_t matrix, size_t first, size_t rows);

/* Sets sum_k w_k E |. - W_k y|^2 over the rows of a matrix that were solved: with M, and with W. */
void organ_moments_fit_errors(const organ_moments_fit *fit, size_t matrix, double *before, double *after);

#endif
