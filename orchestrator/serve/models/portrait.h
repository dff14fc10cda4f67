/* SPDX-License-Identifier: MIT
 * What is told of a model as a whole, however many tensors it has. */
#ifndef ORGAN_MODEL_PORTRAIT_H
#define ORGAN_MODEL_PORTRAIT_H

#include "formats/model/model.h"

/* Rows at most of each list in a portrait, and layers that it tells apart. */
#define ORGAN_PORTRAIT_MOST 4096u

/* Two JSON texts, for the caller to free. *portrait: {path, format, architecture, model_type, dtypes, layers, tensors,
 * elements, bytes, files, problems, anatomy, inspect, cut}: "anatomy" sums the tensors by layer and role, "inspect" is
 * organ.inspect/1 without its tensors, "cut" names the lists that would have more rows than ORGAN_PORTRAIT_MOST.
 * *summary: {format, architecture, tensors, elements, bytes, files}. `path` stands for where the model is, also in the
 * report. */
organ_status organ_model_portrait(const organ_model *model, const char *path, char **portrait, char **summary,
                                  organ_error *error);

#endif
