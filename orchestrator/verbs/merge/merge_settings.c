/* SPDX-License-Identifier: MIT
 * Parameters of a recipe. A setting is a scalar, a gradient (a list of scalars along the layers), or conditions: maps
 * {filter, value}, of which the first that fits the tensor's name counts. A setting that gives nothing is looked up at
 * the next level: source, slice, module, recipe. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/format_rest.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- messages ---- */

/* By merge_origin: the member of organ_merge_options. */
static const char *const members[] = {
    [MERGE_OF_METHOD] = "method",   [MERGE_OF_BASE] = "base",     [MERGE_OF_MODELS] = "models",
    [MERGE_OF_TEXTS] = "texts",     [MERGE_OF_WEIGHT] = "weight", [MERGE_OF_ROUTER_WEIGHT] = "router_weight",
    [MERGE_OF_DENSITY] = "density", [MERGE_OF_T] = "t",           [MERGE_OF_SETTINGS] = "settings",
    [MERGE_OF_DTYPE] = "dtype"};

const char *organ_merge_member(size_t origin) { return members[origin]; }

size_t organ_merge_origin_of(const char *parameter)
{
    for (size_t k = MERGE_OF_WEIGHT; k <= MERGE_OF_T; k++)
        if (strcmp(members[k], parameter) == 0)
            return k;
    return MERGE_OF_SETTINGS;
}

organ_status organ_merge_fault(const merge_recipe *r, size_t line, organ_error *error, const char *format, ...)
{
    char text[900];
    ORGAN_FORMAT_REST(text, format);
    if (r->of_options)
        return line ? organ_fail(error, ORGAN_USAGE, "`%s`: %s", organ_merge_member(line), text)
                    : organ_fail(error, ORGAN_BAD_INPUT, "%s", text);
    if (!line)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", r->label, text);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %zu: %s", r->label, line, text);
}

organ_status organ_merge_check_fault(const merge_recipe *r, const char *tensor, const char *message, organ_error *error)
{
    char parameter[40];
    snprintf(parameter, sizeof parameter, "%.*s", (int)strcspn(message, ":"), message);
    return organ_merge_fault(r, r->of_options ? organ_merge_origin_of(parameter) : 0, error, "tensor '%s': %s", tensor,
                             message);
}

organ_status organ_merge_no_method(const char *name, organ_status status, const char *before, organ_error *error)
{
    const char *names[64];
    char hint[ORGAN_HINT_ROOM], all[600] = "";
    size_t count;
    const organ_merge_method *const *const methods = organ_merge_methods(&count);
    for (size_t k = 0; k < count; k++) {
        names[k] = methods[k]->name;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", k ? ", " : "", names[k]);
    }
    return organ_fail(error, status, "%s '%.80s', which is no method%s (methods: %s)", before, name,
                      organ_nearest_hint(name, names, count, "", hint), all);
}

/* ---- checks ---- */

/* Names that recipes for mergekit may have, although they change no value there either. */
static const char *const without_effect[] = {"int8_mask", "residual_weight", NULL};

/* Returns the parameter of any method, NULL if no method has it. */
static const organ_merge_parameter *parameter_of_any(const char *name)
{
    size_t count;
    const organ_merge_method *const *const methods = organ_merge_methods(&count);
    for (size_t k = 0; k < count; k++) {
        const size_t found = organ_merge_parameter_named(methods[k], name);
        if (found < methods[k]->parameter_count)
            return &methods[k]->parameters[found];
    }
    return NULL;
}

static organ_status read_number(const merge_recipe *r, const organ_merge_parameter *p, const organ_yaml *scalar,
                                double *number, organ_error *error)
{
    bool flag;
    const bool ok = p->kind == ORGAN_MERGE_FLAG ? organ_yaml_flag(scalar, &flag) : organ_yaml_number(scalar, number);
    if (ok && p->kind == ORGAN_MERGE_FLAG)
        *number = flag;
    if (!ok)
        return organ_merge_fault(r, scalar->line, error, "%s is '%.60s', not %s", p->name,
                                 scalar->kind == ORGAN_YAML_SCALAR ? scalar->text : "a list or a map",
                                 p->kind == ORGAN_MERGE_FLAG ? "true or false" : "a number");
    if (p->kind == ORGAN_MERGE_WHOLE && *number != floor(*number))
        return organ_merge_fault(r, scalar->line, error, "%s is %.60s, not a whole number", p->name, scalar->text);
    if (*number < p->least && isinf(p->most))
        return organ_merge_fault(r, scalar->line, error, "%s is %.60s, below %g", p->name, scalar->text, p->least);
    if (*number < p->least || *number > p->most)
        return organ_merge_fault(r, scalar->line, error, "%s is %.60s, not from %g to %g", p->name, scalar->text,
                                 p->least, p->most);
    return ORGAN_OK;
}

static organ_status check_gradient(const merge_recipe *r, const organ_merge_parameter *p, const organ_yaml *value,
                                   organ_error *error)
{
    double number;
    if (value->kind != ORGAN_YAML_LIST)
        return organ_yaml_is_null(value) ? ORGAN_OK : read_number(r, p, value, &number, error);
    for (size_t k = 0; k < value->count && !error->status; k++)
        read_number(r, p, value->values[k], &number, error);
    return error->status;
}

static organ_status check_condition(const merge_recipe *r, const organ_merge_parameter *p, const organ_yaml *map,
                                    organ_error *error)
{
    const organ_yaml *const value = organ_yaml_member(map, "value"), *const filter = organ_yaml_member(map, "filter");
    for (size_t k = 0; k < map->count; k++)
        if (strcmp(map->keys[k]->text, "value") != 0 && strcmp(map->keys[k]->text, "filter") != 0)
            return organ_merge_fault(r, map->keys[k]->line, error,
                                     "unknown key '%.100s' in a condition, which has a filter and a value",
                                     map->keys[k]->text);
    if (!value)
        return organ_merge_fault(r, map->line, error, "the condition has no value");
    if (!organ_yaml_is_null(filter) && filter->kind != ORGAN_YAML_SCALAR)
        return organ_merge_fault(r, filter->line, error, "filter is not a part of a tensor's name");
    return check_gradient(r, p, value, error);
}

static bool is_conditions(const organ_yaml *setting)
{
    return setting->kind == ORGAN_YAML_LIST && setting->count && setting->values[0]->kind == ORGAN_YAML_MAP;
}

static organ_status check_setting(const merge_recipe *r, const organ_merge_parameter *p, const organ_yaml *setting,
                                  organ_error *error)
{
    if (setting->kind == ORGAN_YAML_MAP)
        return check_condition(r, p, setting, error);
    if (!is_conditions(setting))
        return check_gradient(r, p, setting, error);
    for (size_t k = 0; k < setting->count && !error->status; k++) {
        if (setting->values[k]->kind != ORGAN_YAML_MAP)
            return organ_merge_fault(r, setting->values[k]->line, error, "%s mixes conditions and values", p->name);
        check_condition(r, p, setting->values[k], error);
    }
    return error->status;
}

/* Adds the warning "KEY WHY" unless there is one that begins with the key. */
static void warn_once(merge_recipe *r, const char *key, const char *why)
{
    const size_t length = strlen(key);
    const json_t *sentence;
    size_t k;
    json_array_foreach(r->warnings, k, sentence)
    {
        if (strncmp(json_string_value(sentence), key, length) == 0 && json_string_value(sentence)[length] == ' ')
            return;
    }
    organ_say(r->warnings, "%s %s", key, why);
}

static organ_status refuse_unknown(const merge_recipe *r, const organ_yaml *key, organ_error *error)
{
    const char *names[128]; /* one for each method that has the parameter */
    char hint[ORGAN_HINT_ROOM];
    size_t count, named = 0;
    const organ_merge_method *const *const methods = organ_merge_methods(&count);
    for (size_t m = 0; m < count; m++)
        for (size_t k = 0; k < methods[m]->parameter_count && named < sizeof names / sizeof *names; k++)
            names[named++] = methods[m]->parameters[k].name;
    return organ_merge_fault(r, key->line, error, "no method has a parameter '%.100s'%s", key->text,
                             organ_nearest_hint(key->text, names, named, "", hint));
}

/* `own`: the parameters of one model. */
static organ_status check_level(merge_recipe *r, const organ_yaml *map, bool own, organ_error *error)
{
    for (size_t k = 0; map && k < map->count && !error->status; k++) {
        const char *const key = map->keys[k]->text;
        const size_t at = organ_merge_parameter_named(r->method, key);
        const organ_merge_parameter *const p =
            at < r->method->parameter_count ? &r->method->parameters[at] : parameter_of_any(key);
        char why[160];
        if (!p && !organ_is_one_of(key, without_effect))
            return refuse_unknown(r, map->keys[k], error);
        if (!p)
            warn_once(r, key, "has no effect on a merge");
        else if (check_setting(r, p, map->values[k], error) == ORGAN_OK && at == r->method->parameter_count) {
            snprintf(why, sizeof why, "is not used: %s has no such parameter", r->method->name);
            warn_once(r, key, why);
        } else if (!error->status && own && !p->per_input)
            warn_once(r, key, "of a single model is not used: it is a parameter of the whole merge");
    }
    return error->status;
}

organ_status organ_merge_check_settings(merge_recipe *r, organ_error *error)
{
    check_level(r, r->parameters, /*own=*/false, error);
    if (!error->status)
        check_level(r, r->module_parameters, /*own=*/false, error);
    for (size_t s = 0; s < r->slice_count && !error->status; s++) {
        check_level(r, r->slices[s].parameters, /*own=*/false, error);
        for (size_t k = 0; k < r->slices[s].source_count && !error->status; k++)
            check_level(r, r->slices[s].sources[k].parameters, /*own=*/true, error);
    }
    return error->status;
}

/* ---- values ---- */

/* Sets *number to the value of a scalar or a gradient at position t, 0 to 1. Between the scalars of a gradient numbers
 * are interpolated; of flags the one before the position counts. Returns false for an empty list. */
static bool value_at(const organ_merge_parameter *p, const organ_yaml *value, double t, double *number)
{
    bool flag = false;
    if (value->kind != ORGAN_YAML_LIST) {
        if (p->kind != ORGAN_MERGE_FLAG)
            return organ_yaml_number(value, number);
        const bool is_flag = organ_yaml_flag(value, &flag);
        *number = flag;
        return is_flag;
    }
    if (value->count == 0)
        return false;
    const double position = t * (double)(value->count - 1);
    const size_t last = value->count - 1, low = organ_min((size_t)position, last), high = organ_min(low + 1, last);
    if (p->kind == ORGAN_MERGE_FLAG) {
        organ_yaml_flag(value->values[low], &flag);
        *number = flag;
        return true;
    }
    double at_low, at_high;
    organ_yaml_number(value->values[low], &at_low);
    organ_yaml_number(value->values[high], &at_high);
    const double share = position - (double)low;
    *number = (1 - share) * at_low + share * at_high;
    return true;
}

/* Returns whether the condition gives a value, and notes its use. */
static bool take_condition(const merge_recipe *r, const organ_merge_parameter *p, const organ_yaml *condition, double t,
                           double *number)
{
    const bool taken = value_at(p, organ_yaml_member(condition, "value"), t, number);
    if (taken)
        organ_merge_use(r, condition);
    return taken;
}

static bool fits(const merge_recipe *r, const organ_yaml *condition, const char *name)
{
    const organ_yaml *const filter = organ_yaml_member(condition, "filter");
    return organ_yaml_is_null(filter) || organ_merge_filter_fits(r, filter->text, name);
}

/* Looks up a parameter at one level. Returns false if the level gives no value. */
static bool look_up(const merge_recipe *r, const organ_merge_parameter *p, const organ_yaml *level, const char *name,
                    double t, double *number)
{
    const organ_yaml *const setting = organ_yaml_member(level, p->name);
    bool taken = false;
    if (organ_yaml_is_null(setting))
        return false;
    if (setting->kind == ORGAN_YAML_MAP)
        taken = fits(r, setting, name) && take_condition(r, p, setting, t, number);
    else if (!is_conditions(setting))
        taken = value_at(p, setting, t, number);
    else
        for (size_t k = 0; k < setting->count; k++)
            if (fits(r, setting->values[k], name)) {
                taken = take_condition(r, p, setting->values[k], t, number);
                break;
            }
    if (taken)
        organ_merge_use(r, setting);
    return taken;
}

/* `source` MERGE_NONE: a parameter of the whole merge. */
static organ_status evaluate_one(const merge_recipe *r, const organ_merge_parameter *p, const merge_place *place,
                                 size_t source, const char *name, double *number, organ_error *error)
{
    const merge_slice *const slice = place->slice;
    if ((source != MERGE_NONE && look_up(r, p, slice->sources[source].parameters, name, place->t, number)) ||
        look_up(r, p, slice->parameters, name, place->t, number) ||
        look_up(r, p, r->module_parameters, name, place->t, number) ||
        look_up(r, p, r->parameters, name, place->t, number))
        return ORGAN_OK;
    *number = p->fallback;
    if (!p->required)
        return ORGAN_OK;
    if (source == MERGE_NONE)
        return organ_merge_fault(r, 0, error, "%s: parameter %s of %s is missing", place->output, p->name,
                                 r->method->name);
    return organ_merge_fault(r, slice->sources[source].line, error, "%s: parameter %s of %.200s is missing", name,
                             p->name, r->donors[slice->sources[source].donor]);
}

/* Values of single models are for the name that the tensor has in the model, others for its name in the output. */
organ_status organ_merge_evaluate(const merge_recipe *r, const merge_place *place, double *values, organ_error *error)
{
    const size_t count = place->count ? place->count : 1;
    for (size_t p = 0; p < r->method->parameter_count && !error->status; p++) {
        const organ_merge_parameter *const parameter = &r->method->parameters[p];
        double *const row = values + p * count;
        if (!parameter->per_input) {
            evaluate_one(r, parameter, place, MERGE_NONE, place->output, row, error);
            for (size_t k = 1; k < count; k++)
                row[k] = row[0];
        }
        for (size_t k = 0; k < place->count && parameter->per_input && !error->status; k++)
            evaluate_one(r, parameter, place, place->sources[k], place->inputs[k], &row[k], error);
    }
    return error->status;
}
