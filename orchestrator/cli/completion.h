/* SPDX-License-Identifier: MIT
 * Scripts that let a shell complete verbs, options, choices and paths, made from the table of verbs. */
#ifndef ORGAN_COMPLETION_H
#define ORGAN_COMPLETION_H

#include "orchestrator/cli/verb_find.h"

#include <stdio.h>

/* Each writes the whole script for its shell. */
void organ_completion_bash(FILE *out, const organ_verb_table *table);
void organ_completion_zsh(FILE *out, const organ_verb_table *table);
void organ_completion_fish(FILE *out, const organ_verb_table *table);

/* ---- for the three ---- */

/* Copies what an option does up to where details begin, for the line beside it. */
#define ORGAN_BRIEF_ROOM 96
void organ_completion_brief(const char *help, char brief[ORGAN_BRIEF_ROOM]);

/* The first word of a verb of two, "" for others; and its second or only word. */
#define ORGAN_FAMILY_ROOM 32
const char *organ_completion_family(const organ_verb *verb, char family[ORGAN_FAMILY_ROOM]);

/* Whether it is the first verb of its family in the table, so that each family is named once. */
bool organ_completion_opens_family(const organ_verb_table *table, size_t verb);

/* What the verbs of a family are about, by the first of them: the section that they stand in. */
const char *organ_completion_about_family(const organ_verb_table *table, size_t verb);

#endif
