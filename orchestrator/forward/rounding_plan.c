/* SPDX-License-Identifier: MIT
 * Sets the rules of rounding (rounding.c) for all weights of a model, and the memory that products need for rounded
 * inputs. */
#include "orchestrator/forward/draft.h"
#include "orchestrator/forward/forward_parts.h"

#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>

/* ---- all weights ---- */

/* Two joined products need two copies of their input if their rules differ. */
static void count_rule(forward_rounded *r, const forward_rounding *rounding, size_t width)
{
    if (r->widest == 0)
        r->first = *rounding;
    r->several = r->several || !organ_forward_is_same_rounding(&r->first, rounding);
    r->widest = organ_max(r->widest, width);
    r->width = r->several ? 2 * r->widest : r->widest;
}

static organ_status set_plan(organ_forward *f, forward_plan *plan, organ_error *error)
{
    for (size_t k = 0; k < plan->count && !error->status; k++) {
        forward_slot *const slot = &plan->slots[k];
        if (slot->weight->inputs && organ_forward_add_turns(f, slot->weight, error) == ORGAN_OK &&
            organ_forward_rounding_of(f, slot->weight, &slot->inputs, error) == ORGAN_OK)
            count_rule(f->rounded, &slot->inputs, (size_t)slot->cols);
    }
    return error->status;
}

static organ_status set_source(organ_forward *f, forward_source *source, organ_error *error)
{
    if (source->weight && source->weight->inputs && organ_forward_add_turns(f, source->weight, error) == ORGAN_OK &&
        organ_forward_rounding_of(f, source->weight, &source->inputs, error) == ORGAN_OK)
        count_rule(f->rounded, &source->inputs, (size_t)organ_weight_matrices(source->weight).cols);
    return error->status;
}

const organ_input_rounding *organ_forward_declared_rounding(const organ_forward *f)
{
    for (size_t k = 0; k < f->weights->count; k++)
        if (f->weights->weights[k].inputs)
            return f->weights->weights[k].inputs;
    return NULL;
}

organ_status organ_forward_estimate_rounding(organ_forward *f, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    if (!f->rounded && !(f->rounded = calloc(1, sizeof *f->rounded)))
        return organ_fail_memory(error, f->model->path);
    for (unsigned k = 0; k < f->plan_count; k++)
        for (size_t s = 0; s < f->plans[k].count; s++)
            f->rounded->widest = organ_max(f->rounded->widest, (size_t)f->plans[k].slots[s].cols);
    f->rounded->width = 2 * f->rounded->widest;
    return organ_forward_measure(f, error);
}

organ_status organ_forward_round_inputs(organ_forward *f, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    if (f->rounded || !organ_forward_declared_rounding(f))
        return ORGAN_OK;
    if (!(f->rounded = calloc(1, sizeof *f->rounded)))
        return organ_fail_memory(error, f->model->path);
    for (unsigned k = 0; k < f->plan_count && !error->status; k++)
        set_plan(f, &f->plans[k], error);
    for (unsigned k = 0; f->streams.ends && k < 2 * (f->config.streams - 1) && !error->status; k++)
        set_source(f, &f->streams.ends[k], error);
    if (error->status || set_plan(f, &f->head, error) || set_source(f, &f->per_layer.projection, error))
        return error->status;
    return organ_forward_measure(f, error);
}
