/* SPDX-License-Identifier: MIT
 * What lies among models and is none. */
#ifndef ORGAN_FLEET_KIND_H
#define ORGAN_FLEET_KIND_H

#include "formats/model/model.h"

/* "adapter", "imatrix", "vocabulary only", "multimodal projector", "control vector", "optimizer state", "no tensors";
 * NULL for a model. What the file says of itself counts, or what its tensors are called. */
const char *organ_fleet_kind(const organ_model *model);

#endif
