/* SPDX-License-Identifier: MIT
 * tokenize: splits a text into the tokens of a model. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/evaluate.h>

typedef struct tokenize_call {
    organ_call call;
    organ_tokenize_options tokenize;
} tokenize_call;
#define CALL tokenize_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    INPUT("text", "FILE", tokenize.text, "the text; - reads standard input", .required = true),
    FLAG("ids", tokenize.ids, "print the ids, one per line; with --json, add them to the document"),
    FLAG("special", tokenize.special,
         "read special tokens in the text, such as <|endoftext|>, as tokens; default: as text")};

/* Needs no engine, because it runs no model. */
WORK(tokenize_work)
{
    own->tokenize.access = &call->access;
    return organ_tokenize(&own->tokenize, call->stop, report, error);
}
RUN_WORK(tokenize, false)

const organ_verb organ_tokenize_verb = {
    .name = "tokenize",
    .summary = "split a text into the tokens of a model",
    .about = "Reads the model's tokenizer (byte-level BPE or SentencePiece-style BPE, from tokenizer.json, Mistral's "
             "tekken.json, Kimi's tiktoken.model or the metadata of a GGUF file) and splits a text into tokens. It "
             "rejects other kinds of tokenizers with an error that names the kind. Bytes that are not valid UTF-8 are "
             "read as U+FFFD. The digest of the tokenizer covers vocabulary, merges and settings: models with the "
             "same digest have the same tokens.",
    OPERANDS(OPERAND("MODEL", MODEL, tokenize.model,
                     "a model directory with a tokenizer, or a GGUF model with one")),
    GROUPS(GROUP("Options", options), REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ tokenize Qwen2.5-7B-Instruct --text book.txt",
              "Prints the number of tokens and the bytes per token."},
             {"organ tokenize model.gguf --text book.txt --ids", "Prints the ids, one per line."},
             {"echo 'Hello world' | organ tokenize Qwen3-4B --text - --json",
              "Prints the first tokens with their text as JSON."}),
    .exits = "0 done; 2 wrong usage; 3 the tokenizer is malformed, missing or of an unsupported kind; 4 an input "
             "cannot be read; 130 interrupted.",
    .run = run_tokenize};
