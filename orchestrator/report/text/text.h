/* SPDX-License-Identifier: MIT
 * Text for people: its width on a screen, line breaks, and characters from files that could harm a terminal. */
#ifndef ORGAN_TEXT_H
#define ORGAN_TEXT_H

#include <organ/base.h>
#include "formats/base/text_buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Properties of the output that text is written to. */
typedef struct organ_page {
    size_t width; /* columns of the screen; 0: no limit (a file, a pipe) */
    bool utf8;    /* characters beyond ASCII, such as lines and dots, may be printed */
} organ_page;

/* Writes `s` with control characters (also C1, and marks that change the direction of writing) and invalid UTF-8 as
 * \xNN. */
void organ_text_visible(FILE *out, const char *s);

/* Returns the text of organ_text_visible as a string, which the caller frees; NULL if out of memory. */
char *organ_text_made_visible(const char *s);

/* Writes one character, the first `length` bytes of `s` in UTF-8, to `out`. */
typedef void organ_text_put(FILE *out, const char *s, size_t length);
/* Writes text like organ_text_visible, but passes each unchanged character to `put`, which may escape it. */
void organ_text_visible_by(FILE *out, const char *s, organ_text_put *put);

/* Returns the columns that a valid UTF-8 string fills: 2 for East Asian wide characters and emoji, 0 for combining
 * marks. */
size_t organ_text_width(const char *s);

/* Shortens `s` to at most `width` columns (>= 5): replaces its middle by "…" if `utf8` is set, else by "...". A text
 * that fits is copied unchanged. The caller frees the result; NULL if memory runs out, which counts as a refusal
 * (organ_memory_refusals). */
char *organ_text_shorten(const char *s, size_t width, bool utf8);

/* Writes a paragraph: `lead` first, then the words of `s` broken at `page->width` (unlimited: one line), further lines
 * indented by `indent` columns, newline at the end. `lead` may be empty and should be `indent` columns wide. */
void organ_text_wrap(FILE *out, const char *lead, size_t indent, const char *s, const organ_page *page);

/* Prints a formatted sentence like organ_text_wrap: `lead` indents by its width, and characters that could harm a
 * terminal are made visible. */
void organ_text_say(FILE *out, const organ_page *page, const char *lead, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Writes lines. A line wider than the page is broken between words; its continuation lines are indented by 2 columns
 * more than the line. Commands of this program ("  organ prune ...") and words wider than the page are not broken. */
void organ_text_fold(FILE *out, const char *lines, const organ_page *page);

/* Writes a percentage with its sign, such as "22.41 %", to `out` and returns `out`. */
const char *organ_percent_text(double percent, char out[32]);

#endif
