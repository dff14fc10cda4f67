/* SPDX-License-Identifier: MIT
 * The coverage of an operation: the share of a model's matrices that are targets, and the kinds of the other matrices.
 * Works for any architecture, known or not. */
#ifndef ORGAN_MATRICES_H
#define ORGAN_MATRICES_H

#include <organ/models.h>
#include <organ/weights.h>

#include <jansson.h>
#include <stdbool.h>

/* Returns whether a weight is a matrix of a linear layer, or a stack of such matrices: its rank is 2 or 3, its last two
 * axes are longer than 1, and its role is not that of an embedding, output head, norm, bias, position table,
 * convolution, scale vector, parameter of a recurrence, mixing of residual streams, or companion of a packed weight. In
 * vision and audio towers, draft layers and unknown modules, the name decides instead of the role. For a packed weight,
 * pass the name and shape that it would have unpacked (organ_weight). docs/definitions/counts.md */
bool organ_is_matrix(const char *name, const organ_anatomy *anatomy, unsigned rank, const uint64_t *shape);

/* Returns {"tensors", "elements", "target_tensors", "target_elements", "percent", "few", "left": [{"name", "tensors",
 * "elements", "percent"}]}: the first two count all matrices of the model, the next two the targets. `chosen`: a flag
 * per tensor of the model, set for targets. "few" is true if there are matrices and "percent", the targets' share of
 * the elements, is below 95. "left" lists the kinds of the matrices that are no targets, most elements first. Matrices
 * whose names differ only in numbers are one kind. The name of a kind lacks ".weight" and has N for each part between
 * dots that is a number. Kinds beyond the first thousand are one kind, "other names". A target of rank 2 or more counts
 * even if it is not a matrix. Returns NULL if memory cannot be allocated. */
json_t *organ_matrices_json(const organ_model *model, const bool *chosen);

/* Returns the object of organ_matrices_json for `count` weights. weight(context, k, &target) returns weight k, or NULL
 * if there is none with this number, and sets *target to whether it is a target. Weights that are no matrices do not
 * count, even targets. */
json_t *organ_matrices_each(size_t count, const organ_weight *(*weight)(const void *context, size_t k, bool *target),
                            const void *context);

/* Returns the object of organ_matrices_json for all weights of a model. The targets are the weights that
 * target(context, k) returns for each k below `count`; it may return NULL. Weights that are no matrices do not count,
 * even targets. */
json_t *organ_matrices_among(const organ_weights *weights, size_t count,
                             const organ_weight *(*target)(const void *context, size_t k), const void *context);

#endif
