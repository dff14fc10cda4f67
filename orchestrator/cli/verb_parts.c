/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/verb_parts.h"

/* clang-format off: tables are laid out by hand */

const organ_option organ_machine_options[ORGAN_MACHINE_OPTION_COUNT] = {
    {.name = "threads", .letter = 't', .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 4096, false, false}, .offset = AT(threads),
     .help = "threads to work with, pinned to cores where the system allows it; if not given, one per core; the result is the same "
             "with any number"},
    {.name = "memory", .letter = 'm', .value = ORGAN_VALUE_BYTES, .argument = "SIZE",
     .range = {8 * 1048576.0, 16384.0 * 1073741824.0, false, false},
     .fallback = "512M", .offset = AT(memory), .help = "how much the buffers may take, whatever the size of the model"}};

const organ_option organ_output_options[ORGAN_OUTPUT_OPTION_COUNT] = {
    {.name = "json", .value = ORGAN_VALUE_FLAG, .offset = AT(json), .help = "print the report as JSON on stdout, and nothing else there"},
    {.name = "html", .value = ORGAN_VALUE_TEXT, .argument = "FILE", .offset = AT(html), .names = ORGAN_NAMES_OUTPUT,
     .help = "write the report as a web page, too; a page of organ that is there is replaced, any other file is left alone"},
    {.name = "progress", .value = ORGAN_VALUE_TEXT, .argument = "HOW", .fallback = "auto", .choices = "auto|bar|lines|json|none",
     .offset = AT(progress), .help = "how to show on stderr how far it is: a bar, lines, or events as JSON; auto is a bar on a terminal"},
    {.name = "quiet", .letter = 'q', .value = ORGAN_VALUE_FLAG, .offset = AT(quiet), .help = "show no progress and no notes"},
    {.name = "help", .letter = 'h', .value = ORGAN_VALUE_FLAG, .offset = AT(help), .help = "show this help"}};

const organ_option organ_reach_options[ORGAN_REACH_OPTION_COUNT] = {
    {.name = "header", .value = ORGAN_VALUE_WORDS, .argument = "HEADER", .offset = AT(headers),
     .help = "sent to the server of a URL, for example 'Authorization: Bearer TOKEN'; may be given several times"},
    {.name = "patience", .value = ORGAN_VALUE_COUNT, .argument = "SECONDS", .range = {1, 86400, false, false}, .fallback = "60",
     .offset = AT(patience), .help = "how long the server of a URL may ask to wait before it is asked again"}};

const organ_option organ_evaluation_options[ORGAN_EVALUATION_OPTION_COUNT] = {
    {.name = "evaluate", .value = ORGAN_VALUE_TEXT, .argument = "FILE", .offset = AT(evaluation.text), .names = ORGAN_NAMES_INPUT,
     .help = "score what there was and what was made of it on this text, UTF-8: perplexity, KL divergence and top-1 agreement"},
    {.name = "evaluate-style", .value = ORGAN_VALUE_TEXT, .argument = "STYLE", .choices = "hf|llama.cpp|lm-eval",
     .offset = AT(evaluation.style), .help = "the protocol, as of perplexity; if not given, hf"},
    {.name = "evaluate-context", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {4, 1048576, false, false},
     .offset = AT(evaluation.context), .help = "tokens of a window; if not given, as of perplexity"},
    {.name = "evaluate-max-tokens", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {2, 4294967295.0, false, false},
     .offset = AT(evaluation.max_tokens), .help = "only the first N tokens of the text; if not given, all"}};

const organ_option organ_help_options[ORGAN_HELP_OPTION_COUNT] = {
    {.name = "help", .letter = 'h', .value = ORGAN_VALUE_FLAG, .offset = AT(help), .help = "show this help"}};
