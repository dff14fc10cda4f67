/* SPDX-License-Identifier: MIT
 * Reads a recipe in the language of mergekit 0.1.5, but refuses keys that mergekit ignores without a word. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "formats/base/text.h"
#include "orchestrator/output/facts.h"

#include <stdio.h>
#include <string.h>

/* ---- members of maps ---- */

/* Sets *list to a member that is a list with elements. */
static organ_status list_member(const merge_recipe *r, const organ_yaml *map, const char *key, const organ_yaml **list,
                                organ_error *error)
{
    *list = organ_yaml_member(map, key);
    if (!*list || (*list)->kind != ORGAN_YAML_LIST || (*list)->count == 0)
        return organ_merge_fault(r, *list ? (*list)->line : map->line, error, "%s is not a list with elements", key);
    return ORGAN_OK;
}

/* Sets *parameters to the member "parameters"; NULL if it is absent. */
static organ_status parameters_member(const merge_recipe *r, const organ_yaml *map, const organ_yaml **parameters,
                                      organ_error *error)
{
    *parameters = organ_yaml_member(map, "parameters");
    if (organ_yaml_is_null(*parameters))
        *parameters = NULL;
    else if ((*parameters)->kind != ORGAN_YAML_MAP)
        organ_merge_fault(r, (*parameters)->line, error, "parameters is not a map of names and values");
    return error->status;
}

/* ---- models and slices ---- */

/* `layer_range` is [first, end), as in Python. */
static organ_status read_range(const merge_recipe *r, const organ_yaml *range, merge_source *source, uint64_t *layers,
                               organ_error *error)
{
    double first, end;
    if (!range || range->kind != ORGAN_YAML_LIST || range->count != 2 || !organ_yaml_number(range->values[0], &first) ||
        !organ_yaml_number(range->values[1], &end) || first < 0 || end <= first || end > 1e6 ||
        first != (double)(uint64_t)first || end != (double)(uint64_t)end)
        return organ_merge_fault(r, range ? range->line : source->line, error,
                                 "layer_range is not [FIRST, END] with 0 <= FIRST < END");
    source->first = (uint64_t)first;
    *layers = (uint64_t)(end - first);
    return ORGAN_OK;
}

/* A model that is listed twice in one slice would be one input with two weights. */
static organ_status read_source(merge_recipe *r, const organ_yaml *map, merge_slice *slice, organ_error *error)
{
    static const char *const of_slice[] = {"model", "layer_range", "parameters", NULL};
    static const char *const of_models[] = {"model", "parameters", "calibration", NULL};
    merge_source *const source = &slice->sources[slice->source_count];
    const char *name;
    uint64_t layers = 0;
    *source = (merge_source){.line = map->line};
    if (organ_merge_check_keys(r, map, r->sliced ? "a source" : "a model", r->sliced ? of_slice : of_models, error) ||
        organ_merge_text_member(r, map, "model", &name, error) ||
        organ_merge_text_member(r, map, "calibration", &source->text, error) ||
        parameters_member(r, map, &source->parameters, error))
        return error->status;
    if (!name)
        return organ_merge_fault(r, map->line, error, "model is missing");
    if (organ_merge_donor_named(r, name, &source->donor, error) ||
        (r->sliced && read_range(r, organ_yaml_member(map, "layer_range"), source, &layers, error)))
        return error->status;
    for (size_t k = 0; k < slice->source_count; k++)
        if (slice->sources[k].donor == source->donor)
            return organ_merge_fault(r, organ_yaml_member(map, "model")->line, error, "%.200s is listed twice", name);
    if (slice->source_count && layers != slice->layers)
        return organ_merge_fault(r, map->line, error, "layer_range has %llu layers, but the first source %llu",
                                 (unsigned long long)layers, (unsigned long long)slice->layers);
    slice->layers = layers;
    slice->source_count++;
    return ORGAN_OK;
}

/* A base that is not listed becomes the last source, as in mergekit; with slices it must be listed, since it has no
 * range of layers. */
static organ_status add_base(merge_recipe *r, merge_slice *slice, size_t line, organ_error *error)
{
    for (size_t k = 0; k < slice->source_count; k++)
        if (slice->sources[k].donor == r->base)
            return ORGAN_OK;
    if (r->base == MERGE_NONE || (r->sliced && r->method->base == ORGAN_MERGE_BASE_INPUT))
        return ORGAN_OK;
    if (r->sliced)
        return organ_merge_fault(r, line, error, "base_model %.200s is not among the sources of the slice",
                                 r->donors[r->base]);
    slice->sources[slice->source_count++] = (merge_source){.donor = r->base, .line = line};
    return ORGAN_OK;
}

static organ_status check_inputs(const merge_recipe *r, const merge_slice *slice, size_t line, organ_error *error)
{
    const bool apart = r->method->base != ORGAN_MERGE_BASE_INPUT;
    const size_t least = r->method->least, most = r->method->most;
    size_t inputs = slice->source_count;
    for (size_t k = 0; k < slice->source_count && apart; k++)
        inputs -= slice->sources[k].donor == r->base;
    const char *bound = inputs < least ? "at least " : "at most ";
    if (least == most)
        bound = "";
    if (inputs > ORGAN_MERGE_INPUTS)
        return organ_merge_fault(r, line, error, "there are more than %d models", ORGAN_MERGE_INPUTS);
    if (inputs >= least && (!most || inputs <= most))
        return ORGAN_OK;
    return organ_merge_fault(r, line, error, "%s merges %s%zu model%s%s, but there %s %zu%s", r->method->name, bound,
                             inputs < least ? least : most, (inputs < least ? least : most) == 1 ? "" : "s",
                             apart ? " and a base" : "", inputs == 1 ? "is" : "are", inputs,
                             most == 1 && !apart && inputs > most && !r->sliced
                                 ? "; to stack layers of several, write a recipe with slices"
                                 : "");
}

static organ_status read_slice(merge_recipe *r, const organ_yaml *list, merge_slice *slice, organ_error *error)
{
    if (!(slice->sources = organ_arena_take(&r->arena, (list->count + 1) * sizeof *slice->sources)))
        return organ_fail_memory(error, r->label);
    for (size_t k = 0; k < list->count && !error->status; k++)
        read_source(r, list->values[k], slice, error);
    if (!error->status && add_base(r, slice, list->line, error) == ORGAN_OK)
        check_inputs(r, slice, list->line, error);
    return error->status;
}

static organ_status read_slices(merge_recipe *r, const organ_yaml *list, organ_error *error)
{
    static const char *const known[] = {"sources", "parameters", NULL};
    uint64_t first = 0;
    for (size_t k = 0; k < list->count && !error->status; k++) {
        const organ_yaml *const map = list->values[k], *sources;
        merge_slice *const slice = &r->slices[k];
        if (organ_merge_check_keys(r, map, "a slice", known, error) ||
            list_member(r, map, "sources", &sources, error) || parameters_member(r, map, &slice->parameters, error) ||
            read_slice(r, sources, slice, error))
            return error->status;
        slice->first = first;
        first += slice->layers;
    }
    return error->status;
}

/* `map` has exactly one of `models` and `slices`. */
static organ_status read_body(merge_recipe *r, const organ_yaml *map, organ_error *error)
{
    const bool models = organ_yaml_member(map, "models") != NULL, slices = organ_yaml_member(map, "slices") != NULL;
    const organ_yaml *list;
    if (models == slices)
        return organ_merge_fault(r, map->line, error, "the recipe needs either models or slices%s",
                                 models ? ", not both" : "");
    r->sliced = slices;
    if (list_member(r, map, slices ? "slices" : "models", &list, error))
        return error->status;
    r->slice_count = slices ? list->count : 1;
    if (!(r->slices = organ_arena_take(&r->arena, r->slice_count * sizeof *r->slices)))
        return organ_fail_memory(error, r->label);
    memset(r->slices, 0, r->slice_count * sizeof *r->slices);
    return slices ? read_slices(r, list, error) : read_slice(r, list, &r->slices[0], error);
}

/* `modules` names the parts of a model; the output has one set of layers, so there may be one. */
static organ_status read_modules(merge_recipe *r, const organ_yaml *modules, organ_error *error)
{
    static const char *const known[] = {"models", "slices", "parameters", NULL};
    static const char *const of_text[] = {"default",    "model",        "decoder",        "text",
                                          "text_model", "text_decoder", "language_model", NULL};
    if (modules->kind != ORGAN_YAML_MAP || modules->count == 0)
        return organ_merge_fault(r, modules->line, error, "modules is not a map of names and values");
    if (modules->count > 1)
        return organ_merge_fault(r, modules->keys[1]->line, error,
                                 "only one module is merged, the text model; other parts are the base's");
    const organ_yaml *const module = modules->values[0];
    if (!organ_is_one_of(modules->keys[0]->text, of_text))
        organ_say(r->warnings, "module '%.100s' (line %zu) is taken for the text model: no other part is merged",
                  modules->keys[0]->text, modules->keys[0]->line);
    if (organ_merge_check_keys(r, module, "a module", known, error) ||
        parameters_member(r, module, &r->module_parameters, error))
        return error->status;
    return read_body(r, module, error);
}

/* ---- the recipe ---- */

static organ_status read_dtype(merge_recipe *r, const char *key, organ_error *error)
{
    static const struct {
        const char *name;
        organ_dtype dtype;
    } types[] = {{"bfloat16", ORGAN_BF16},
                 {"float16", ORGAN_F16},
                 {"float32", ORGAN_F32},
                 {"float64", ORGAN_F64},
                 {"auto", ORGAN_DTYPE_COUNT}};
    const char *name;
    if (organ_merge_text_member(r, r->tree, key, &name, error) || !name)
        return error->status;
    const char *const word = strncmp(name, "torch.", 6) == 0 ? name + 6 : name;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (strcmp(types[k].name, word) == 0) {
            r->dtype = types[k].dtype;
            return ORGAN_OK;
        }
    return organ_merge_fault(r, organ_yaml_member(r->tree, key)->line, error,
                             "%s is '%.60s', not float32, float16 or bfloat16", key, name);
}

/* The type of the output is out_dtype, else dtype. Sums are FP32 or better whatever dtype says, so float64 is allowed
 * there, but no type of an output. */
static organ_status read_types(merge_recipe *r, organ_error *error)
{
    const bool out = !organ_yaml_is_null(organ_yaml_member(r->tree, "out_dtype"));
    r->dtype = ORGAN_DTYPE_COUNT;
    if (read_dtype(r, "dtype", error) || (out && read_dtype(r, "out_dtype", error)))
        return error->status;
    if (r->dtype == ORGAN_F64)
        return organ_merge_fault(r, organ_yaml_member(r->tree, out ? "out_dtype" : "dtype")->line, error,
                                 "the output cannot be float64: %s",
                                 out ? "out_dtype is float32, float16 or bfloat16 (dtype may be float64)"
                                     : "give out_dtype, which is float32, float16 or bfloat16");
    return ORGAN_OK;
}

static organ_status read_method(merge_recipe *r, organ_error *error)
{
    const char *name, *base;
    char before[400];
    if (organ_merge_text_member(r, r->tree, "merge_method", &name, error) ||
        organ_merge_text_member(r, r->tree, "base_model", &base, error))
        return error->status;
    if (!name)
        return organ_merge_fault(r, 0, error, "merge_method is missing");
    if (!(r->method = organ_merge_method_named(name))) {
        snprintf(before, sizeof before, "%.300s: line %zu: merge_method is", r->label,
                 organ_yaml_member(r->tree, "merge_method")->line);
        return organ_merge_no_method(name, ORGAN_BAD_INPUT, before, error);
    }
    r->base = MERGE_NONE;
    if (!base && r->method->base == ORGAN_MERGE_BASE_REQUIRED)
        return organ_merge_fault(r, 0, error, "base_model is missing: %s needs it", name);
    return base ? organ_merge_donor_named(r, base, &r->base, error) : ORGAN_OK;
}

static organ_status read_tree(merge_recipe *r, organ_error *error)
{
    static const char *const known[] = {"merge_method",  "base_model",  "models",    "slices",    "modules",
                                        "parameters",    "dtype",       "out_dtype", "tokenizer", "tokenizer_source",
                                        "chat_template", "calibration", NULL};
    if (r->tree->kind == ORGAN_YAML_MAP && organ_yaml_member(r->tree, "experts"))
        return read_types(r, error) ? error->status : organ_mixture_read(r, error);
    if (organ_merge_check_keys(r, r->tree, "the recipe", known, error) || read_method(r, error) ||
        organ_merge_text_member(r, r->tree, "calibration", &r->text, error) || read_types(r, error) ||
        parameters_member(r, r->tree, &r->parameters, error))
        return error->status;
    const organ_yaml *const modules = organ_yaml_member(r->tree, "modules");
    if (!modules)
        return read_body(r, r->tree, error);
    if (organ_yaml_member(r->tree, "models") || organ_yaml_member(r->tree, "slices"))
        return organ_merge_fault(r, modules->line, error, "modules excludes models and slices");
    return read_modules(r, modules, error);
}

organ_status organ_merge_recipe_read(const organ_merge_options *options, merge_recipe *r, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    size_t length = 0;
    *r = (merge_recipe){.label = options->recipe ? options->recipe : "the command",
                        .of_options = !options->recipe,
                        .warnings = json_array()};
    if (!r->warnings)
        return organ_fail_memory(error, r->label);
    if (r->of_options)
        organ_merge_command_recipe(options, r, error);
    else if (organ_input_load(r->label, r->label, ORGAN_YAML_BYTES, &text, &length, error) == ORGAN_OK)
        organ_yaml_parse(r->label, text, length, &r->arena, &r->tree, error);
    if (!error->status && read_tree(r, error) == ORGAN_OK && organ_merge_check_settings(r, error) == ORGAN_OK)
        organ_merge_begin_use(r, error);
    return error->status;
}

void organ_merge_recipe_release(merge_recipe *r)
{
    if (r->mixture)
        organ_mixture_release(r->mixture);
    organ_arena_release(&r->arena);
    json_decref(r->warnings);
}
