/* SPDX-License-Identifier: MIT
 * Reads and writes the document of curves, and curves in lines of a journal. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/cache/cache.h"

#include <string.h>

#define MAX_COST 1e6 /* nats a token; the divergence of two softmaxes in FP32 is far below */

static organ_cache_numbers costs_of(const organ_allocation *a, const double *costs)
{
    return (organ_cache_numbers){"cost", ORGAN_FIELD_REAL, a->level_count, (double *)costs, MAX_COST};
}

static json_t *costs_json(const organ_allocation *a, const double *costs)
{
    const organ_cache_numbers numbers = costs_of(a, costs);
    return organ_cache_numbers_json(&numbers);
}

static bool read_costs(const organ_allocation *a, const json_t *array, double *costs)
{
    const organ_cache_numbers numbers = costs_of(a, costs);
    return organ_cache_numbers_read(&numbers, array);
}

static organ_cache allocation_file_cache(const char *path, const json_t *identity)
{
    return (organ_cache){.path = path,
                         .schema = ORGAN_ALLOCATION_SCHEMA,
                         .identity = identity,
                         .content = "curves of a different run",
                         .remedy = "to measure again, give another file with --allocation"};
}

/* ---- lines ---- */

json_t *organ_allocation_line(const organ_allocation *allocation, const organ_allocation_tensor *tensor)
{
    return ORGAN_OBJECT(SET_BYTES("curve_of", tensor->name), SET("cost", costs_json(allocation, tensor->cost)));
}

bool organ_allocation_recall(organ_allocation *allocation, const json_t *line)
{
    const char *const name = json_string_value(json_object_get(line, "curve_of"));
    double costs[ORGAN_ALLOCATION_LEVELS] = {0};
    for (size_t k = 0; name && k < allocation->count; k++)
        if (strcmp(allocation->tensors[k].name, name) == 0) {
            if (!read_costs(allocation, json_object_get(line, "cost"), costs))
                return false;
            memcpy(allocation->tensors[k].cost, costs, sizeof costs);
            return allocation->tensors[k].known = true;
        }
    return false;
}

/* ---- the document ---- */

static json_t *allocation_file_tensor_json(const void *context, size_t k)
{
    const organ_allocation *const a = context;
    const organ_allocation_tensor *const t = &a->tensors[k];
    return ORGAN_OBJECT(SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
                        SET_COUNT("elements", t->elements), SET_FLAG("between", t->between),
                        SET("cost", t->known ? costs_json(a, t->cost) : json_null()));
}

organ_status organ_allocation_write(const organ_allocation *allocation, const json_t *identity, const char *path,
                                    organ_ranks *ranks, organ_error *error)
{
    organ_cache cache = allocation_file_cache(path, identity);
    cache.ranks = ranks;
    return organ_cache_write(
        &cache,
        ORGAN_OBJECT(SET("levels", costs_json(allocation, allocation->levels)),
                     SET("tensors", organ_json_rows(allocation->count, allocation_file_tensor_json, allocation))),
        error);
}

/* The curve stays unknown if its cost is null. Returns ORGAN_USAGE if the row names another tensor, ORGAN_BAD_INPUT
 * if its number of elements differs or a cost is invalid. */
static organ_status read_tensor(organ_allocation *a, const json_t *row, size_t k, const char *path, organ_error *error)
{
    organ_allocation_tensor *const t = &a->tensors[k];
    const organ_cache_numbers costs = costs_of(a, t->cost);
    const char *const name = json_string_value(json_object_get(row, "name"));
    const json_t *const elements = json_object_get(row, "elements");
    if (!name || strcmp(name, t->name) != 0)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: tensors[%zu].name is '%.200s', not '%.200s': the file belongs to other targets", path, k,
                          name ? name : "", t->name);
    if (!json_is_integer(elements) || (uint64_t)json_integer_value(elements) != t->elements)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors[%zu].elements is %lld, and '%.200s' has %llu", path, k,
                          (long long)json_integer_value(elements), t->name, (unsigned long long)t->elements);
    if (json_is_null(json_object_get(row, "cost")) ||
        organ_cache_numbers_take(&costs, row, "tensors", k, path, error) != ORGAN_OK)
        return error->status;
    t->known = true;
    t->between = json_is_true(json_object_get(row, "between"));
    return ORGAN_OK;
}

static organ_status allocation_file_read_document(organ_allocation *a, const json_t *document, const char *path,
                                                  organ_error *error)
{
    double levels[ORGAN_ALLOCATION_LEVELS];
    const json_t *const tensors = json_object_get(document, "tensors");
    if (!read_costs(a, json_object_get(document, "levels"), levels) ||
        memcmp(levels, a->levels, a->level_count * sizeof *levels) != 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: does not have the %zu levels from %g to %g", path,
                          a->level_count, a->levels[0], a->levels[a->level_count - 1]);
    if (json_array_size(tensors) != a->count)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: has %zu tensors, not the %zu of this run: the file belongs to other targets", path,
                          json_array_size(tensors), a->count);
    for (size_t k = 0; k < a->count && !error->status; k++)
        read_tensor(a, json_array_get(tensors, k), k, path, error);
    for (size_t k = 0; k < a->count && error->status; k++)
        a->tensors[k].known = a->tensors[k].between = false;
    return error->status;
}

organ_status organ_allocation_read(organ_allocation *allocation, const json_t *identity, const char *path, bool *whole,
                                   organ_error *error)
{
    const organ_cache cache = allocation_file_cache(path, identity);
    json_t *document = NULL;
    organ_cache_read(&cache, &document, error);
    *whole = document != NULL;
    if (!document)
        return error->status;
    allocation_file_read_document(allocation, document, path, error);
    for (size_t k = 0; k < allocation->count; k++)
        *whole &= allocation->tensors[k].known;
    json_decref(document);
    return error->status;
}
