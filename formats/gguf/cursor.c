/* SPDX-License-Identifier: MIT */
#include "formats/gguf/cursor.h"

#include "formats/remote/model_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FIRST_READ ((size_t)64 << 10)

uint64_t organ_gguf_left(const organ_gguf_cursor *cursor) { return cursor->file->size - cursor->at; }

size_t organ_gguf_count_bytes(const organ_gguf_cursor *cursor) { return cursor->narrow ? 4 : 8; }

organ_status organ_gguf_refuse(const organ_gguf_cursor *cursor, organ_error *error, const char *format, ...)
{
    char sentence[600];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: %s", cursor->file->name, cursor->where, sentence);
}

/* Holds the file up to `end` at least, which is not past its end; each time twice as much, so that long headers take few reads. */
static organ_status hold(organ_gguf_cursor *cursor, size_t end, organ_error *error)
{
    struct stat info;
    if (end <= cursor->held)
        return ORGAN_OK;
    if (end > ORGAN_GGUF_HEADER_LIMIT)
        return organ_gguf_refuse(cursor, error, "the header reaches to byte %zu at least, beyond the limit of %zu", end,
                                 ORGAN_GGUF_HEADER_LIMIT);
    size_t wanted = cursor->held ? 2 * cursor->held : FIRST_READ;
    if (wanted < end)
        wanted = end;
    uint64_t there = cursor->file->size;
    if (cursor->file->fd >= 0 && fstat(cursor->file->fd, &info) == 0 && (uint64_t)info.st_size < there)
        there = (uint64_t)info.st_size; /* a header that was kept without its data */
    if (wanted > there)
        wanted = there > end ? (size_t)there : end;
    unsigned char *larger = realloc(cursor->image, wanted);
    if (!larger)
        return organ_fail_errno(error, ENOMEM, "%s: a header of %zu bytes", cursor->file->name, wanted);
    cursor->image = larger;
    const organ_status status =
        organ_model_file_read(cursor->file, cursor->image + cursor->held, wanted - cursor->held, cursor->held, error);
    if (status == ORGAN_OK)
        cursor->held = wanted;
    return status;
}

organ_status organ_gguf_take(organ_gguf_cursor *cursor, const char *field, size_t bytes, const unsigned char **taken, organ_error *error)
{
    if (bytes > organ_gguf_left(cursor))
        return organ_gguf_refuse(cursor, error, "%s of %zu bytes at byte %zu is past the end of the file (%" PRIu64 ")", field, bytes,
                                 cursor->at, cursor->file->size);
    if (hold(cursor, cursor->at + bytes, error) != ORGAN_OK)
        return error->status;
    *taken = cursor->image + cursor->at;
    cursor->at += bytes;
    return ORGAN_OK;
}

static organ_status take_number(organ_gguf_cursor *cursor, const char *field, size_t bytes, uint64_t *value, organ_error *error)
{
    const unsigned char *taken;
    const organ_status status = organ_gguf_take(cursor, field, bytes, &taken, error);
    *value = 0;
    for (size_t k = bytes; status == ORGAN_OK && k > 0; k--)
        *value = *value << 8 | taken[k - 1];
    return status;
}

organ_status organ_gguf_take_u32(organ_gguf_cursor *cursor, const char *field, uint32_t *value, organ_error *error)
{
    uint64_t wide;
    const organ_status status = take_number(cursor, field, 4, &wide, error);
    *value = (uint32_t)wide;
    return status;
}

organ_status organ_gguf_take_u64(organ_gguf_cursor *cursor, const char *field, uint64_t *value, organ_error *error)
{
    return take_number(cursor, field, 8, value, error);
}

organ_status organ_gguf_take_count(organ_gguf_cursor *cursor, const char *field, uint64_t *value, organ_error *error)
{
    return take_number(cursor, field, organ_gguf_count_bytes(cursor), value, error);
}

void organ_gguf_cursor_release(organ_gguf_cursor *cursor)
{
    free(cursor->image);
    cursor->image = NULL;
    cursor->held = 0;
}
