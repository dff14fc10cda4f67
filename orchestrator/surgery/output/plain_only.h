/* SPDX-License-Identifier: MIT
 * What verbs that change weights say of packed ones: codes and scales are no weights, and are never computed with as if
 * they were. */
#ifndef ORGAN_PLAIN_ONLY_H
#define ORGAN_PLAIN_ONLY_H

#include "formats/weights/weights.h"

/* ORGAN_BAD_INPUT if a touched tensor (a flag per tensor of the model) is the codes, a scale or another part of a
 * packed weight. The message names tensor and scheme, and says how to dequantize the model. ORGAN_BAD_INPUT or ORGAN_IO
 * of organ_weights_find. */
organ_status organ_plain_only(const organ_model *model, const bool *touched, organ_error *error);

/* Fails with "<what>: dequantize it first: organ dequantize MODEL -o OUT", with the path of the model as a word of the
 * shell. */
organ_status organ_dequantize_first(const organ_model *model, organ_error *error, const char *what, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether dequantize makes a plain tensor of this type, which stands alone: block types of GGUF. */
bool organ_dtype_is_blocks(organ_dtype dtype);

#endif
