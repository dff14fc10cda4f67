/* SPDX-License-Identifier: MIT
 * Functions that the sources of the GGUF reader share. A cursor reads the header forwards, keeps the bytes that it has
 * read and never passes the end of the file. organ_gguf_read_values reads the key-values with a cursor. */
#ifndef ORGAN_GGUF_PARTS_H
#define ORGAN_GGUF_PARTS_H

#include "formats/gguf/file.h"

/* Upper bound on the bytes of a header: the largest vocabularies have 30 MB. */
#define ORGAN_GGUF_HEADER_LIMIT ((size_t)256 << 20)

/* A position in the header of a file. The caller sets `file`, `error` and `faults` and zeroes the other members. The
 * first fault is kept; results of calls after it must not be used. */
typedef struct organ_gguf_cursor {
    const organ_model_file *file;
    organ_error *error;
    const organ_faults *faults; /* receives faults after which reading can continue; NULL: the first one ends it */
    bool narrow;                /* version 1: counts and lengths are u32 */
    unsigned char *image;       /* the first `held` bytes of the file; organ_gguf_cursor_release frees them */
    size_t held;
    size_t at;       /* offset of the next byte */
    char where[200]; /* the item being read, for messages: "key 'general.name'" */
} organ_gguf_cursor;

/* Returns the number of bytes from the cursor to the end of the file. */
uint64_t organ_gguf_bytes_left(const organ_gguf_cursor *cursor);

/* Returns the address of the next `bytes` bytes of the header and moves the cursor past them. The address is valid
 * until the next call. Returns NULL after an earlier error. If the file has fewer bytes left, returns NULL and reports
 * ORGAN_BAD_INPUT; `field` names the bytes in the message. */
const unsigned char *organ_gguf_take(organ_gguf_cursor *cursor, const char *field, uint64_t bytes);

/* Reads and returns the next little-endian number of `bytes` bytes, or 0 after an error. `field` is its name in
 * messages. */
uint64_t organ_gguf_take_number(organ_gguf_cursor *cursor, const char *field, size_t bytes);
/* Reads and returns the next count or length: u64, or u32 in version 1. */
uint64_t organ_gguf_take_count(organ_gguf_cursor *cursor, const char *field);

/* Reads the next `length` bytes and returns a copy with a NUL, in the arena. Returns NULL with an error if they are not
 * UTF-8 or contain NUL; `what` is their name in messages: "key". */
const char *organ_gguf_take_text(organ_gguf_cursor *cursor, const char *what, uint64_t length, organ_arena *arena);

/* Returns the number of bytes of a count or a length in this file: 4 in version 1, else 8. */
size_t organ_gguf_count_bytes(const organ_gguf_cursor *cursor);

/* Reports ORGAN_BAD_INPUT. The message consists of the name of the file, the item being read and the formatted
 * sentence. */
organ_status organ_gguf_refuse(const organ_gguf_cursor *cursor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void organ_gguf_cursor_release(organ_gguf_cursor *cursor);

/* ---- key-values ---- */

/* Longest key that the format allows, in bytes. */
#define ORGAN_GGUF_KEY_LIMIT 65535u

/* Largest number of elements in an array that the format's reference reader accepts. */
#define ORGAN_GGUF_ARRAY_LIMIT (UINT64_C(1) << 30)

/* Returns the number of bytes of the shortest possible key-value in this file. With it the reader bounds the number of
 * key-values. */
size_t organ_gguf_shortest_kv(const organ_gguf_cursor *cursor);

/* Reads `count` key-values into *kvs, which the caller frees, also after an error; the arena owns keys and values. Sets
 * *whole to the number of key-values that were read completely. Passes duplicate keys to cursor->faults, if it is not
 * NULL. */
organ_status organ_gguf_read_values(organ_gguf_cursor *cursor, uint64_t count, organ_arena *arena, organ_gguf_kv **kvs,
                                    size_t *whole);

#endif
