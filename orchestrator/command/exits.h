/* SPDX-License-Identifier: MIT
 * The exit codes of the program. Help, manual pages and the server's description of verbs are made from this table;
 * tests compare README, docs/troubleshooting.md and what the verbs return with it. */
#ifndef ORGAN_COMMAND_EXITS_H
#define ORGAN_COMMAND_EXITS_H

#include "orchestrator/command/option_tables.h"

typedef struct organ_exit {
    int code;            /* a value of organ_status */
    const char *title;   /* "wrong usage" */
    const char *meaning; /* all cases, for a table */
} organ_exit;

enum { ORGAN_EXITS = 6 };
extern const organ_exit organ_exits[ORGAN_EXITS];

/* Writes the meaning of organ_exits[k] for one verb to `out`: the title, or the verb's own text, or both. Returns
 * false, with "" in `out`, if the verb checks nothing and organ_exits[k] is the code of a failed check. */
#define ORGAN_EXIT_ROOM 400
bool organ_exit_of_verb(const organ_verb *verb, size_t k, char out[ORGAN_EXIT_ROOM]);

#endif
