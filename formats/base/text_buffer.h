/* SPDX-License-Identifier: MIT
 * Strings that are written: at once by a format, or like a file. */
#ifndef ORGAN_TEXT_BUFFER_H
#define ORGAN_TEXT_BUFFER_H

#include "formats/base/status.h"

#include <stddef.h>
#include <stdio.h>

/* A string as printf would write it, for the caller to free; NULL without memory. */
char *organ_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* It must not be moved: the stream knows its address. After a successful open, finish or discard must follow. ftell
 * works, fseek does not. Unlike open_memstream, the stream keeps in its error flag that a write got no memory. */
typedef struct organ_text {
    FILE *out;
    char *data;        /* after fflush: what was written, NUL-terminated; NULL if that is nothing */
    size_t size, room; /* bytes of it without the NUL; what is allocated */
} organ_text;

organ_status organ_text_open(organ_text *text, organ_error *error);
/* *string is the whole text, NUL-terminated, for the caller to free; NULL and ORGAN_IO if memory ran out on the way,
 * which counts as a refusal (formats/base/memory_watch.h). */
organ_status organ_text_finish(organ_text *text, char **string, organ_error *error);
void organ_text_discard(organ_text *text);
/* The one or the other: finish, or discard where `error` tells of one already; its status. */
organ_status organ_text_end(organ_text *text, char **string, organ_error *error);

#endif
