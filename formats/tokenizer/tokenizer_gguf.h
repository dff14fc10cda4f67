/* SPDX-License-Identifier: MIT
 * Writes a tokenizer.json as the key-values tokenizer.* of a GGUF file. */
#ifndef ORGAN_TOKENIZER_GGUF_H
#define ORGAN_TOKENIZER_GGUF_H

#include "formats/gguf/file.h"
#include "formats/tokenizer/tokenizer_compare.h"

#include <jansson.h>

/* Properties of the model on which the key-values depend. */
typedef struct organ_tokenizer_gguf_options {
    uint64_t vocabulary; /* rows of the embedding: ids without a token get unused names */
    /* Value of tokenizer.ggml.pre, with which other ids are accepted; NULL: a name in pretokenizers.c with the rules of
     * the file. */
    const char *pre;
    const char *architecture; /* general.architecture */
    uint64_t *beyond;     /* result, or NULL: added tokens whose ids are not below `vocabulary`, which are left out */
    unsigned *unstored;   /* result, or NULL: ids that end a text, but for which GGUF has no key */
    const json_t *config; /* config.json, for ids of special tokens that tokenizer_config.json does not name */
} organ_tokenizer_gguf_options;

/* Adds tokens, merges or scores, ids of special tokens and the chat template of the model's tokenizer files to the
 * writer. A model without tokenizer files gets tokenizer.ggml.model "none". Then reads the tokenizer from the writer
 * and compares it with that of the files (tokenizer_compare.h). If `pre` is set, *difference
 * receives the first text that gets other ids, or why the value of `pre` cannot be compared. Returns ORGAN_BAD_INPUT if
 *   - tokenizer.json is malformed, or its kind is neither byte-level BPE nor SentencePiece BPE;
 *   - no value of tokenizer.ggml.pre stands for its rules and `pre` is NULL;
 *   - some text gets other ids and `pre` is NULL: the message has the text and the ids;
 *   - a word of its vocabulary, which is no added token, has an id that is not below `vocabulary`;
 *   - the model has no tokenizer.json, but another tokenizer file.
 * Returns ORGAN_IO if a file cannot be read. */
organ_status organ_tokenizer_to_gguf(const organ_model *model, const organ_tokenizer_gguf_options *options,
                                     organ_gguf_writer *writer, organ_tokenizer_difference *difference,
                                     organ_error *error);

#endif
