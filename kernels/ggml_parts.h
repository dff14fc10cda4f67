/* SPDX-License-Identifier: MIT
 * Access to the scales and codes in blocks of GGUF types, for callers that choose scales and codes themselves. */
#ifndef ORGAN_KERNELS_GGML_PARTS_H
#define ORGAN_KERNELS_GGML_PARTS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ORGAN_GGML_GROUPS = 16, ORGAN_GGML_ELEMENTS = 256 }; /* upper bounds for one block */

/* A block type. A value is s code + m, with s and m of its group. Types with one group have s = d and m = m of the
 * block. Types with coded scales have s = d x the code of the group's scale, and m = -(m of the block x the code of
 * the group's minimum). Each product and each sum is rounded to FP32. */
typedef struct organ_ggml_kind {
    unsigned type;                 /* number of the type in GGUF files */
    unsigned bits;                 /* bits of one code */
    size_t elements, group, bytes; /* elements of a block and of a group; bytes of a block */
    bool affine;                   /* codes start at 0; else they are around 0, and m is 0 */
    bool coded;                    /* coded scales: 6 bits each, in Q6_K a signed byte */
} organ_ggml_kind;

typedef struct organ_ggml_parts {
    float d, m; /* scale and minimum of the block, rounded to F16; m is 0 for types that are not affine */
    int8_t scales[ORGAN_GGML_GROUPS], minima[ORGAN_GGML_GROUPS]; /* codes of the groups, if `coded` */
    int8_t codes[ORGAN_GGML_ELEMENTS]; /* signed codes (without the offset with which blocks store them), in the order
                                          of the values */
} organ_ggml_parts;

/* Returns the description of Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K; NULL for other types. */
const organ_ggml_kind *organ_ggml_kind_of(unsigned type);
/* Sets d and m of *parts from a block, and scales and minima if the kind has them. Does not decode `codes`. */
void organ_ggml_split(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts);
/* Builds a block from all members of *parts, which must be within the ranges of the kind. */
void organ_ggml_join(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block);

#endif
