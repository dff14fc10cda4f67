/* SPDX-License-Identifier: MIT
 * Finds regular expressions whose matching time can grow exponentially with the text. */
#ifndef ORGAN_UNTRUSTED_PATTERN_H
#define ORGAN_UNTRUSTED_PATTERN_H

#include <stddef.h>

/* Returns why a backtracking engine may need very long for this pattern of `length` bytes, as the predicate of a
 * sentence ("repeats an unlimited repetition"); NULL if there is no such risk. Detects unlimited repetitions within a
 * repeated group ("(a+)+"), counts of a thousand and more, groups nested deeper than 256, and patterns of more than 64
 * KiB. */
const char *organ_pattern_risk(const char *pattern, size_t length);

#endif
