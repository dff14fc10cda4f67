/* SPDX-License-Identifier: MIT
 * Encodings: the ways in which organ quantize stores a matrix. An encoding is a row of one table: the values that codes
 * can represent, the types of the output's tensors, and the format of the file.
 *
 *   compressed-tensors   NAME.weight (codes of one byte) or NAME.weight_packed and NAME.weight_shape (codes in words of
 *                        32 bits), and NAME.weight_scale or NAME.weight_scale_inv; config.json names the encoding
 *   GGUF                 one tensor of blocks, which contain their scales; key-values name the encoding */
#ifndef ORGAN_ENCODING_H
#define ORGAN_ENCODING_H

#include <organ/models.h>
#include "orchestrator/surgery/precision/grid.h"

#define ORGAN_MIN_GROUP 32 /* columns of the smallest group */

/* The encodings of GGUF models, for messages. */
#define ORGAN_GGUF_SCHEMES "q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k"

typedef struct organ_encoding {
    const char *name; /* name in --scheme */
    organ_grid grid;  /* values that codes can represent; ORGAN_SCALE_GGUF: the output is GGUF */
    /* Type of the tensor of codes or blocks. ORGAN_I32: codes are packed into words of 32 bits. */
    organ_dtype codes;
    organ_dtype scales;   /* type of the tensor of scales; ORGAN_DTYPE_COUNT: GGUF, whose blocks contain the scales */
    const char *narrower; /* GGUF: name of the encoding for rows that are not whole blocks of this one; NULL: none */
    int64_t file_type;    /* GGUF: value of general.file_type, by the numbers of llama.cpp */
} organ_encoding;

/* ---- the table ---- */

/* Returns the encoding with this name, a constant; NULL if there is none. */
const organ_encoding *organ_encoding_named(const char *name);
/* Returns whether the encoding is that of --scheme mixed, which stands for a number of bits chosen for each target; its
 * grid has the greatest number of bits and the smallest groups. */
bool organ_encoding_is_mixed(const organ_encoding *encoding);
/* Returns whether the encoding is for GGUF models; else it is for safetensors models. */
bool organ_encoding_is_gguf(const organ_encoding *encoding);
/* Returns whether codes are packed into words of 32 bits. */
bool organ_encoding_is_packed(const organ_encoding *encoding);
/* Returns the encoding for rows of `cols` values: `requested` if `cols` is a multiple of its group or block. Otherwise
 * the encoding with the same bits and the largest smaller group that divides `cols`, or for GGUF `requested->narrower`,
 * if it fits; NULL if none does. Encodings without groups fit all lengths. */
const organ_encoding *organ_encoding_fitting(const organ_encoding *requested, uint64_t cols);

/* ---- rows ---- */

/* Returns the bytes of the codes or blocks of a row of `cols` values. */
size_t organ_encoding_row_bytes(const organ_encoding *encoding, size_t cols);
/* Returns the number of consecutive rows that share their scales in a matrix of `rows` rows (organ_grid_band). */
size_t organ_encoding_band(const organ_encoding *encoding, size_t rows);

/* Encodes a row of `cols` values to the codes nearest to them; `scales` has the scales of its groups. For GGUF writes
 * blocks: `scales` has the numbers of organ_grid_numbers, and each value must equal a code times these numbers
 * (organ_grid_join). */
void organ_encoding_encode(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                           const float *scales, size_t cols, void *codes);
/* Searches for the scales of each GGUF block with the least error and writes the blocks of `rows` rows. Only for GGUF.
 * `weights` has the weight of each column's squared errors; NULL: all are equal. */
void organ_encoding_fit(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                        const float *weights, size_t rows, size_t cols, void *blocks);
/* Decodes the stored codes of a row to FP32; `scales` has the scales of its groups. For GGUF `scales` is ignored, and
 * `cols` may be the number of values of several consecutive rows. */
void organ_encoding_decode(const organ_encoding *encoding, const organ_kernels *kernels, const void *codes,
                           const float *scales, size_t cols, float *values);

/* Returns the bytes of a scale in the tensor of scales; 0 for GGUF. */
size_t organ_encoding_scale_bytes(const organ_encoding *encoding);
/* Converts n scales to the type of the tensor of scales. Not for GGUF. */
void organ_encoding_store_scales(const organ_encoding *encoding, const organ_kernels *kernels, const float *scales,
                                 size_t n, void *stored);
/* Converts n scales from the type of the tensor of scales to FP32. Not for GGUF. */
void organ_encoding_load_scales(const organ_encoding *encoding, const organ_kernels *kernels, const void *stored,
                                size_t n, float *scales);

/* ---- errors ---- */

/* Sums of the squares of values and of their quantisation errors. The relative error is sqrt(error_squares / squares).
 */
typedef struct organ_encoding_loss {
    double squares, error_squares;
} organ_encoding_loss;

/* Indices of an array of losses: ORGAN_LOSS gives all columns the same weight; ORGAN_LOSS_WEIGHTED, only for GGUF,
 * gives each column its imatrix weight. */
enum { ORGAN_LOSS, ORGAN_LOSS_WEIGHTED, ORGAN_LOSSES };
/* Returns the length of an array of losses: ORGAN_LOSSES for GGUF, else 1. */
size_t organ_encoding_losses(const organ_encoding *encoding);

/* Adds `more` to `sums`, arrays of organ_encoding_losses entries. */
void organ_encoding_add_losses(const organ_encoding *encoding, organ_encoding_loss *sums,
                               const organ_encoding_loss *more);
/* Adds the squares and error squares of `rows` rows to `sums`. `values`: the original values; `back`: the decoded ones;
 * `roots`: root of each column's weight, NULL: adds only to sums[ORGAN_LOSS]. With `roots` overwrites `values` and
 * `back`. */
void organ_encoding_add_row_losses(const organ_kernels *kernels, float *values, float *back, const float *roots,
                                   size_t rows, size_t cols, organ_encoding_loss *sums);

#endif
