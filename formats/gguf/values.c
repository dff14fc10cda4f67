/* SPDX-License-Identifier: MIT */
#include "formats/gguf/values.h"

#include "formats/base/name_table.h"
#include "formats/base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 128

size_t organ_gguf_shortest_kv(const organ_gguf_cursor *cursor)
{
    return organ_gguf_count_bytes(cursor) + 1 + 4 + 1; /* length, a key of one byte, type, one byte of value */
}

static organ_status kv_no_memory(const organ_gguf_cursor *cursor, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: %s", cursor->file->name, cursor->where);
}

/* `cursor->where` names the key by its number until it is known to be text. */
static organ_status read_key(organ_gguf_cursor *cursor, organ_arena *arena, const char **key, organ_error *error)
{
    uint64_t length;
    const unsigned char *text = NULL;
    if (organ_gguf_take_count(cursor, "length of the key", &length, error) != ORGAN_OK)
        return error->status;
    if (length == 0)
        return organ_gguf_refuse(cursor, error, "the key is empty");
    if (length > organ_gguf_left(cursor))
        return organ_gguf_refuse(cursor, error, "key length %" PRIu64 " is past the end of the file (%" PRIu64 " bytes follow)", length,
                                 organ_gguf_left(cursor));
    if (length > ORGAN_GGUF_KEY_LIMIT)
        return organ_gguf_refuse(cursor, error, "key length %" PRIu64 " is beyond the limit of %u", length, ORGAN_GGUF_KEY_LIMIT);
    if (organ_gguf_take(cursor, "the key", length, &text, error) != ORGAN_OK)
        return error->status;
    *key = organ_arena_copy(arena, (const char *)text, length);
    if (!*key)
        return kv_no_memory(cursor, error);
    if (strlen(*key) != length)
        return organ_gguf_refuse(cursor, error, "the key '%.*s' has a NUL at byte %zu of %" PRIu64, SHOWN, *key, strlen(*key), length);
    if (!organ_utf8_valid(*key))
        return organ_gguf_refuse(cursor, error, "the key '%.*s' is not valid UTF-8", SHOWN, *key);
    snprintf(cursor->where, sizeof cursor->where, "key '%.*s'", SHOWN, *key);
    return ORGAN_OK;
}

static organ_status read_type(organ_gguf_cursor *cursor, const char *field, organ_gguf_type *type, organ_error *error)
{
    uint32_t number;
    if (organ_gguf_take_u32(cursor, field, &number, error) != ORGAN_OK)
        return error->status;
    if (number >= ORGAN_GGUF_TYPES)
        return organ_gguf_refuse(cursor, error, "%s %" PRIu32 " is not known, the last one is %d", field, number, ORGAN_GGUF_TYPES - 1);
    *type = (organ_gguf_type)number;
    return ORGAN_OK;
}

static organ_status skip(organ_gguf_cursor *cursor, const char *field, uint64_t bytes, organ_error *error)
{
    const unsigned char *ignored;
    if (bytes > organ_gguf_left(cursor))
        return organ_gguf_refuse(cursor, error, "%s of %" PRIu64 " bytes at byte %zu is past the end of the file (%" PRIu64 ")", field,
                                 bytes, cursor->at, cursor->file->size);
    return organ_gguf_take(cursor, field, bytes, &ignored, error);
}

static organ_status skip_string(organ_gguf_cursor *cursor, organ_error *error)
{
    uint64_t length;
    if (organ_gguf_take_count(cursor, "length of a string", &length, error) != ORGAN_OK)
        return error->status;
    return skip(cursor, "a string", length, error);
}

/* Walks over an array behind its element type. */
static organ_status skip_array(organ_gguf_cursor *cursor, organ_gguf_kv *kv, organ_error *error)
{
    organ_status status = read_type(cursor, "element type", &kv->element, error);
    if (status == ORGAN_OK)
        status = organ_gguf_take_count(cursor, "count of the array", &kv->count, error);
    if (status != ORGAN_OK)
        return status;
    if (kv->element == ORGAN_GGUF_ARRAY)
        return organ_gguf_refuse(cursor, error, "is an array of arrays, which is not supported");
    if (kv->count > ORGAN_GGUF_ARRAY_LIMIT)
        return organ_gguf_refuse(cursor, error, "array of %" PRIu64 " elements, beyond the limit of %" PRIu64, kv->count,
                                 ORGAN_GGUF_ARRAY_LIMIT);
    const bool text = kv->element == ORGAN_GGUF_STRING;
    const uint64_t least = kv->count * (text ? organ_gguf_count_bytes(cursor) : organ_gguf_type_bytes(kv->element));
    if (least > organ_gguf_left(cursor))
        return organ_gguf_refuse(
            cursor, error, "array of %" PRIu64 " %s takes %" PRIu64 " bytes at least, past the end of the file (%" PRIu64 " bytes follow)",
            kv->count, organ_gguf_type_name(kv->element), least, organ_gguf_left(cursor));
    if (!text)
        return skip(cursor, "array", least, error);
    for (uint64_t k = 0; status == ORGAN_OK && k < kv->count; k++)
        status = skip_string(cursor, error);
    return status;
}

static organ_status skip_value(organ_gguf_cursor *cursor, organ_gguf_kv *kv, organ_error *error)
{
    kv->element = kv->type;
    kv->count = 1;
    if (kv->type == ORGAN_GGUF_ARRAY)
        return skip_array(cursor, kv, error);
    if (kv->type == ORGAN_GGUF_STRING)
        return skip_string(cursor, error);
    return skip(cursor, "value", organ_gguf_type_bytes(kv->type), error);
}

/* The value in image[begin .. cursor->at) of a file of version 1, its lengths and count widened from u32 to u64. `out` has room for that.
 */
static void widen(const organ_gguf_cursor *cursor, size_t begin, const organ_gguf_kv *kv, unsigned char *out)
{
    const unsigned char *from = cursor->image + begin, *const end = cursor->image + cursor->at;
    const bool array = kv->type == ORGAN_GGUF_ARRAY;
    if (array) {
        memcpy(out, from, 8); /* element type and count */
        memset(out + 8, 0, 4);
        out += ORGAN_GGUF_ARRAY_HEAD;
        from += 8;
    }
    if (kv->element != ORGAN_GGUF_STRING) {
        memcpy(out, from, (size_t)(end - from));
        return;
    }
    while (from < end) {
        const size_t length = from[0] | (size_t)from[1] << 8 | (size_t)from[2] << 16 | (size_t)from[3] << 24;
        memcpy(out, from, 4);
        memset(out + 4, 0, 4);
        memcpy(out + 8, from + 4, length);
        out += 8 + length;
        from += 4 + length;
    }
}

/* Keeps the value that was walked over, as version 3 stores it. */
static organ_status keep_value(const organ_gguf_cursor *cursor, size_t begin, organ_arena *arena, organ_gguf_kv *kv, organ_error *error)
{
    const uint64_t lengths = (kv->type == ORGAN_GGUF_ARRAY) + (kv->element == ORGAN_GGUF_STRING ? kv->count : 0);
    kv->size = cursor->at - begin + (cursor->narrow ? 4 * lengths : 0);
    unsigned char *kept = organ_arena_take(arena, kv->size);
    if (!kept)
        return kv_no_memory(cursor, error);
    if (cursor->narrow)
        widen(cursor, begin, kv, kept);
    else
        memcpy(kept, cursor->image + begin, kv->size);
    kv->bytes = kept;
    return ORGAN_OK;
}

static organ_status read_value(organ_gguf_cursor *cursor, organ_arena *arena, organ_gguf_kv *kv, organ_error *error)
{
    organ_status status = read_key(cursor, arena, &kv->key, error);
    if (status == ORGAN_OK)
        status = read_type(cursor, "value type", &kv->type, error);
    const size_t begin = cursor->at;
    if (status == ORGAN_OK)
        status = skip_value(cursor, kv, error);
    return status == ORGAN_OK ? keep_value(cursor, begin, arena, kv, error) : status;
}

static organ_status enter_key(const organ_gguf_cursor *cursor, organ_name_table *keys, const char *key, size_t number, organ_error *error)
{
    const size_t *kept = organ_name_table_put(keys, key, number);
    if (!kept)
        return kv_no_memory(cursor, error);
    if (*kept != number)
        return organ_gguf_refuse(cursor, error, "duplicate key: number %zu and number %zu", *kept + 1, number + 1);
    return ORGAN_OK;
}

organ_status organ_gguf_read_values(organ_gguf_cursor *cursor, uint64_t count, organ_arena *arena, organ_gguf_kv **kvs, organ_error *error)
{
    organ_name_table keys = {0};
    size_t room = 0;
    *kvs = NULL;
    for (size_t k = 0; !error->status && k < count; k++) {
        if (!organ_grow(kvs, k, &room, sizeof **kvs)) {
            kv_no_memory(cursor, error);
            break;
        }
        snprintf(cursor->where, sizeof cursor->where, "key %zu of %" PRIu64, k + 1, count);
        if (read_value(cursor, arena, &(*kvs)[k], error) == ORGAN_OK)
            enter_key(cursor, &keys, (*kvs)[k].key, k, error);
    }
    organ_name_table_release(&keys);
    return error->status;
}
