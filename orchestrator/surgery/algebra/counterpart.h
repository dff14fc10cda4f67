/* SPDX-License-Identifier: MIT
 * The same tensor in another model: at another layer, or under the names of the other format. */
#ifndef ORGAN_COUNTERPART_H
#define ORGAN_COUNTERPART_H

#include "formats/model/model.h"

#define ORGAN_COUNTERPART_SIZE 4200 /* the longest name of a tensor, another number in it */

/* The name that `name` has at layer `layer` of a model whose names are of the same kind. false where it stands in no
 * layer and another than -1 is asked for, or does not fit. */
bool organ_counterpart_at(const char *name, const organ_anatomy *anatomy, int32_t layer, char *out, size_t size);

/* The same between Hugging Face ("model.layers.3.mlp.up_proj.weight") and GGUF ("blk.3.ffn_up.weight"); `to_gguf` says
 * in which direction. false if this module has no fixed counterpart: fused and numbered experts are stored another way.
 */
bool organ_counterpart_across(const char *name, const organ_anatomy *anatomy, bool to_gguf, int32_t layer, char *out,
                              size_t size);

/* Whether converters to GGUF leave the rows of q and k of this architecture as they are. Where they do not, or nobody
 * knows, each head's rows are in another order than with Hugging Face. */
bool organ_keeps_rope_rows(const char *gguf_architecture);

#endif
