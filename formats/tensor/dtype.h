/* SPDX-License-Identifier: MIT
 * Storage types of tensors: one table of names and sizes, for safetensors and GGUF. */
#ifndef ORGAN_DTYPE_H
#define ORGAN_DTYPE_H

#include "formats/base/api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

typedef enum organ_dtype {
    /* Types of safetensors, in the order in which its writer sorts them from the right; many are GGUF types too. */
    ORGAN_BOOL,
    ORGAN_F4,
    ORGAN_F6_E2M3,
    ORGAN_F6_E3M2,
    ORGAN_U8,
    ORGAN_I8,
    ORGAN_F8_E5M2,
    ORGAN_F8_E4M3,
    ORGAN_F8_E8M0,
    ORGAN_F8_E4M3FNUZ,
    ORGAN_F8_E5M2FNUZ,
    ORGAN_I16,
    ORGAN_U16,
    ORGAN_F16,
    ORGAN_BF16,
    ORGAN_I32,
    ORGAN_U32,
    ORGAN_F32,
    ORGAN_C64,
    ORGAN_F64,
    ORGAN_I64,
    ORGAN_U64,
    /* Block types of GGUF. */
    ORGAN_Q4_0,
    ORGAN_Q4_1,
    ORGAN_Q5_0,
    ORGAN_Q5_1,
    ORGAN_Q8_0,
    ORGAN_Q2_K,
    ORGAN_Q3_K,
    ORGAN_Q4_K,
    ORGAN_Q5_K,
    ORGAN_Q6_K,
    ORGAN_IQ2_XXS,
    ORGAN_IQ2_XS,
    ORGAN_IQ3_XXS,
    ORGAN_IQ1_S,
    ORGAN_IQ4_NL,
    ORGAN_IQ3_S,
    ORGAN_IQ2_S,
    ORGAN_IQ4_XS,
    ORGAN_IQ1_M,
    ORGAN_TQ1_0,
    ORGAN_TQ2_0,
    ORGAN_MXFP4,
    ORGAN_NVFP4,
    ORGAN_Q1_0,
    ORGAN_Q2_0,
    ORGAN_DTYPE_COUNT
} organ_dtype;

typedef struct organ_dtype_info {
    const char *name;    /* as safetensors and ggml write it: "BF16", "Q4_K" */
    unsigned elements;   /* of one block; 1 for types whose elements stand alone */
    unsigned bytes;      /* of one block */
    bool in_safetensors; /* the name may stand in a safetensors header */
    int ggml;            /* the number of the type in GGUF files, -1 where it has none */
} organ_dtype_info;

/* `dtype` is a member of the enum below ORGAN_DTYPE_COUNT. */
const organ_dtype_info *organ_dtype_describe(organ_dtype dtype);

/* One of the floats of 8 bits: E4M3, E5M2 and their FNUZ kinds. */
bool organ_dtype_is_fp8(organ_dtype dtype);

/* The safetensors type of that name (exact match), or ORGAN_DTYPE_COUNT. */
organ_dtype organ_dtype_from_name(const char *name);

/* The type with that number in GGUF files, or ORGAN_DTYPE_COUNT. */
organ_dtype organ_dtype_from_ggml(int64_t type);

/* Bytes of so many elements; false if that is not a whole number of blocks or does not fit. */
bool organ_dtype_bytes(organ_dtype dtype, uint64_t elements, uint64_t *bytes);

ORGAN_API_END

#endif
