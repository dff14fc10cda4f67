/* SPDX-License-Identifier: MIT
 * The verbs that print what packages install beside the program: pages of the manual, completion of shells. */
#include "orchestrator/cli/completion.h"
#include "orchestrator/cli/manual_page.h"
#include "orchestrator/cli/verb_parts.h"

#include <stdio.h>
#include <string.h>

/* clang-format off: tables are laid out by hand */

static const organ_operand manual_operands[] = {
    {"VERB", "the verb to explain, or the name of its page, organ-VERB; if not given, the whole program", AT(topic), true,
     ORGAN_NAMES_VERB},
    {"WORD", "the second word of a verb of two: lora extract", AT(topic_second), true, ORGAN_NAMES_VERB}};
static const organ_option manual_options[] = {
    {.name = "list", .value = ORGAN_VALUE_FLAG, .offset = AT(list), .help = "print the names of all pages instead"}};
static const organ_option_group manual_groups[] = {{"Options", manual_options, COUNT(manual_options)}, {"Output", ORGAN_HELP_OPTIONS}};
static const organ_example manual_examples[] = {{"organ manual prune | man -l -", "Reads the page of prune, installed or not."},
                                                {"organ manual --list", "What 'ninja install' puts under share/man/man1."}};

static const organ_operand completion_operands[] = {{"bash|zsh|fish", "the shell to write for", AT(topic), false, ORGAN_NAMES_NOTHING}};
static const organ_option_group completion_groups[] = {{"Output", ORGAN_HELP_OPTIONS}};
static const organ_example completion_examples[] = {{"source <(organ completion bash)", "In this bash, at once."},
                                                    {"organ completion zsh >~/.zfunc/_organ", "For zsh, where ~/.zfunc is in fpath."},
                                                    {"organ completion fish >~/.config/fish/completions/organ.fish", "For fish."}};

/* clang-format on */

static organ_status run_manual(void *context, organ_error *error)
{
    const organ_call *const call = context;
    const organ_verb_table *const table = call->table;
    char name[ORGAN_MANUAL_NAME_ROOM];
    if (call->list) {
        puts("organ");
        for (size_t k = 0; k < table->count; k++) {
            organ_manual_name(table->verbs[k], name);
            puts(name);
        }
        return ORGAN_OK;
    }
    for (size_t k = 0; call->topic && k < table->count; k++) {
        organ_manual_name(table->verbs[k], name);
        if (strcmp(call->topic, name) == 0 && !call->topic_second) {
            organ_manual_of_verb(stdout, table, table->verbs[k]);
            return ORGAN_OK;
        }
    }
    if (!call->topic || strcmp(call->topic, "organ") == 0) {
        organ_manual_of_program(stdout, table);
        return ORGAN_OK;
    }
    const organ_verb *const verb = organ_verb_topic(table, call->topic, call->topic_second, "manual", error);
    if (verb)
        organ_manual_of_verb(stdout, table, verb);
    return error->status;
}

static organ_status run_completion(void *context, organ_error *error)
{
    const organ_call *const call = context;
    (void)error;
    if (strcmp(call->topic, "bash") == 0)
        organ_completion_bash(stdout, call->table);
    else if (strcmp(call->topic, "zsh") == 0)
        organ_completion_zsh(stdout, call->table);
    else
        organ_completion_fish(stdout, call->table);
    return ORGAN_OK;
}

const organ_verb organ_manual_verb = {
    .name = "manual",
    .summary = "print a page of the manual",
    .about =
        "Prints a page of the manual as its source, in roff: what man, groff and mandoc show and what 'ninja install' installs. Pages and "
        "help come from one table, so they say the same.",
    .operands = manual_operands,
    .operand_count = COUNT(manual_operands),
    .groups = manual_groups,
    .group_count = COUNT(manual_groups),
    .examples = manual_examples,
    .example_count = COUNT(manual_examples),
    .exits = "0 done; 2 wrong usage, or no such verb.",
    .run = run_manual};

const organ_verb organ_completion_verb = {
    .name = "completion",
    .summary = "print what lets a shell complete verbs, options and values",
    .about =
        "Prints a script for bash, zsh or fish. With it, the key for completion offers verbs, the options of the verb, the values of an "
        "option that takes one of a few, and files where a path is meant. 'ninja install' installs all three where these shells "
        "look.",
    .operands = completion_operands,
    .operand_count = COUNT(completion_operands),
    .groups = completion_groups,
    .group_count = COUNT(completion_groups),
    .examples = completion_examples,
    .example_count = COUNT(completion_examples),
    .exits = "0 done; 2 wrong usage.",
    .run = run_completion};
