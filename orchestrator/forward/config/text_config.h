/* SPDX-License-Identifier: MIT
 * The text part of a multimodal model: its configuration in config.json, and the prefix of its tensors. */
#ifndef ORGAN_TEXT_CONFIG_H
#define ORGAN_TEXT_CONFIG_H

#include "formats/weights/weights.h"

#include <jansson.h>

/* Returns the object of config.json that configures the text model: its member text_config, or `root` if it has none.
 * For a multimodal model, *architecture becomes the architecture of the text part, by its model_type or else by its
 * `architectures`, and members that published files of that model type lack get the defaults of transformers.
 * For Gemma3ForConditionalGeneration, the object loses final_logit_softcapping, which that class does not apply.
 * *architecture keeps its value if the text part says neither. */
json_t *organ_config_text(json_t *root, const char **architecture);

/* Returns the prefix of the text model's tensors, which the file has before "embed_tokens.weight": "model.",
 * "model.language_model." or "language_model.model."; "model." if it has none of them. */
const char *organ_text_prefix(const organ_weights *weights);

/* Returns the name of the output head that the file has, or "lm_head.weight". */
const char *organ_text_head(const organ_weights *weights);

#endif
