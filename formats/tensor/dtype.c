/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor.h"

#include <string.h>

/* clang-format off */
static const organ_dtype_info dtypes[ORGAN_DTYPE_COUNT] = {
    [ORGAN_BOOL] = {"BOOL", 1, 1, true, -1},
    [ORGAN_F4] = {"F4", 2, 1, true, -1},
    [ORGAN_F6_E2M3] = {"F6_E2M3", 4, 3, true, -1},
    [ORGAN_F6_E3M2] = {"F6_E3M2", 4, 3, true, -1},
    [ORGAN_U8] = {"U8", 1, 1, true, -1},
    [ORGAN_I8] = {"I8", 1, 1, true, 24},
    [ORGAN_F8_E5M2] = {"F8_E5M2", 1, 1, true, -1},
    [ORGAN_F8_E4M3] = {"F8_E4M3", 1, 1, true, -1},
    [ORGAN_F8_E8M0] = {"F8_E8M0", 1, 1, true, -1},
    [ORGAN_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 1, 1, true, -1},
    [ORGAN_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 1, 1, true, -1},
    [ORGAN_I16] = {"I16", 1, 2, true, 25},
    [ORGAN_U16] = {"U16", 1, 2, true, -1},
    [ORGAN_F16] = {"F16", 1, 2, true, 1},
    [ORGAN_BF16] = {"BF16", 1, 2, true, 30},
    [ORGAN_I32] = {"I32", 1, 4, true, 26},
    [ORGAN_U32] = {"U32", 1, 4, true, -1},
    [ORGAN_F32] = {"F32", 1, 4, true, 0},
    [ORGAN_C64] = {"C64", 1, 8, true, -1},
    [ORGAN_F64] = {"F64", 1, 8, true, 28},
    [ORGAN_I64] = {"I64", 1, 8, true, 27},
    [ORGAN_U64] = {"U64", 1, 8, true, -1},
    [ORGAN_Q4_0] = {"Q4_0", 32, 18, false, 2},
    [ORGAN_Q4_1] = {"Q4_1", 32, 20, false, 3},
    [ORGAN_Q5_0] = {"Q5_0", 32, 22, false, 6},
    [ORGAN_Q5_1] = {"Q5_1", 32, 24, false, 7},
    [ORGAN_Q8_0] = {"Q8_0", 32, 34, false, 8},
    [ORGAN_Q2_K] = {"Q2_K", 256, 84, false, 10},
    [ORGAN_Q3_K] = {"Q3_K", 256, 110, false, 11},
    [ORGAN_Q4_K] = {"Q4_K", 256, 144, false, 12},
    [ORGAN_Q5_K] = {"Q5_K", 256, 176, false, 13},
    [ORGAN_Q6_K] = {"Q6_K", 256, 210, false, 14},
    [ORGAN_IQ2_XXS] = {"IQ2_XXS", 256, 66, false, 16},
    [ORGAN_IQ2_XS] = {"IQ2_XS", 256, 74, false, 17},
    [ORGAN_IQ3_XXS] = {"IQ3_XXS", 256, 98, false, 18},
    [ORGAN_IQ1_S] = {"IQ1_S", 256, 50, false, 19},
    [ORGAN_IQ4_NL] = {"IQ4_NL", 32, 18, false, 20},
    [ORGAN_IQ3_S] = {"IQ3_S", 256, 110, false, 21},
    [ORGAN_IQ2_S] = {"IQ2_S", 256, 82, false, 22},
    [ORGAN_IQ4_XS] = {"IQ4_XS", 256, 136, false, 23},
    [ORGAN_IQ1_M] = {"IQ1_M", 256, 56, false, 29},
    [ORGAN_TQ1_0] = {"TQ1_0", 256, 54, false, 34},
    [ORGAN_TQ2_0] = {"TQ2_0", 256, 66, false, 35},
    [ORGAN_MXFP4] = {"MXFP4", 32, 17, false, 39},
    [ORGAN_NVFP4] = {"NVFP4", 64, 36, false, 40},
    [ORGAN_Q1_0] = {"Q1_0", 128, 18, false, 41},
    [ORGAN_Q2_0] = {"Q2_0", 64, 18, false, 42},
};
/* clang-format on */

const organ_dtype_info *organ_dtype_describe(organ_dtype dtype) { return &dtypes[dtype]; }
const char *organ_dtype_name(organ_dtype dtype) { return dtypes[dtype].name; }

bool organ_dtype_is_fp8(organ_dtype dtype)
{
    return dtype == ORGAN_F8_E4M3 || dtype == ORGAN_F8_E5M2 || dtype == ORGAN_F8_E4M3FNUZ || dtype == ORGAN_F8_E5M2FNUZ;
}

organ_dtype organ_dtype_from_name(const char *name)
{
    for (int k = 0; k < ORGAN_DTYPE_COUNT; k++)
        if (dtypes[k].in_safetensors && strcmp(dtypes[k].name, name) == 0)
            return (organ_dtype)k;
    return ORGAN_DTYPE_COUNT;
}

organ_dtype organ_dtype_from_ggml(int64_t type)
{
    for (int k = 0; k < ORGAN_DTYPE_COUNT; k++)
        if (dtypes[k].ggml >= 0 && dtypes[k].ggml == type)
            return (organ_dtype)k;
    return ORGAN_DTYPE_COUNT;
}

bool organ_dtype_bytes(organ_dtype dtype, uint64_t elements, uint64_t *bytes)
{
    const organ_dtype_info *info = &dtypes[dtype];
    return elements % info->elements == 0 && !__builtin_mul_overflow(elements / info->elements, (uint64_t)info->bytes, bytes);
}
