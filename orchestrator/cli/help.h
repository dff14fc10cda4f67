/* SPDX-License-Identifier: MIT
 * Help, made from the table of verbs. */
#ifndef ORGAN_HELP_H
#define ORGAN_HELP_H

#include "orchestrator/cli/verb_find.h"
#include "orchestrator/report/text/text.h"

/* Prints what `organ` without arguments shows: the few verbs that a newcomer needs, with an example each. */
void organ_help_start(FILE *out, const organ_verb_table *table, const organ_page *page);

/* Prints what `organ help` shows: all verbs, grouped by purpose. */
void organ_help_overview(FILE *out, const organ_verb_table *table, const organ_page *page);

/* Prints what `organ help VERB` shows: the complete help of one verb. */
void organ_help_of_verb(FILE *out, const organ_verb *verb, const organ_page *page);

/* Lists the verbs that begin with this word ("lora"). Returns false and prints nothing if there are none. */
bool organ_help_family(FILE *out, const organ_verb_table *table, const char *word, const organ_page *page);

/* Writes the meaning of an option, with its range and default. */
#define ORGAN_MEANING_ROOM 1024
void organ_help_meaning(const organ_option *option, char meaning[ORGAN_MEANING_ROOM]);

#endif
