/* SPDX-License-Identifier: MIT
 * What the tables of verbs are written with, and the options that many verbs share. */
#ifndef ORGAN_VERB_PARTS_H
#define ORGAN_VERB_PARTS_H

#include "orchestrator/cli/verbs.h"

#include <stddef.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define AT(member)   offsetof(organ_call, member)

enum { ORGAN_MACHINE_OPTION_COUNT = 2, ORGAN_OUTPUT_OPTION_COUNT = 5, ORGAN_HELP_OPTION_COUNT = 1 };
extern const organ_option organ_machine_options[ORGAN_MACHINE_OPTION_COUNT]; /* --threads, --memory */
extern const organ_option organ_output_options[ORGAN_OUTPUT_OPTION_COUNT];   /* --json, --html, --progress, --quiet, --help */
extern const organ_option organ_help_options[ORGAN_HELP_OPTION_COUNT];       /* --help */

/* For the initialiser of an organ_option_group. */
#define ORGAN_MACHINE_OPTIONS organ_machine_options, ORGAN_MACHINE_OPTION_COUNT
#define ORGAN_OUTPUT_OPTIONS  organ_output_options, ORGAN_OUTPUT_OPTION_COUNT
#define ORGAN_HELP_OPTIONS    organ_help_options, ORGAN_HELP_OPTION_COUNT

/* The tables of verbs that have a file of their own. */
extern const organ_verb organ_autopsy_verb;
extern const organ_verb organ_report_verb;
extern const organ_verb organ_dequantize_verb, organ_quantize_verb;
extern const organ_verb organ_lora_sanitize_verb, organ_lora_merge_verb, organ_lora_resize_verb;
extern const organ_verb organ_lora_extract_verb;
extern const organ_verb organ_orthogonality_verb;
extern const organ_verb organ_tokenize_verb;
extern const organ_verb organ_manual_verb, organ_completion_verb;
extern const organ_verb organ_perplexity_verb, organ_evaluate_verb, organ_generate_verb;
extern const organ_verb organ_serve_verb;
extern const organ_verb organ_topology_verb;

#endif
