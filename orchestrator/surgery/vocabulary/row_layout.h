/* SPDX-License-Identifier: MIT
 * Room surgery/vocabulary: the places of rows in the tensors of a weight. Input: a tensor with something for each row
 * of a weight, and a list of rows. Output: the bytes of the tensor with these rows alone; codes and scales keep their
 * bits.
 */
#ifndef ORGAN_SURGERY_VOCABULARY_ROW_LAYOUT_H
#define ORGAN_SURGERY_VOCABULARY_ROW_LAYOUT_H

#include <organ/stream.h>
#include <organ/weights.h>

enum { ORGAN_ROW_RANK = 4 }; /* most axes of a tensor with rows */

typedef enum organ_row_form {
    ORGAN_ROWS_NONE,    /* nothing in the tensor belongs to single rows */
    ORGAN_ROWS_WHOLE,   /* a row of the tensor belongs to a row of the weight */
    ORGAN_ROWS_COLUMNS, /* a column: codes of GPTQ, scales of GPTQ and AWQ */
    ORGAN_ROWS_FIELDS,  /* a field of the words of each row: codes of AWQ, zero points of GPTQ and AWQ */
    ORGAN_ROWS_STACKED, /* a field of the words of each column: zero points of compressed-tensors */
    ORGAN_ROWS_SHAPE    /* the tensor is the shape of the weight: two numbers [compressed-tensors] */
} organ_row_form;

typedef struct organ_row_layout {
    organ_row_form form;
    uint64_t rows; /* of the weight */
    unsigned bits; /* of a field */
    bool dense;    /* fields cross the borders of words */
    bool awq;      /* the 8 fields of a word are in the order 0 2 4 6 1 3 5 7 */
} organ_row_layout;

/* Finds the layout of a tensor of the weight. Returns ORGAN_BAD_INPUT, naming both, if rows share values of the tensor,
 * such as the scale of an FP8 block. */
organ_status organ_row_layout_find(const organ_weight *weight, const organ_tensor *tensor, organ_row_layout *layout,
                                   organ_error *error);

/* Returns the number of which a number of rows must be a multiple, so that each word is full. */
uint64_t organ_row_layout_multiple(const organ_row_layout *layout);

/* Sets shape[0 .. rank) to the shape of the tensor for a weight with `rows` rows. */
void organ_row_layout_shape(const organ_row_layout *layout, const organ_tensor *tensor, uint64_t rows, uint64_t *shape);

/* The tensor with the rows `ids`, ascending, of a model. */
typedef struct organ_row_choice {
    const organ_model *model;
    const organ_tensor *tensor;
    organ_row_layout layout;
    const uint32_t *ids;
    size_t count;
    const organ_stop *stop;
} organ_row_choice;

/* Returns the choice of those of the `count` ascending ids of tokens that have a row. */
organ_row_choice organ_choice_of(const organ_model *model, const organ_tensor *tensor, const organ_row_layout *layout,
                                 const uint32_t *ids, size_t count, const organ_stop *stop);

/* Returns the bytes of the buffer of organ_choice_pass. */
uint64_t organ_choice_buffer(const organ_row_choice *choice);

/* Passes all bytes of the tensor with the chosen rows (without rows, ORGAN_ROWS_NONE: all its bytes) to `take`,
 * ascending and without gaps: bytes [at, at + count). They are in `buffer`, 64-byte aligned, at an offset of a multiple
 * of 64. Returns errors of organ_model_read and of `take`, and ORGAN_INTERRUPTED. */
typedef organ_status organ_row_sink(void *context, const unsigned char *bytes, uint64_t at, size_t count,
                                    organ_error *error);
organ_status organ_choice_pass(const organ_row_choice *choice, unsigned char *buffer, organ_row_sink *take,
                               void *context, organ_error *error);

#endif
