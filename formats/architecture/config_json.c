/* SPDX-License-Identifier: MIT
 * Reads single members of config.json and reports wrong types. A member that is null counts as missing; `fallback` is
 * the value of a missing member.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_json.h"

#include "formats/base/json_dump.h"
#include "formats/base/json_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const json_t *organ_config_member(const json_t *object, const char *key)
{
    const char *dot;
    while ((dot = strchr(key, '.'))) {
        object = json_object_getn(object, key, (size_t)(dot - key));
        key = dot + 1;
    }
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

void organ_config_refuse(const config_hf_source *s, const char *key, const json_t *value, const char *expected)
{
    char *text = organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT);
    organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is %.120s, not %s", s->label, key, text ? text : "?", expected);
    free(text);
}

const char *organ_config_name(const config_hf_source *s, const char *key)
{
    for (const char *const(*alias)[2] = s->family->aliases; alias && (*alias)[0]; alias++)
        if (strcmp((*alias)[0], key) == 0 && organ_config_member(s->root, (*alias)[1]))
            return (*alias)[1];
    return key;
}

void organ_config_require(const config_hf_source *s, const json_t *object, const forward_fixed *fixed)
{
    for (; fixed && fixed->key; fixed++) {
        const json_t *const value = organ_config_member(object, fixed->key);
        char *const text = value ? organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        if (value && (!text || strcmp(text, fixed->value)))
            organ_config_refuse(s, fixed->key, value, fixed->value);
        free(text);
    }
}

void organ_config_require_object(const config_hf_source *s, const json_t *object, const char *key)
{
    const json_t *const value = organ_config_member(object, key);
    if (value && !json_is_object(value))
        organ_config_refuse(s, key, value, "an object");
}

double organ_config_real(const config_hf_source *s, const json_t *object, const char *key, double fallback)
{
    key = object == s->root ? organ_config_name(s, key) : key;
    const json_t *value = organ_config_member(object, key);
    if (value && !json_is_number(value))
        organ_config_refuse(s, key, value, "a number");
    else if (value && !isfinite((float)json_number_value(value)))
        organ_config_refuse(s, key, value, "a finite number of 32 bits");
    return value ? json_number_value(value) : fallback;
}

unsigned organ_config_size(const config_hf_source *s, const char *key, unsigned fallback)
{
    key = organ_config_name(s, key);
    const json_t *value = organ_config_member(s->root, key);
    if (!value)
        return fallback;
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        organ_config_refuse(s, key, value, "a whole number from 0");
        return 0;
    }
    return json_integer_value(value) > UINT32_MAX ? UINT32_MAX : (unsigned)json_integer_value(value);
}

unsigned organ_config_needed(const config_hf_source *s, const char *key)
{
    if (!organ_config_member(s->root, organ_config_name(s, key)))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is missing", s->label, key);
    return organ_config_size(s, key, 0);
}

bool organ_config_flag(const config_hf_source *s, const char *key, bool fallback)
{
    key = organ_config_name(s, key);
    const json_t *value = organ_config_member(s->root, key);
    if (value && !json_is_boolean(value))
        organ_config_refuse(s, key, value, "true or false");
    return value ? json_is_true(value) : fallback;
}

const char *organ_config_word(const config_hf_source *s, const json_t *object, const char *key, const char *fallback)
{
    key = object == s->root ? organ_config_name(s, key) : key;
    const json_t *value = organ_config_member(object, key);
    const char *word = value ? organ_json_plain(value) : fallback;
    if (value && !word)
        organ_config_refuse(s, key, value, "a string");
    return word ? word : fallback;
}

bool organ_config_flag_of(const config_hf_source *s, forward_flag flag)
{
    return flag.key ? organ_config_flag(s, flag.key, flag.otherwise) : flag.otherwise;
}

double organ_config_number(const config_hf_source *s, forward_number number)
{
    return number.key ? organ_config_real(s, s->root, number.key, number.otherwise) : 0;
}

const json_t *organ_config_list(const config_hf_source *s, const char *key, const char *item, unsigned layers)
{
    const json_t *const list = organ_config_member(s->root, key);
    char expected[96];
    if (json_is_array(list) && json_array_size(list) == layers)
        return list;
    snprintf(expected, sizeof expected, "a list with %s for each of num_hidden_layers", item);
    if (list)
        organ_config_refuse(s, key, list, expected);
    else
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is not %s", s->label, key, expected);
    return NULL;
}
