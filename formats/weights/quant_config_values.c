/* SPDX-License-Identifier: MIT
 * Reads single values of quantisation settings and checks their types and ranges. */
#include "formats/weights/quant_config.h"

#include "formats/base/quant_sections.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tensor/module_names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define GROUP_MAX ((json_int_t)1 << 31) /* upper bound of sizes of groups and blocks */

void organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected)
{
    ORGAN_OWNED char *const text = organ_json_dump(value, JSON_COMPACT | JSON_ENCODE_ANY);
    organ_refuse(at->error, at->config->file, "%.300s%s%s is %.100s, not %s", at->path, *at->path ? "." : "", key,
                 text ? text : "?", expected);
}

const json_t *organ_quant_member(const organ_quant_scope *at, const char *key)
{
    const json_t *const value = json_object_get(at->object, key);
    return json_is_null(value) ? NULL : value;
}

organ_quant_scope organ_quant_enter(const organ_quant_scope *at, const char *key)
{
    organ_quant_scope inner = {.config = at->config, .error = at->error, .path = ""};
    const json_t *const value = organ_quant_member(at, key);
    if (value && !json_is_object(value))
        organ_quant_fail_value(at, key, value, "an object");
    if (!value || at->error->status)
        return inner;
    const size_t length = strlen(at->path) + strlen(key) + 2;
    char *const path = organ_arena_take(&at->config->arena, length);
    if (path) {
        snprintf(path, length, "%s%s%s", at->path, *at->path ? "." : "", key);
        inner.path = path;
        inner.object = value;
    } else {
        organ_fail_memory(at->error, at->config->file);
    }
    return inner;
}

void organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out)
{
    const json_t *const value = organ_quant_member(at, key);
    if (value && !organ_json_plain(value))
        organ_quant_fail_value(at, key, value, "a string");
    else if (value)
        *out = organ_json_plain(value);
}

void organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out)
{
    const char *word = NULL;
    organ_quant_read_word(at, key, &word);
    char *const copy = word ? organ_arena_copy(&at->config->arena, word, strlen(word)) : NULL;
    if (word && !copy)
        organ_fail_memory(at->error, at->config->file);
    for (char *s = copy; s && *s; s++)
        *s = (char)tolower((unsigned char)*s);
    *out = copy ? copy : *out;
}

/* ---- lists of modules ---- */

void organ_quant_add_rule(const organ_quant_scope *at, const char *key, organ_quant_rules *rules, organ_rule_kind kind,
                          const char *text, const void *value)
{
    char field[320];
    snprintf(field, sizeof field, "%.200s%s%.100s", at->path, *at->path ? "." : "", key);
    if (!at->error->status)
        organ_quant_rules_add(rules, kind, text, value, at->config->file, field, at->error);
}

/* A text that begins with "re:" is a regular expression, one with '*' or '?' a glob. Any other text is the whole
 * name of a module. If `exact` is false, it is also a part of modules' names. If `exact` is true
 * (compressed-tensors) and the text has no dot, it is also a class of modules. */
static void add_name(const organ_quant_scope *at, const char *key, organ_quant_rules *rules, const char *text,
                     bool exact, const void *value)
{
    const bool regex = strncmp(text, "re:", 3) == 0;
    if (regex || strpbrk(text, "*?")) {
        organ_quant_add_rule(at, key, rules, regex ? ORGAN_RULE_REGEX : ORGAN_RULE_GLOB, regex ? text + 3 : text,
                             value);
        return;
    }
    organ_quant_add_rule(at, key, rules, ORGAN_RULE_EXACT, text, value);
    if (!exact || !strchr(text, '.'))
        organ_quant_add_rule(at, key, rules, exact ? ORGAN_RULE_CLASS : ORGAN_RULE_PART, text, value);
}

void organ_quant_read_names(const organ_quant_scope *at, const char *key, const json_t *list, organ_quant_rules *rules,
                            bool exact, const void *value)
{
    if (list && !json_is_array(list))
        organ_quant_fail_value(at, key, list, "a list of strings");
    for (size_t k = 0; k < json_array_size(list) && !at->error->status; k++) {
        const char *const text = organ_json_plain(json_array_get(list, k));
        if (!text)
            organ_quant_fail_value(at, key, json_array_get(list, k), "a string");
        else if (*text)
            add_name(at, key, rules, text, exact, value);
    }
}

organ_quant_group *organ_quant_new_group(const organ_quant_scope *at, const char *name, const organ_quant_group *like)
{
    organ_quant_group *const group = organ_arena_take(&at->config->arena, sizeof *group);
    if (!group) {
        organ_fail_memory(at->error, at->config->file);
        return NULL;
    }
    *group = *like;
    group->name = name;
    return group;
}

/* The value is [rows, columns] or the older form "128x128". At least one side is 0 if it has neither form. */
static void read_pair(const json_t *value, long long sides[2])
{
    char more;
    sides[0] = sides[1] = 0;
    if (json_is_string(value) && sscanf(json_string_value(value), "%10lldx%10lld%c", &sides[0], &sides[1], &more) != 2)
        sides[0] = 0;
    for (size_t k = 0; k < 2 && json_array_size(value) == 2; k++)
        sides[k] = json_integer_value(json_array_get(value, k));
}

static const char *set_block(organ_quant_group *group, const json_t *value)
{
    long long sides[2];
    read_pair(value, sides);
    group->block_rows = (uint64_t)sides[0];
    group->block_cols = (uint64_t)sides[1];
    return sides[0] < 1 || sides[1] < 1 || sides[0] > GROUP_MAX || sides[1] > GROUP_MAX
               ? "a list of two whole numbers from 1"
               : NULL;
}

static const char *set_field(organ_quant_group *group, organ_quant_kind kind, const json_t *value)
{
    const json_int_t number = json_integer_value(value); /* 0 if the value is not an integer */
    switch (kind) {
    case ORGAN_QUANT_BITS:
        group->bits = (int)number;
        return number < 1 || number > 8 ? "a whole number from 1 to 8" : NULL;
    case ORGAN_QUANT_GROUP_SIZE:
        group->group_size = number;
        return (number < 1 && number != -1) || number > GROUP_MAX ? "-1 or a whole number from 1" : NULL;
    case ORGAN_QUANT_SYMMETRIC:
    case ORGAN_QUANT_ZERO_POINT:
        group->symmetric = json_is_true(value) == (kind == ORGAN_QUANT_SYMMETRIC);
        return json_is_boolean(value) ? NULL : "true or false";
    case ORGAN_QUANT_GROUP_OR_BLOCK:
        if (json_is_array(value))
            return set_block(group, value);
        group->group_size = number;
        return !json_is_integer(value) || number < -1 || number > GROUP_MAX
                   ? "-1, 0, a whole number from 1 or a list of two"
                   : NULL;
    case ORGAN_QUANT_BLOCK:
        return set_block(group, value);
    }
    return NULL;
}

const char *organ_quant_try_fields(const organ_quant_scope *at, const organ_quant_field *fields,
                                   organ_quant_group *group, const char **expected)
{
    const char *wrong = NULL;
    for (; fields->key && !wrong; fields++) {
        const json_t *const value = organ_quant_member(at, fields->key);
        *expected = value ? set_field(group, fields->kind, value) : NULL;
        wrong = *expected ? fields->key : NULL;
    }
    return wrong;
}

void organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group)
{
    const char *expected;
    const char *const key = organ_quant_try_fields(at, fields, group, &expected);
    if (key)
        organ_quant_fail_value(at, key, organ_quant_member(at, key), expected);
}

/* ---- MLX: {"bits": 4, "group_size": 64, "mode": "affine"} ---- */

/* The same object lists modules with their own numbers ("model.embed_tokens": {"bits": 8, ...}) or without quantisation
 * (false). */

/* Only MLX writes U32 words under the name *.weight. */
static bool has_packed_weights(const organ_model *model)
{
    for (size_t k = 0; k < model->tensor_count; k++)
        if (model->tensors[k].dtype == ORGAN_U32 && organ_ends_with(model->tensors[k].name, ".weight"))
            return true;
    return false;
}

static void quant_config_mlx_read_numbers(const organ_quant_scope *at, organ_quant_group *group)
{
    static const organ_quant_field fields[] = {
        {"bits", ORGAN_QUANT_BITS}, {"group_size", ORGAN_QUANT_GROUP_SIZE}, {NULL, 0}};
    organ_quant_read_fields(at, fields, group);
    organ_quant_read_term(at, "mode", &group->format);
}

/* MLX writes whole names, no patterns. A NULL for `group` means that the module is not quantised. */
static void add_mlx_module(const organ_quant_scope *at, const char *name, organ_quant_rules *rules,
                           const organ_quant_group *group)
{
    if (!at->error->status)
        organ_quant_rules_add(rules, ORGAN_RULE_EXACT, name, group, at->config->file, at->path, at->error);
}

/* The module inherits none of the section's settings. */
static void read_module(const organ_quant_scope *at, const char *name)
{
    static const organ_quant_group nothing = {.format = "", .codes = "", .strategy = "", .symmetric = -1};
    const organ_quant_scope module = organ_quant_enter(at, name);
    organ_quant_group *const group = module.object ? organ_quant_new_group(at, module.path, &nothing) : NULL;
    if (!group)
        return;
    quant_config_mlx_read_numbers(&module, group);
    add_mlx_module(at, name, &at->config->targets, group);
}

/* bits, group_size and mode apply to all modules. Any other member that is an object contains the settings of the
 * module of this name; one that is false means that the module is not quantised. */
static void read_section(const organ_quant_scope *at)
{
    const char *name;
    json_t *value;
    at->config->method = "mlx";
    quant_config_mlx_read_numbers(at, &at->config->all);
    json_object_foreach((json_t *)at->object, name, value)
    {
        if (json_is_object(value))
            read_module(at, name);
        else if (json_is_false(value))
            add_mlx_module(at, name, &at->config->skipped, /*group=*/NULL);
    }
    organ_quant_check_keys(at);
}

/* A section with `quant_method` is the config of another method, left over from the model that was converted. */
static organ_quant_scope mlx_section(const organ_quant_scope *in)
{
    organ_quant_scope section = {.object = NULL};
    const organ_quant_section *at;
    for (size_t k = 0; (at = organ_quant_section_at(k)) && !section.object; k++) {
        section = at->mlx ? organ_quant_enter(in, at->key) : section;
        if (organ_quant_member(&section, "quant_method"))
            section.object = NULL;
    }
    return section;
}

bool organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner)
{
    organ_quant_scope section = {.object = NULL};
    if (!has_packed_weights(model))
        return false;
    for (size_t k = 0; k < 2 && !section.object; k++)
        section = mlx_section(k ? inner : top);
    if (section.object)
        read_section(&section);
    return section.object;
}
