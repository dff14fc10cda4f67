/* SPDX-License-Identifier: MIT */
#include "formats/base/text.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"

#include <errno.h>

enum {
    FIRST_ROOM = 48
}; /* first capacity in bytes; small, because a table of 100,000 rows keeps a buffer for each cell */

char *organ_format(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    const int length = organ_vasprintf(&text, format, args);
    va_end(args);
    if (length >= 0)
        return text;
    organ_memory_count_refusal();
    return NULL;
}

static bool reserve_text(organ_text *text, size_t bytes)
{
    if (bytes >= SIZE_MAX / 2 - text->size)
        return false;
    const size_t needed = text->size + bytes + 1, twice = text->capacity ? 2 * text->capacity : FIRST_ROOM;
    if (needed <= text->capacity)
        return true;
    const size_t capacity = needed > twice ? needed : twice;
    char *const data =
        text->in_rows ? organ_rows_grow(text->data, text->size, capacity) : realloc(text->data, capacity);
    if (!data)
        return false;
    text->data = data;
    text->capacity = capacity;
    return true;
}

/* A result of 0 makes stdio set the error flag of the stream. */
static ssize_t text_append(void *cookie, const char *bytes, size_t count)
{
    organ_text *const text = cookie;
    if (!reserve_text(text, count))
        return 0;
    memcpy(text->data + text->size, bytes, count);
    text->size += count;
    text->data[text->size] = '\0';
    return (ssize_t)count;
}

/* Only ftell calls this function. */
static int text_tell(void *cookie, off64_t *offset, int whence)
{
    if (*offset != 0 || whence == SEEK_SET) {
        errno = ESPIPE;
        return -1;
    }
    *offset = (off64_t)((const organ_text *)cookie)->size;
    return 0;
}

organ_status organ_text_open(organ_text *text, organ_error *error)
{
    *text = (organ_text){0};
    text->out = fopencookie(text, "w", (cookie_io_functions_t){.write = text_append, .seek = text_tell});
    if (text->out)
        return ORGAN_OK;
    organ_memory_count_refusal();
    return organ_fail(error, ORGAN_IO, "no memory for a text");
}

organ_status organ_text_open_rows(organ_text *text, organ_error *error)
{
    organ_text_open(text, error);
    text->in_rows = true;
    return error->status;
}

static void release_text(organ_text *text)
{
    if (text->in_rows)
        organ_rows_free(text->data);
    else
        free(text->data);
}

/* reserve_text is called with 0 because an empty text has no buffer yet for the NUL. */
organ_status organ_text_finish(organ_text *text, char **string, organ_error *error)
{
    const int failed = ferror(text->out);
    *string = NULL;
    if (fclose(text->out) != 0 || failed || !reserve_text(text, 0)) {
        release_text(text);
        organ_memory_count_refusal();
        return organ_fail(error, ORGAN_IO, "no memory for a text of more than %zu bytes", text->size);
    }
    text->data[text->size] = '\0';
    *string = text->data;
    return ORGAN_OK;
}

void organ_text_discard(organ_text *text)
{
    fclose(text->out);
    release_text(text);
}

organ_status organ_text_end(organ_text *text, char **string, organ_error *error)
{
    if (!error->status)
        return organ_text_finish(text, string, error);
    organ_text_discard(text);
    return error->status;
}
