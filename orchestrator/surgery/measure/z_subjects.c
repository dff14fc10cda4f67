/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/z_subjects.h"

#include <errno.h>
#include <stdlib.h>

organ_status organ_z_subjects_find(const organ_model *model, organ_z_subjects *subjects, organ_error *error)
{
    *subjects = (organ_z_subjects){0};
    if (organ_weights_find(model, &subjects->found, error) != ORGAN_OK)
        return error->status;
    const organ_weights *const found = subjects->found;
    subjects->weight_of = calloc(model->tensor_count + 1, sizeof *subjects->weight_of);
    subjects->alone = calloc(found->unmatched_count + 1, sizeof *subjects->alone);
    if (!subjects->weight_of || !subjects->alone)
        return organ_fail_errno(error, ENOMEM, "%s: its %zu weights", model->path, found->count);
    for (size_t k = 0; k < found->count; k++)
        subjects->weight_of[found->weights[k].codes - model->tensors] = &found->weights[k];
    for (size_t k = 0; k < found->unmatched_count; k++)
        if (!found->unmatched[k].dropped) {
            subjects->alone[k] = organ_weight_plain(found->unmatched[k].tensor);
            subjects->weight_of[found->unmatched[k].tensor - model->tensors] = &subjects->alone[k];
        }
    for (size_t t = 0; t < model->tensor_count; t++)
        subjects->companions += !subjects->weight_of[t];
    return ORGAN_OK;
}

void organ_z_subjects_release(organ_z_subjects *subjects)
{
    organ_weights_free(subjects->found);
    free(subjects->alone);
    free(subjects->weight_of);
    *subjects = (organ_z_subjects){0};
}

organ_dtype organ_z_decoded_type(const organ_weight *weight)
{
    if (weight->scheme != ORGAN_SCHEME_PLAIN || organ_dtype_is_fp8(weight->codes->dtype))
        return ORGAN_BF16;
    return weight->global ? ORGAN_F32 : ORGAN_DTYPE_COUNT;
}
