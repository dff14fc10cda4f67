/* SPDX-License-Identifier: MIT
 * The verbs of the program. */
#ifndef ORGAN_VERB_TABLE_H
#define ORGAN_VERB_TABLE_H

#include "orchestrator/cli/verb_call.h"

extern const organ_verb_table organ_all_verbs;

/* Allocates the struct that receives the options of `verb` (verb->call_size bytes, zeros except call->stop and
 * call->table). The caller frees it. Returns NULL with an error if memory runs out. */
organ_call *organ_call_create(const organ_verb *verb, const organ_stop *stop, organ_error *error);

/* Sets call->access from --header and --patience. call->access points into `call`, which must not be moved
 * afterwards. */
void organ_call_complete(organ_call *call);

#endif
