/* SPDX-License-Identifier: MIT
 * Which tensors of a model an operation on matrices works on. */
#ifndef ORGAN_TARGETS_H
#define ORGAN_TARGETS_H

#include "formats/model/model.h"

typedef struct organ_targets {
    size_t count;
    const organ_tensor **tensors; /* in file order; into the model */
    uint64_t elements, bytes;
    bool *chosen; /* a flag per tensor of the model */
} organ_targets;

/* `globs` NULL: every projection of the anatomy table that is a matrix or a stack of matrices. Else a comma-separated list of shell
 * patterns on names; of the tensors that match, the matrices. ORGAN_USAGE if a pattern matches no matrix; ORGAN_BAD_INPUT if nothing is
 * left to work on. */
organ_status organ_targets_select(const organ_model *model, const char *globs, organ_targets *targets, organ_error *error);

/* Whether its elements are stored so that each can be set to zero alone: BF16, F16, F32. */
bool organ_target_is_float(const organ_tensor *tensor);

/* ORGAN_BAD_INPUT if a target is stored in a type whose elements cannot be set to zero one by one (anything but BF16, F16, F32), or belongs
 * to a packed weight, whatever its type. */
organ_status organ_targets_are_floats(const organ_model *model, const organ_targets *targets, organ_error *error);

void organ_targets_free(organ_targets *targets);

#endif
