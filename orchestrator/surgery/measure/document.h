/* SPDX-License-Identifier: MIT
 * organ.measure/1: what was measured of models, as a document. */
#ifndef ORGAN_MEASURE_DOCUMENT_H
#define ORGAN_MEASURE_DOCUMENT_H

#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

/* What was measured of a model. */
typedef struct organ_measured {
    const organ_model *model;
    const struct organ_z_subjects *subjects;
    const organ_z *z;          /* per tensor of the model: those whose `done` is set, in the place of their codes */
    const char *const *stored; /* per tensor how the weight is stored; NULL: organ_weight_text knows */
} organ_measured;

/* One entry of report.models. NULL without memory. */
json_t *organ_measure_model_json(const organ_measured *measured);

/* The entries in descending order of their mean theta, those without one last: a new array. NULL without memory. */
json_t *organ_measure_ranked(const json_t *entries);

/* A report around entries of models, without "run"; takes the array over. NULL without memory. */
json_t *organ_measure_document(json_t *models);

/* The tensors that lie lower than their neighbours: {"name", "role", "layer", "theta", "before", "after", "std"} each.
 * NULL without memory. */
json_t *organ_measure_wells(const organ_measured *measured);

/* What the older measure says, {"definition", "tensors", "theta_mean", ..., "roles", "groups", "per_tensor"};
 * z_theta_mean is z/1's over the same tensors. NULL without memory. */
json_t *organ_measure_seed_json(const organ_measured *measured);

/* Adds what the older measure is to the definitions of a report. */
void organ_measure_seed_define(json_t *report);

/* "***", "**", "*" or "". */
const char *organ_measure_rating(double theta);

ORGAN_API_END

#endif
