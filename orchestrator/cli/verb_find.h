/* SPDX-License-Identifier: MIT
 * How a verb is found in a table of verbs. */
#ifndef ORGAN_VERB_FIND_H
#define ORGAN_VERB_FIND_H

#include "orchestrator/command/options.h"

/* The verb of that name, which for some is two words ("lora extract"): `second` is the next word or NULL, *words how
 * many were used. NULL with ORGAN_USAGE and a suggestion if there is none. */
const organ_verb *organ_verb_find(const organ_verb_table *table, const char *name, const char *second, int *words,
                                  organ_error *error);

/* The verb that the operands of `asker` ("help") name, of which `second` may be NULL; NULL with ORGAN_USAGE. */
const organ_verb *organ_verb_topic(const organ_verb_table *table, const char *name, const char *second,
                                   const char *asker, organ_error *error);

#endif
