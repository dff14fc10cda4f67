/* SPDX-License-Identifier: MIT
 * Opens a model that an operation changes, and selects the matrices that it works on. */
#ifndef ORGAN_SELECT_TARGETS_H
#define ORGAN_SELECT_TARGETS_H

#include "formats/model/model.h"
#include "orchestrator/stream/progress.h"

/* Opens a model that will be read completely, and prints warnings about it. ORGAN_BAD_INPUT if it is behind a URL (the
 * message says that it cannot be `done`: "pruned") or is damaged; else the errors of organ_model_open. The caller
 * closes *model also after an error. */
organ_status organ_donor_open(const char *path, const char *done, const organ_progress *progress, organ_model **model,
                              organ_error *error);

typedef struct organ_targets {
    size_t count;
    const organ_tensor **tensors; /* in file order; into the model */
    uint64_t elements, bytes;
    bool *chosen; /* a flag per tensor of the model */
} organ_targets;

/* Selects the targets. `globs` NULL: every projection of the anatomy table that is a matrix or a stack of matrices.
 * Else a comma-separated list of shell patterns on names: all matrices that match. ORGAN_USAGE if a pattern matches no
 * matrix; ORGAN_BAD_INPUT if no target is left. */
organ_status organ_targets_select(const organ_model *model, const char *globs, organ_targets *targets,
                                  organ_error *error);

/* Returns whether single elements of the tensor can be set to zero: its type is BF16, F16 or F32. */
bool organ_target_is_float(const organ_tensor *tensor);

/* Selects targets like organ_targets_select whose elements can be written individually. ORGAN_BAD_INPUT if one is
 * stored in another type than BF16, F16 and F32 (the message says that it cannot be `done`), or belongs to a packed
 * weight, whatever its type. */
organ_status organ_targets_select_floats(const organ_model *model, const char *globs, const char *done,
                                         organ_targets *targets, organ_error *error);

/* Returns true for a stack of routed experts that the file has as experts x in_features x out_features: parameters of
 * gpt-oss and Llama 4 (transformers: GptOssExperts, Llama4TextExperts). */
bool organ_tensor_is_crossed(const organ_model *model, const organ_tensor *tensor);
/* Returns true if gate and up alternate along the outputs of the tensor: gate 0, up 0, gate 1, ... (gpt-oss). */
bool organ_tensor_has_pairs(const organ_model *model, const organ_tensor *tensor);

/* Fails with ORGAN_USAGE if a target is stored as in_features x out_features, like the projections of GPT-2 (Conv1D) or
 * with `stacks` a stack for which organ_tensor_is_crossed holds: `option` needs the inputs of an output in one row, but
 * such a matrix has them in a column. */
organ_status organ_targets_need_rows(const organ_model *model, const organ_targets *targets, bool stacks,
                                     const char *option, organ_error *error);

/* Removes the targets that have a flag in `left_out` (a flag per tensor of the model). ORGAN_USAGE, naming the method,
 * if none remains. */
organ_status organ_targets_remove(const organ_model *model, const bool *left_out, const char *method,
                                  organ_targets *targets, organ_error *error);

void organ_targets_free(organ_targets *targets);

#endif
