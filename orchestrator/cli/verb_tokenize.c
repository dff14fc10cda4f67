/* SPDX-License-Identifier: MIT
 * organ tokenize. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/text/text.h"

typedef struct tokenize_call {
    organ_call call;
    organ_tokenize_options tokenize;
} tokenize_call;
#define CALL tokenize_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    INPUT("text", "FILE", tokenize.text, "the text; - is standard input", .required = true),
    FLAG("ids", tokenize.ids, "print the ids, one a line; with --json, into the document"),
    FLAG("special", tokenize.special, "special tokens written in the text, such as <|endoftext|>, are meant; if not "
                                      "given they are text")};

WORK(tokenize_work)
{
    own->tokenize.access = &call->access;
    return organ_tokenize(&own->tokenize, call->stop, report, error);
}
RUN_WORK(tokenize, false)

const organ_verb organ_tokenize_verb = {
    .name = "tokenize",
    .summary = "a text as the tokens of a model",
    .about = "Reads the model's tokenizer (byte-level BPE or SentencePiece-style BPE, from tokenizer.json or from the "
             "metadata of a GGUF file) and tells how a text falls into its tokens. A kind of tokenizer that is not "
             "known is refused by name. What is not valid UTF-8 in the text is read as U+FFFD. The digest of the "
             "tokenizer is that of its vocabulary, merges and settings: two models of one digest have the same tokens.",
    OPERANDS(OPERAND("MODEL", MODEL, tokenize.model,
                     "a model directory with a tokenizer.json, or a GGUF model with a tokenizer in it")),
    GROUPS(GROUP("Options", options), REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ tokenize Qwen2.5-7B-Instruct --text book.txt",
              "How many tokens the book has, and how many bytes a token."},
             {"organ tokenize model.gguf --text book.txt --ids", "The ids, one a line."},
             {"echo 'Hello world' | organ tokenize Qwen3-4B --text - --json",
              "The first tokens with their text, for a program."}),
    .exits = "0 done; 2 wrong usage; 3 the tokenizer is malformed, missing or of an unknown kind; 4 an input cannot be "
             "read; 130 interrupted.",
    .run = run_tokenize};
