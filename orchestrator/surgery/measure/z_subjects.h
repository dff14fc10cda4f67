/* SPDX-License-Identifier: MIT
 * What of a model the Z-measure is taken of: its weights, each once, whatever they are stored in. Companions of packed
 * weights (scales, zero points, ...) and scales of activations are none. */
#ifndef ORGAN_Z_SUBJECTS_H
#define ORGAN_Z_SUBJECTS_H

#include "formats/weights/weights.h"

typedef struct organ_z_subjects {
    organ_weights *found;
    organ_weight *alone; /* tensors that look like companions and belong to no weight: they are measured as they are */
    const organ_weight **of; /* per tensor of the model: the weight whose codes it is, or NULL */
    size_t companions;       /* tensors that are no subject */
} organ_z_subjects;

/* As organ_weights_find. The caller frees *subjects also after an error. */
organ_status organ_z_subjects_find(const organ_model *model, organ_z_subjects *subjects, organ_error *error);
void organ_z_subjects_free(organ_z_subjects *subjects);

/* How its values are had: read as they are (ORGAN_DTYPE_COUNT), or decoded to the type that organ_dequantize would give
 * them (BF16; F32 where a block type of GGUF has a scale beside it). */
organ_dtype organ_z_decoded(const organ_weight *weight);

#endif
