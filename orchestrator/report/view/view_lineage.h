/* SPDX-License-Identifier: MIT
 * Which of several measured models are made of the others: tensors with the same moments have the same values. */
#ifndef ORGAN_VIEW_LINEAGE_H
#define ORGAN_VIEW_LINEAGE_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_LINEAGE_MAX  60 /* compares only the first models of the ranking */
#define ORGAN_LINEAGE_NONE SIZE_MAX

typedef struct organ_lineage {
    size_t body;  /* the model that most of its tensors are found in, if all are found in it and `donor` and neither has
                     them all; else NONE */
    size_t donor; /* the model that has the rest of them */
    size_t like;  /* the model that shares most tensors with it; NONE: none shares any */
    size_t tensors, from_body, from_donor,
        shared;   /* counted are tensors whose values are not all the same; shared: with `like` */
    size_t depth; /* chimeras between it and a model that is none */
} organ_lineage;

/* Fills kin[0 .. count) for report.models; models from ORGAN_LINEAGE_MAX on get NONE everywhere. *order becomes all
 * indices in their order, except that a chimera follows its body. ORGAN_IO without memory. */
organ_status organ_measure_lineage(const json_t *models, organ_lineage *lineage, size_t *order, organ_error *error);

#endif
