/* SPDX-License-Identifier: MIT
 * Selects the tensors of a model that are measured: the tensor with the values or codes of each weight. Companions of
 * packed weights (scales, zero points, ...) and scales of activations are not measured. */
#ifndef ORGAN_Z_SUBJECTS_H
#define ORGAN_Z_SUBJECTS_H

#include <organ/weights.h>

/* The weights of a model. */
typedef struct organ_z_subjects {
    organ_weights *found; /* weights that organ_weights_find combined from the tensors */
    /* Plain weights made of tensors that look like companions but belong to no weight; the stored values of these
     * tensors are measured. One element for each tensor in found->unmatched; unused for dropped tensors. */
    organ_weight *alone;
    /* For each tensor of the model: the weight whose codes (for a plain weight: values) it is; NULL: not measured.
     * Points into `found` and `alone`. */
    const organ_weight **weight_of;
    /* Number of tensors that are not measured: companions of weights and scales of activations. */
    size_t companions;
} organ_z_subjects;

/* Finds the weights of a model. The model must outlive *subjects. Returns errors of organ_weights_find. The caller
 * frees *subjects even after an error. */
organ_status organ_z_subjects_find(const organ_model *model, organ_z_subjects *subjects, organ_error *error);
void organ_z_subjects_release(organ_z_subjects *subjects);

/* Returns the type to which the values of a weight are decoded, which is the one that organ_dequantize would write
 * (BF16; F32 for GGUF blocks with an additional scale). ORGAN_DTYPE_COUNT: stored values are measured without
 * decoding. */
organ_dtype organ_z_decoded_type(const organ_weight *weight);

#endif
