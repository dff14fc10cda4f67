/* SPDX-License-Identifier: MIT
 * Single values of quantisation settings, each checked when it is read. */
#include "formats/weights/quant_config_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_MOST ((json_int_t)1 << 31)

organ_status organ_quant_no_memory(const organ_quant_scope *at, organ_error *error) { return organ_fail_memory(error, at->config->file); }

organ_status organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected,
                                    organ_error *error)
{
    char *const text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    organ_fail(error, ORGAN_BAD_INPUT, "%s: %.300s%s%s is %.100s, not %s", at->config->file, at->path, *at->path ? "." : "", key,
               text ? text : "?", expected);
    free(text);
    return error->status;
}

const json_t *organ_quant_member(const organ_quant_scope *at, const char *key)
{
    const json_t *const value = json_object_get(at->object, key);
    return value && !json_is_null(value) ? value : NULL;
}

organ_status organ_quant_enter(const organ_quant_scope *at, const char *key, organ_quant_scope *inner, organ_error *error)
{
    const json_t *const value = organ_quant_member(at, key);
    *inner = (organ_quant_scope){.config = at->config, .path = ""};
    if (!value)
        return ORGAN_OK;
    if (!json_is_object(value))
        return organ_quant_fail_value(at, key, value, "an object", error);
    const size_t length = strlen(at->path) + strlen(key) + 2;
    char *const path = organ_arena_take(&at->config->arena, length);
    if (!path)
        return organ_quant_no_memory(at, error);
    snprintf(path, length, "%s%s%s", at->path, *at->path ? "." : "", key);
    *inner = (organ_quant_scope){at->config, path, value};
    return ORGAN_OK;
}

organ_status organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out, organ_error *error)
{
    const json_t *const value = organ_quant_member(at, key);
    if (!value)
        return ORGAN_OK;
    const char *const word = organ_json_plain(value);
    if (!word)
        return organ_quant_fail_value(at, key, value, "a string", error);
    *out = word;
    return ORGAN_OK;
}

organ_status organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out, organ_error *error)
{
    const char *word = NULL;
    if (organ_quant_read_word(at, key, &word, error) != ORGAN_OK || !word)
        return error->status;
    char *const copy = organ_arena_copy(&at->config->arena, word, strlen(word));
    if (!copy)
        return organ_quant_no_memory(at, error);
    for (char *s = copy; *s; s++)
        *s = (char)tolower((unsigned char)*s);
    *out = copy;
    return ORGAN_OK;
}

/* Two sides of a block, [rows, columns] or "128x128" as it was written once; zeros where they are not two whole numbers. */
static void read_sides(const json_t *value, long long sides[2])
{
    char more;
    sides[0] = sides[1] = 0;
    if (json_is_string(value) && sscanf(json_string_value(value), "%10lldx%10lld%c", &sides[0], &sides[1], &more) != 2)
        sides[0] = 0;
    for (size_t k = 0; k < 2 && json_array_size(value) == 2; k++)
        sides[k] = json_integer_value(json_array_get(value, k));
}

/* Sets a field of the group; NULL, or what is expected in place of the value. */
static const char *set_field(organ_quant_group *group, organ_quant_kind kind, const json_t *value)
{
    const json_int_t number = json_integer_value(value); /* 0 of what is no whole number */
    long long sides[2];
    switch (kind) {
    case ORGAN_QUANT_BITS:
        group->bits = (int)number;
        return number < 1 || number > 8 ? "a whole number from 1 to 8" : NULL;
    case ORGAN_QUANT_GROUP_SIZE:
        group->group_size = number;
        return (number < 1 && number != -1) || number > GROUP_MOST ? "-1 or a whole number from 1" : NULL;
    case ORGAN_QUANT_SYMMETRIC:
    case ORGAN_QUANT_ZERO_POINT:
        group->symmetric = json_is_true(value) == (kind == ORGAN_QUANT_SYMMETRIC);
        return json_is_boolean(value) ? NULL : "true or false";
    case ORGAN_QUANT_BLOCK:
        read_sides(value, sides);
        group->block_rows = (uint64_t)sides[0];
        group->block_cols = (uint64_t)sides[1];
        return sides[0] < 1 || sides[1] < 1 || sides[0] > GROUP_MOST || sides[1] > GROUP_MOST ? "a list of two whole numbers from 1" : NULL;
    }
    return NULL;
}

organ_status organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group,
                                     organ_error *error)
{
    for (; fields->key; fields++) {
        const json_t *const value = organ_quant_member(at, fields->key);
        const char *const expected = value ? set_field(group, fields->kind, value) : NULL;
        if (expected)
            return organ_quant_fail_value(at, fields->key, value, expected, error);
    }
    return ORGAN_OK;
}
