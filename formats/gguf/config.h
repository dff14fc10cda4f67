/* SPDX-License-Identifier: MIT
 * What the program needs to know of a model, from the key-values of GGUF: the same facts as from a config.json. */
#ifndef ORGAN_GGUF_CONFIG_H
#define ORGAN_GGUF_CONFIG_H

#include "formats/gguf/gguf.h"
#include "formats/tensor/hf_config.h"
#include "formats/tensor/tensor_list.h"

/* `label` names the file in messages. A known key of the wrong type, or below 0, is ORGAN_BAD_INPUT; where an array gives every layer its
 * own value, the number is -1. */
organ_status organ_gguf_config_read(const char *label, const organ_gguf *gguf, const organ_tensor_list *list, organ_hf_config *config,
                                    organ_error *error);

#endif
