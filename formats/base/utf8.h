/* SPDX-License-Identifier: MIT
 * Whether bytes are text. */
#ifndef ORGAN_UTF8_H
#define ORGAN_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the valid UTF-8 sequence that begins at s, 0 if there is none. Overlong forms and surrogates are invalid. A
 * NUL stands somewhere after s. */
size_t organ_utf8_length(const unsigned char *s);

/* The same; *code is the character, undefined where there is none. */
size_t organ_utf8_decode(const unsigned char *s, uint32_t *code);

/* The same within `left` bytes, after which there may be anything. */
size_t organ_utf8_within(const void *s, size_t left, uint32_t *code);

/* Whether a character can do harm where a terminal shows it: C0 and C1 controls, and invisible marks that reorder or
 * break a line, U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069 and U+FEFF. The one list for messages,
 * tables and logs. */
bool organ_utf8_hidden(uint32_t code);

/* Whether all of the string is valid UTF-8. */
bool organ_utf8_valid(const char *s);

#endif
