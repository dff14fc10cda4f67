/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/cache/cache.h"

#include "orchestrator/report/text/members.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- single values ---- */

json_t *organ_exact_json(double value)
{
    char text[40];
    snprintf(text, sizeof text, "%a", value);
    return json_string(text);
}

bool organ_exact_value(const json_t *text, double *value)
{
    const char *const digits = json_string_value(text);
    char *end = NULL;
    *value = digits ? strtod(digits, &end) : 0;
    return digits && end != digits && *end == '\0';
}

/* JSON has no infinity and no NaN: they are written as strings. */
static json_t *real_json(double value)
{
    if (isfinite(value))
        return json_real(value);
    if (isnan(value))
        return json_string("nan");
    return json_string(value > 0 ? "inf" : "-inf");
}

static double real_value(const json_t *json)
{
    return json_is_string(json) ? strtod(json_string_value(json), NULL) : json_number_value(json);
}

static json_t *value_json(organ_cache_type type, const void *at)
{
    switch (type) {
    case ORGAN_CACHE_FLAG:
        return json_boolean(*(const bool *)at);
    case ORGAN_CACHE_U32:
        return json_integer(*(const uint32_t *)at);
    case ORGAN_CACHE_U64:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case ORGAN_CACHE_SINGLE:
        return real_json((double)*(const float *)at);
    case ORGAN_CACHE_REAL:
        return real_json(*(const double *)at);
    case ORGAN_CACHE_EXACT:
        return organ_exact_json(*(const double *)at);
    }
    return NULL;
}

static bool read_value(organ_cache_type type, const json_t *json, void *at)
{
    if (type == ORGAN_CACHE_EXACT)
        return organ_exact_value(json, at);
    if (type == ORGAN_CACHE_FLAG)
        *(bool *)at = json_is_true(json);
    else if (type == ORGAN_CACHE_U32)
        *(uint32_t *)at = (uint32_t)json_integer_value(json);
    else if (type == ORGAN_CACHE_U64)
        *(uint64_t *)at = (uint64_t)json_integer_value(json);
    else if (type == ORGAN_CACHE_SINGLE)
        *(float *)at = (float)real_value(json);
    else
        *(double *)at = real_value(json);
    if (type == ORGAN_CACHE_FLAG)
        return json_is_boolean(json);
    return json_is_integer(json) || (type >= ORGAN_CACHE_SINGLE && (json_is_real(json) || json_is_string(json)));
}

/* ---- rows ---- */

json_t *organ_cache_fields_add(json_t *object, const organ_cache_field *fields, size_t count, const void *row)
{
    for (size_t k = 0; k < count && object; k++) {
        const void *const at = (const char *)row + fields[k].at;
        object = organ_members_object(
            object, (const organ_member[]){{fields[k].name, value_json(fields[k].type, at)}, {NULL, NULL}});
    }
    return object;
}

bool organ_cache_fields_read(const json_t *object, const organ_cache_field *fields, size_t count, void *row)
{
    bool all = true;
    for (size_t k = 0; k < count; k++)
        all &= read_value(fields[k].type, json_object_get(object, fields[k].name), (char *)row + fields[k].at);
    return all;
}

/* ---- arrays ---- */

static void *number_at(const organ_cache_numbers *n, size_t k)
{
    return (char *)n->values + k * (n->type == ORGAN_CACHE_U32 ? sizeof(uint32_t) : sizeof(uint64_t));
}

static json_t *number_json(const void *numbers, size_t k)
{
    return value_json(((const organ_cache_numbers *)numbers)->type, number_at(numbers, k));
}

json_t *organ_cache_numbers_json(const organ_cache_numbers *n) { return organ_json_rows(n->count, number_json, n); }

bool organ_cache_numbers_read(const organ_cache_numbers *n, const json_t *array)
{
    bool good = json_array_size(array) == n->count;
    for (size_t k = 0; good && k < n->count; k++) {
        const json_t *const number = json_array_get(array, k);
        const double value = json_number_value(number);
        good = json_is_number(number) && value >= 0 && value <= n->max && read_value(n->type, number, number_at(n, k));
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
