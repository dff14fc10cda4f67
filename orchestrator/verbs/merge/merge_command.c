/* SPDX-License-Identifier: MIT
 * Makes the text of a recipe from the options of a command without one. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/json.h"
#include "formats/base/text.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/surgery/encoding/encoding.h"

#include <stdlib.h>
#include <string.h>

/* A JSON string is a quoted scalar of YAML. */
static void put_quoted(FILE *out, const char *text)
{
    json_t *const value = json_string(text);
    char *const quoted = value ? organ_json_dump(value, JSON_ENCODE_ANY) : NULL;
    fputs(quoted ? quoted : "\"\"", out);
    if (!quoted)
        organ_memory_count_refusal();
    free(quoted);
    json_decref(value);
}

static size_t count_values(const char *list)
{
    size_t count = list != NULL;
    for (; list && *list; list++)
        count += *list == ',';
    return count;
}

/* Writes element `index` of a list, or the only one, after `before`. */
static void put_element(FILE *out, const char *before, const char *list, size_t index)
{
    const bool one = count_values(list) == 1;
    for (size_t k = 0; k < index && !one; k++)
        list = strchr(list, ',') + 1;
    char *const value = strndup(list, strcspn(list, ","));
    fputs(before, out);
    if (value)
        put_quoted(out, value);
    else
        organ_memory_count_refusal();
    fputc('\n', out);
    free(value);
}

static bool is_base(const organ_merge_options *o, const organ_merge_method *method, size_t model, const char *base)
{
    return base && method->base != ORGAN_MERGE_BASE_INPUT && strcmp(o->models[model], base) == 0;
}

static organ_status check_count(const char *option, const char *list, size_t inputs, organ_error *error)
{
    const size_t count = count_values(list);
    if (count > 1 && count != inputs)
        return organ_fail(error, ORGAN_USAGE, "--%s has %zu values, but there are %zu models%s", option, count, inputs,
                          inputs == 1 ? " to weigh" : " without the base");
    return ORGAN_OK;
}

static bool has_parameter(const organ_merge_method *method, const char *name)
{
    return organ_merge_parameter_named(method, name) < method->parameter_count;
}

static void put_models(FILE *out, const organ_merge_options *o, const organ_merge_method *method, const char *base)
{
    const char *const weight = !o->weight && has_parameter(method, "weight") ? "1" : o->weight;
    fputs("models:\n", out);
    for (size_t k = 0, input = 0; k < o->model_count; k++) {
        fputs("  - model: ", out);
        put_quoted(out, o->models[k]);
        fputc('\n', out);
        if (is_base(o, method, k, base))
            continue;
        if (o->text_count) {
            fputs("    calibration: ", out);
            put_quoted(out, o->texts[o->text_count > 1 ? input : 0]);
            fputc('\n', out);
        }
        if (!weight && !o->density) {
            input++;
            continue;
        }
        fputs("    parameters:\n", out);
        if (weight && o->router_weight) {
            put_element(out, "      weight:\n        - filter: router\n          value: ", o->router_weight, input);
            put_element(out, "        - value: ", weight, input);
        } else if (weight)
            put_element(out, "      weight: ", weight, input);
        if (o->density)
            put_element(out, "      density: ", o->density, input);
        input++;
    }
}

static organ_status put_settings(FILE *out, const organ_merge_options *o, organ_error *error)
{
    if (o->t || o->setting_count)
        fputs("parameters:\n", out);
    if (o->t)
        put_element(out, "      t: ", o->t, 0);
    for (size_t k = 0; k < o->setting_count && !error->status; k++) {
        const char *const text = o->settings[k], *const equals = strchr(text, '=');
        if (!equals || equals == text ||
            strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") != (size_t)(equals - text))
            return organ_fail(error, ORGAN_USAGE, "--set is '%s', not NAME=VALUE", text);
        fprintf(out, "  %.*s: ", (int)(equals - text), text);
        put_quoted(out, equals + 1);
        fputc('\n', out);
    }
    return error->status;
}

static organ_status check_command(const organ_merge_options *o, const organ_merge_method **method, const char **base,
                                  organ_error *error)
{
    if (!o->method)
        return organ_fail(error, ORGAN_USAGE, "--method is missing: how the models are merged");
    if (!(*method = organ_merge_method_named(o->method)))
        return organ_merge_no_method(o->method, ORGAN_USAGE, "--method is", error);
    /* slerp goes from one model to another: the first is the base unless --base says otherwise */
    *base = o->base;
    if (!o->base && (*method)->base == ORGAN_MERGE_BASE_REQUIRED && (*method)->most == 1 && o->model_count == 2)
        *base = o->models[0];
    size_t inputs = 0, among = 0;
    for (size_t k = 0; k < o->model_count; k++) {
        inputs += !is_base(o, *method, k, *base);
        among += *base && strcmp(o->models[k], *base) == 0;
    }
    if (*base && (*method)->base == ORGAN_MERGE_BASE_INPUT && !among)
        return organ_fail(error, ORGAN_USAGE, "--base: %s merges all models alike: list %s among the models", o->method,
                          *base);
    if (!*base && (*method)->base == ORGAN_MERGE_BASE_REQUIRED)
        return organ_fail(error, ORGAN_USAGE, "--base is missing: %s merges the differences from a base", o->method);
    if (o->text_count > 1 && o->text_count != inputs)
        return organ_fail(error, ORGAN_USAGE, "--calibration names %zu texts, but there are %zu models%s",
                          o->text_count, inputs, *base ? " without the base" : "");
    if (o->router_weight && !has_parameter(*method, "weight"))
        return organ_fail(error, ORGAN_USAGE, "--router-weight: %s has no weights", o->method);
    if (check_count("weight", o->weight, inputs, error) ||
        check_count("router-weight", o->router_weight, inputs, error))
        return error->status;
    return check_count("density", o->density, inputs, error);
}

organ_status organ_merge_command_recipe(const organ_merge_options *o, char **made, organ_error *error)
{
    const organ_merge_method *method = NULL;
    const char *base = NULL;
    organ_dtype dtype;
    organ_text text;
    *made = NULL;
    if (check_command(o, &method, &base, error) || organ_dtype_requested(o->dtype, &dtype, error) ||
        organ_text_open(&text, error))
        return error->status;
    fprintf(text.out, "merge_method: %s\n", method->name);
    if (base) {
        fputs("base_model: ", text.out);
        put_quoted(text.out, base);
        fputc('\n', text.out);
    }
    put_models(text.out, o, method, base);
    put_settings(text.out, o, error);
    if (o->dtype)
        fprintf(text.out, "out_dtype: %s\n", organ_torch_dtype(dtype));
    return organ_text_end(&text, made, error);
}
