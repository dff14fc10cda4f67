/* SPDX-License-Identifier: MIT
 * The composition of a model by layer and role: the member of a document from which its chart is drawn. */
#ifndef ORGAN_BY_LAYER_H
#define ORGAN_BY_LAYER_H

#include "formats/tensor/tensor.h"

#include <jansson.h>
#include <stddef.h>

/* One tensor. */
typedef struct organ_layer_amount {
    organ_anatomy anatomy;
    uint64_t elements, bytes;
    uint64_t grafted; /* elements that another model gave */
} organ_layer_amount;

/* Returns {"roles": [R names], "layers": [L numbers, ascending; last, as -1, the tensors outside of layers],
 * "elements": L x R, "bytes": L x R} and, on request, "grafted": L x R. Sorts the rows. NULL without memory, also if
 * `rows` is NULL. */
json_t *organ_by_layer_json(organ_layer_amount *rows, size_t count, bool grafted);

#endif
