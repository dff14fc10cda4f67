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

/* Whether it is the first verb of two words in the table that begins with its first word, which is put into `family`.
 */
#define ORGAN_FAMILY_ROOM 32
bool organ_completion_opens_family(const organ_verb_table *table, size_t verb, char family[ORGAN_FAMILY_ROOM]);

/* Puts the words that may come first (`of` is ""), each family once, which is about the section that its first verb
 * stands in; or the second words of a family. */
typedef void organ_completion_word(FILE *out, const char *of, size_t number, const char *word,
                                   const char *about); /* number: from 0 */
void organ_completion_words(FILE *out, const organ_verb_table *table, const char *of, organ_completion_word *put);

#endif
