/* SPDX-License-Identifier: MIT
 * The fields of a Hugging Face config.json that the program uses. */
#ifndef ORGAN_HF_CONFIG_H
#define ORGAN_HF_CONFIG_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

#define ORGAN_CONFIG_LIMIT ((size_t)16 << 20) /* bytes of the longest config.json that is read */

/* The fields of config.json that organ uses. A string that is absent is "". */
typedef struct organ_hf_config {
    bool present; /* config.json exists */
    /* architectures[0]; the class that transformers chooses by model_type if that is missing or the class of a model
     * without its output head ("LlamaModel"); else "" */
    char architecture[96];
    char model_type[64];
    char torch_dtype[32]; /* "torch_dtype", or "dtype" as transformers 5 writes it */
    /* Each is -1 if the field is absent, or if it is a list with one value for each layer. */
    int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim,
        vocab_size, num_experts;
    bool tie_word_embeddings;
    char quant_method[64]; /* quantization_config.quant_method, or "" */
} organ_hf_config;

/* The value for a model without config.json. */
extern const organ_hf_config organ_hf_config_unknown;

/* Reads the config.json at `path`. If it does not exist, `present` is false and the result ORGAN_OK. Fields may be
 * at the top level or in the object "text_config"; the words NaN and Infinity, which Python writes, are accepted.
 * Returns ORGAN_BAD_INPUT, with file, field and value in the message, if the file is not a JSON object or a known
 * field has the wrong type or is negative. */
organ_status organ_hf_config_read(const char *path, organ_hf_config *config, organ_error *error);

/* Reads the fields like organ_hf_config_read, from the `length` bytes of a file in memory, in which the function
 * replaces NaN and Infinity. `bytes` is NULL if there is no file; `label` is the name of the file in messages. */
organ_status organ_hf_config_parse(char *bytes, size_t length, const char *label, organ_hf_config *config,
                                   organ_error *error);

/* Replaces the word NaN by an empty string and Infinity by 1e99, in place and padded to the same length. Words inside
 * strings stay. Python writes these words; JSON does not have them. */
void organ_hf_config_tidy(char *bytes, size_t length);

ORGAN_API_END

#endif
