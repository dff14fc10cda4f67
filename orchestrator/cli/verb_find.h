/* SPDX-License-Identifier: MIT
 * A table of verbs, and how a verb is found in it. */
#ifndef ORGAN_VERB_FIND_H
#define ORGAN_VERB_FIND_H

#include "orchestrator/command/options.h"

#define ORGAN_MOST_VERBS 64

/* The list of verbs in parts, each of which begins at a verb and ends where the next one begins. */
typedef struct organ_verb_section {
    const char *title;
    const organ_verb *first;
} organ_verb_section;

typedef struct organ_verb_table {
    const organ_verb *const *verbs; /* by section */
    size_t count;                   /* at most ORGAN_MOST_VERBS */
    const organ_verb_section *sections;
    size_t section_count;
} organ_verb_table;

/* The title of the section that begins at this verb, or NULL. */
const char *organ_verb_section_at(const organ_verb_table *table, const organ_verb *verb);

/* The verb of that name, which for some is two words ("lora extract"): `second` is the next word or NULL, *words how many were used. NULL
 * with ORGAN_USAGE and a suggestion if there is none. */
const organ_verb *organ_verb_find(const organ_verb_table *table, const char *name, const char *second, int *words, organ_error *error);

/* The verb that the operands of `asker` ("help") name, of which `second` may be NULL; NULL with ORGAN_USAGE. */
const organ_verb *organ_verb_topic(const organ_verb_table *table, const char *name, const char *second, const char *asker,
                                   organ_error *error);

#endif
