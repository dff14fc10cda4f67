/* SPDX-License-Identifier: MIT */
#include "formats/gguf/file.h"

#include "formats/base/files.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Returns the bytes of a number: element `index` of an array, or index 0 of another value. NULL if there is none. */
static const unsigned char *number_at(const organ_gguf_kv *kv, uint64_t index)
{
    if (types[kv->element].bytes == 0 || index >= kv->count)
        return NULL;
    return kv->bytes + (kv->type == ORGAN_GGUF_ARRAY ? ORGAN_GGUF_ARRAY_HEAD : 0) + index * types[kv->element].bytes;
}

bool organ_gguf_integer_at(const organ_gguf_kv *kv, uint64_t index, int64_t *value)
{
    const unsigned char *bytes = number_at(kv, index);
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
    const unsigned char *bytes = number_at(kv, index);
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

#define TAIL_LENGTH (sizeof "-00001-of-00003.gguf" - 1) /* bytes of a part's file name after NAME */

/* Returns the number of five digits; 0 if one is missing, because parts are numbered from 1. */
static unsigned read_digits(const char *s)
{
    unsigned value = 0;
    for (int k = 0; k < 5; k++) {
        if (s[k] < '0' || s[k] > '9')
            return 0;
        value = value * 10 + (unsigned)(s[k] - '0');
    }
    return value;
}

size_t organ_gguf_split_parse(const char *file_name, unsigned *part, unsigned *parts)
{
    const size_t length = strlen(file_name);
    if (length <= TAIL_LENGTH)
        return 0;
    const char *tail = file_name + length - TAIL_LENGTH; /* "-00001-of-00003.gguf" */
    if (tail[0] != '-' || memcmp(tail + 6, "-of-", 4) != 0 || strcmp(tail + 15, ".gguf") != 0)
        return 0;
    *part = read_digits(tail + 1);
    *parts = read_digits(tail + 10);
    return *part > 0 && *part <= *parts ? length - TAIL_LENGTH : 0;
}

char *organ_gguf_split_name(organ_arena *arena, const char *name, size_t length, unsigned part, unsigned parts)
{
    char *made = organ_arena_take(arena, length + 32);
    if (made)
        snprintf(made, length + 32, "%.*s-%05u-of-%05u.gguf", (int)length, name, part, parts);
    return made;
}

static organ_status read_split_key(const char *file_name, const organ_gguf *gguf, const char *key, int64_t max,
                                   int64_t *value, organ_error *error)
{
    const organ_gguf_kv *kv = organ_gguf_find(gguf, key);
    if (!kv)
        return ORGAN_OK;
    if (kv->type == ORGAN_GGUF_ARRAY || !organ_gguf_integer_at(kv, 0, value))
        return organ_refuse(error, file_name, "key '%s' is of type %s, not a whole number", key,
                            organ_gguf_type_name(kv->type));
    if (*value < 0 || *value > max)
        return organ_refuse(error, file_name, "key '%s' is %" PRId64 ", not from 0 to %" PRId64, key, *value, max);
    return ORGAN_OK;
}

organ_status organ_gguf_split_of(const char *file_name, const organ_gguf *gguf, unsigned *parts, organ_error *error)
{
    int64_t count = 0, number = 0;
    unsigned named_part = 0, named_parts = 0;
    if (read_split_key(file_name, gguf, "split.count", ORGAN_GGUF_SPLIT_LIMIT, &count, error) != ORGAN_OK ||
        read_split_key(file_name, gguf, "split.no", ORGAN_GGUF_SPLIT_LIMIT, &number, error) != ORGAN_OK)
        return error->status;
    *parts = count < 1 ? 1 : (unsigned)count;
    if (*parts == 1)
        return ORGAN_OK;
    if (!organ_gguf_split_parse(file_name, &named_part, &named_parts))
        return organ_refuse(error, file_name,
                            "key 'split.count' is %" PRId64 ", but the file name is not NAME-%05" PRId64
                            "-of-%05" PRId64 ".gguf: the other parts cannot be found",
                            count, number + 1, count);
    if (named_parts != *parts)
        return organ_refuse(error, file_name, "key 'split.count' is %" PRId64 ", but the file name has %u", count,
                            named_parts);
    return ORGAN_OK;
}

/* A part need not state an architecture. */
static organ_status check_architecture(const char *file_name, const organ_gguf *part, const organ_gguf *first,
                                       organ_error *error)
{
    size_t own_length = 0, first_length = 0;
    const char *own = organ_gguf_string(part, "general.architecture", &own_length);
    const char *expected = organ_gguf_string(first, "general.architecture", &first_length);
    if (!own || !expected || (own_length == first_length && memcmp(own, expected, own_length) == 0))
        return ORGAN_OK;
    return organ_refuse(error, file_name, "key 'general.architecture' is '%.*s', but that of the first part is '%.*s'",
                        (int)(own_length > 64 ? 64 : own_length), own, (int)(first_length > 64 ? 64 : first_length),
                        expected);
}

/* split.no counts from 0, file names from 1. */
organ_status organ_gguf_split_check(const char *file_name, const organ_gguf *part, const organ_gguf *first,
                                    unsigned index, unsigned parts, uint64_t tensors, organ_error *error)
{
    int64_t number = 0, count = 0, total = -1;
    if (read_split_key(file_name, part, "split.no", ORGAN_GGUF_SPLIT_LIMIT, &number, error) != ORGAN_OK ||
        read_split_key(file_name, part, "split.count", ORGAN_GGUF_SPLIT_LIMIT, &count, error) != ORGAN_OK ||
        read_split_key(file_name, part, "split.tensors.count", INT32_MAX, &total, error) != ORGAN_OK)
        return error->status;
    if (parts > 1 && number != index)
        return organ_refuse(error, file_name,
                            "key 'split.no' is %" PRId64 ", but the file name has part %u, which is %u", number,
                            index + 1, index);
    if (parts > 1 && count != parts)
        return organ_refuse(error, file_name, "key 'split.count' is %" PRId64 ", but the file name has %u", count,
                            parts);
    if (parts > 1 && index + 1 == parts && total >= 0 && (uint64_t)total != tensors)
        return organ_refuse(error, file_name,
                            "key 'split.tensors.count' is %" PRId64 ", but the %u parts have %" PRIu64 " tensors",
                            total, parts, tensors);
    return check_architecture(file_name, part, first, error);
}

bool organ_gguf_is_projector(const char *file_name) { return strcasestr(file_name, "mmproj") != NULL; }

/* The entry of general.architecture: length and text of the key, its type (8: a text), length and text of the value. */
bool organ_gguf_file_is_projector(const char *path)
{
    static const char entry[] = "\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\x04\0\0\0\0\0\0\0clip";
    char start[4096];
    ORGAN_OWNED_FILE const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const ssize_t bytes = file < 0 ? 0 : pread(file, start, sizeof start, 0);
    return bytes > 4 && memcmp(start, "GGUF", 4) == 0 && memmem(start, (size_t)bytes, entry, sizeof entry - 1) != NULL;
}
