/* SPDX-License-Identifier: MIT
 * Strings built by one printf-like call, or by writing to a FILE. */
#ifndef ORGAN_TEXT_BUFFER_H
#define ORGAN_TEXT_BUFFER_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Formats like printf into a new string, which the caller frees. Returns NULL if memory is exhausted, which counts
 * as a refusal (organ_memory_refusals). */
char *organ_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A FILE that writes to memory. The structure must not be moved, because the stream contains its address. A
 * successful open must be followed by finish or discard. ftell works, fseek does not. Unlike with open_memstream, a
 * write that gets no memory sets the stream's error flag. */
typedef struct organ_text {
    FILE *out;
    char *data;            /* text up to the last fflush, NUL-terminated; NULL if it is empty */
    size_t size, capacity; /* bytes without the NUL; allocated bytes */
    bool in_rows;          /* `data` is an array of formats/base/paged_rows.h */
} organ_text;

/* Opens an empty text, which the caller writes through text->out. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_text_open(organ_text *text, organ_error *error);
/* Opens a text that may have megabytes: `data` is an array of formats/base/paged_rows.h, which moves to a file when
 * it becomes large. The caller releases the string of organ_text_finish or organ_text_end with organ_rows_free, and
 * calls organ_rows_passed in the loop that writes. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_text_open_rows(organ_text *text, organ_error *error);
/* Closes the stream and sets *string to the whole text with a NUL, which the caller frees. If memory was exhausted,
 * *string is NULL and the status ORGAN_IO, and a refusal is counted (organ_memory_refusals). */
organ_status organ_text_finish(organ_text *text, char **string, organ_error *error);
/* Closes the stream and releases the text. */
void organ_text_discard(organ_text *text);
/* Calls organ_text_finish if `error` is not set. Otherwise calls organ_text_discard and leaves *string unchanged.
 * Returns the status of `error`. */
organ_status organ_text_end(organ_text *text, char **string, organ_error *error);

#endif
