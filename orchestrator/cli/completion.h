/* SPDX-License-Identifier: MIT
 * Completion in shells. The scripts for bash, zsh and fish contain no verbs or options: they run the hidden verb
 * `organ complete WORD...`, which computes the candidates from the table of verbs. */
#ifndef ORGAN_COMPLETION_H
#define ORGAN_COMPLETION_H

#include "orchestrator/cli/verb_find.h"

#include <stdio.h>

/* Returns the embedded script for `shell`, "bash" or "zsh"; any other text selects the script for fish. */
const char *organ_completion_script(const char *shell);

/* The name of the hidden verb. Its arguments are the words of the command line after "organ"; the last one is the
 * word to complete, up to the cursor, and may be empty. */
#define ORGAN_COMPLETE "complete"

/* Prints the candidates for the last of `count` words, one per line:
 *   WORD TAB DESCRIPTION  the shell may replace the whole last word by WORD; the description may be empty
 *   @HEAD                 the shell may replace it by HEAD followed by the path of any file
 *   +                     the shell must append no blank to a candidate, because a list may continue after it */
void organ_complete(FILE *out, const organ_verb_table *table, int count, char *const *words);

#endif
