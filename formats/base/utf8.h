/* SPDX-License-Identifier: MIT
 * UTF-8 decoding, and the characters that messages must not print. */
#ifndef ORGAN_UTF8_H
#define ORGAN_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns the length of the valid UTF-8 sequence that begins at s, or 0 if it is invalid; overlong forms and
 * surrogates are invalid. The text must be NUL-terminated. */
size_t organ_utf8_length(const unsigned char *s);

/* Returns the same length as organ_utf8_length, and sets *code to the character, which is undefined if the length is
 * 0. */
size_t organ_utf8_decode(const unsigned char *s, uint32_t *code);

/* Decodes like organ_utf8_decode, for text without a NUL: reads at most `remaining` bytes. */
size_t organ_utf8_within(const void *s, size_t remaining, uint32_t *code);

/* Returns true for characters that can harm a terminal's display: C0 and C1 controls, and invisible marks that
 * reorder or break a line (U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069, U+FEFF). Messages, tables and
 * logs all use this list. */
bool organ_utf8_hidden(uint32_t code);

/* Returns the length of the white-space character at s (a character that Python's str.isspace accepts), or 0 for any
 * other character. The text must be NUL-terminated. */
size_t organ_utf8_space(const unsigned char *s);

/* Returns true if the whole string is valid UTF-8. */
bool organ_utf8_valid(const char *s);

/* Returns true if all `bytes` bytes of the text are valid UTF-8. The text may contain NUL and needs none at its end. */
bool organ_utf8_valid_within(const char *text, size_t bytes);

#endif
