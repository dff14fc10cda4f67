/* SPDX-License-Identifier: MIT
 * A second implementation of the search for scales in docs/definitions/gguf.md: group by group, one value at a time. */
#ifndef ORGAN_TESTS_FIT_REFERENCE_H
#define ORGAN_TESTS_FIT_REFERENCE_H
#include <stddef.h>

/* A type whose codes are searched: its number, and the elements and bytes of a block. */
typedef struct fit_type {
    const char *name;
    int number;
    size_t elements, bytes;
} fit_type;
enum { FIT_TYPES = 25 };
extern const fit_type fit_types[FIT_TYPES];

/* The weights of a block for which none are given. */
extern const float reference_ones[256];

/* Quantises one block of the type, with a weight for each value (NULL: none), and writes the dequantised values. */
void reference_fit(const fit_type *type, const float *values, const float *weights, float *meant);

/* The same for Q2_K, Q3_K, IQ4_NL, IQ4_XS, MXFP4 and NVFP4; returns 0 for other types. */
int reference_fit_levels(const fit_type *type, const float *values, const float *weights, float *meant);
/* The same for the types IQ3 and IQ2, and for those with one scale and codes of two to four values, with weights. */
int reference_fit_grid(const fit_type *type, const float *values, const float *weights, float *meant);
int reference_fit_few(const fit_type *type, const float *values, const float *weights, float *meant);
/* The same for IQ1_S and IQ1_M, with weights. */
int reference_fit_shift(const fit_type *type, const float *values, const float *weights, float *meant);

#endif
