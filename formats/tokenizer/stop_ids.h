/* SPDX-License-Identifier: MIT
 * The tokens after which a model's text ends. */
#ifndef ORGAN_STOP_IDS_H
#define ORGAN_STOP_IDS_H

#include <organ/tokenizer.h>

enum { ORGAN_STOP_LIMIT = 64 }; /* largest number of ids */

/* Ids of tokens, each once. */
typedef struct organ_stop_ids {
    int64_t ids[ORGAN_STOP_LIMIT];
    unsigned count;
} organ_stop_ids;

/* Sets *stops to the ids after which transformers or llama.cpp ends a text of the model. They are eos_token_id, a
 * number or a list, of generation_config.json or, if that states none, of config.json or its text_config; for GGUF the
 * ids of EOS, EOT and EOM. Without any, it is EOS of the tokenizer, if that has one. Returns ORGAN_BAD_INPUT for an id
 * that is no whole number from 0, and for too many ids. */
organ_status organ_stop_ids_read(const organ_model *model, const organ_tokenizer *tokenizer, organ_stop_ids *stops,
                                 organ_error *error);

#endif
