/* SPDX-License-Identifier: MIT
 * Makes a recipe of the options of a call without one: the values that a file with this recipe would have. The line of
 * a value is the option that it comes from (merge_origin). */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/text.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/surgery/encoding/encoding.h"

#include <string.h>

/* The options that are being made into a recipe. */
typedef struct command {
    const organ_merge_options *options;
    merge_recipe *recipe;
    const organ_merge_method *method;
    const char *base; /* NULL: none */
    size_t inputs;    /* models without the base, unless that is an input as any other */
    organ_error *error;
} command;

/* ---- options ---- */

static bool is_base(const command *c, size_t model)
{
    return c->base && c->method->base != ORGAN_MERGE_BASE_INPUT && strcmp(c->options->models[model], c->base) == 0;
}

static bool has_parameter(const organ_merge_method *method, const char *name)
{
    return organ_merge_parameter_named(method, name) < method->parameter_count;
}

static size_t count_values(const char *list)
{
    size_t count = list != NULL;
    for (; list && *list; list++)
        count += *list == ',';
    return count;
}

/* An option has one value for all inputs, or one for each. */
static organ_status check_count(const command *c, size_t origin, size_t count)
{
    return count > 1 && count != c->inputs
               ? organ_fail(c->error, ORGAN_USAGE, "`%s` has %zu values, but there are %zu models%s",
                            organ_merge_member(origin), count, c->inputs,
                            c->inputs == c->options->model_count ? "" : " without the base")
               : ORGAN_OK;
}

/* Returns whether `settings` names the parameter. */
static bool is_set(const organ_merge_options *o, const char *name, size_t length)
{
    for (size_t k = 0; k < o->setting_count; k++)
        if (strncmp(o->settings[k], name, length) == 0 && o->settings[k][length] == '=')
            return true;
    return false;
}

static organ_status check_required(const command *c)
{
    const organ_merge_options *const o = c->options;
    for (size_t k = 0; k < c->method->parameter_count; k++) {
        const organ_merge_parameter *const p = &c->method->parameters[k];
        if (!p->required || strcmp(p->name, "weight") == 0 || is_set(o, p->name, strlen(p->name)))
            continue;
        const size_t origin = organ_merge_origin_of(p->name);
        if (origin == MERGE_OF_SETTINGS)
            return organ_fail(c->error, ORGAN_USAGE, "`settings` %s=VALUE is missing: %s needs it", p->name, o->method);
        if (!(origin == MERGE_OF_T ? o->t : o->density))
            return organ_fail(c->error, ORGAN_USAGE, "`%s` is missing: %s needs it", p->name, o->method);
    }
    return ORGAN_OK;
}

static organ_status check_base(const command *c)
{
    const organ_merge_options *const o = c->options;
    bool listed = false;
    for (size_t k = 0; k < o->model_count; k++)
        listed |= c->base && strcmp(o->models[k], c->base) == 0;
    if (c->base && c->method->base == ORGAN_MERGE_BASE_INPUT && !listed)
        return organ_fail(c->error, ORGAN_USAGE, "`base`: %s merges all models alike: list %s among the models",
                          o->method, c->base);
    if (!c->base && c->method->base == ORGAN_MERGE_BASE_REQUIRED && c->method->most == 1)
        return organ_fail(c->error, ORGAN_USAGE,
                          "`method` %s: merges two models, but there are %zu; multislerp, karcher and linear take more",
                          o->method, o->model_count);
    if (!c->base && c->method->base == ORGAN_MERGE_BASE_REQUIRED)
        return organ_fail(c->error, ORGAN_USAGE, "`base` is missing: %s merges the differences from a base", o->method);
    return ORGAN_OK;
}

static organ_status open_command(command *c)
{
    const organ_merge_options *const o = c->options;
    if (!o->method)
        return organ_fail(
            c->error, ORGAN_USAGE,
            "`method` is missing: linear (the mean), slerp (between two), ties (adds the changes of tunes to "
            "`base`), ...; 'organ help merge' lists all");
    if (!(c->method = organ_merge_method_named(o->method)))
        return organ_merge_no_method(o->method, ORGAN_USAGE, "`method` is", c->error);
    /* slerp goes from one model to another: the first is the base unless `base` says otherwise */
    c->base = o->base;
    if (!o->base && c->method->base == ORGAN_MERGE_BASE_REQUIRED && c->method->most == 1 && o->model_count == 2)
        c->base = o->models[0];
    for (size_t k = 0; k < o->model_count; k++)
        c->inputs += !is_base(c, k);
    if (check_base(c))
        return c->error->status;
    if (o->model_count == 1 && !o->base && c->method->least <= 1 && c->method->most != 1)
        return organ_fail(c->error, ORGAN_USAGE,
                          "%s alone is nothing to merge: name a second model or `base`; method passthrough copies one",
                          o->models[0]);
    if (o->router_weight && !has_parameter(c->method, "weight"))
        return organ_fail(c->error, ORGAN_USAGE, "`router_weight`: %s has no weights", o->method);
    if (check_count(c, MERGE_OF_TEXTS, o->text_count) || check_count(c, MERGE_OF_WEIGHT, count_values(o->weight)) ||
        check_count(c, MERGE_OF_ROUTER_WEIGHT, count_values(o->router_weight)) ||
        check_count(c, MERGE_OF_DENSITY, count_values(o->density)))
        return c->error->status;
    return check_required(c);
}

/* ---- values ---- */

/* Returns an empty list or map with room for `room` values; NULL after an error. Its memory has the node, then its
 * values, then the keys of a map. */
static organ_yaml *make(const command *c, organ_yaml_kind kind, size_t room, size_t origin)
{
    organ_yaml *const made =
        c->error->status ? NULL : organ_arena_take(&c->recipe->arena, sizeof *made + 2 * room * sizeof *made->values);
    if (!c->error->status && !made)
        organ_fail_memory(c->error, c->recipe->label);
    if (made)
        *made = (organ_yaml){.kind = kind, .line = origin, .values = (const void *)(made + 1)};
    if (made && kind == ORGAN_YAML_MAP)
        made->keys = made->values + room;
    return made;
}

/* Returns a scalar of `length` bytes; NULL if memory runs out. `plain`: it would not be quoted in a file. */
static organ_yaml *make_text(const command *c, const char *text, size_t length, bool plain, size_t origin)
{
    organ_yaml *const made = make(c, ORGAN_YAML_SCALAR, 0, origin);
    char *const copy = made ? organ_arena_copy(&c->recipe->arena, text, length) : NULL;
    if (made && !copy)
        organ_fail_memory(c->error, c->recipe->label);
    if (!copy)
        return NULL;
    made->text = copy;
    made->plain = plain;
    if (!organ_utf8_valid(copy))
        organ_fail(c->error, ORGAN_USAGE, "`%s` is '%s', which is no UTF-8", organ_merge_member(origin), copy);
    return made;
}

static void add(const command *c, organ_yaml *list, const organ_yaml *value)
{
    if (!c->error->status)
        ((const organ_yaml **)list->values)[list->count++] = value;
}

static void put(const command *c, organ_yaml *map, const char *key, const organ_yaml *value)
{
    const organ_yaml *const name = make_text(c, key, strlen(key), /*plain=*/true, value ? value->line : 0);
    if (!c->error->status) {
        ((const organ_yaml **)map->keys)[map->count] = name;
        add(c, map, value);
    }
}

static void put_text(const command *c, organ_yaml *map, const char *key, const char *text, size_t origin)
{
    put(c, map, key, make_text(c, text, strlen(text), /*plain=*/false, origin));
}

/* ---- the recipe ---- */

/* Returns element `index` of a list of values with commas between, or its only one. */
static organ_yaml *make_element(const command *c, const char *list, size_t index, size_t origin)
{
    for (size_t k = 0; k < index && count_values(list) > 1; k++)
        list = strchr(list, ',') + 1;
    return make_text(c, list, strcspn(list, ","), /*plain=*/false, origin);
}

/* Returns the weight of an input; of routers `router_weight`. */
static organ_yaml *make_weight(const command *c, const char *weight, size_t input)
{
    const char *const routers = c->options->router_weight;
    organ_yaml *const of_others = make_element(c, weight, input, MERGE_OF_WEIGHT);
    if (!routers)
        return of_others;
    organ_yaml *const list = make(c, ORGAN_YAML_LIST, 2, MERGE_OF_WEIGHT);
    organ_yaml *const for_routers = make(c, ORGAN_YAML_MAP, 2, MERGE_OF_ROUTER_WEIGHT);
    organ_yaml *const for_others = make(c, ORGAN_YAML_MAP, 1, MERGE_OF_WEIGHT);
    put(c, for_routers, "filter", make_text(c, "router", strlen("router"), /*plain=*/true, MERGE_OF_ROUTER_WEIGHT));
    put(c, for_routers, "value", make_element(c, routers, input, MERGE_OF_ROUTER_WEIGHT));
    put(c, for_others, "value", of_others);
    add(c, list, for_routers);
    add(c, list, for_others);
    return list;
}

/* `model` is its index among options->models, `input` that among the inputs. */
static organ_yaml *make_model(const command *c, size_t model, size_t input)
{
    const organ_merge_options *const o = c->options;
    const char *const weight = !o->weight && has_parameter(c->method, "weight") ? "1" : o->weight;
    organ_yaml *const map = make(c, ORGAN_YAML_MAP, 3, 0);
    put_text(c, map, "model", o->models[model], MERGE_OF_MODELS);
    if (is_base(c, model))
        return map;
    if (o->text_count)
        put_text(c, map, "calibration", o->texts[o->text_count > 1 ? input : 0], MERGE_OF_TEXTS);
    if (!weight && !o->density)
        return map;
    organ_yaml *const parameters = make(c, ORGAN_YAML_MAP, 2, 0);
    if (weight)
        put(c, parameters, "weight", make_weight(c, weight, input));
    if (o->density)
        put(c, parameters, "density", make_element(c, o->density, input, MERGE_OF_DENSITY));
    put(c, map, "parameters", parameters);
    return map;
}

static organ_yaml *make_parameters(const command *c)
{
    const organ_merge_options *const o = c->options;
    organ_yaml *const map = make(c, ORGAN_YAML_MAP, o->setting_count + 1, 0);
    if (o->t)
        put(c, map, "t", make_element(c, o->t, /*index=*/0, MERGE_OF_T));
    for (size_t k = 0; k < o->setting_count && !c->error->status; k++) {
        const char *const text = o->settings[k];
        const size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (!length || text[length] != '=') {
            organ_fail(c->error, ORGAN_USAGE, "`settings` is '%s', not NAME=VALUE", text);
            return NULL;
        }
        organ_yaml *const name = make_text(c, text, length, /*plain=*/true, MERGE_OF_SETTINGS);
        if (name && organ_yaml_member(map, name->text))
            organ_fail(c->error, ORGAN_USAGE, "`settings`: %s is given twice", name->text);
        else if (name)
            put_text(c, map, name->text, text + length + 1, MERGE_OF_SETTINGS);
    }
    return map;
}

organ_status organ_merge_command_recipe(const organ_merge_options *o, merge_recipe *recipe, organ_error *error)
{
    command c = {.options = o, .recipe = recipe, .error = error};
    organ_dtype dtype;
    if (open_command(&c) || organ_dtype_requested(o->dtype, &dtype, error))
        return error->status;
    organ_yaml *const tree = make(&c, ORGAN_YAML_MAP, 5, 0);
    organ_yaml *const models = make(&c, ORGAN_YAML_LIST, o->model_count, MERGE_OF_METHOD);
    put(&c, tree, "merge_method",
        make_text(&c, c.method->name, strlen(c.method->name), /*plain=*/true, MERGE_OF_METHOD));
    if (c.base)
        put_text(&c, tree, "base_model", c.base, MERGE_OF_BASE);
    for (size_t k = 0, input = 0; k < o->model_count; k++) {
        add(&c, models, make_model(&c, k, input));
        input += !is_base(&c, k);
    }
    put(&c, tree, "models", models);
    if (o->t || o->setting_count)
        put(&c, tree, "parameters", make_parameters(&c));
    if (o->dtype)
        put(&c, tree, "out_dtype",
            make_text(&c, organ_torch_dtype(dtype), strlen(organ_torch_dtype(dtype)), /*plain=*/true, MERGE_OF_DTYPE));
    recipe->tree = tree;
    return error->status;
}
