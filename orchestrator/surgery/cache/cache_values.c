/* SPDX-License-Identifier: MIT
 * Converts arrays of numbers to JSON and back. */
#include "orchestrator/surgery/cache/cache.h"

/* ---- arrays ---- */

static void *number_at(const organ_cache_numbers *n, size_t k)
{
    return (char *)n->values + k * (n->type == ORGAN_FIELD_U32 ? sizeof(uint32_t) : sizeof(uint64_t));
}

static json_t *number_json(const void *numbers, size_t k)
{
    const organ_cache_numbers *const n = numbers;
    return organ_field_json(&(organ_struct_field){.type = n->type}, number_at(n, k));
}

json_t *organ_cache_numbers_json(const organ_cache_numbers *n) { return organ_json_rows(n->count, number_json, n); }

bool organ_cache_numbers_read(const organ_cache_numbers *n, const json_t *array)
{
    bool good = json_array_size(array) == n->count;
    for (size_t k = 0; good && k < n->count; k++) {
        const json_t *const number = json_array_get(array, k);
        const double value = json_number_value(number);
        good = json_is_number(number) && value >= 0 && value <= n->max &&
               organ_field_read(&(organ_struct_field){.type = n->type}, number, number_at(n, k));
    }
    return good;
}

organ_status organ_cache_numbers_take(const organ_cache_numbers *n, const json_t *row, const char *rows, size_t k,
                                      const char *path, organ_error *error)
{
    if (organ_cache_numbers_read(n, json_object_get(row, n->name)))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s[%zu].%s is not %zu numbers of 0 to %g", path, rows, k, n->name,
                      n->count, n->max);
}
