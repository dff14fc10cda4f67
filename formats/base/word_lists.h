/* SPDX-License-Identifier: MIT
 * Lists of words in a text. */
#ifndef ORGAN_BASE_WORD_LISTS_H
#define ORGAN_BASE_WORD_LISTS_H

#include <stdbool.h>
#include <stddef.h>

/* Returns true if the `length` bytes of `word` are one of the words of `list`, a text in which `separator` divides
 * them. NULL has no words. */
bool organ_lists_word(const char *list, char separator, const char *word, size_t length);

/* Copies the first word of *list, in which blanks divide the words, to `word`, which has room for `size` bytes with the
 * NUL, and moves *list behind it. Returns false if there is none; NULL has no words. */
bool organ_next_word(const char **list, char *word, size_t size);

#endif
