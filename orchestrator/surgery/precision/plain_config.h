/* SPDX-License-Identifier: MIT
 * Edits config.json for a model that is no longer quantised. */
#ifndef ORGAN_PLAIN_CONFIG_H
#define ORGAN_PLAIN_CONFIG_H

#include "formats/base/json_edit.h"
#include <organ/models.h>

/* Removes quantization_config, compression_config and quantization from a config.json. If `packed` (the source model
 * had packed tensors), also declares `dtype` as the type of the weights, at the top and in text_config. */
organ_status organ_config_make_plain(organ_json_edit *config, organ_dtype dtype, bool packed, organ_error *error);

#endif
