/* SPDX-License-Identifier: MIT
 * How much of a model an operation reaches: the share of its matrices that are targets, and the kinds of those that are not. Any
 * architecture is counted, known or not. */
#ifndef ORGAN_MATRICES_H
#define ORGAN_MATRICES_H

#include "formats/model/model.h"

#include <jansson.h>
#include <stdbool.h>

/* Whether the weight is a matrix of a linear layer, or a stack of some: rank 2 or 3 with both last axes above 1, and by its role or name no
 * embedding, output head, norm, bias, position or convolution. A packed weight counts with its plain name and shape. docs/definitions.md,
 * section 3. */
bool organ_is_matrix(const char *name, const organ_anatomy *anatomy, unsigned rank, const uint64_t *shape);

/* {"tensors", "elements", "target_tensors", "target_elements", "percent", "few": it is under 95, "left": [{"name", "tensors",
 * "elements", "percent"}]}: all matrices and those that are targets (`chosen`, a flag per tensor of the model); `left` has the kinds of the
 * others, most elements first, their names without ".weight" and with N for each number. A target is counted whatever it is. NULL without
 * memory. */
json_t *organ_matrices_json(const organ_model *model, const bool *chosen);

#endif
