/* SPDX-License-Identifier: MIT
 * Blocks of GGUF's types as the numbers that they are made of: for whoever chooses scales and codes by himself. */
#ifndef ORGAN_KERNELS_GGML_PARTS_H
#define ORGAN_KERNELS_GGML_PARTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ORGAN_GGML_GROUPS = 16, ORGAN_GGML_ELEMENTS = 256 }; /* of a block, at most */

/* A value is s code + m, s and m those of its group: s = d, m = m of the block; where scales are coded s = d x the code
 * of the group's scale, m = -(m x the code of its minimum). Each product and each sum is rounded to FP32. */
typedef struct organ_ggml_kind {
    unsigned type; /* as GGUF numbers it */
    unsigned bits; /* of a code */
    size_t elements, group, bytes;
    bool affine; /* codes from 0 on; else around 0, and m is 0 */
    bool coded;  /* 6 bits each, of Q6_K a signed byte */
} organ_ggml_kind;

typedef struct organ_ggml_parts {
    float d, m; /* as F16 has them */
    int8_t scales[ORGAN_GGML_GROUPS], minima[ORGAN_GGML_GROUPS];
    int8_t codes[ORGAN_GGML_ELEMENTS]; /* what they stand for, in the order of the values */
} organ_ggml_parts;

/* Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K; NULL for others. */
const organ_ggml_kind *organ_ggml_kind_of(unsigned type);
/* All but the codes of values. */
void organ_ggml_split(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts);
/* The block of parts that are within the ranges of the kind. */
void organ_ggml_join(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block);

#endif
