/* SPDX-License-Identifier: MIT
 * vocabulary: reports which tokens texts need. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/cut.h>

typedef struct vocabulary_call {
    organ_call call;
    organ_words texts;
    organ_vocabulary_options vocabulary;
} vocabulary_call;
#define CALL vocabulary_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option text_options[] = {
    WORDS("text", "FILE", texts,
          "a UTF-8 text of the kind that the model will read and write; may be repeated", .names = ORGAN_NAMES_INPUT,
          .required = true, .common = true),
    INPUT("evaluate", "FILE", vocabulary.evaluate,
          "a second UTF-8 text: report how many more tokens it has with fewer tokens, and the probability that the "
          "model gives to the tokens that go", .common = true),
    NUMBER("evaluate-tokens", "N", vocabulary.evaluate_tokens,
           "first tokens of the second text that run through the model for this probability; 0: none",
           .range = {0, 16777216}, .fallback = "2048")};

static const organ_option policy_options[] = {
    FLAG("keep-characters", vocabulary.keep_characters,
         "also keep each token that is a single character, so that texts of other languages need fewer tokens",
         .common = true),
    NUMBER("keep-merges", "N", vocabulary.keep_merges,
           "also keep the tokens of the first N merges, which are the most common ones of the tokenizer's training",
           .range = {0, 4294967295.0}, .common = true),
    NUMBER("multiple-of", "N", vocabulary.multiple_of,
           "pad the rows to a multiple of N", .range = {1, 65536}, .fallback = "1")};

static void settle(vocabulary_call *own)
{
    own->vocabulary.texts = own->texts.word;
    own->vocabulary.text_count = own->texts.count;
    own->vocabulary.access = &own->call.access;
}

RUN_FIRST(vocabulary, organ_vocabulary, vocabulary, settle(own))

const organ_verb organ_vocabulary_verb = {
    .name = "vocabulary",
    .summary = "report which tokens texts need, and what fewer rows save",
    .about = "Counts the tokens of the texts by kind and script, and finds the tokens and merges that the texts need: "
             "with these alone each text has exactly the tokens that it has with the whole vocabulary. It lists bytes "
             "that the vocabulary cannot write and rows without a token.\n"
             "For several policies it reports the rows that stay and the bytes that go from embedding, head and other "
             "tensors with a row for each token. With --evaluate it reports the price: more tokens for a text that "
             "was not among the texts, and the probability of dropped tokens, by a forward pass. Without it no tensor "
             "is read.\n"
             "The tokenizer must be byte-pair encoding: byte-level, with byte fallback, or of SentencePiece. WordPiece "
             "and Unigram are rejected.",
    OPERANDS(OPERAND("MODEL", MODEL, vocabulary.model, "a model with its tokenizer: directory or .gguf")),
    GROUPS(GROUP("Texts", text_options), GROUP("Policy", policy_options), ALONE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ vocabulary gemma-3-270m.gguf --text english.txt", "How few rows English needs."},
             {"organ vocabulary MODEL --text code.txt --text chats.txt --evaluate new.txt",
              "The same for two texts, and what it costs on a third one."}),
    .exits = {.content = "a text is empty or no UTF-8, or the tokenizer is no byte-pair encoding"},
    .run = run_vocabulary};
