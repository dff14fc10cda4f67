/* SPDX-License-Identifier: MIT
 * The weights that a model means, whatever tensors they are stored in: each packed tensor with its companions (scales, zero points, group
 * indices), recognised from quantization_config and from names, types and shapes. Headers and config only are read, and tensors of a few
 * numbers (weight_shape). */
#ifndef ORGAN_WEIGHTS_H
#define ORGAN_WEIGHTS_H

#include "formats/base/api.h"
#include "formats/model/model.h"
#include "formats/weights/weight.h"

ORGAN_API_BEGIN

/* Finds the weights of a model, which must outlive them. ORGAN_BAD_INPUT where a companion is missing, has the wrong type or shape, or the
 * config asks for what cannot be (group_size 0, bits 0 or 33), naming tensor, field and both values; and where codes are in a layout that
 * is not known (gptq_marlin, AWQ marlin, exllama, gemv_fast, bit-plane GPTQ, 2:4 sparse), naming it. ORGAN_IO. *weights is NULL on error.
 */
organ_status organ_weights_find(const organ_model *model, organ_weights **weights, organ_error *error);
void organ_weights_free(organ_weights *weights); /* NULL is allowed */

/* The weight of that name or NULL; constant time. */
const organ_weight *organ_weights_named(const organ_weights *weights, const char *name);

ORGAN_API_END

#endif
