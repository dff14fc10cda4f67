/* SPDX-License-Identifier: MIT
 * Access to the scales and codes in blocks of GGUF types, for callers that choose scales and codes themselves. */
#ifndef ORGAN_KERNELS_GGML_PARTS_H
#define ORGAN_KERNELS_GGML_PARTS_H
#include <organ/kernels.h>

/* Upper bounds for one block, and for the points of a codebook (organ_ggml_count_points). */
enum { ORGAN_GGML_GROUPS = 16, ORGAN_GGML_ELEMENTS = 256, ORGAN_GGML_POINTS = 4096 };

/* Codes of group scales. Code k, from 0 on, stands for shift + step * (low + k), up to shift + step * high, times d of
 * the block. low == high: the type has no such codes. */
typedef struct organ_ggml_scales {
    float low, high, step, shift;
    bool keeps_sign; /* numbers have signs, which belong to the codes of values (ORGAN_FIELDS_OF_SCALE) */
} organ_ggml_scales;

/* Fields of points. In the last two kinds a field is a number g of -1, 0 and 1, to which a shift of 1/8 is added or
 * from which it is subtracted. */
typedef enum organ_ggml_fields {
    ORGAN_FIELDS_MAGNITUDES, /* field k is magnitude k of the levels, from the least one on; signs are free */
    ORGAN_FIELDS_SHIFTED,    /* each point chooses its shift: GPTQ has a point for each of both */
    /* the sign of the group's scale s is that of the shift: a value is |s| g + s / 8 = s l, with the level l = g + 1/8,
     * or 1/8 - g if s is negative */
    ORGAN_FIELDS_OF_SCALE
} organ_ggml_fields;

/* Points of a codebook: adjacent values have fields that only exist together. */
typedef struct organ_ggml_points {
    unsigned length, count;  /* values of a point, 0: the type has no codebook; points */
    unsigned bits;           /* bits of a field */
    int even;                /* 1: of 8 values, an even number is negative */
    const uint16_t *entries; /* [count], ascending: `length` fields, the first value's in the lowest bits */
    organ_ggml_fields fields;
} organ_ggml_points;

typedef struct organ_ggml_kind organ_ggml_kind;

/* The parts of a block. */
typedef struct organ_ggml_parts {
    float d, m; /* scale and minimum of the block, rounded to F16; m is 0 for types that are not affine */
    /* Codes of the scales and minima of groups. Types with several groups and no `coded` scales have their stored
     * bytes (organ_ggml_kind.stored). */
    uint8_t scales[ORGAN_GGML_GROUPS], minima[ORGAN_GGML_GROUPS];
    uint8_t codes[ORGAN_GGML_ELEMENTS]; /* codes as blocks store them, in the order of the values */
} organ_ggml_parts;

/* A block type. A value is s l + m, with l the level that its code stands for, and s and m of its group. Types with
 * one group have s = d and m = m of the block. Types with coded scales have s = d x the number that the code of the
 * group's scale stands for, and m = -(m of the block x that of the group's minimum). Each product and each sum is
 * rounded to FP32. */
struct organ_ggml_kind {
    unsigned type;                 /* number of the type in GGUF files */
    unsigned bits;                 /* bits of one code */
    size_t elements, group, bytes; /* elements of a block and of a group; bytes of a block */
    bool affine;                   /* whole levels start at 0; else they are around 0, and m is 0 */
    organ_scale_store stored;      /* type of d and m, or of group scales that are not coded */
    organ_ggml_scales coded;       /* codes of group scales */
    const organ_levels *levels;    /* NULL: whole levels, -127 to 127 if bits is 8 */
    organ_ggml_points points;      /* points of the codebook; a code has the sign, or 1 if the shift is negative, above
                                      the bits of its field */
    void (*split)(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts);
    void (*join)(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block);
};

/* Levels of IQ4_NL and IQ4_XS, and of FP4 (E2M1). */
extern const organ_levels organ_levels_of_iq4, organ_levels_of_fp4;

/* Returns the description of a type that GPTQ can write; NULL for other types. */
const organ_ggml_kind *organ_ggml_kind_of(unsigned type);
/* Returns whether group scales are codes times d. */
bool organ_ggml_is_coded(const organ_ggml_kind *kind);
/* Returns the number of points of the codebook for GPTQ: count, or twice as many if points have both shifts. */
size_t organ_ggml_count_points(const organ_ggml_kind *kind);
/* Sets points[k * length ..] to the numbers of point k and shared[k] to the number of its first ones that equal those
 * of point k - 1, for organ_ggml_count_points points, in the order of organ_runs. */
void organ_ggml_list_points(const organ_ggml_kind *kind, float *points, uint8_t *shared);
/* Sets d and m of *parts from a block, and scales and minima if the kind has them. Does not decode `codes`. */
void organ_ggml_split(const organ_ggml_kind *kind, const void *block, organ_ggml_parts *parts);
/* Builds a block from all members of *parts, which must be within the ranges of the kind. */
void organ_ggml_join(const organ_ggml_kind *kind, const organ_ggml_parts *parts, void *block);

#endif
