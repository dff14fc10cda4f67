/* SPDX-License-Identifier: MIT
 * Replaces names of models on the command line by their paths. */
#ifndef ORGAN_MODEL_NAMES_H
#define ORGAN_MODEL_NAMES_H

#include "orchestrator/cli/verb_call.h"

/* Replaces each value of an operand or option that names a model (ORGAN_NAMES_MODEL), and each other input with a
 * prefix such as "hf:", by the path that organ_name_resolve finds. A model "hf:..." that is not in the cache becomes
 * the URL of its commit at the hub, and call->access gets the token, if the verb has --header; other verbs get an
 * error.
 * A URL is rejected as an output, as another input, and as a model of a verb without --header, because these are only
 * on this machine. The paths are valid until organ_arena_release(&call->names). Errors are those of organ_name_resolve
 * and organ_hub_stream. */
organ_status organ_call_resolve_names(const organ_verb *verb, organ_call *call, organ_error *error);

#endif
