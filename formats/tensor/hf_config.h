/* SPDX-License-Identifier: MIT
 * config.json of a Hugging Face model directory: what the program needs to know of it. */
#ifndef ORGAN_HF_CONFIG_H
#define ORGAN_HF_CONFIG_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

#define ORGAN_CONFIG_LIMIT ((size_t)16 << 20) /* no config.json is longer */

typedef struct organ_hf_config {
    bool present;
    char architecture[96]; /* architectures[0], or "" */
    char model_type[64];
    char torch_dtype[32]; /* "torch_dtype", or "dtype" as transformers 5 writes it */
    /* -1 where absent, and where a list gives every layer its own */
    int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim,
        vocab_size, num_experts;
    bool tie_word_embeddings;
    char quant_method[64]; /* of quantization_config, "" if there is none */
} organ_hf_config;

/* Of a model without a config: nothing is known. */
extern const organ_hf_config organ_hf_config_unknown;

/* Reads `path`; a file that does not exist gives present = false and ORGAN_OK. Values nested under "text_config" are
 * found; the words NaN and Infinity, which Python writes, are let pass. A file that is not a JSON object, or where a
 * known field has the wrong type or is negative, is ORGAN_BAD_INPUT (file, field, value in the message). */
organ_status organ_hf_config_read(const char *path, organ_hf_config *config, organ_error *error);

/* The same for a file that was loaded, whose bytes may be changed; NULL: there is none. */
organ_status organ_hf_config_parse(char *bytes, size_t length, const char *label, organ_hf_config *config,
                                   organ_error *error);

/* Python writes NaN and Infinity where JSON has no such words: they become numbers and nulls of the same length. */
void organ_hf_config_tidy(char *bytes, size_t length);

ORGAN_API_END

#endif
