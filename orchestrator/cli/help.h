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

/* A part of a verb's text of exit codes: a code with its meaning, or a sentence that introduces codes. */
typedef struct organ_help_exit {
    const char *code;     /* its digits, as `digits` says; not NUL-terminated */
    size_t digits;        /* 0: a sentence */
    const char *meaning;  /* the sentence with its colon, or the meaning without the full stop of a line's end; not
                             NUL-terminated */
    size_t meaning_bytes; /* length of `meaning` */
} organ_help_exit;

/* Sets *part to the part at the beginning of `exits` and returns the text after it. A part ends before "; " or ": "
 * with a digit after it, a newline or the end. */
const char *organ_help_next_exit(const char *exits, organ_help_exit *part);

/* Writes the help text of an option with its range and its default, "... (1 to 64; default 8)". */
#define ORGAN_MEANING_ROOM 1024
void organ_help_meaning(const organ_option *option, char meaning[ORGAN_MEANING_ROOM]);

#endif
