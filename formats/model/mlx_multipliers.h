/* SPDX-License-Identifier: MIT
 * The factors by which mlx-lm multiplies weights of Falcon-H1. */
#ifndef ORGAN_MODEL_MLX_MULTIPLIERS_H
#define ORGAN_MODEL_MLX_MULTIPLIERS_H

#include "formats/base/json.h"

#include <organ/models.h>

#include <stdbool.h>

/* Returns whether mlx-lm has multiplied the tensor: a plain weight, or the scales or biases of codes. */
bool organ_mlx_is_multiplied(const organ_tensor *t);

/* Sets times[k] to the inverse of the factor of row k of a multiplied tensor, by the members of config.json; mlx-lm's
 * defaults stand for missing members. */
void organ_mlx_undo(const json_t *config, const organ_tensor *t, float *times);

#endif
