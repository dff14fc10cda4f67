/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/health/inspect_parts.h"

#include "formats/base/paged_rows.h"

/* A weight of several tensors counts once: the part of its codes gets the anatomy, shape and elements of the weight.
 * The parts of its companions (scales, zero points, ...) get the anatomy but no elements, and are no weights. */
static void mark_companions(const organ_model *model, organ_inspect_part *parts, const organ_weight *weight)
{
    const organ_tensor *const companions[] = {weight->scale,  weight->zero,         weight->g_idx,
                                              weight->global, weight->shape_tensor, weight->bias};
    organ_inspect_part *const codes = &parts[weight->codes - model->tensors];
    codes->anatomy = weight->anatomy;
    codes->rank = weight->rank;
    codes->shape = weight->shape;
    codes->elements = weight->elements;
    for (size_t k = 0; k < sizeof companions / sizeof *companions; k++)
        if (companions[k]) {
            organ_inspect_part *const part = &parts[companions[k] - model->tensors];
            part->anatomy = weight->anatomy;
            part->weight = false;
            part->elements = 0;
        }
}

/* Tensors that belong to no weight and are marked as dropped are no weights and have no elements. */
organ_inspect_part *organ_inspect_parts_of(const organ_model *model, const organ_weights *weights)
{
    organ_inspect_part *const parts = organ_rows_take(model->tensor_count + 1, sizeof *parts);
    for (size_t k = 0; parts && k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        parts[k] = (organ_inspect_part){t, t->anatomy, true, t->rank, t->shape, t->elements};
    }
    for (size_t k = 0; parts && weights && k < weights->count; k++)
        mark_companions(model, parts, &weights->weights[k]);
    for (size_t k = 0; parts && weights && k < weights->unmatched_count; k++)
        if (weights->unmatched[k].dropped) {
            parts[weights->unmatched[k].tensor - model->tensors].weight = false;
            parts[weights->unmatched[k].tensor - model->tensors].elements = 0;
        }
    return parts;
}
