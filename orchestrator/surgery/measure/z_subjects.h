/* SPDX-License-Identifier: MIT
 * Selects the parts of a model that the Z-measure applies to: its weights, each once, in any storage. Companions
 * of packed weights (scales, zero points, ...) and scales of activations are excluded. */
#ifndef ORGAN_Z_SUBJECTS_H
#define ORGAN_Z_SUBJECTS_H

#include "formats/weights/weights.h"

typedef struct organ_z_subjects {
    organ_weights *found;
    organ_weight *alone; /* tensors that look like companions but belong to no weight: their stored values are
                          * measured */
    const organ_weight **weight_of; /* per tensor of the model: the weight whose codes it is, or NULL */
    size_t companions;              /* number of excluded tensors */
} organ_z_subjects;

/* Errors as of organ_weights_find. The caller frees *subjects even after an error. */
organ_status organ_z_subjects_find(const organ_model *model, organ_z_subjects *subjects, organ_error *error);
void organ_z_subjects_free(organ_z_subjects *subjects);

/* Returns how values are read: unchanged (ORGAN_DTYPE_COUNT), or decoded to the type that organ_dequantize would write
 * (BF16; F32 for GGUF blocks with an additional scale). */
organ_dtype organ_z_decoded_type(const organ_weight *weight);

#endif
