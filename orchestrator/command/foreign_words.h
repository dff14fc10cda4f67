/* SPDX-License-Identifier: MIT
 * Words that users bring from other programs (llama.cpp, mergekit, llm-compressor, lm-evaluation-harness, mlx-lm,
 * ollama), and what they write instead here. */
#ifndef ORGAN_COMMAND_FOREIGN_WORDS_H
#define ORGAN_COMMAND_FOREIGN_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* Returns a sentence about a word in place of the verb, "organ generate MODEL -p TEXT continues a prompt"; NULL if the
 * table lacks the word. */
const char *organ_foreign_verb(const char *word);

/* An option of other programs, without dashes. */
typedef struct organ_foreign_option {
    const char *words;  /* its names, separated by '|' */
    const char *verb;   /* the only verb for which the row holds; NULL: it holds for all */
    const char *meant;  /* the option to write instead; the row holds only for verbs that have it. NULL: none */
    const char *advice; /* end of a message, "; ..." or ": ..."; NULL: "did you mean", with `meant` */
} organ_foreign_option;

/* Returns the first row after `row` (NULL: of all) for the option and the verb; NULL after the last. `name` has
 * `length` bytes. */
const organ_foreign_option *organ_foreign_option_next(const organ_foreign_option *row, const char *verb,
                                                      const char *name, size_t length);

#endif
