/* SPDX-License-Identifier: MIT
 * Keeps the matrices that are one tensor of an allocation: all experts of a layer and projection. Each matrix is stored
 * at one or several levels, in the type of the file; once the tensor is complete, all are written into the layer
 * together. */
#ifndef ORGAN_POOLED_H
#define ORGAN_POOLED_H

#include <organ/kernels.h>
#include <organ/forward.h>
#include "orchestrator/surgery/inputs/inputs.h"

typedef struct organ_pooled_tensors organ_pooled_tensors;

/* Creates a store for the matrices of `count` tensors at levels 0 .. `levels`. of[k] is the tensor that target k
 * belongs to. Returns NULL if memory cannot be allocated. */
organ_pooled_tensors *organ_pooled_create(size_t count, size_t levels, const organ_targets *targets, const size_t *of,
                                          const organ_kernels *kernels);
void organ_pooled_destroy(organ_pooled_tensors *pooled); /* NULL is allowed */

/* Returns whether the tensor has more than one matrix. */
bool organ_pooled_has_several(const organ_pooled_tensors *pooled, size_t tensor);

/* Returns an upper bound of the bytes of a layer's stored matrices: with `all`, those of all tensors together; else
 * those of one tensor at a time, where only tensors with more than one matrix are stored. */
uint64_t organ_pooled_memory(const organ_pooled_tensors *pooled, int32_t layer, bool all);

/* Stores a matrix of tensor `tensor` of the allocation at a level. `stored` is the matrix's tensor in the model, to
 * whose type `weights` are rounded; `name` is its name in the forward pass. The caller stores the levels of one matrix
 * in order before those of the next matrix. Returns ORGAN_IO if memory runs out. */
organ_status organ_pooled_keep(organ_pooled_tensors *pooled, size_t tensor, const char *name,
                               const organ_tensor *stored, size_t level, const float *weights, organ_error *error);
/* Writes all kept matrices of a tensor into the layer, at this level. Returns ORGAN_IO if memory cannot be
 * allocated. */
organ_status organ_pooled_write(const organ_pooled_tensors *pooled, size_t tensor, size_t level, organ_layer *layer,
                                organ_error *error);
/* Frees the stored matrices of a tensor. */
void organ_pooled_give_back(organ_pooled_tensors *pooled, size_t tensor);
/* Returns the number of matrices of a tensor. */
uint64_t organ_pooled_matrices(const organ_pooled_tensors *pooled, size_t tensor);

#endif
