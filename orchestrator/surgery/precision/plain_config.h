/* SPDX-License-Identifier: MIT
 * config.json of a model that is no longer packed. */
#ifndef ORGAN_PLAIN_CONFIG_H
#define ORGAN_PLAIN_CONFIG_H

#include "formats/base/json_edit.h"
#include "formats/tensor/tensor.h"

/* Takes what tells of quantisation out of a config.json; where tensors were `packed`, the type of the model becomes
 * `dtype`. */
organ_status organ_config_make_plain(organ_json_edit *config, organ_dtype dtype, bool packed, organ_error *error);

#endif
