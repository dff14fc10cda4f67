/* SPDX-License-Identifier: MIT
 * Rejects packed weights in verbs that change weights: codes and scales are not the weights, and are never changed as
 * if they were. */
#ifndef ORGAN_PLAIN_ONLY_H
#define ORGAN_PLAIN_ONLY_H

#include <organ/weights.h>

/* Returns ORGAN_BAD_INPUT if a tensor that the verb changes is part of a packed weight: its codes, a scale or another
 * part. `changed`: a flag per tensor of the model. The message names tensor and scheme, and explains how to dequantize
 * the model. Also returns the errors of organ_weights_find. */
organ_status organ_require_plain(const organ_model *model, const bool *changed, organ_error *error);

/* Sets *hint to the command with which the user dequantizes the model, for messages; the caller frees it. Returns
 * ORGAN_IO if memory cannot be allocated. */
organ_status organ_dequantize_hint(const organ_model *model, char **hint, organ_error *error);
/* Fails with ORGAN_BAD_INPUT "<what>: dequantize it first: organ dequantize MODEL -o OUT", with MODEL quoted for the
 * shell. */
organ_status organ_dequantize_first(const organ_model *model, organ_error *error, const char *what, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns whether the type is a block type of GGUF: such a tensor contains its scales, so `dequantize` converts it
 * without any other tensor. */
bool organ_dtype_is_blocks(organ_dtype dtype);

#endif
