/* SPDX-License-Identifier: MIT
 * Encodings: the ways in which quantize stores a matrix. Each is a row of one table that has the values that codes can
 * represent, the types of the output's tensors and the file format. quantize plans, writes and reports a model by these
 * rows.
 *
 *   compressed-tensors   NAME.weight (codes of one byte) or NAME.weight_packed and NAME.weight_shape (codes in words of
 *                        32 bits), and NAME.weight_scale or NAME.weight_scale_inv; config.json names the encoding
 *   GGUF                 one tensor of blocks, which contain their scales; key-values name the encoding */
#ifndef ORGAN_ENCODING_H
#define ORGAN_ENCODING_H

#include "formats/tensor/tensor.h"
#include "orchestrator/surgery/precision/grid.h"

#define ORGAN_MIN_GROUP 32 /* columns of the smallest group */

/* The encodings of GGUF models, for messages. */
#define ORGAN_GGUF_SCHEMES "q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k"

typedef struct organ_encoding {
    const char *name; /* name in --scheme */
    organ_grid grid;  /* ORGAN_SCALE_GGUF: the output is GGUF */
    /* Type of the tensor of codes or blocks; ORGAN_I32: codes of less than a byte packed into words. */
    organ_dtype codes;
    organ_dtype scales;   /* type of the tensor of scales; ORGAN_DTYPE_COUNT: blocks contain them */
    const char *narrower; /* GGUF: name of the encoding for rows that are not whole blocks of this one; NULL: none */
    int64_t file_type;    /* GGUF: general.file_type as llama.cpp numbers it */
} organ_encoding;

/* ---- the table ---- */

/* Returns the encoding with this name; NULL if there is none. All encodings are constants. */
const organ_encoding *organ_encoding_named(const char *name);
/* Returns whether each target has its own number of bits (--scheme mixed); grid.bits is then the greatest. */
bool organ_encoding_is_mixed(const organ_encoding *encoding);
bool organ_encoding_is_gguf(const organ_encoding *encoding);
bool organ_encoding_is_packed(const organ_encoding *encoding);
/* Returns the encoding for rows of `cols` values: `requested` if `cols` is a multiple of its group or block. Otherwise
 * the encoding with the same bits and the widest smaller group that divides `cols`, or for GGUF the narrower encoding;
 * NULL if there is none. Encodings without groups fit all lengths. */
const organ_encoding *organ_encoding_fitting(const organ_encoding *requested, uint64_t cols);

/* ---- rows ---- */

/* Returns the bytes of the codes or blocks of a row of `cols` values. */
size_t organ_encoding_row_bytes(const organ_encoding *encoding, size_t cols);
/* Returns the number of rows that share their scales in a matrix of `rows` rows: 128 if a scale covers a block of the
 * matrix, all `rows` if it covers the tensor, else 1. */
size_t organ_encoding_band(const organ_encoding *encoding, size_t rows);

/* Writes to `codes` the codes nearest to the values of a row; `scales` has the scales of its groups. For GGUF `scales`
 * has the numbers of organ_grid_numbers, and each value must equal a code times these numbers (see organ_grid_join). */
void organ_encoding_encode(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                           const float *scales, size_t cols, void *codes);
/* Searches for the best scales of each GGUF block of `rows` rows and writes the blocks. Only for GGUF encodings.
 * `weights` has for each column the weight of a squared error; NULL: all columns have the same weight. */
void organ_encoding_fit(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                        const float *weights, size_t rows, size_t cols, void *blocks);
/* Decodes the stored codes of a row to FP32. GGUF encodings ignore `scales`, and `cols` may then be the columns of
 * several consecutive rows together. */
void organ_encoding_decode(const organ_encoding *encoding, const organ_kernels *kernels, const void *codes,
                           const float *scales, size_t cols, float *values);

/* Return the bytes of a stored scale (0 for GGUF), and convert n scales to the stored type and back. */
size_t organ_encoding_scale_bytes(const organ_encoding *encoding);
void organ_encoding_store_scales(const organ_encoding *encoding, const organ_kernels *kernels, const float *scales,
                                 size_t n, void *stored);
void organ_encoding_load_scales(const organ_encoding *encoding, const organ_kernels *kernels, const void *stored,
                                size_t n, float *scales);

/* ---- errors ---- */

/* Sums over values of their squares and of the squares of their quantisation errors; the relative error is the root of
 * their quotient. */
typedef struct organ_encoding_loss {
    double squares, error_squares;
} organ_encoding_loss;

/* Indices of an array of organ_encoding_loss: ORGAN_LOSS weighs all values alike, ORGAN_LOSS_WEIGHTED by the columns'
 * imatrix weights. */
enum { ORGAN_LOSS, ORGAN_LOSS_WEIGHTED, ORGAN_LOSSES };
/* Number of sums that the encoding can have: ORGAN_LOSSES for GGUF, else 1. */
size_t organ_encoding_losses(const organ_encoding *encoding);

/* Adds `more` to `sums`, both arrays of organ_encoding_losses entries. */
void organ_encoding_add_losses(const organ_encoding *encoding, organ_encoding_loss *sums,
                               const organ_encoding_loss *more);
/* Adds the squares and error squares of `rows` rows to `sums`. `values` are the original values, `back` the decoded
 * ones. `roots` has the square root of each column's weight; NULL: adds only to sums[ORGAN_LOSS]. Overwrites `back`,
 * and with `roots` also `values`. */
void organ_encoding_add_row_losses(const organ_kernels *kernels, float *values, float *back, const float *roots,
                                   size_t rows, size_t cols, organ_encoding_loss *sums);

#endif
