/* SPDX-License-Identifier: MIT
 * What each tensor of a model is counted as: a weight, the codes of a packed one, or a companion of it. */
#ifndef ORGAN_INSPECT_PARTS_H
#define ORGAN_INSPECT_PARTS_H

#include "formats/weights/weights.h"

typedef struct organ_inspect_part {
    const organ_tensor *tensor;
    organ_anatomy anatomy; /* of the weight that it belongs to */
    bool weight; /* it is one, or its codes: all that follows is that of the weight. Else it adds bytes and no elements.
                  */
    unsigned rank;
    const uint64_t *shape;
    uint64_t elements;
} organ_inspect_part;

/* One for each tensor of the model, in its order; the caller frees them. NULL without memory. Without `weights`, which
 * may be NULL, every tensor is what it is stored as. */
organ_inspect_part *organ_inspect_parts_of(const organ_model *model, const organ_weights *weights);

#endif
