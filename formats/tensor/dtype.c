/* SPDX-License-Identifier: MIT */
#include <organ/models.h>

#include <string.h>

/* clang-format off */
/* A row has name, elements and bytes of a block, whether safetensors allows the type, and the number in GGUF files
 * or -1. */
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
#define ROW(name, elements, bytes, ggml) [ORGAN_##name] = {#name, elements, bytes, false, ggml},
    ORGAN_BLOCK_TYPES(ROW)
#undef ROW
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
    return elements % info->elements == 0 &&
           !__builtin_mul_overflow(elements / info->elements, (uint64_t)info->bytes, bytes);
}
