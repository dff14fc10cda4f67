/* SPDX-License-Identifier: MIT */
#include "formats/base/format_rest.h"
#include "formats/gguf/gguf_parts.h"

#include "formats/base/files.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/remote/remote.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_READ ((size_t)64 << 10) /* bytes of the file that are read at first */
#define SHOWN      128                /* bytes of a key that messages show */

/* ---- the cursor ---- */

uint64_t organ_gguf_bytes_left(const organ_gguf_cursor *cursor) { return cursor->file->size - cursor->at; }

size_t organ_gguf_count_bytes(const organ_gguf_cursor *cursor) { return cursor->narrow ? 4 : 8; }

organ_status organ_gguf_refuse(const organ_gguf_cursor *cursor, const char *format, ...)
{
    char sentence[600];
    ORGAN_FORMAT_REST(sentence, format);
    return organ_refuse(cursor->error, cursor->file->name, "%s: %s", cursor->where, sentence);
}

static organ_status fail_kv_memory(const organ_gguf_cursor *cursor)
{
    return organ_fail_errno(cursor->error, ENOMEM, "%s: %s", cursor->file->name, cursor->where);
}

/* `end` is not above the size of the file. Each read doubles the bytes in the image, so that a long header needs few
 * reads. */
static organ_status read_header_up_to(organ_gguf_cursor *cursor, size_t end)
{
    struct stat info;
    if (end <= cursor->held)
        return ORGAN_OK;
    if (end > ORGAN_GGUF_HEADER_LIMIT)
        return organ_gguf_refuse(cursor, "the header extends to at least byte %zu, beyond the limit of %zu", end,
                                 ORGAN_GGUF_HEADER_LIMIT);
    size_t requested = cursor->held ? 2 * cursor->held : FIRST_READ;
    if (requested < end)
        requested = end;
    uint64_t available = cursor->file->size;
    if (cursor->file->fd >= 0 && fstat(cursor->file->fd, &info) == 0 && (uint64_t)info.st_size < available)
        available = (uint64_t)info.st_size; /* the file may be a header stored without its data */
    if (requested > available)
        requested = available > end ? (size_t)available : end;
    unsigned char *larger = realloc(cursor->image, requested);
    if (!larger)
        return organ_fail_errno(cursor->error, ENOMEM, "%s: a header of %zu bytes", cursor->file->name, requested);
    cursor->image = larger;
    if (organ_model_file_read(cursor->file, cursor->image + cursor->held, requested - cursor->held, cursor->held,
                              cursor->error) == ORGAN_OK)
        cursor->held = requested;
    return cursor->error->status;
}

const unsigned char *organ_gguf_take(organ_gguf_cursor *cursor, const char *field, uint64_t bytes)
{
    if (cursor->error->status)
        return NULL;
    if (bytes > organ_gguf_bytes_left(cursor))
        organ_gguf_refuse(cursor, "%s of %" PRIu64 " bytes at byte %zu is past the end of the file (%" PRIu64 ")",
                          field, bytes, cursor->at, cursor->file->size);
    else if (read_header_up_to(cursor, cursor->at + bytes) == ORGAN_OK)
        cursor->at += bytes;
    return cursor->error->status ? NULL : cursor->image + (cursor->at - bytes);
}

uint64_t organ_gguf_take_number(organ_gguf_cursor *cursor, const char *field, size_t bytes)
{
    const unsigned char *const taken = organ_gguf_take(cursor, field, bytes);
    return taken ? organ_little_endian(taken, bytes) : 0;
}

uint64_t organ_gguf_take_count(organ_gguf_cursor *cursor, const char *field)
{
    return organ_gguf_take_number(cursor, field, organ_gguf_count_bytes(cursor));
}

const char *organ_gguf_take_text(organ_gguf_cursor *cursor, const char *what, uint64_t length, organ_arena *arena)
{
    const unsigned char *const bytes = organ_gguf_take(cursor, what, length);
    const char *const text = bytes ? organ_arena_copy(arena, (const char *)bytes, length) : NULL;
    if (!text)
        fail_kv_memory(cursor);
    else if (strlen(text) != length)
        organ_gguf_refuse(cursor, "the %s '%.*s' has a NUL at byte %zu of %" PRIu64, what, SHOWN, text, strlen(text),
                          length);
    else if (!organ_utf8_valid(text))
        organ_gguf_refuse(cursor, "the %s '%.*s' is not valid UTF-8", what, SHOWN, text);
    return cursor->error->status ? NULL : text;
}

void organ_gguf_cursor_release(organ_gguf_cursor *cursor)
{
    organ_clear(&cursor->image);
    cursor->held = 0;
}

/* ---- key-values ---- */

size_t organ_gguf_shortest_kv(const organ_gguf_cursor *cursor)
{
    return organ_gguf_count_bytes(cursor) + 1 + 4 + 1; /* length, a key of one byte, type, one byte of value */
}

static const char *read_key(organ_gguf_cursor *cursor, organ_arena *arena)
{
    const uint64_t length = organ_gguf_take_count(cursor, "length of the key");
    if (length == 0)
        organ_gguf_refuse(cursor, "the key is empty");
    else if (length > organ_gguf_bytes_left(cursor))
        organ_gguf_refuse(cursor, "key length %" PRIu64 " is past the end of the file (%" PRIu64 " bytes follow)",
                          length, organ_gguf_bytes_left(cursor));
    else if (length > ORGAN_GGUF_KEY_LIMIT)
        organ_gguf_refuse(cursor, "key length %" PRIu64 " is beyond the limit of %u", length, ORGAN_GGUF_KEY_LIMIT);
    const char *const key = organ_gguf_take_text(cursor, "key", length, arena);
    if (key)
        snprintf(cursor->where, sizeof cursor->where, "key '%.*s'", SHOWN, key);
    return key;
}

static organ_gguf_type read_type(organ_gguf_cursor *cursor, const char *field)
{
    const uint32_t number = (uint32_t)organ_gguf_take_number(cursor, field, 4);
    if (number < ORGAN_GGUF_TYPES)
        return (organ_gguf_type)number;
    organ_gguf_refuse(cursor, "%s %" PRIu32 " is unknown, the highest is %d", field, number, ORGAN_GGUF_TYPES - 1);
    return ORGAN_GGUF_U8;
}

static void skip_string(organ_gguf_cursor *cursor)
{
    organ_gguf_take(cursor, "a string", organ_gguf_take_count(cursor, "length of a string"));
}

static organ_status skip_array(organ_gguf_cursor *cursor, organ_gguf_kv *kv)
{
    kv->element = read_type(cursor, "element type");
    kv->count = organ_gguf_take_count(cursor, "count of the array");
    if (kv->element == ORGAN_GGUF_ARRAY)
        return organ_gguf_refuse(cursor, "is an array of arrays, which is not supported");
    if (kv->count > ORGAN_GGUF_ARRAY_LIMIT)
        return organ_gguf_refuse(cursor, "array of %" PRIu64 " elements, beyond the limit of %" PRIu64, kv->count,
                                 ORGAN_GGUF_ARRAY_LIMIT);
    const bool text = kv->element == ORGAN_GGUF_STRING;
    const uint64_t least = kv->count * (text ? organ_gguf_count_bytes(cursor) : organ_gguf_type_bytes(kv->element));
    if (least > organ_gguf_bytes_left(cursor))
        return organ_gguf_refuse(cursor,
                                 "array of %" PRIu64 " %s needs at least %" PRIu64
                                 " bytes, past the end of the file (%" PRIu64 " bytes follow)",
                                 kv->count, organ_gguf_type_name(kv->element), least, organ_gguf_bytes_left(cursor));
    if (!text)
        organ_gguf_take(cursor, "array", least);
    for (uint64_t k = 0; text && !cursor->error->status && k < kv->count; k++)
        skip_string(cursor);
    return cursor->error->status;
}

static void skip_value(organ_gguf_cursor *cursor, organ_gguf_kv *kv)
{
    kv->element = kv->type;
    kv->count = 1;
    if (kv->type == ORGAN_GGUF_ARRAY)
        skip_array(cursor, kv);
    else if (kv->type == ORGAN_GGUF_STRING)
        skip_string(cursor);
    else
        organ_gguf_take(cursor, "value", organ_gguf_type_bytes(kv->type));
}

/* Lengths and counts of version 1 are widened from u32 to u64, as in version 3. `out` has room for 4 more bytes for
 * each. */
static void widen_version_1(const organ_gguf_cursor *cursor, size_t begin, const organ_gguf_kv *kv, unsigned char *out)
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
        const size_t length = (size_t)organ_little_endian(from, 4);
        memcpy(out, from, 4);
        memset(out + 4, 0, 4);
        memcpy(out + 8, from + 4, length);
        out += 8 + length;
        from += 4 + length;
    }
}

/* The copy has the encoding of version 3. */
static organ_status copy_value(const organ_gguf_cursor *cursor, size_t begin, organ_arena *arena, organ_gguf_kv *kv)
{
    const uint64_t lengths = (kv->type == ORGAN_GGUF_ARRAY) + (kv->element == ORGAN_GGUF_STRING ? kv->count : 0);
    kv->size = cursor->at - begin + (cursor->narrow ? 4 * lengths : 0);
    unsigned char *kept = organ_arena_take(arena, kv->size);
    if (!kept)
        return fail_kv_memory(cursor);
    if (cursor->narrow)
        widen_version_1(cursor, begin, kv, kept);
    else
        memcpy(kept, cursor->image + begin, kv->size);
    kv->bytes = kept;
    return ORGAN_OK;
}

static organ_status read_value(organ_gguf_cursor *cursor, organ_arena *arena, organ_gguf_kv *kv)
{
    kv->key = read_key(cursor, arena);
    kv->type = read_type(cursor, "value type");
    const size_t value_begin = cursor->at;
    skip_value(cursor, kv);
    return cursor->error->status ? cursor->error->status : copy_value(cursor, value_begin, arena, kv);
}

static organ_status enter_key(const organ_gguf_cursor *cursor, organ_name_table *keys, const char *key, size_t number)
{
    const size_t *kept = organ_name_table_put(keys, key, number);
    if (!kept)
        return fail_kv_memory(cursor);
    if (*kept != number)
        return organ_gguf_refuse(cursor, "duplicate key: number %zu and number %zu", *kept + 1, number + 1);
    return ORGAN_OK;
}

organ_status organ_gguf_read_values(organ_gguf_cursor *cursor, uint64_t count, organ_arena *arena, organ_gguf_kv **kvs,
                                    size_t *whole)
{
    ORGAN_RELEASED_BY(organ_name_table_release) organ_name_table keys = {0};
    size_t capacity = 0;
    *kvs = NULL;
    *whole = 0;
    for (size_t k = 0; !cursor->error->status && k < count; k++) {
        if (!organ_grow(kvs, k, &capacity, sizeof **kvs)) {
            fail_kv_memory(cursor);
            break;
        }
        snprintf(cursor->where, sizeof cursor->where, "key %zu of %" PRIu64, k + 1, count);
        if (read_value(cursor, arena, &(*kvs)[k]) == ORGAN_OK) {
            *whole = k + 1;
            enter_key(cursor, &keys, (*kvs)[k].key, k);
            organ_faults_take(cursor->faults, cursor->error);
        }
    }
    return cursor->error->status;
}
