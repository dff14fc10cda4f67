/* SPDX-License-Identifier: MIT
 * Reads the configuration of a model from its config.json, or from the key-values of a GGUF file
 * (organ_forward_config_read), and finds the text part of a multimodal model among its tensors. */
#ifndef ORGAN_CONFIG_MODEL_CONFIG_H
#define ORGAN_CONFIG_MODEL_CONFIG_H

#include "formats/architecture/families.h"

#include <organ/weights.h>

/* Parses the text of a config.json, in a copy that organ_hf_config_tidy has changed. The caller releases *root, the
 * object, which is NULL after an error. */
organ_status organ_config_parse(const char *label, const char *bytes, size_t length, json_t **root, organ_error *error);

/* Does the work of organ_forward_config_read on the text of a config.json, which `label` names in messages;
 * `architecture` is the first item of its `architectures`. */
organ_status organ_forward_config_text(const char *label, const char *bytes, size_t length, const char *architecture,
                                       organ_forward_config *config, organ_error *error);

/* ---- the text part of a multimodal model ---- */

/* Returns the prefix of the names of the text model's tensors in safetensors, which may be empty: the prefix of the
 * family, or else one of some known prefixes such as "model." and "language_model.model.", with which the model has an
 * embedding. A file of the model without its head leaves out the first word of the prefix ("h.0" of published GPT-2,
 * "decoder.layers.0" of OPT) or all of it. If no prefix fits, returns the one that the architecture usually has. */
const char *organ_text_prefix(const forward_family *family, const organ_weights *weights);

/* The words with which transformers begins the names of a model that has an output head, and which a model without a
 * head lacks ("transformer."): the text model is the member of this name in the class with the head. Ends with NULL. */
extern const char *const organ_base_words[];

/* Returns the name of the output head: the first of some known names that the model has; "lm_head.weight" if it has
 * none. */
const char *organ_text_head(const organ_weights *weights);

/* Returns ORGAN_BAD_INPUT for a safetensors model of which config.json ties head and embedding and which stores the
 * head alone. */
organ_status organ_text_check_embedding(const organ_model *model, const organ_weights *weights, organ_error *error);

/* Returns the name of an output head that a safetensors model of this class gets if it has none, by the name of its
 * embedding. */
const char *organ_text_new_head(const char *architecture, const char *embedding);

/* Returns the period of layers that llama.cpp gives another attention by their position in files without a key for it;
 * 0: none. */
unsigned organ_forward_gguf_period(const forward_family *family);

#endif
