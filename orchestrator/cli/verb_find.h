/* SPDX-License-Identifier: MIT
 * Finds verbs in a table of verbs by their names. */
#ifndef ORGAN_VERB_FIND_H
#define ORGAN_VERB_FIND_H

#include "orchestrator/command/options.h"

/* Finds the verb named `name`, or `name second` if its name has two words ("lora extract"). `second` is the next word
 * or NULL; *words is the number of words used. Returns NULL with ORGAN_USAGE and a suggestion if there is none. */
const organ_verb *organ_verb_find(const organ_verb_table *table, const char *name, const char *second, int *words,
                                  organ_error *error);

/* Finds the verb that the operands of a verb such as "help" name; `asker` is that verb, for messages. `second` may be
 * NULL. Returns NULL with ORGAN_USAGE if there is none. */
const organ_verb *organ_verb_topic(const organ_verb_table *table, const char *name, const char *second,
                                   const char *asker, organ_error *error);

#endif
