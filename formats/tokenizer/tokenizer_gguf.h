/* SPDX-License-Identifier: MIT
 * Writes a tokenizer.json as the key-values tokenizer.* of a GGUF file. */
#ifndef ORGAN_TOKENIZER_GGUF_H
#define ORGAN_TOKENIZER_GGUF_H

#include "formats/gguf/file.h"
#include "formats/tokenizer/tokenizer.h"

#include <jansson.h>

/* Properties of the model on which the key-values depend. */
typedef struct organ_tokenizer_gguf_options {
    uint64_t vocabulary; /* rows of the embedding: ids without a token get unused names */
    const char *pre;     /* value of tokenizer.ggml.pre; NULL: a name in pretokenizers.c with the rules of the file */
    const char *architecture; /* general.architecture */
    const json_t *config;     /* config.json, for ids of special tokens that tokenizer_config.json does not name */
} organ_tokenizer_gguf_options;

/* Adds tokens, merges or scores, ids of special tokens and the chat template of the model's tokenizer files to the
 * writer. A model without tokenizer files gets tokenizer.ggml.model "none". Returns ORGAN_BAD_INPUT if
 *   - tokenizer.json is malformed, or its kind is neither byte-level BPE nor SentencePiece BPE;
 *   - no value of tokenizer.ggml.pre stands for its rules and `pre` is NULL;
 *   - it has more ids than `vocabulary`;
 *   - the model has no tokenizer.json, but another tokenizer file.
 * Returns ORGAN_IO if a file cannot be read. */
organ_status organ_tokenizer_to_gguf(const organ_model *model, const organ_tokenizer_gguf_options *options,
                                     organ_gguf_writer *writer, organ_error *error);

#endif
