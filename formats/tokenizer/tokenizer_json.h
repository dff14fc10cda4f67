/* SPDX-License-Identifier: MIT
 * Writes the tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json. */
#ifndef ORGAN_TOKENIZER_JSON_H
#define ORGAN_TOKENIZER_JSON_H

#include <organ/tokenizer.h>

/* Sets *tokenizer to the text of tokenizer.json and *config to that of tokenizer_config.json; the caller frees both.
 * With these files, the package tokenizers produces the same ids as organ_tokenizer_encode: the text is read again and
 * compared (tokenizer_compare.h). Returns ORGAN_BAD_INPUT for a tokenizer that cannot be read, or that has no such
 * form, naming the first text with other ids; ORGAN_IO if memory is exhausted. */
organ_status organ_tokenizer_to_json(const organ_model *model, char **tokenizer, char **config, organ_error *error);

/* Sets *bytes to the content of tokenizer.model, *length bytes, which the caller frees: the tokens of a GGUF file of
 * the kind "llama" with their scores and types, which tokenizer.json does not have. *bytes is NULL for other kinds and
 * for files without scores or types. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_tokenizer_to_pieces(const organ_model *model, char **bytes, size_t *length, organ_error *error);

#endif
