/* SPDX-License-Identifier: MIT
 * The text part of a multimodal model: its configuration in config.json, and the prefix of its tensors. */
#ifndef ORGAN_TEXT_CONFIG_H
#define ORGAN_TEXT_CONFIG_H

#include "formats/weights/weights.h"

#include <jansson.h>

/* Returns the object of config.json that configures the text model: member text_config of `root`, or `root` if it has
 * none. On entry *architecture is the first item of `architectures` in `root`.
 *
 * For a multimodal model *architecture becomes the architecture of the text part, by model_type or else by
 * `architectures` of text_config; without both it keeps its value. Members that published files of the text part's
 * model type lack are added with the defaults of transformers. For Gemma3ForConditionalGeneration, the function removes
 * final_logit_softcapping, because that class does not apply it.
 *
 * For a few model types that transformers saves with another class, *architecture becomes the published one. */
json_t *organ_config_text(json_t *root, const char **architecture);

/* Returns the prefix of the text model's tensors: the first of some known prefixes, such as "model." and
 * "language_model.model.", with which the model has "embed_tokens.weight"; "model." if there is none. */
const char *organ_text_prefix(const organ_weights *weights);

/* Returns the name of the output head: the first of some known names that the model has; "lm_head.weight" if it has
 * none. */
const char *organ_text_head(const organ_weights *weights);

#endif
