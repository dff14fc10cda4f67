/* SPDX-License-Identifier: MIT */
#include <organ/models.h>

#include "formats/base/input_file.h"

#include <string.h>

/* clang-format off */
static const struct {
    const char *name;
    unsigned bytes; /* 0: the value has no fixed size */
} types[ORGAN_GGUF_TYPES] = {
    [ORGAN_GGUF_U8] = {"u8", 1},         [ORGAN_GGUF_I8] = {"i8", 1},       [ORGAN_GGUF_U16] = {"u16", 2},
    [ORGAN_GGUF_I16] = {"i16", 2},       [ORGAN_GGUF_U32] = {"u32", 4},     [ORGAN_GGUF_I32] = {"i32", 4},
    [ORGAN_GGUF_F32] = {"f32", 4},       [ORGAN_GGUF_BOOL] = {"bool", 1},   [ORGAN_GGUF_STRING] = {"string", 0},
    [ORGAN_GGUF_ARRAY] = {"array", 0},   [ORGAN_GGUF_U64] = {"u64", 8},     [ORGAN_GGUF_I64] = {"i64", 8},
    [ORGAN_GGUF_F64] = {"f64", 8},
};
/* clang-format on */

const char *organ_gguf_type_name(organ_gguf_type type) { return types[type].name; }

size_t organ_gguf_type_bytes(organ_gguf_type type) { return types[type].bytes; }

const organ_gguf_kv *organ_gguf_find(const organ_gguf *gguf, const char *key)
{
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (strcmp(gguf->kvs[k].key, key) == 0)
            return &gguf->kvs[k];
    return NULL;
}

static const unsigned char *gguf_number_at(const organ_gguf_kv *kv, uint64_t index)
{
    if (types[kv->element].bytes == 0 || index >= kv->count)
        return NULL;
    return kv->bytes + (kv->type == ORGAN_GGUF_ARRAY ? ORGAN_GGUF_ARRAY_HEAD : 0) + index * types[kv->element].bytes;
}

bool organ_gguf_integer_at(const organ_gguf_kv *kv, uint64_t index, int64_t *value)
{
    const unsigned char *bytes = gguf_number_at(kv, index);
    if (!bytes || kv->element == ORGAN_GGUF_F32 || kv->element == ORGAN_GGUF_F64)
        return false;
    const unsigned bits = 8 * types[kv->element].bytes;
    const uint64_t raw = organ_little_endian(bytes, bits / 8);
    const bool is_signed =
        kv->element == ORGAN_GGUF_I8 || kv->element == ORGAN_GGUF_I16 || kv->element == ORGAN_GGUF_I32;
    *value = (int64_t)(is_signed && raw >> (bits - 1) ? raw | ~UINT64_C(0) << (bits - 1) : raw);
    if (kv->element == ORGAN_GGUF_BOOL)
        *value = raw != 0;
    return kv->element != ORGAN_GGUF_U64 || *value >= 0;
}

bool organ_gguf_real_at(const organ_gguf_kv *kv, uint64_t index, double *value)
{
    int64_t integer;
    if (organ_gguf_integer_at(kv, index, &integer)) {
        *value = (double)integer;
        return true;
    }
    const unsigned char *bytes = gguf_number_at(kv, index);
    if (!bytes || kv->element == ORGAN_GGUF_U64)
        return false;
    const uint64_t raw = organ_little_endian(bytes, types[kv->element].bytes);
    const uint32_t narrow = (uint32_t)raw;
    float single;
    memcpy(&single, &narrow, sizeof single);
    if (kv->element == ORGAN_GGUF_F32)
        *value = (double)single;
    else
        memcpy(value, &raw, sizeof *value);
    return true;
}

int64_t organ_gguf_integer(const organ_gguf *gguf, const char *key, int64_t fallback)
{
    const organ_gguf_kv *kv = organ_gguf_find(gguf, key);
    int64_t value;
    return kv && kv->type != ORGAN_GGUF_ARRAY && organ_gguf_integer_at(kv, 0, &value) ? value : fallback;
}

double organ_gguf_real(const organ_gguf *gguf, const char *key, double fallback)
{
    const organ_gguf_kv *kv = organ_gguf_find(gguf, key);
    double value;
    return kv && kv->type != ORGAN_GGUF_ARRAY && organ_gguf_real_at(kv, 0, &value) ? value : fallback;
}

/* In kv->bytes, the text follows its 64-bit length and has no NUL. */
const char *organ_gguf_string(const organ_gguf *gguf, const char *key, size_t *length)
{
    const organ_gguf_kv *kv = organ_gguf_find(gguf, key);
    if (!kv || kv->type != ORGAN_GGUF_STRING)
        return NULL;
    *length = kv->size - sizeof(uint64_t);
    return (const char *)kv->bytes + sizeof(uint64_t);
}

bool organ_gguf_text_equals(const organ_gguf *gguf, const char *key, const char *text)
{
    size_t length = 0;
    const char *const value = organ_gguf_string(gguf, key, &length);
    return value && length == strlen(text) && memcmp(value, text, length) == 0;
}
