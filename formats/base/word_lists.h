/* SPDX-License-Identifier: MIT
 * Lists of words in a text. */
#ifndef ORGAN_BASE_WORD_LISTS_H
#define ORGAN_BASE_WORD_LISTS_H

#include <stdbool.h>
#include <stddef.h>

/* Returns true if the `length` bytes of `word` are one of the words of `list`, a text in which `separator` divides
 * them. NULL has no words. */
bool organ_lists_word(const char *list, char separator, const char *word, size_t length);

#endif
