/* SPDX-License-Identifier: MIT
 * Matrices that are one tensor of an allocation: all experts of a layer and projection. Each is stored at one or
 * several levels, in the type of the file, when it has been computed; once the tensor is complete, all are written into
 * the layer together. */
#ifndef ORGAN_POOLED_H
#define ORGAN_POOLED_H

#include "kernels/kernels.h"
#include "orchestrator/forward/forward.h"
#include "orchestrator/surgery/inputs/inputs.h"

typedef struct organ_pooled_tensors organ_pooled_tensors;

/* Creates a store for the matrices of `count` tensors at `levels` levels and one more, the last. of[k] is the tensor
 * that target k belongs to. NULL without memory. */
organ_pooled_tensors *organ_pooled_create(size_t count, size_t levels, const organ_targets *targets, const size_t *of,
                                          const organ_kernels *kernels);
void organ_pooled_destroy(organ_pooled_tensors *pooled); /* NULL is allowed */

bool organ_pooled_has_several(const organ_pooled_tensors *pooled, size_t tensor); /* more than one matrix */

/* Returns an upper bound of the bytes of a layer's matrices: of all together, or without `all` of one tensor at a time
 * among those with more than one matrix. */
uint64_t organ_pooled_memory(const organ_pooled_tensors *pooled, int32_t layer, bool all);

/* Keeps the next matrix at a level, by its name in the forward pass, rounded to the type of its tensor. Levels come in
 * order; with the last the matrix is complete. */
organ_status organ_pooled_keep(organ_pooled_tensors *pooled, size_t tensor, const char *name,
                               const organ_tensor *stored, size_t level, const float *weights, organ_error *error);
/* Writes all matrices of a tensor into the layer at that level. */
organ_status organ_pooled_write(const organ_pooled_tensors *pooled, size_t tensor, size_t level, organ_layer *layer,
                                organ_error *error);
void organ_pooled_release(organ_pooled_tensors *pooled, size_t tensor);
uint64_t organ_pooled_matrices(const organ_pooled_tensors *pooled, size_t tensor);

#endif
