/* SPDX-License-Identifier: MIT
 * Inside of the reader: the cursor by which alone a header is read, forwards, never past the end of the file, holding
 * what was read; and the key-values. */
#ifndef ORGAN_GGUF_PARTS_H
#define ORGAN_GGUF_PARTS_H

#include "formats/gguf/file.h"

/* Nothing of that size is a header: the largest vocabularies take 30 MB. */
#define ORGAN_GGUF_HEADER_LIMIT ((size_t)256 << 20)

/* `file`, `error` and `faults` are set by the caller, all else zero at the beginning. The first fault is kept: what is
 * read after it is of no use. */
typedef struct organ_gguf_cursor {
    const organ_model_file *file;
    organ_error *error;
    const organ_faults *faults; /* who takes the faults after which it goes on; NULL: the first one ends it */
    bool narrow;                /* version 1: counts and lengths are u32 */
    unsigned char *image;       /* the first `held` bytes of the file */
    size_t held;
    size_t at;
    char where[200]; /* what is being read, for messages: "key 'general.name'" */
} organ_gguf_cursor;

/* Bytes of the file from `at` on. */
uint64_t organ_gguf_left(const organ_gguf_cursor *cursor);

/* The next `bytes`, valid until the next call; NULL with ORGAN_BAD_INPUT if the file ends before them, NULL where there
 * is an error. `field` says what they would be. */
const unsigned char *organ_gguf_take(organ_gguf_cursor *cursor, const char *field, uint64_t bytes);

/* The next number, little endian; 0 where there is an error, as above. */
uint64_t organ_gguf_take_number(organ_gguf_cursor *cursor, const char *field, size_t bytes);
/* A count or a length: u64, in version 1 u32. */
uint64_t organ_gguf_take_count(organ_gguf_cursor *cursor, const char *field);

/* The next `length` bytes as text in the arena, with a NUL after it; NULL with an error. What is not UTF-8 or has a NUL
 * in it is refused; `what` calls it in messages: "key". */
const char *organ_gguf_take_text(organ_gguf_cursor *cursor, const char *what, uint64_t length, organ_arena *arena);

/* Bytes of a count or a length in this file. */
size_t organ_gguf_count_bytes(const organ_gguf_cursor *cursor);

/* ORGAN_BAD_INPUT with file, what is being read, and the sentence. */
organ_status organ_gguf_refuse(const organ_gguf_cursor *cursor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void organ_gguf_cursor_release(organ_gguf_cursor *cursor);

/* ---- key-values ---- */

/* The format allows keys of so many bytes. */
#define ORGAN_GGUF_KEY_LIMIT 65535u

/* No array has more elements, as in the reference reader of the format. */
#define ORGAN_GGUF_ARRAY_LIMIT (UINT64_C(1) << 30)

/* Bytes of the shortest key-value in this file, of which `count` must have room. */
size_t organ_gguf_shortest_kv(const organ_gguf_cursor *cursor);

/* Reads `count` key-values into *kvs (for the caller to free, also after an error); keys and values are held by the
 * arena. *whole is how many were read. */
organ_status organ_gguf_read_values(organ_gguf_cursor *cursor, uint64_t count, organ_arena *arena, organ_gguf_kv **kvs,
                                    size_t *whole);

#endif
