/* SPDX-License-Identifier: MIT
 * Recognises files in a fleet that are not models, such as adapters. */
#ifndef ORGAN_FLEET_KIND_H
#define ORGAN_FLEET_KIND_H

#include <organ/models.h>

/* Returns "adapter", "imatrix", "vocabulary only", "multimodal projector", "control vector", "optimizer state" or "no
 * tensors", from the metadata of the file or the names of its tensors; NULL for a model. */
const char *organ_fleet_kind(const organ_model *model);

#endif
