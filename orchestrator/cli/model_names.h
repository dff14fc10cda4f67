/* SPDX-License-Identifier: MIT
 * Replaces names of models on the command line by their paths or URLs, and makes outputs as private as inputs. */
#ifndef ORGAN_MODEL_NAMES_H
#define ORGAN_MODEL_NAMES_H

#include "orchestrator/cli/verb_call.h"

/* Replaces names of models in the values of all operands and options of the verb. Each value that names a model
 * (ORGAN_NAMES_MODEL), and each other input with a prefix such as "hf:", becomes the path that organ_name_resolve
 * finds. A model "hf:..." that is not in the cache becomes the URL of its commit at the hub, and call->access gets the
 * user's token; for a verb without --header it is an error.
 * Returns ORGAN_USAGE for a URL that is an output, an input other than a model, or a model of a verb without --header:
 * such files must be on this machine. Other errors are those of organ_name_resolve and organ_hub_stream.
 * The paths and URLs are valid until organ_arena_release(&call->names). */
organ_status organ_call_resolve_names(const organ_verb *verb, organ_call *call, organ_error *error);

/* Adds to the umask of the process the permissions that outputs of the verb must not have, because group or others do
 * not have them on the models and other inputs that the call names (closed_modes.h). Call it after
 * organ_call_resolve_names. */
void organ_call_close_modes(const organ_verb *verb, const organ_call *call);

#endif
