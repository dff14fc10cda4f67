/* SPDX-License-Identifier: MIT
 * The tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json. */
#ifndef ORGAN_TOKENIZER_JSON_H
#define ORGAN_TOKENIZER_JSON_H

#include "formats/tokenizer/tokenizer.h"

/* Makes the texts of both files, which the caller frees; they are NULL after an error. The package tokenizers gives the
 * ids of organ_tokenizer_encode. ORGAN_BAD_INPUT for a tokenizer that cannot be read, ORGAN_IO. */
organ_status organ_tokenizer_to_json(const organ_model *model, char **tokenizer, char **config, organ_error *error);

#endif
