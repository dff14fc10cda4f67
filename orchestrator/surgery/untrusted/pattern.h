/* SPDX-License-Identifier: MIT
 * Regular expressions that take a time which grows beyond all measure with the text. */
#ifndef ORGAN_UNTRUSTED_PATTERN_H
#define ORGAN_UNTRUSTED_PATTERN_H

#include <stddef.h>

/* Why a backtracking engine may never end with the pattern, or how it grows: NULL if nothing of that kind is in it.
 * Seen are a repetition of a group in which something repeats without end ("(a+)+"), counts of a thousand and more, and
 * patterns of more than 64 KiB. */
const char *organ_pattern_risk(const char *pattern, size_t length);

#endif
