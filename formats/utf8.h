/* SPDX-License-Identifier: MIT
 * Whether bytes are text. */
#ifndef ORGAN_UTF8_H
#define ORGAN_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length of the valid UTF-8 sequence that begins at s, 0 if there is none. Overlong forms and surrogates are invalid. A NUL stands
 * somewhere behind s. */
size_t organ_utf8_length(const unsigned char *s);

/* Whether all of the string is valid UTF-8. */
bool organ_utf8_valid(const char *s);

#endif
