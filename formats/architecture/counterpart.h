/* SPDX-License-Identifier: MIT
 * The same tensor in another model: at another layer, or under the name of the other format. */
#ifndef ORGAN_COUNTERPART_H
#define ORGAN_COUNTERPART_H

#include "formats/architecture/layer_parts.h"

#define ORGAN_COUNTERPART_SIZE 4200 /* bytes for a tensor's name with its NUL, after its layer number became longer */

/* Writes the name of the same tensor of layer `layer`, in the same format:
 * "model.layers.3.mlp.up_proj.weight" at layer 5 is "model.layers.5.mlp.up_proj.weight". `anatomy` is that of `name`.
 * If the tensor is in a layer, `layer` must be at least 0; if it is not, `layer` must be -1, else the function returns
 * false. Also returns false if the result exceeds `size` bytes. */
bool organ_counterpart_at(const char *name, const organ_anatomy *anatomy, int32_t layer, char *out, size_t size);

/* Translates the name of a tensor between safetensors ("model.layers.3.mlp.up_proj.weight") and GGUF
 * ("blk.3.ffn_up.weight") by the architecture that the GGUF file states, with `layer` as layer number if the tensor is
 * in a layer. `to_gguf` is true if `name` is one of safetensors. Returns false for a tensor that is not one tensor with
 * the same rows in the other format (numbered experts, fused and transposed tensors), and if the result exceeds `size`
 * bytes. */
bool organ_counterpart_across(const organ_model *gguf, const char *name, const organ_anatomy *anatomy, bool to_gguf,
                              int32_t layer, char *out, size_t size);

/* Returns true if converters to GGUF keep the order of the rows of q and k of this architecture. Returns false if
 * they interleave the two halves of each head's rows, or if the architecture is unknown. */
bool organ_keeps_rope_rows(const char *gguf_architecture);

/* Returns whether the weight or bias of a part of a layer has the same values and order of rows in both formats in
 * every architecture, apart from the rows of q and k. Fused tensors, stacks and recurrent parts have not. */
bool organ_part_is_plain(forward_part part);

#endif
