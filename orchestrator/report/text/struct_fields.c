/* SPDX-License-Identifier: MIT */
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/members.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- single values ---- */

json_t *organ_exact_json(double value)
{
    char text[40];
    organ_snprintf(text, sizeof text, "%a", value);
    return json_string(text);
}

bool organ_exact_value(const json_t *text, double *value)
{
    const char *const digits = json_string_value(text);
    char *end = NULL;
    *value = digits ? organ_strtod(digits, &end) : 0;
    return digits && end != digits && *end == '\0';
}

/* JSON has no infinity and no NaN, so they become strings. */
static json_t *real_json(double value)
{
    if (isfinite(value))
        return json_real(value);
    if (isnan(value))
        return json_string("nan");
    return json_string(value > 0 ? "inf" : "-inf");
}

/* The strings "nan", "inf" and "-inf" are numbers, too (real_json). */
static double real_value(const json_t *json)
{
    return json_is_string(json) ? organ_strtod(json_string_value(json), NULL) : json_number_value(json);
}

json_t *organ_field_json(const organ_struct_field *field, const void *at)
{
    switch (field->type) {
    case ORGAN_FIELD_FLAG:
        return json_boolean(*(const bool *)at);
    case ORGAN_FIELD_TEXT:
        return organ_document_string(at);
    case ORGAN_FIELD_INT:
        return json_integer(*(const int *)at);
    case ORGAN_FIELD_U32:
        return json_integer(*(const uint32_t *)at);
    case ORGAN_FIELD_U64:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case ORGAN_FIELD_SINGLE:
        return real_json((double)*(const float *)at);
    case ORGAN_FIELD_REAL:
        return real_json(*(const double *)at);
    case ORGAN_FIELD_EXACT:
        return organ_exact_json(*(const double *)at);
    }
    return NULL;
}

/* A negative number becomes 0 if the field's type is unsigned. Stores 0 and returns false if `json` is not an
 * integer. */
static bool field_read_integer(organ_field_type type, const json_t *json, void *at)
{
    const json_int_t value = json_integer_value(json);
    if (type == ORGAN_FIELD_INT)
        *(int *)at = (int)value;
    else if (type == ORGAN_FIELD_U32)
        *(uint32_t *)at = (uint32_t)(value < 0 ? 0 : value);
    else
        *(uint64_t *)at = (uint64_t)(value < 0 ? 0 : value);
    return json_is_integer(json);
}

bool organ_field_read(const organ_struct_field *field, const json_t *json, void *at)
{
    switch (field->type) {
    case ORGAN_FIELD_FLAG:
        *(bool *)at = json_is_true(json);
        return json_is_boolean(json);
    case ORGAN_FIELD_TEXT:
        snprintf(at, field->size, "%s", json_is_string(json) ? json_string_value(json) : "");
        return json_is_string(json);
    case ORGAN_FIELD_EXACT:
        return organ_exact_value(json, at);
    case ORGAN_FIELD_SINGLE:
        *(float *)at = (float)real_value(json);
        return json_is_number(json) || json_is_string(json);
    case ORGAN_FIELD_REAL:
        *(double *)at = real_value(json);
        return json_is_number(json) || json_is_string(json);
    default:
        return field_read_integer(field->type, json, at);
    }
}

/* ---- rows ---- */

json_t *organ_struct_add(json_t *object, const organ_struct_field *fields, size_t count, const void *row)
{
    for (size_t k = 0; k < count && object; k++)
        object = organ_members_object(
            object,
            (const organ_member[]){{fields[k].name, organ_field_json(&fields[k], (const char *)row + fields[k].at)},
                                   {NULL, NULL}});
    return object;
}

bool organ_struct_read(const json_t *object, const organ_struct_field *fields, size_t count, void *row)
{
    bool all = true;
    for (size_t k = 0; k < count; k++)
        all &= organ_field_read(&fields[k], json_object_get(object, fields[k].name), (char *)row + fields[k].at);
    return all;
}
