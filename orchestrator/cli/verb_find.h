/* SPDX-License-Identifier: MIT
 * Finds verbs in a table of verbs by their names. */
#ifndef ORGAN_VERB_FIND_H
#define ORGAN_VERB_FIND_H

#include "orchestrator/command/options.h"

/* Returns the verb `name`, or `name second` if its name has two words ("lora extract"). `second` is the word after
 * `name` or NULL. *words becomes the number of words in the name of the verb, 1 or 2. Returns NULL with ORGAN_USAGE and
 * a suggestion if there is no such verb. */
const organ_verb *organ_verb_find(const organ_verb_table *table, const char *name, const char *second, int *words,
                                  organ_error *error);

/* Returns the verb that the operands of `organ help` or `organ manual` name: `name`, or `name second` (`second` may be
 * NULL). `asker` is "help" or "manual", for messages. Returns NULL with ORGAN_USAGE if there is no such verb. */
const organ_verb *organ_verb_topic(const organ_verb_table *table, const char *name, const char *second,
                                   const char *asker, organ_error *error);

#endif
