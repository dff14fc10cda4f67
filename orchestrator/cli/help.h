/* SPDX-License-Identifier: MIT
 * Help texts, generated from the table of verbs. */
#ifndef ORGAN_HELP_H
#define ORGAN_HELP_H

#include "orchestrator/cli/verb_find.h"
#include "orchestrator/report/text/text.h"

/* Prints the text of `organ` without arguments: the verbs that a new user needs first, each with an example. `page` in
 * all these functions is the width and encoding of `out`. */
void organ_help_start(FILE *out, const organ_verb_table *table, const organ_page *page);

/* Prints the text of `organ help`: all verbs, grouped by purpose. */
void organ_help_overview(FILE *out, const organ_verb_table *table, const organ_page *page);

/* Prints the text of `organ help VERB`. */
void organ_help_of_verb(FILE *out, const organ_verb *verb, const organ_page *page);

/* Prints the verbs of two words whose first is `word` ("lora"). Returns false and prints nothing if there are none. */
bool organ_help_family(FILE *out, const organ_verb_table *table, const char *word, const organ_page *page);

/* Returns the number of bytes of the next code in the text of exit codes: up to "; " or ": " before a digit, a newline
 * or the end. */
size_t organ_help_exit_length(const char *exits);

/* Writes the help text of an option with its range and its default, "... (1 to 64; default 8)". */
#define ORGAN_MEANING_ROOM 1024
void organ_help_meaning(const organ_option *option, char meaning[ORGAN_MEANING_ROOM]);

#endif
