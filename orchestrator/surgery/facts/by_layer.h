/* SPDX-License-Identifier: MIT
 * The composition of a model by layer and role: the member of a document from which its chart is drawn. */
#ifndef ORGAN_BY_LAYER_H
#define ORGAN_BY_LAYER_H

#include <organ/models.h>

#include <jansson.h>
#include <stddef.h>

/* The size of one tensor, or of all tensors of one layer and role. */
typedef struct organ_layer_amount {
    organ_anatomy anatomy;
    uint64_t elements, bytes;
    uint64_t grafted; /* of `elements`: those that came from another model */
} organ_layer_amount;

/* Sums the sizes of `count` tensors by layer and by row of the anatomy (organ_anatomy_row: the role, or its expert
 * form). Returns {"roles": [R names of the rows that occur], "layers": [L numbers, ascending; last -1 for the tensors
 * outside of layers], "elements": L x R, "bytes": L x R} and, if `grafted` is set, "grafted": L x R. Sorts `rows`.
 * Returns NULL if memory cannot be allocated, also if `rows` is NULL, because its allocation failed. */
json_t *organ_by_layer_json(organ_layer_amount *rows, size_t count, bool grafted);

#endif
