/* SPDX-License-Identifier: MIT
 * Opens a model that an operation changes, and selects the matrices that it works on. */
#ifndef ORGAN_SELECT_TARGETS_H
#define ORGAN_SELECT_TARGETS_H

#include <organ/models.h>
#include <organ/stream.h>

/* Opens a model that a verb reads completely, and prints warnings about it. Returns ORGAN_BAD_INPUT if the model is
 * behind a URL (the message says that it cannot be `done`: "pruned") or is damaged, else the errors of
 * organ_model_open. The caller closes *model also after an error. */
organ_status organ_donor_open(const char *path, const char *done, const organ_progress *progress, organ_model **model,
                              organ_error *error);

/* The tensors of a model that a verb changes. */
typedef struct organ_targets {
    size_t count;
    const organ_tensor **tensors; /* pointers into the model, in the order of model->tensors */
    uint64_t elements, bytes;     /* of all targets */
    bool *chosen;                 /* a flag per tensor of the model, set for targets */
} organ_targets;

/* Selects the targets. `globs` NULL: every projection of the anatomy table that is a matrix or a stack of matrices,
 * except those of draft layers. Otherwise a comma-separated list of shell patterns on names: all matrices that match
 * one. Returns ORGAN_USAGE if a pattern matches no matrix, ORGAN_BAD_INPUT if there is no target. The caller releases
 * the targets with organ_targets_release. */
organ_status organ_targets_select(const organ_model *model, const char *globs, organ_targets *targets,
                                  organ_error *error);

/* Returns whether single elements of the tensor can be set to zero: its type is BF16, F16 or F32. */
bool organ_target_is_float(const organ_tensor *tensor);

/* Selects targets with organ_targets_select and returns its errors. Also checks that the elements of the targets can be
 * set to zero one by one: returns ORGAN_BAD_INPUT if a target is stored in another type than BF16, F16 and F32 (the
 * message says that it cannot be `done`), or belongs to a packed weight. */
organ_status organ_targets_select_floats(const organ_model *model, const char *globs, const char *done,
                                         organ_targets *targets, organ_error *error);

/* Returns true for a stack of routed experts that is stored as experts x in_features x out_features, the transpose of
 * other models: parameters of gpt-oss, Llama 4 and published Qwen3-VL mixtures in safetensors (transformers:
 * GptOssExperts, Llama4TextExperts). */
bool organ_tensor_is_crossed(const organ_model *model, const organ_tensor *tensor);
/* Returns true if the tensor has gate and up in alternating outputs: gate 0, up 0, gate 1, ... (gpt-oss). */
bool organ_tensor_has_pairs(const organ_model *model, const organ_tensor *tensor);

/* Fails with ORGAN_USAGE if a target is stored as in_features x out_features: the projections of GPT-2 (Conv1D) and, if
 * `stacks` is set, stacks for which organ_tensor_is_crossed holds. `option`, which the message names, needs the weights
 * of one output in one row, but such a matrix has them in a column. */
organ_status organ_targets_need_rows(const organ_model *model, const organ_targets *targets, bool stacks,
                                     const char *option, organ_error *error);

/* Removes the targets whose flag in `left_out` (one per tensor of the model) is set. Returns ORGAN_USAGE if none
 * remains: the message says that no matrix has inputs for `method`. */
organ_status organ_targets_remove(const organ_model *model, const bool *left_out, const char *method,
                                  organ_targets *targets, organ_error *error);

void organ_targets_release(organ_targets *targets);

#endif
