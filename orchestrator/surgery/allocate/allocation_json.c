/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/allocate/allocate.h"

#include "orchestrator/report/text/members.h"

static json_t *cost_json(const void *context, size_t k) { return json_real(((const double *)context)[k]); }

static json_t *costs_json(size_t count, const double *costs) { return organ_json_rows(count, cost_json, costs); }

static json_t *allocation_json_tensor_json(const void *context, size_t k)
{
    const organ_allocation *const a = context;
    const organ_allocation_tensor *const t = &a->tensors[k];
    return ORGAN_OBJECT(SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
                        SET_COUNT("elements", t->elements), SET_FLAG("between", t->between),
                        SET("cost", t->known ? costs_json(a->level_count, t->cost) : json_null()));
}

json_t *organ_allocation_json(const organ_allocation *allocation, const json_t *identity)
{
    json_t *const head = ORGAN_OBJECT(SET_TEXT("schema", ORGAN_ALLOCATION_SCHEMA), SET_TEXT("organ", ORGAN_VERSION));
    json_t *const body =
        ORGAN_OBJECT(SET("levels", costs_json(allocation->level_count, allocation->levels)),
                     SET("tensors", organ_json_rows(allocation->count, allocation_json_tensor_json, allocation)));
    return organ_json_joined(organ_json_joined(head, json_deep_copy(identity)), body);
}

json_t *organ_allocation_line(const organ_allocation *allocation, const organ_allocation_tensor *tensor)
{
    return ORGAN_OBJECT(SET_BYTES("curve_of", tensor->name),
                        SET("cost", costs_json(allocation->level_count, tensor->cost)));
}
