/* SPDX-License-Identifier: MIT
 * Sizes of the experts in a plan, plans for a model that a verb is about to write, and the release of plans. */
#include "orchestrator/forward/forward_parts.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* plan->expert is the bytes of the largest expert, plan->resident those of all other weights. A matrix may begin and
 * end within a page (`edges`: two pages). These pages stay in memory, so they count as resident, and for matrices
 * that are not packed also as bytes of the expert. */
void organ_forward_plan_experts(forward_plan *plan, size_t experts)
{
    const size_t edges = 2 * (size_t)sysconf(_SC_PAGESIZE);
    plan->resident = plan->expert = 0;
    for (size_t e = 0; plan->experts && e < experts; e++) {
        size_t bytes = 0;
        for (size_t k = 0; k < 3; k++) {
            forward_slot *const slot = &plan->slots[plan->experts[3 * e + k].slot];
            if (k == 1 && plan->experts[3 * e].slot == plan->experts[3 * e + 1].slot)
                continue; /* gate and up are in one slot, which counts once */
            slot->of_experts = true;
            bytes += slot->packed ? (size_t)organ_weight_held_bytes(slot->weight, 1)
                                  : slot->bytes / (size_t)slot->matrices + edges;
            plan->resident += edges;
        }
        plan->expert = organ_max(plan->expert, bytes);
    }
    for (size_t k = 0; k < plan->count; k++)
        plan->resident += plan->slots[k].of_experts ? 0 : organ_to_line(plan->slots[k].bytes);
}

/* Bytes for read buffers in the estimate of a panel's scratch. The packed type is not known yet; a panel in FP32 and
 * the codes and scales that it is decoded from have at most twice the bytes of the panel together. */
#define MADE_ROOM ((size_t)1 << 18)

organ_status organ_forward_plan_estimate(const organ_forward *forward, organ_type_change as, forward_plan *plan,
                                         organ_error *error)
{
    plan->bytes = 0;
    for (size_t k = 0; k < plan->count && !error->status; k++) {
        forward_slot *const slot = &plan->slots[k];
        size_t loading = 0;
        if (as == ORGAN_TYPES_PACKED && slot->weight->rank > 1)
            plan->panel = organ_max(plan->panel, 2 * organ_panel_bytes((size_t)slot->cols, ORGAN_REAL_F32) + MADE_ROOM);
        if (slot->packed && as >= ORGAN_TYPES_16) {
            slot->packed = false;
            slot->bytes = (size_t)slot->weight->elements * (as == ORGAN_TYPES_16 ? sizeof(uint16_t) : sizeof(float));
        }
        plan->bytes += organ_to_line(slot->bytes);
        if (organ_forward_load_size(forward, slot, &loading, error) == ORGAN_OK)
            plan->reading = organ_max(plan->reading, loading);
    }
    organ_forward_plan_experts(plan, forward->config.experts);
    return error->status;
}

void organ_forward_plan_release(forward_plan *plan)
{
    for (size_t k = 0; k < plan->count; k++)
        free(plan->slots[k].stored_form);
    ORGAN_FREE_ARRAYS(plan->slots, plan->experts, plan->expert_biases, plan->head_norms);
}

/* ---- weights by name and shape ---- */

/* A GGUF name is "blk.N.PART"; others have the prefix of the text model, the word for its list of layers, the number
 * and the part. LongCat-Flash (`shortcut`): a layer of the file is two layers here, and a '%' in the part is
 * replaced by the number of the half, 0 or 1. */
const char *organ_forward_layer_name(const organ_forward *f, unsigned layer, const char *part, char name[256])
{
    const bool shortcut = f->config.shortcut;
    if (f->model->gguf)
        snprintf(name, 256, "blk.%u.%s", layer, part);
    else if (layer >= f->config.layers && *f->drafts[layer - f->config.layers].layer_prefix)
        snprintf(name, 256, "%s.%s", f->drafts[layer - f->config.layers].layer_prefix, part);
    else
        snprintf(name, 256, "%s%s.%u.%s", f->prefix, f->family->layer_list ? f->family->layer_list : "layers",
                 shortcut ? layer / 2 : layer, part);
    char *const second = shortcut ? strchr(name, '%') : NULL;
    if (second)
        *second = (char)('0' + layer % 2);
    return name;
}

/* The module is "experts" if the file has that stack, else "switch_mlp". */
const char *organ_forward_mlx_stack(const organ_forward *f, unsigned layer, forward_part part, char name[128])
{
    char full[256];
    organ_forward_mlx_name(f->family->names, part, "experts", name);
    if (organ_weights_named(f->weights, organ_forward_layer_name(f, layer, name, full)))
        return name;
    return organ_forward_mlx_name(f->family->names, part, "switch_mlp", name);
}

static organ_status wrong_shape(const organ_forward *forward, const organ_weight *weight, uint64_t matrices,
                                uint64_t rows, uint64_t cols, organ_error *error)
{
    char is[160] = "", must[80];
    for (unsigned k = 0; k < weight->rank && strlen(is) < 120; k++)
        snprintf(is + strlen(is), sizeof is - strlen(is), k ? " x %" PRIu64 : "%" PRIu64, weight->shape[k]);
    if (matrices > 1)
        snprintf(must, sizeof must, "%" PRIu64 " x %" PRIu64 " x %" PRIu64, matrices, rows, cols);
    else if (rows)
        snprintf(must, sizeof must, "%" PRIu64 " x %" PRIu64, rows, cols);
    else
        snprintf(must, sizeof must, "%" PRIu64, cols);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is %s, but the config requires %s", forward->model->path,
                      weight->name, *is ? is : "a single number", must);
}

/* Returns whether the dimensions other than 1 are those of `shape`, in order. */
static bool is_shaped(const organ_weight *weight, const uint64_t shape[2])
{
    unsigned k = 0;
    for (unsigned d = 0; d < weight->rank; d++) {
        while (k < 2 && shape[k] == 1)
            k++;
        if (weight->shape[d] != 1 && (k == 2 || weight->shape[d] != shape[k++]))
            return false;
    }
    return weight->elements == shape[0] * shape[1];
}

const organ_weight *organ_forward_find_weight(const organ_forward *forward, const char *name, uint64_t matrices,
                                              uint64_t rows, uint64_t cols, organ_error *error)
{
    const organ_weight *weight = organ_weights_named(forward->weights, name);
    if (!weight) {
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is missing", forward->model->path, name);
        return NULL;
    }
    const uint64_t shape[3] = {matrices, rows, cols};
    const unsigned one = rows ? 2 : 1, rank = matrices > 1 ? 3 : one;
    bool same = weight->rank == rank;
    for (unsigned k = 0; same && k < weight->rank; k++)
        same = weight->shape[k] == shape[3 - rank + k];
    if (rows == 0 || matrices == 0)
        same = is_shaped(weight, (uint64_t[]){rows ? rows : 1, cols});
    if (!same)
        wrong_shape(forward, weight, matrices, rows, cols, error);
    return same ? weight : NULL;
}

const organ_weight *organ_forward_weight_named(const organ_forward *forward, const char *name, uint64_t rows,
                                               uint64_t cols, organ_error *error)
{
    return organ_forward_find_weight(forward, name, 1, rows, cols, error);
}

/* Rows and columns of quantisation blocks are exchanged. Fails also if the weight has two dimensions and is
 * quantised. */
forward_stored_form *organ_forward_stored_form(const organ_weight *weight, const uint64_t shape[3], organ_error *error)
{
    if (weight->rank == 2 && weight->scheme != ORGAN_SCHEME_PLAIN) {
        organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': quantised weights are not supported in its layout",
                   weight->name);
        return NULL;
    }
    forward_stored_form *const made = malloc(sizeof *made);
    if (!made) {
        organ_fail_errno(error, ENOMEM, "cannot allocate the plan of '%s'", weight->name);
        return NULL;
    }
    *made = (forward_stored_form){.weight = *weight, .shape = {shape[0], shape[1], shape[2]}};
    made->weight.rank = 3;
    made->weight.shape = made->shape;
    made->weight.transposed = false;
    made->weight.block_rows = weight->block_cols;
    made->weight.block_cols = weight->block_rows;
    return made;
}
