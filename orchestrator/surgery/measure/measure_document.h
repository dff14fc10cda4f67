/* SPDX-License-Identifier: MIT
 * Makes documents of schema organ.measure/1: results of measuring models. */
#ifndef ORGAN_MEASURE_DOCUMENT_H
#define ORGAN_MEASURE_DOCUMENT_H

#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Measurements of a model. */
typedef struct organ_measured {
    const organ_model *model;
    const struct organ_z_subjects *subjects;
    /* One for each tensor of the model: results are those with `done` set, at the index of the weight's codes. */
    const organ_z *z;
    const char *const *stored; /* description of each tensor's storage; NULL: organ_weight_text makes it */
} organ_measured;

/* Returns one entry of report.models. NULL if out of memory. */
json_t *organ_measure_model_json(const organ_measured *measured);

/* Returns a new array of the entries in descending order of mean theta; entries without theta are last. NULL if out of
 * memory. */
json_t *organ_measure_ranked(const json_t *entries);

/* Returns a report with these entries, without "run". Takes over the array. NULL if out of memory. */
json_t *organ_measure_document(json_t *models);

/* Returns the wells: tensors whose theta is lower than that of their neighbours, as {"name", "role", "layer", "theta",
 * "before", "after", "std"}. NULL if out of memory. */
json_t *organ_measure_theta_dips(const organ_measured *measured);

/* Returns the results of the older measure: {"definition", "tensors", "theta_mean", ..., "roles", "groups",
 * "per_tensor"}; z_theta_mean is the mean theta of z/1 over the same tensors. NULL if out of memory. */
json_t *organ_measure_seed_json(const organ_measured *measured);

/* Adds the definition of the older measure to a report's "definitions". */
void organ_measure_seed_define(json_t *report);

/* Returns the stars of a theta in degrees: "***" from 85, "**" from 60, "*" from 30, else "". */
const char *organ_measure_rating(double theta);

ORGAN_API_END

#endif
