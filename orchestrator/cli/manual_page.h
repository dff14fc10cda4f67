/* SPDX-License-Identifier: MIT
 * Pages of the manual in roff (man macros), made from the table of verbs. */
#ifndef ORGAN_MANUAL_PAGE_H
#define ORGAN_MANUAL_PAGE_H

#include "orchestrator/cli/verb_find.h"

#include <stdio.h>

/* Prints organ(1), the manual page of the program with all its verbs. */
void organ_manual_of_program(FILE *out, const organ_verb_table *table);

/* Prints organ-VERB(1), the manual page of a verb, which must be in the table: the page refers to its neighbours. */
void organ_manual_of_verb(FILE *out, const organ_verb_table *table, const organ_verb *verb);

/* Writes the name of a verb's manual page, such as "organ-lora-extract". */
#define ORGAN_MANUAL_NAME_ROOM 64
void organ_manual_name(const organ_verb *verb, char name[ORGAN_MANUAL_NAME_ROOM]);

#endif
