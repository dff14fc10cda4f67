/* SPDX-License-Identifier: MIT
 * Reads importance matrices in the format that llama.cpp wrote before GGUF (imatrix.dat) and still writes on request.
 * All numbers are little endian:
 *
 *     i32 number of entries
 *     for each: i32 bytes of the name, name, i32 chunks, i32 number of values, values as f32: the mean of the squares
 *     times the chunks
 *     i32 number of the last chunk, i32 bytes of the name of the text, name: both missing in the oldest files
 *
 * The values of the experts of a stack are contiguous; the file does not contain the number of experts. */
#include "formats/imatrix/imatrix_parts.h"

#include "formats/base/input_file.h"
#include "formats/base/utf8.h"
#include "formats/remote/remote.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHORTEST_ENTRY ((uint64_t)(4 + 1 + 4 + 4 + 4)) /* bytes of an entry with a name of 1 byte and one value */
#define LONGEST_NAME   4096                            /* bytes */

/* The first fault is kept in `error`; values read after it are meaningless. */
typedef struct cursor {
    organ_imatrix_state *s; /* the open file, and output */
    organ_error *error;
    uint64_t at;     /* offset of the next byte */
    char where[200]; /* the item being read, for messages */
} cursor;

/* llama.cpp's old format has no magic number: `first` would be the count of entries, for which the file must have
 * room. */
bool organ_imatrix_is_old(const organ_imatrix_state *s, uint32_t first)
{
    return first > 0 && s->file.size > sizeof first && first <= (s->file.size - sizeof first) / SHORTEST_ENTRY;
}

static uint64_t bytes_remaining(const cursor *c) { return c->s->file.size - c->at; }

static void dat_read_bytes(cursor *c, const char *field, void *to, size_t bytes)
{
    const organ_model_file *const file = &c->s->file;
    if (c->error->status)
        return;
    if (bytes > bytes_remaining(c))
        organ_fail(c->error, ORGAN_BAD_INPUT,
                   "%s: %s: %s of %zu bytes at byte %" PRIu64 " is past the end of the file (%" PRIu64 ")", file->name,
                   c->where, field, bytes, c->at, file->size);
    else if (organ_model_file_read(file, to, bytes, c->at, c->error) == ORGAN_OK)
        c->at += bytes;
}

static int32_t dat_read_count(cursor *c, const char *field, int32_t least, int32_t max)
{
    unsigned char b[4] = {0};
    dat_read_bytes(c, field, b, sizeof b);
    const int32_t value = (int32_t)organ_little_endian(b, sizeof b);
    if (value < least || value > max)
        organ_fail(c->error, ORGAN_BAD_INPUT, "%s: %s: %s is %" PRId32 ", not from %" PRId32 " to %" PRId32,
                   c->s->file.name, c->where, field, value, least, max);
    return c->error->status ? 0 : value;
}

static void dat_read_entry(cursor *c)
{
    char text[LONGEST_NAME];
    const organ_model_file *const file = &c->s->file;
    const int32_t length = dat_read_count(c, "the length of the name", 1, LONGEST_NAME);
    dat_read_bytes(c, "the name", text, (size_t)length);
    if (c->error->status)
        return;
    const char *const name = organ_arena_copy(&c->s->arena, text, (size_t)length);
    if (!name) {
        organ_fail_memory(c->error, file->path);
        return;
    }
    if (strlen(name) != (size_t)length || !organ_utf8_valid(name))
        organ_fail(c->error, ORGAN_BAD_INPUT, "%s: %s: the name of %" PRId32 " bytes %s", file->name, c->where, length,
                   strlen(name) != (size_t)length ? "has a NUL" : "is not valid UTF-8");
    snprintf(c->where, sizeof c->where, "entry '%.150s'", name);
    const int32_t chunks = dat_read_count(c, "the number of chunks", 0, INT32_MAX);
    const int32_t values = dat_read_count(c, "the number of values", 1, INT32_MAX);
    const uint64_t bytes = (uint64_t)values * sizeof(float);
    if (bytes > bytes_remaining(c))
        organ_fail(c->error, ORGAN_BAD_INPUT,
                   "%s: %s: %" PRId32 " values at byte %" PRIu64 " are past the end of the file (%" PRIu64 ")",
                   file->name, c->where, values, c->at, file->size);
    if (!c->error->status)
        organ_imatrix_add(c->s, name, (uint64_t)values, 1, (organ_imatrix_bytes){c->at, (uint64_t)chunks}, c->error);
    c->at += bytes;
}

/* The end of the file is optional: number of the last chunk and name of the text. */
static void dat_read_trailer(cursor *c)
{
    char text[LONGEST_NAME];
    snprintf(c->where, sizeof c->where, "after the entries");
    if (c->error->status || bytes_remaining(c) == 0)
        return;
    c->s->view.chunks = dat_read_count(c, "the last chunk", 0, INT32_MAX);
    if (c->error->status || bytes_remaining(c) == 0)
        return;
    const int32_t length = dat_read_count(c, "the length of the name of the text", 0, LONGEST_NAME);
    dat_read_bytes(c, "the name of the text", text, (size_t)length);
    if (!c->error->status && bytes_remaining(c))
        organ_fail(c->error, ORGAN_BAD_INPUT,
                   "%s: ends at byte %" PRIu64 ", but the file has %" PRIu64 ": the rest belongs to no entry",
                   c->s->file.name, c->at, c->s->file.size);
    if (length && !c->error->status && organ_imatrix_begin_datasets(c->s, 1, c->error) == ORGAN_OK)
        organ_imatrix_add_dataset(c->s, text, (size_t)length, c->error);
}

organ_status organ_imatrix_read_old(organ_imatrix_state *s, organ_error *error)
{
    cursor c = {.s = s, .error = error, .where = "header"};
    const int32_t count = dat_read_count(&c, "the number of entries", 1, INT32_MAX);
    for (int32_t k = 0; k < count && !error->status; k++) {
        snprintf(c.where, sizeof c.where, "entry %" PRId32 " of %" PRId32, k + 1, count);
        dat_read_entry(&c);
    }
    dat_read_trailer(&c);
    return error->status;
}
