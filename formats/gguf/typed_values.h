/* SPDX-License-Identifier: MIT
 * Values of GGUF keys as text: parses what a user types for a key of a known type, and formats a value for reports. */
#ifndef ORGAN_GGUF_TYPED_VALUES_H
#define ORGAN_GGUF_TYPED_VALUES_H

#include "formats/gguf/file.h"

/* The type of a value. */
typedef struct organ_gguf_kind {
    organ_gguf_type type; /* of the value, or of the elements of an array; never ORGAN_GGUF_ARRAY */
    bool array;
} organ_gguf_kind;

/* The names of all types, as messages list them. */
#define ORGAN_GGUF_KINDS                                                                                               \
    "uint8, int8, uint16, int16, uint32, int32, uint64, int64, float32, float64, bool, string, and arrays of them "    \
    "such "                                                                                                            \
    "as string[]"

#define ORGAN_GGUF_KIND_ROOM 16
/* Writes the name of the kind to `out` and returns it: "uint32", "string[]". */
const char *organ_gguf_kind_name(organ_gguf_kind kind, char out[ORGAN_GGUF_KIND_ROOM]);

/* Parses such a name of `length` bytes. Returns false if there is no such type. */
bool organ_gguf_kind_parse(const char *name, size_t length, organ_gguf_kind *kind);

/* Returns the kind of a value that was read. */
organ_gguf_kind organ_gguf_kind_of(const organ_gguf_kv *kv);

/* Sets the key of the writer to the value that `text`, of `length` bytes, states. Whole numbers and real numbers are in
 * decimal, a bool is "true" or "false", a string is the text itself, and an array is a JSON array whose elements are
 * JSON numbers, true or false, or strings. Returns ORGAN_BAD_INPUT, with the key, the type and the text in the message,
 * if the text is no value of the kind: it has another form, is out of range, is no finite number, or is not UTF-8.
 * Returns ORGAN_IO if memory is exhausted. */
organ_status organ_gguf_set_typed(organ_gguf_writer *writer, const char *key, organ_gguf_kind kind, const char *text,
                                  size_t length, organ_error *error);

/* Returns a value as text for a report, which the caller frees: a number, "true", a text, or "3 x uint32: 1, 2, 3".
 * Texts and arrays are cut after about 60 characters, with "..." at their end; bytes that are not UTF-8 and line breaks
 * become '?' and blanks. NULL if memory is exhausted. */
char *organ_gguf_value_text(const organ_gguf_kv *kv);

#endif
