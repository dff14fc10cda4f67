/* SPDX-License-Identifier: MIT
 * How the weights of a model are found: what the parts of formats/weights*.c share. */
#ifndef ORGAN_WEIGHTS_SEARCH_H
#define ORGAN_WEIGHTS_SEARCH_H

#include "formats/arena.h"
#include "formats/name_table.h"
#include "formats/weights.h"

/* Weights while they are found; `found` is what the caller gets in the end. */
typedef struct organ_weight_search {
    organ_weights found; /* the first member: the search is found by it */
    const organ_model *model;
    organ_weight *weights; /* room for one per tensor */
    organ_arena arena;     /* names, shapes, sentences */
    organ_name_table names;
} organ_weight_search;

/* The plain weight that a tensor is. */
organ_weight organ_weight_plain(const organ_tensor *tensor);

#endif
