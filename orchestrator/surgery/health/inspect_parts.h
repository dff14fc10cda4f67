/* SPDX-License-Identifier: MIT
 * Classifies each tensor of a model: a weight, the codes of a packed weight, or a companion of one. */
#ifndef ORGAN_INSPECT_PARTS_H
#define ORGAN_INSPECT_PARTS_H

#include <organ/weights.h>

/* A tensor and its part in a weight. */
typedef struct organ_inspect_part {
    const organ_tensor *tensor;
    organ_anatomy anatomy; /* of the weight to which the tensor belongs; without one, of the tensor */
    bool weight;   /* the tensor is a weight or its codes, and all following members describe the weight; otherwise the
                    * tensor adds bytes but no elements */
    unsigned rank; /* shape of the weight */
    const uint64_t *shape;
    uint64_t elements; /* elements of the weight */
} organ_inspect_part;

/* Returns an array with one part for each tensor of the model, in the model's order; the caller frees it with
 * organ_rows_free. NULL if memory runs out. If `weights` is NULL, every tensor counts as a weight of its stored shape.
 */
organ_inspect_part *organ_inspect_parts_of(const organ_model *model, const organ_weights *weights);

#endif
