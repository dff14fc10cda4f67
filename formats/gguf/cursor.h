/* SPDX-License-Identifier: MIT
 * The one way in which the header of a GGUF file is read: forwards, never past the end of the file, holding what was read. */
#ifndef ORGAN_GGUF_CURSOR_H
#define ORGAN_GGUF_CURSOR_H

#include "formats/base/status.h"
#include "formats/tensor/tensor.h"

/* Nothing of that size is a header: the largest vocabularies take 30 MB. */
#define ORGAN_GGUF_HEADER_LIMIT ((size_t)256 << 20)

/* `file` is set by the caller, all else zero at the beginning. */
typedef struct organ_gguf_cursor {
    const organ_model_file *file;
    bool narrow;          /* version 1: counts and lengths are u32 */
    unsigned char *image; /* the first `held` bytes of the file */
    size_t held;
    size_t at;
    char where[200]; /* what is being read, for messages: "key 'general.name'" */
} organ_gguf_cursor;

/* Bytes of the file from `at` on. */
uint64_t organ_gguf_left(const organ_gguf_cursor *cursor);

/* The next `bytes`, valid until the next call. ORGAN_BAD_INPUT if the file ends before; `field` says what it would be. */
organ_status organ_gguf_take(organ_gguf_cursor *cursor, const char *field, size_t bytes, const unsigned char **taken, organ_error *error);
organ_status organ_gguf_take_u32(organ_gguf_cursor *cursor, const char *field, uint32_t *value, organ_error *error);
organ_status organ_gguf_take_u64(organ_gguf_cursor *cursor, const char *field, uint64_t *value, organ_error *error);
/* A count or a length: u64, in version 1 u32. */
organ_status organ_gguf_take_count(organ_gguf_cursor *cursor, const char *field, uint64_t *value, organ_error *error);

/* Bytes of a count or a length in this file. */
size_t organ_gguf_count_bytes(const organ_gguf_cursor *cursor);

/* ORGAN_BAD_INPUT with file, what is being read, and the sentence. */
organ_status organ_gguf_refuse(const organ_gguf_cursor *cursor, organ_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void organ_gguf_cursor_release(organ_gguf_cursor *cursor);

#endif
