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

organ_status organ_quant_read_bits(const organ_quant_scope *at, const char *key, int *out, organ_error *error)
{
    const json_t *const value = organ_quant_member(at, key);
    if (!value)
        return ORGAN_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > 8)
        return organ_quant_fail_value(at, key, value, "a whole number from 1 to 8", error);
    *out = (int)json_integer_value(value);
    return ORGAN_OK;
}

organ_status organ_quant_read_group_size(const organ_quant_scope *at, const char *key, int64_t *out, organ_error *error)
{
    const json_t *const value = organ_quant_member(at, key);
    if (!value)
        return ORGAN_OK;
    const json_int_t size = json_integer_value(value);
    if (!json_is_integer(value) || (size < 1 && size != -1) || size > GROUP_MOST)
        return organ_quant_fail_value(at, key, value, "-1 or a whole number from 1", error);
    *out = size;
    return ORGAN_OK;
}

organ_status organ_quant_read_symmetric(const organ_quant_scope *at, const char *key, bool inverse, int *out, organ_error *error)
{
    const json_t *const value = organ_quant_member(at, key);
    if (!value)
        return ORGAN_OK;
    if (!json_is_boolean(value))
        return organ_quant_fail_value(at, key, value, "true or false", error);
    *out = json_is_true(value) != inverse;
    return ORGAN_OK;
}

organ_status organ_quant_read_block(const organ_quant_scope *at, const char *key, organ_quant_group *group, organ_error *error)
{
    static const char expected[] = "a list of two whole numbers from 1";
    const json_t *const value = organ_quant_member(at, key);
    json_int_t sides[2];
    if (!value)
        return ORGAN_OK;
    if (json_is_string(value)) {
        char more;
        long long rows, cols;
        if (sscanf(json_string_value(value), "%10lldx%10lld%c", &rows, &cols, &more) != 2)
            return organ_quant_fail_value(at, key, value, expected, error);
        sides[0] = rows;
        sides[1] = cols;
    } else {
        if (json_array_size(value) != 2)
            return organ_quant_fail_value(at, key, value, expected, error);
        for (size_t k = 0; k < 2; k++)
            sides[k] = json_is_integer(json_array_get(value, k)) ? json_integer_value(json_array_get(value, k)) : 0;
    }
    if (sides[0] < 1 || sides[1] < 1 || sides[0] > GROUP_MOST || sides[1] > GROUP_MOST)
        return organ_quant_fail_value(at, key, value, expected, error);
    group->block_rows = (uint64_t)sides[0];
    group->block_cols = (uint64_t)sides[1];
    return ORGAN_OK;
}
