/* SPDX-License-Identifier: MIT
 * Finds which measured models share tensors: tensors with the same number of elements and the same moments are taken to
 * have the same values. A chimera is a model whose tensors are all found in two others together (its body and its
 * donor), but not all in one of them. */
#ifndef ORGAN_VIEW_LINEAGE_H
#define ORGAN_VIEW_LINEAGE_H

#include <organ/base.h>

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Only the first 60 models are compared: a set of models is a 64-bit word. */
#define ORGAN_LINEAGE_MAX  60
#define ORGAN_LINEAGE_NONE SIZE_MAX

/* How a model is related to other models, which are given by their indices; NONE is ORGAN_LINEAGE_NONE. Counts include
 * only tensors whose values are not all the same. */
typedef struct organ_lineage {
    size_t body;       /* of a chimera: the model that has most of its tensors; NONE: this model is no chimera */
    size_t donor;      /* of a chimera: the model that has all tensors that the body does not have */
    size_t like;       /* the model that shares most tensors with this one; NONE: no model shares any */
    size_t tensors;    /* tensors of this model */
    size_t from_body;  /* of these: found in `body` */
    size_t from_donor; /* of these: not found in `body`, but in `donor` */
    size_t shared;     /* of these: found in `like` */
    size_t depth;      /* 0, or for a model listed after its body the body's depth + 1: a level of indentation */
} organ_lineage;

/* Fills lineage[0 .. count) for the `count` elements of `models` (report.models of an organ.measure/1). Models from
 * ORGAN_LINEAGE_MAX on are not compared: body, donor and like are NONE. Stores the indices of all models in order[0 ..
 * count): ascending, except that a chimera follows its body. Returns ORGAN_IO if out of memory. */
organ_status organ_measure_lineage(const json_t *models, organ_lineage *lineage, size_t *order, organ_error *error);

#endif
