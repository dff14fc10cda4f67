/* SPDX-License-Identifier: MIT
 * Text for people: a growing buffer, its width on a screen, and names from files made harmless. */
#ifndef ORGAN_TEXT_H
#define ORGAN_TEXT_H

#include "formats/base/status.h"
#include "formats/base/text_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* What the text is written for. */
typedef struct organ_page {
    size_t width; /* columns of the screen; 0: no limit (a file, a pipe) */
    bool utf8;    /* lines and dots beyond ASCII may be used */
} organ_page;

/* Writes `s` with control characters (also C1, and marks that turn the direction of writing) and invalid UTF-8 as \xNN.
 */
void organ_text_visible(FILE *out, const char *s);

/* The same as a string, for the caller to free. NULL without memory. */
char *organ_text_made_visible(const char *s);

/* The same for text that is quoted on its way: `put` gets what stays as it is, one character of UTF-8 at a time. */
typedef void organ_text_put(FILE *out, const char *s, size_t length);
void organ_text_visible_by(FILE *out, const char *s, organ_text_put *put);

/* Columns that the valid UTF-8 string takes: 2 for East Asian wide characters and emoji, 0 for combining marks. */
size_t organ_text_width(const char *s);

/* Cuts `s` to at most `width` columns (>= 5) by leaving out its middle, so that its beginning and its end stay. For the
 * caller to free; NULL without memory, which counts as a refusal (formats/base/memory_watch.h). */
char *organ_text_shorten(const char *s, size_t width, bool utf8);

/* Writes a paragraph: `lead` first, then the words of `s` broken at `page->width` (unlimited: one line), further lines
 * indented by `indent` columns, newline at the end. `lead` may be empty and should be `indent` columns wide. */
void organ_text_wrap(FILE *out, const char *lead, size_t indent, const char *s, const organ_page *page);

/* The same for a sentence of its own: `lead` indents by its width, what could harm a terminal is made visible. */
void organ_text_say(FILE *out, const organ_page *page, const char *lead, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Writes lines as they are; one that is wider than the page is broken between words and goes on indented as it began.
 * Commands of this program ("  organ prune ...") and words that are wider than the page stay whole. */
void organ_text_fold(FILE *out, const char *lines, const organ_page *page);

/* "22.41 %" */
const char *organ_percent_text(double percent, char out[32]);

#endif
