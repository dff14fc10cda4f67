/* SPDX-License-Identifier: MIT
 * The description of a whole model, of bounded size for any number of tensors. */
#ifndef ORGAN_MODEL_DETAILS_H
#define ORGAN_MODEL_DETAILS_H

#include <organ/models.h>

/* Largest number of rows in each list of a description, and of layers that are listed individually. */
#define ORGAN_DETAILS_MAX 4096u

/* Makes two JSON texts, for the caller to free; both are NULL on an error. *details: {path, format, architecture,
 * model_type, dtypes, layers, tensors, elements, bytes, files, problems, anatomy, inspect, cut}: "anatomy" sums the
 * tensors by layer and role, "inspect" is organ.inspect/1 without its tensors, "cut" names the lists that would have
 * more rows than ORGAN_DETAILS_MAX. *summary: {format, architecture, tensors, elements, bytes, files}. `path` is the
 * name for clients; it replaces the location of the model. Returns ORGAN_OK also for a model with faults that leave it
 * readable: "problems" lists them. */
organ_status organ_model_details(const organ_model *model, const char *path, char **details, char **summary,
                                 organ_error *error);

#endif
