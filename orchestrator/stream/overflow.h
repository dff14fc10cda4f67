/* SPDX-License-Identifier: MIT
 * Finite values that exceed the range of the type in which an output stores them: rounding would make them, or the
 * scale of their block, infinite. They are counted where values are converted, and refused or limited. The model's own
 * infinite values and NaN are kept. */
#ifndef ORGAN_OVERFLOW_H
#define ORGAN_OVERFLOW_H

#include <organ/base.h>
#include <organ/models.h>
#include <organ/kernels.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The treatment of such values in an output, and their number. Made by ORGAN_OVERFLOW; all threads may share one. */
typedef struct organ_overflow {
    bool saturate;        /* store the greatest finite value of the type, with the sign; false: refuse */
    pthread_mutex_t lock; /* guards the members below */
    uint64_t values;      /* number of values that were limited */
    char first[160];      /* name of a tensor that has some, the first in the order of strcmp */
    organ_dtype dtype;    /* the type of that tensor in the output */
} organ_overflow;

#define ORGAN_OVERFLOW(saturates)                                                                                      \
    {                                                                                                                  \
        .saturate = (saturates), .lock = PTHREAD_MUTEX_INITIALIZER                                                     \
    }

/* Returns the greatest magnitude that `dtype` can store in any block: 65504 for F16, BF16's greatest finite value, and
 * for GGUF blocks the value with which their F16 scale is still finite. INFINITY for other types. */
float organ_overflow_limit(organ_dtype dtype);

/* Returns how many of the values are finite, but not finite in `units`, which stores them as `dtype`. */
uint64_t organ_overflow_count(const organ_kernels *kernels, organ_dtype dtype, const float *values, const void *units,
                              size_t units_count);

/* Reports that `count` values of a tensor, at least 1, exceed the range of `dtype`. With `saturate` adds them to the
 * totals; otherwise returns ORGAN_BAD_INPUT and names the tensor, the type and its limit. */
organ_status organ_overflow_found(organ_overflow *overflow, const char *tensor, organ_dtype dtype, uint64_t count,
                                  organ_error *error);

/* Replaces finite values of greater magnitude than `limit` by it, with their sign. */
void organ_overflow_clamp(float *values, size_t n, float limit);

/* Like organ_narrow for values of `tensor`. Values beyond the range are limited, in `values` too, or refused with the
 * error of organ_overflow_found. */
organ_status organ_overflow_narrow(organ_overflow *overflow, const organ_kernels *kernels, organ_dtype dtype,
                                   const char *tensor, float *values, void *units, size_t units_count,
                                   organ_error *error);

#endif
