/* SPDX-License-Identifier: MIT
 * Makes documents of schema organ.measure/1, the report of `organ measure`. */
#ifndef ORGAN_MEASURE_DOCUMENT_H
#define ORGAN_MEASURE_DOCUMENT_H

#include "orchestrator/surgery/measure/z_measure.h"
#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Measurements of a model. */
typedef struct organ_measured {
    const organ_model *model;
    const struct organ_z_subjects *subjects; /* weights of the model */
    /* One element for each tensor of the model. If z[t].done, z[t] is the result of the weight whose codes are tensor
     * t; other elements are ignored. */
    const organ_z *z;
} organ_measured;

/* Returns the entry of a model in the member "models" of the report: its description, figures of all its weights
 * together, and "groups", "roles", "layers", "wells" and "per_tensor". NULL if out of memory. */
json_t *organ_measure_model_json(const organ_measured *measured);

/* Returns a new array of the entries in descending order of mean theta; entries without theta are last. NULL if out of
 * memory. */
json_t *organ_measure_ranked(const json_t *entries);

/* Returns a report whose member "models" is `models`, an array of entries. Takes over `models`. The caller adds "run".
 * NULL if out of memory. */
json_t *organ_measure_document(json_t *models);

/* Returns the wells as an array of {"name", "role", "layer", "theta", "before", "after", "std"}. A well is a weight
 * whose theta is lower than both thetas of the same module and expert in the layers before and after. The difference to
 * each must exceed one standard deviation of theta over the role. If out of memory, returns an incomplete array or NULL
 * and counts a refusal (formats/base/memory_watch.h). */
json_t *organ_measure_theta_dips(const organ_measured *measured);

/* Returns the results of the older measure seed/1: {"definition", "tensors", "theta_mean", ..., "roles", "groups",
 * "per_tensor"}; z_theta_mean is the mean theta of z/1 over the same tensors. NULL if out of memory. */
json_t *organ_measure_seed_json(const organ_measured *measured);

/* Adds the definition of the older measure to a report's "definitions". */
void organ_measure_seed_define(json_t *report);

/* Returns the stars of a theta in degrees: "***" from 85, "**" from 60, "*" from 30, else "". */
const char *organ_measure_rating(double theta);

ORGAN_API_END

#endif
