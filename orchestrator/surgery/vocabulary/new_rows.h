/* SPDX-License-Identifier: MIT
 * The rows of new tokens: each is the mean of rows that a table has. */
#ifndef ORGAN_SURGERY_VOCABULARY_NEW_ROWS_H
#define ORGAN_SURGERY_VOCABULARY_NEW_ROWS_H

#include <organ/kernels.h>
#include <organ/models.h>

/* Means of rows of a tensor in F32, F16 or BF16. */
typedef struct organ_mean_rows {
    const organ_model *model;
    const organ_tensor *tensor;
    const organ_kernels *kernels;
    size_t width; /* values of a row */
    unsigned char *stored;
    float *values;
    double *sums;
} organ_mean_rows;

/* Returns ORGAN_BAD_INPUT, naming the tensor, for values of another type; ORGAN_IO if memory is exhausted. The caller
 * releases *means in any case. */
organ_status organ_mean_rows_open(organ_mean_rows *means, const organ_model *model, const organ_tensor *tensor,
                                  const organ_kernels *kernels, organ_error *error);
void organ_mean_rows_release(organ_mean_rows *means);

/* Returns the mean of `count` rows as the tensor stores a row: sums and quotient in FP64, rounded to FP32, then to the
 * stored type. The same row may occur twice. Valid until the next call; NULL if a row cannot be read. */
const void *organ_mean_rows_next(organ_mean_rows *means, const uint32_t *rows, size_t count, organ_error *error);

#endif
