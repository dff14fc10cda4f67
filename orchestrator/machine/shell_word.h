/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_SHELL_WORD_H
#define ORGAN_SHELL_WORD_H

#include <stdio.h>

/* Writes `s` as one word of a POSIX shell, in single quotes if necessary. A word with control characters is written
 * in bash's notation $'...'. */
void organ_shell_word(FILE *out, const char *s);

#endif
