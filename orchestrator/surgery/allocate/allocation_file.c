/* SPDX-License-Identifier: MIT
 * The document of curves, read back. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "formats/base/json_file.h"
#include "orchestrator/surgery/output/kept.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_COST 1e6 /* nats a token: no divergence of two softmaxes in FP32 comes near it */

/* False where they are not as many numbers as there are levels, finite, none negative. */
static bool read_costs(const json_t *array, size_t count, double *costs)
{
    if (json_array_size(array) != count)
        return false;
    for (size_t k = 0; k < count; k++) {
        const json_t *const cost = json_array_get(array, k);
        costs[k] = json_number_value(cost);
        if (!json_is_number(cost) || !(costs[k] >= 0 && costs[k] <= MOST_COST))
            return false;
    }
    return true;
}

bool organ_allocation_recall(organ_allocation *allocation, const json_t *line)
{
    const char *const name = json_string_value(json_object_get(line, "curve_of"));
    double costs[ORGAN_ALLOCATION_LEVELS] = {0};
    for (size_t k = 0; name && k < allocation->count; k++)
        if (strcmp(allocation->tensors[k].name, name) == 0) {
            if (!read_costs(json_object_get(line, "cost"), allocation->level_count, costs))
                return false;
            memcpy(allocation->tensors[k].cost, costs, sizeof costs);
            return allocation->tensors[k].known = true;
        }
    return false;
}

static organ_status read_tensor(organ_allocation_tensor *t, size_t levels, const json_t *row, size_t k,
                                const char *path, organ_error *error)
{
    const char *const name = json_string_value(json_object_get(row, "name"));
    const json_t *const elements = json_object_get(row, "elements");
    if (!name || strcmp(name, t->name) != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: tensors[%zu].name is '%.200s', not '%.200s': it is of other targets",
                          path, k, name ? name : "", t->name);
    if (!json_is_integer(elements) || (uint64_t)json_integer_value(elements) != t->elements)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors[%zu].elements is %lld, and '%.200s' has %llu", path, k,
                          (long long)json_integer_value(elements), t->name, (unsigned long long)t->elements);
    if (json_is_null(json_object_get(row, "cost")))
        return ORGAN_OK;
    if (!read_costs(json_object_get(row, "cost"), levels, t->cost))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors[%zu].cost is not %zu numbers of 0 to %g", path, k,
                          levels, MOST_COST);
    t->known = true;
    t->between = json_is_true(json_object_get(row, "between"));
    return ORGAN_OK;
}

static organ_status allocation_file_read_document(organ_allocation *a, const json_t *document, const json_t *identity,
                                                  const char *path, organ_error *error)
{
    double levels[ORGAN_ALLOCATION_LEVELS];
    const json_t *const tensors = json_object_get(document, "tensors");
    if (organ_kept_schema(document, ORGAN_ALLOCATION_SCHEMA, path, error) ||
        organ_kept_belongs(document, identity, "curves", path, "--allocation", error))
        return error->status;
    if (!read_costs(json_object_get(document, "levels"), a->level_count, levels) ||
        memcmp(levels, a->levels, a->level_count * sizeof *levels) != 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: its levels are not the %zu from %g to %g", path, a->level_count,
                          a->levels[0], a->levels[a->level_count - 1]);
    if (json_array_size(tensors) != a->count)
        return organ_fail(error, ORGAN_USAGE, "%s: has %zu tensors, not the %zu of this run: it is of other targets",
                          path, json_array_size(tensors), a->count);
    for (size_t k = 0; k < a->count && !error->status; k++)
        read_tensor(&a->tensors[k], a->level_count, json_array_get(tensors, k), k, path, error);
    for (size_t k = 0; k < a->count && error->status; k++)
        a->tensors[k].known = a->tensors[k].between = false;
    return error->status;
}

organ_status organ_allocation_read(organ_allocation *allocation, const json_t *identity, const char *path, bool *whole,
                                   organ_error *error)
{
    json_t *document;
    organ_json_file_read(path, &document, error);
    *whole = document != NULL;
    if (!document)
        return error->status;
    allocation_file_read_document(allocation, document, identity, path, error);
    for (size_t k = 0; k < allocation->count; k++)
        *whole &= allocation->tensors[k].known;
    json_decref(document);
    return error->status;
}
