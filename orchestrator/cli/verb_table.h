/* SPDX-License-Identifier: MIT
 * The verbs of the program. */
#ifndef ORGAN_VERB_TABLE_H
#define ORGAN_VERB_TABLE_H

#include "orchestrator/cli/verb_call.h"

extern const organ_verb_table organ_all_verbs;

/* A call with the values that no option sets. */
organ_call organ_call_make(const organ_stop *stop);

/* Makes call->access of the options that were read, and gives it to all verbs that read models behind URLs; `call` stays where it is. */
void organ_call_reach(organ_call *call);

#endif
