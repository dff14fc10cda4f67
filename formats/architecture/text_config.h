/* SPDX-License-Identifier: MIT
 * The text part of a multimodal model: its configuration in config.json, and the prefix of its tensors. */
#ifndef ORGAN_TEXT_CONFIG_H
#define ORGAN_TEXT_CONFIG_H

#include <organ/weights.h>

#include <jansson.h>

struct forward_family;

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

/* Returns the prefix of the names of the text model's tensors in safetensors, which may be empty: the prefix of the
 * family, or else one of some known prefixes such as "model." and "language_model.model.", with which the model has an
 * embedding. A file of the model without its head leaves out the first word of the prefix ("h.0" of published GPT-2,
 * "decoder.layers.0" of OPT) or all of it. If no prefix fits, returns the one that the architecture usually has. */
const char *organ_text_prefix(const struct forward_family *family, const organ_weights *weights);

/* The words with which transformers begins the names of a model that has an output head, and which a model without a
 * head lacks ("transformer."): the text model is the member of this name in the class with the head. Ends with NULL. */
extern const char *const organ_base_words[];

/* Returns the name of the output head: the first of some known names that the model has; "lm_head.weight" if it has
 * none. */
const char *organ_text_head(const organ_weights *weights);

#endif
