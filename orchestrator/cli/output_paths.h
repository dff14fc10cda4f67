/* SPDX-License-Identifier: MIT
 * Checks the paths that a command writes against each other and against the files that it reads. */
#ifndef ORGAN_OUTPUT_PATHS_H
#define ORGAN_OUTPUT_PATHS_H

#include "orchestrator/cli/verb_call.h"
#include "orchestrator/command/options.h"

/* Returns ORGAN_USAGE, before any work, if two of the paths in the operands and options of the verb cannot both be
 * used:
 * - two outputs are the same file or directory, or one is inside the other, or inside the hidden directory of the
 * other;
 * - an output is a file that the command reads, or contains one and would replace it;
 * - an output is a report that the run writes next to the single file of -o;
 * - standard output is a file that is also an output or an input.
 * Links, hard links and different spellings of a path count as the same path. Models and directories that the command
 * reads are left out: each verb compares its output with them when it opens them. `call` is the struct that
 * organ_options_parse filled. */
organ_status organ_call_check_outputs(const organ_verb *verb, const organ_call *call, organ_error *error);

#endif
