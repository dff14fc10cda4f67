/* SPDX-License-Identifier: MIT
 * organ tokenize. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/report/view/tokenize_report.h"

/* clang-format off: tables are laid out by hand */

static const organ_operand operands[] = {
    {"MODEL", "a model directory with a tokenizer.json, or a GGUF model with a tokenizer in it", AT(tokenize.model), false,
     ORGAN_NAMES_MODEL}};
static const organ_option options[] = {
    {.name = "text", .value = ORGAN_VALUE_TEXT, .argument = "FILE", .required = true, .offset = AT(tokenize.text),
     .help = "the text; - is standard input", .names = ORGAN_NAMES_INPUT},
    {.name = "ids", .value = ORGAN_VALUE_FLAG, .offset = AT(tokenize.ids),
     .help = "print the ids, one a line; with --json, into the document"},
    {.name = "special", .value = ORGAN_VALUE_FLAG, .offset = AT(tokenize.special),
     .help = "special tokens written in the text, such as <|endoftext|>, are meant; if not given they are text"}};
static const organ_option_group groups[] = {{"Options", options, COUNT(options)},
                                            {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                            {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example examples[] = {
    {"organ tokenize Qwen2.5-7B-Instruct --text book.txt", "How many tokens the book has, and how many bytes a token."},
    {"organ tokenize model.gguf --text book.txt --ids", "The ids, one a line."},
    {"echo 'Hello world' | organ tokenize Qwen3-4B --text - --json", "The first tokens with their text, for a program."}};

/* clang-format on */

static organ_status run(void *context, organ_error *error)
{
    const organ_call *const call = context;
    json_t *report = NULL;
    if (organ_tokenize(&call->tokenize, call->stop, &report, error) == ORGAN_OK)
        organ_show(call, report, organ_tokenize_report_terminal, error);
    json_decref(report);
    return error->status;
}

/* clang-format off: tables are laid out by hand */

const organ_verb organ_tokenize_verb = {
    .name = "tokenize",
    .summary = "a text as the tokens of a model",
    .about = "Reads the model's tokenizer (byte-level BPE or SentencePiece-style BPE, from tokenizer.json or from the metadata of a GGUF "
             "file) and tells how a text falls into its tokens. A kind of tokenizer that is not known is refused by name. What is not "
             "valid UTF-8 in the text is read as U+FFFD. The digest of the tokenizer is that of its vocabulary, merges and settings: two "
             "models of one digest have the same tokens.",
    .operands = operands, .operand_count = COUNT(operands), .groups = groups, .group_count = COUNT(groups),
    .examples = examples, .example_count = COUNT(examples),
    .exits = "0 done; 2 wrong usage; 3 the tokenizer is malformed, missing or of an unknown kind; 4 an input cannot be read; 130 "
             "interrupted.",
    .run = run};
