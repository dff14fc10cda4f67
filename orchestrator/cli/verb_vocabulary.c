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
          .common = true),
    INPUT("tokens", "FILE", vocabulary.tokens,
          "keep exactly the tokens that the report of an earlier output lists (OUT/organ/vocabulary.json), so that a "
          "target and its draft get the same ids; --text is then only checked"),
    INPUT("evaluate", "FILE", vocabulary.evaluate,
          "a second UTF-8 text: report how many more tokens it has with fewer tokens, and the probability that the "
          "model gives to the tokens that go", .common = true),
    NUMBER("evaluate-tokens", "N", vocabulary.evaluate_tokens,
           "first tokens of the second text that run through the model for this probability; 0: none",
           .range = {0, 16777216}, .fallback = "2048")};

static const organ_option output_options[] = {
    OUTPUT("OUT", vocabulary.write.output,
           "write the model with the needed tokens alone: a new directory; of a GGUF model a file X.gguf"),
    SHARD_SIZE(vocabulary),
    WRITING(vocabulary, "print what would be kept" AND_PLAN)};

static const organ_option policy_options[] = {
    FLAG("keep-all", vocabulary.keep_all, "keep all tokens; only rows without a token go"),
    FLAG("keep-characters", vocabulary.keep_characters,
         "also keep each token that is a single character, so that texts of other languages need fewer tokens",
         .common = true),
    NUMBER("keep-merges", "N", vocabulary.keep_merges,
           "also keep the tokens of the first N merges, which are the most common ones of the tokenizer's training",
           .range = {0, 4294967295.0}, .common = true),
    NUMBER("multiple-of", "N", vocabulary.multiple_of,
           "keep further tokens, so that the number of rows is a multiple of N", .range = {1, 65536}, .fallback = "1")};

static const organ_option label_options[] = {
    TEXT("labels", "LABEL,...", vocabulary.labels,
         "write a classifier that scores these labels, in this order, each of which is one token: a reranker for "
         "yes,no; without --text", .common = true),
    INPUT("rerank-template", "FILE", vocabulary.rerank_template,
          "with --labels and GGUF: a text with {query} and {document} that llama.cpp's server fills in for a "
          "reranker")};

static const organ_option draft_options[] = {
    NUMBER("draft-head", "N", vocabulary.draft_head,
           "give the head of an EAGLE-3 draft the N rows that the texts need most; for a model with a block for "
           "multi-token prediction, write the list of N tokens that SGLang reads (-o MAP.pt)",
           .range = {1, 16777216}),
    MODEL("target", "MODEL", vocabulary.target,
          "with --draft-head: the model whose tokenizer the draft has, if it has none of its own; of an adapter: the "
          "model with whose tokenizer the list of --tokens is compared")};

static const organ_option add_options[] = {
    INPUT("add", "FILE", vocabulary.add,
          "write the model with new tokens, one on each line of FILE, blanks included: merges make them, and their "
          "rows are the means of those of their pieces; without --text", .common = true),
    INPUT("special", "FILE", vocabulary.special,
          "the same for added tokens, such as <tool>, which cut a text before it is split")};

static void settle(vocabulary_call *own)
{
    own->vocabulary.texts = own->texts.word;
    own->vocabulary.text_count = own->texts.count;
    own->vocabulary.access = &own->call.access;
}

RUN_FIRST(vocabulary, organ_vocabulary, vocabulary, settle(own))

const organ_verb organ_vocabulary_verb = {
    .name = "vocabulary",
    .shares = true,
    .summary = "report which tokens texts need, and write a model with only these",
    .about = "Counts the tokens of the texts by kind and script, and finds the tokens and merges that the texts need: "
             "with these alone each text has exactly the tokens that it has with the whole vocabulary. It lists bytes "
             "that the vocabulary cannot write and rows without a token.\n"
             "For several policies it reports the rows that stay and the bytes that go from embedding, head and other "
             "tensors with a row for each token. With --evaluate it reports the price: more tokens for a text that "
             "was not among the texts, and the probability of dropped tokens, by a forward pass. Without it no tensor "
             "is read.\n"
             "With -o the model is written with the needed tokens alone. They get the ids from 0 on in their order; "
             "ids in tokenizer files, configuration and key-values are replaced. Kept rows are copied byte for byte, "
             "quantised ones too, so that logits of kept tokens stay the same. Before tensors are written, organ reads "
             "the new tokenizer and compares its tokens of the texts. A setting that may hold an id but is not known "
             "is an error.\n"
             "With --labels a classifier is written: the rows of the labels' tokens replace the head, as transformers "
             "and vLLM read it, or llama.cpp (GGUF of qwen3 and qwen3vl).\n"
             "With --draft-head the head of an EAGLE-3 draft gets the rows of the most frequent tokens, with d2t, t2d "
             "and draft_vocab_size; the report has the share of a text's tokens that it can draft.\n"
             "With --add the model gets new tokens after all others, with merges that make them. What a merge makes on "
             "the way to a longer token is a token, too. --special adds tokens that cut a text. The model must be "
             "safetensors with a tokenizer.json, and its embedding and head in F32, F16 or BF16.\n"
             "If MODEL is a LoRA adapter, --tokens gives it the tokens of its base: factors and whole tensors of "
             "embedding and head get the rows of these tokens, byte for byte.\n"
             "The tokenizer must be byte-pair encoding: byte-level, with byte fallback, or of SentencePiece. WordPiece "
             "and Unigram are rejected.",
    OPERANDS(OPERAND("MODEL", MODEL, vocabulary.model,
                     "a model with its tokenizer: directory or .gguf; with --tokens also a LoRA adapter")),
    GROUPS(GROUP("Texts", text_options), GROUP("Policy", policy_options), GROUP("Labels", label_options),
           GROUP("Draft", draft_options), GROUP("New tokens", add_options), GROUP("Output", output_options),
           MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ vocabulary gemma-3-270m.gguf --text english.txt", "How few rows English needs."},
             {"organ vocabulary MODEL --text code.txt --text chats.txt --evaluate new.txt",
              "The same for two texts, and what it costs on a third one."},
             {"organ vocabulary MODEL --text english.txt -o small",
              "Writes the model with the tokens that the text needs."},
             {"organ vocabulary ADAPTER --tokens small/organ/vocabulary.json -o adapter",
              "Writes an adapter of MODEL for the smaller model."},
             {"organ vocabulary MODEL --labels yes,no -o reranker",
              "Writes a reranker: the model with two rows of its head."},
             {"organ vocabulary DRAFT --draft-head 32768 --text code.txt -o small",
              "Writes an EAGLE-3 draft with the 32,768 rows that code needs most."},
             {"organ vocabulary MODEL --add words.txt --special tags.txt -o larger", "Adds tokens."}),
    .exits = {.content = "a text is empty or no UTF-8, the tokenizer is no byte-pair encoding, a label is not one "
                         "token, or a new token exists or would be in no text"},
    .run = run_vocabulary};
