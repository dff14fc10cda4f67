/* SPDX-License-Identifier: MIT
 * Replaces names of models on the command line by their paths. */
#ifndef ORGAN_MODEL_NAMES_H
#define ORGAN_MODEL_NAMES_H

#include "orchestrator/cli/verb_call.h"

/* Replaces names of models in the values of all operands and options of the verb by paths. Replaces each value that
 * names a model (ORGAN_NAMES_MODEL), and each other input with a prefix such as "hf:", by the path that
 * organ_name_resolve finds. If a model "hf:..." is not in the cache, a verb with --header gets the URL of its commit at
 * the hub, and call->access the user's token; a verb without --header gets an error.
 * Returns ORGAN_USAGE if a URL is the value of an output, of an input that is not a model, or of a model of a verb
 * without --header: these must be on this machine. Other errors are those of organ_name_resolve and organ_hub_stream.
 * The paths are valid until organ_arena_release(&call->names). */
organ_status organ_call_resolve_names(const organ_verb *verb, organ_call *call, organ_error *error);

#endif
