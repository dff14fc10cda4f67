/* SPDX-License-Identifier: MIT
 * The coverage of an operation: the share of a model's matrices that are targets, and the kinds of the other matrices.
 * Works for any architecture, known or not. */
#ifndef ORGAN_MATRICES_H
#define ORGAN_MATRICES_H

#include "formats/model/model.h"
#include "formats/weights/weights.h"

#include <jansson.h>
#include <stdbool.h>

/* Returns whether the weight is a matrix of a linear layer, or a stack of such matrices: its rank is 2 or 3, its last
 * two axes are above 1, and neither its role nor its name is that of an embedding, output head, norm, bias, position
 * table or convolution. A packed weight counts with its plain name and shape. docs/definitions/counts.md */
bool organ_is_matrix(const char *name, const organ_anatomy *anatomy, unsigned rank, const uint64_t *shape);

/* Returns {"tensors", "elements", "target_tensors", "target_elements", "percent", "few", "left": [{"name", "tensors",
 * "elements", "percent"}]} for all matrices and those that are targets (`chosen`, a flag per tensor of the model).
 * "few" is true if there are matrices and "percent" is below 95. "left" lists the kinds of the other matrices, most
 * elements first, with names without ".weight" and with N for each number; kinds beyond the first thousand are one
 * kind, "other names". A target of rank 2 or more counts even if it is not a matrix. NULL without memory. */
json_t *organ_matrices_json(const organ_model *model, const bool *chosen);

/* Returns the object of organ_matrices_json for `count` weights. `weight` returns weight k and sets *target, or returns
 * NULL if place k has none. Only matrices count. */
json_t *organ_matrices_each(size_t count, const organ_weight *(*weight)(const void *context, size_t k, bool *target),
                            const void *context);

/* Returns the object of organ_matrices_json for all weights of a model; the targets are the weights that `target`
 * returns for k below `count` (it may return NULL). Only matrices count. */
json_t *organ_matrices_among(const organ_weights *weights, size_t count,
                             const organ_weight *(*target)(const void *context, size_t k), const void *context);

#endif
