/* SPDX-License-Identifier: MIT
 * What the tables of verbs are written with, and the options that many verbs share. */
#ifndef ORGAN_VERB_PARTS_H
#define ORGAN_VERB_PARTS_H

#include "orchestrator/cli/verb_call.h"

#include <stddef.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define AT(member)   offsetof(organ_call, member)

/* --force of a verb that writes WHAT. */
#define RESUME(member)                                                                                                                     \
    {                                                                                                                                      \
        .name = "resume", .value = ORGAN_VALUE_FLAG, .offset = AT(member),                                                                 \
        .help = "go on with a run that was interrupted; the result is the same"                                                            \
    }

#define FORCE(member, what)                                                                                                                \
    {                                                                                                                                      \
        .name = "force", .letter = 'f', .value = ORGAN_VALUE_FLAG, .offset = AT(member),                                                   \
        .help = "replace " what " if it is a model, an adapter or an output of organ and has nothing else in it"                           \
    }

enum {
    ORGAN_MACHINE_OPTION_COUNT = 2,
    ORGAN_OUTPUT_OPTION_COUNT = 5,
    ORGAN_HELP_OPTION_COUNT = 1,
    ORGAN_EVALUATION_OPTION_COUNT = 4,
    ORGAN_REACH_OPTION_COUNT = 2
};
extern const organ_option organ_machine_options[ORGAN_MACHINE_OPTION_COUNT];       /* --threads, --memory */
extern const organ_option organ_output_options[ORGAN_OUTPUT_OPTION_COUNT];         /* --json, --html, --progress, --quiet, --help */
extern const organ_option organ_evaluation_options[ORGAN_EVALUATION_OPTION_COUNT]; /* --evaluate and what belongs to it */
extern const organ_option organ_reach_options[ORGAN_REACH_OPTION_COUNT];           /* --header, --patience: models behind URLs */
extern const organ_option organ_help_options[ORGAN_HELP_OPTION_COUNT];             /* --help */

/* For the initialiser of an organ_option_group. */
#define ORGAN_MACHINE_OPTIONS    organ_machine_options, ORGAN_MACHINE_OPTION_COUNT
#define ORGAN_OUTPUT_OPTIONS     organ_output_options, ORGAN_OUTPUT_OPTION_COUNT
#define ORGAN_HELP_OPTIONS       organ_help_options, ORGAN_HELP_OPTION_COUNT
#define ORGAN_REACH_OPTIONS      organ_reach_options, ORGAN_REACH_OPTION_COUNT
#define ORGAN_EVALUATION_OPTIONS organ_evaluation_options, ORGAN_EVALUATION_OPTION_COUNT

/* For `about` and `exits` of verbs that have them. */
#define ORGAN_EVALUATION_ABOUT(before)                                                                                                     \
    "With --evaluate the report has what it cost on a text: perplexity of " before " and of the output, the KL divergence and the share "  \
    "of tokens for which both find the same one likeliest. Whether text, tokenizer, architecture and --memory allow that is seen before "  \
    "anything is written. An evaluation that fails or is interrupted later leaves the output whole: the report says why it has no "        \
    "figures."
#define ORGAN_EVALUATION_EXITS                                                                                                             \
    ". With --evaluate also 2 if --memory is too little for it; 3 if the text is too short, or tokenizer or architecture are not known; "  \
    "130 if only the evaluation was interrupted"

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
