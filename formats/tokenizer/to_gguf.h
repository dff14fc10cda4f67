/* SPDX-License-Identifier: MIT
 * State and functions that the sources of organ_tokenizer_to_gguf share. */
#ifndef ORGAN_TOKENIZER_TO_GGUF_H
#define ORGAN_TOKENIZER_TO_GGUF_H

#include "formats/tokenizer/tokenizer_parts.h"
#include "formats/tokenizer/tokenizer_gguf.h"

/* State of writing a tokenizer to GGUF metadata. */
typedef struct gguf_export {
    const organ_model *model;
    organ_tokenizer *t; /* read from tokenizer.json */
    const organ_tokenizer_gguf_options *options;
    organ_gguf_writer *writer;
    uint64_t count;            /* tokens of the GGUF file: rows of the embedding */
    const organ_added **added; /* by id below the tokenizer's vocabulary; NULL if the token is not an added one */
} gguf_export;

/* Writes the keys of the model's chat templates (organ_chat_templates). */
organ_status organ_tokenizer_write_templates(const gguf_export *e, const json_t *config, organ_error *error);

/* Writes the ids of special tokens, the flags that state which of these tokens are added to a text, and the chat
 * template. */
organ_status organ_tokenizer_write_special(const gguf_export *e, organ_error *error);

#endif
