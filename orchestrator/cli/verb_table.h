/* SPDX-License-Identifier: MIT
 * The verbs of the program. */
#ifndef ORGAN_VERB_TABLE_H
#define ORGAN_VERB_TABLE_H

#include "orchestrator/cli/verb_call.h"

extern const organ_verb_table organ_all_verbs;

/* A call with the values that no option sets. */
organ_call organ_call_make(const organ_stop *stop);

/* Gives to the options of each verb what was read for many of them (--header, --patience, --evaluate) or as lists of
 * words. `call` must not be moved afterwards. */
void organ_call_complete(organ_call *call);

#endif
