/* SPDX-License-Identifier: MIT
 * The same tensor in another model: at another layer, or under the names of the other format. */
#ifndef ORGAN_COUNTERPART_H
#define ORGAN_COUNTERPART_H

#include "formats/tensor/tensor.h"

#define ORGAN_COUNTERPART_SIZE 4200 /* bytes of the longest name of a tensor with another number in it */

/* Writes the name that the tensor `name` has at layer `layer` of a model with names of the same format. Returns false
 * if the tensor belongs to no layer and `layer` is not -1, or if the name is longer than `size`. */
bool organ_counterpart_at(const char *name, const organ_anatomy *anatomy, int32_t layer, char *out, size_t size);

/* Writes the name like organ_counterpart_at, but for a model of the other format: Hugging Face
 * ("model.layers.3.mlp.up_proj.weight") and GGUF ("blk.3.ffn_up.weight"). `to_gguf`: `name` is of Hugging Face. Also
 * returns false for a module without a fixed counterpart: the formats store fused and numbered experts in different
 * ways. */
bool organ_counterpart_across(const char *name, const organ_anatomy *anatomy, bool to_gguf, int32_t layer, char *out,
                              size_t size);

/* Returns true if converters to GGUF keep the order of the rows of q and k of this architecture. Returns false for an
 * architecture that is not in the table: the rows of each head may be in another order than in Hugging Face's files. */
bool organ_keeps_rope_rows(const char *gguf_architecture);

#endif
