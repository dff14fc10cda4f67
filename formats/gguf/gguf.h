/* SPDX-License-Identifier: MIT
 * GGUF metadata (the key-values) of one model, from one file or a split set. Versions 1 to 3 (little endian) are
 * read; version 3 is written. */
#ifndef ORGAN_GGUF_H
#define ORGAN_GGUF_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* Value types as numbered on disk. */
typedef enum organ_gguf_type {
    ORGAN_GGUF_U8,
    ORGAN_GGUF_I8,
    ORGAN_GGUF_U16,
    ORGAN_GGUF_I16,
    ORGAN_GGUF_U32,
    ORGAN_GGUF_I32,
    ORGAN_GGUF_F32,
    ORGAN_GGUF_BOOL,
    ORGAN_GGUF_STRING,
    ORGAN_GGUF_ARRAY,
    ORGAN_GGUF_U64,
    ORGAN_GGUF_I64,
    ORGAN_GGUF_F64,
    ORGAN_GGUF_TYPES
} organ_gguf_type;

/* Return the name of a type ("u8", ..., "f64"), and the number of bytes of one value of a type (0 for strings and
 * arrays). `type` is below ORGAN_GGUF_TYPES. */
const char *organ_gguf_type_name(organ_gguf_type type);
size_t organ_gguf_type_bytes(organ_gguf_type type);

/* Bytes before the first element of an array: its element type (u32) and count (u64). */
#define ORGAN_GGUF_ARRAY_HEAD ((size_t)12)

/* One key-value. `bytes` is the value in the encoding of version 3, without its type: for a string its u64 length
 * and text, for an array its element type, u64 count and elements. An unchanged value is therefore written back byte
 * for byte. */
typedef struct organ_gguf_kv {
    const char *key;               /* valid UTF-8, no NUL */
    organ_gguf_type type, element; /* `element` is the type of an array's elements, else equal to `type` */
    uint64_t count;                /* number of elements of an array, else 1 */
    const unsigned char *bytes;
    size_t size; /* of `bytes` */
} organ_gguf_kv;

/* The metadata of a model, taken from its first file. */
typedef struct organ_gguf {
    uint32_t version;   /* version of the first file */
    uint64_t alignment; /* general.alignment, or 32 if absent */
    size_t kv_count;
    const organ_gguf_kv *kvs; /* in file order, including split.* */
    size_t split_count;       /* number of files; 1 if not split */
} organ_gguf;

/* Returns the key-value of that name, or NULL. */
const organ_gguf_kv *organ_gguf_find(const organ_gguf *gguf, const char *key);

/* Return the value of a key as a number, whatever its stored width. Return `fallback` if the key is absent, text, an
 * array, or an integer beyond 63 bits; organ_gguf_integer also for a float. */
int64_t organ_gguf_integer(const organ_gguf *gguf, const char *key, int64_t fallback);
double organ_gguf_real(const organ_gguf *gguf, const char *key, double fallback);
/* Returns the text of a string value and sets *length to its bytes. The text is not NUL-terminated and may contain any
 * bytes. Returns NULL if the key is absent or not a string. */
const char *organ_gguf_string(const organ_gguf *gguf, const char *key, size_t *length);

/* Returns true if the key is a string equal to `text`. */
bool organ_gguf_text_equals(const organ_gguf *gguf, const char *key, const char *text);

/* Both functions set *value to element `index` of an array or, at index 0, to a single value. They return false for an
 * index beyond the end, for text and for an integer beyond 63 bits; organ_gguf_integer_at also for a float. */
bool organ_gguf_integer_at(const organ_gguf_kv *kv, uint64_t index, int64_t *value);
bool organ_gguf_real_at(const organ_gguf_kv *kv, uint64_t index, double *value);

ORGAN_API_END

#endif
