/* SPDX-License-Identifier: MIT
 * Finds regular expressions whose matching time can grow exponentially with the text. */
#ifndef ORGAN_UNTRUSTED_PATTERN_H
#define ORGAN_UNTRUSTED_PATTERN_H

#include <stddef.h>

/* Returns a description of the risk that a backtracking engine does not end with this pattern; NULL if there is
 * none. Detects unlimited repetitions within a repeated group ("(a+)+"), counts of a thousand and more, and patterns
 * of more than 64 KiB. */
const char *organ_pattern_risk(const char *pattern, size_t length);

#endif
