/* SPDX-License-Identifier: MIT
 * A model as the page shows it, made from a document organ.inspect/1 with tensors. */
#ifndef ORGAN_MODEL_PORTRAIT_H
#define ORGAN_MODEL_PORTRAIT_H

#include <jansson.h>

/* See organ_shelf_model. `path` stands for where the model is, also in the report. NULL without memory. */
json_t *organ_model_portrait(json_t *report, const char *path);

#endif
