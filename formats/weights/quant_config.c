/* SPDX-License-Identifier: MIT
 * Reads quantisation settings from the files of a model. An organ_quant_scope ("scope") is an object of the config and
 * its path. Functions keep the first error in `error` of the scope; values that they set after an error are void. */
#include "formats/weights/quant_config.h"

#include "formats/base/quant_sections.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tensor/mlx_names.h"
#include "formats/tensor/module_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef organ_quant_scope scope;

#define MODELOPT_FILE    "hf_quant_config.json"
#define MODELOPT_SECTION "quantization"

/* ---- lists of modules ---- */

static void read_skipped(const scope *at)
{
    const bool exact = strcmp(at->config->method, "compressed-tensors") == 0;
    const organ_quant_list *row;
    for (size_t k = 0; (row = organ_quant_list_at(k)); k++)
        organ_quant_read_names(at, row->key, organ_quant_member(at, row->key), &at->config->skipped, exact,
                               /*value=*/NULL);
}

/* ---- groups ---- */

static void check_strategy(const scope *at, organ_quant_group *group)
{
    static const char *const known[] = {"",      "tensor",       "channel",   "group", "block",
                                        "token", "tensor_group", "attn_head", NULL},
                             *const grouped[] = {"group", "tensor_group", NULL};
    organ_quant_read_term(at, "strategy", &group->strategy);
    const char *const strategy = group->strategy;
    if (!organ_is_one_of(strategy, known))
        organ_quant_fail_value(at, "strategy", organ_quant_member(at, "strategy"), "a known strategy");
    if (organ_is_one_of(strategy, grouped) && group->group_size <= 0)
        organ_refuse(at->error, at->config->file, "%s.strategy is \"%s\", but there is no group_size above 0", at->path,
                     strategy);
    if (strcmp(strategy, "block") == 0 && group->block_rows == 0)
        organ_refuse(at->error, at->config->file, "%s.strategy is \"block\", but there is no block_structure",
                     at->path);
    if (strcmp(strategy, "channel") == 0)
        group->group_size = -1;
}

static void read_weights(const scope *at, organ_quant_group *group)
{
    static const organ_quant_field fields[] = {{"num_bits", ORGAN_QUANT_BITS},
                                               {"symmetric", ORGAN_QUANT_SYMMETRIC},
                                               {"group_size", ORGAN_QUANT_GROUP_SIZE},
                                               {"block_structure", ORGAN_QUANT_BLOCK},
                                               {NULL, 0}};
    const char *type = "int";
    organ_quant_read_fields(at, fields, group);
    organ_quant_read_term(at, "type", &type);
    if (strcmp(type, "int") != 0 && strcmp(type, "float") != 0)
        organ_quant_fail_value(at, "type", organ_quant_member(at, "type"), "\"int\" or \"float\"");
    check_strategy(at, group);
}

/* The group is an object with "targets", "weights" and "format", or, if its key is the name of a preset, a list of
 * targets alone. Without targets, the rule is for all linear layers. */
static void read_group(const scope *groups, const char *key, const json_t *value)
{
    organ_quant_config *const config = groups->config;
    if (json_is_array(value)) {
        const organ_quant_group *const preset = organ_quant_new_group(groups, key, &config->all);
        organ_quant_read_names(groups, key, value, &config->targets, /*exact=*/true, preset);
        return;
    }
    const scope at = organ_quant_enter(groups, key), weights = organ_quant_enter(&at, "weights");
    organ_quant_group *const group = weights.object ? organ_quant_new_group(&at, weights.path, &config->all) : NULL;
    if (!weights.object && json_is_object(organ_quant_member(&at, "input_activations")))
        organ_quant_leave_out(&at, "input_activations"); /* of an attention (FP8 queries), or of plain matrices */
    if (json_is_object(organ_quant_member(&at, "output_activations")))
        organ_quant_leave_out(&at, "output_activations");
    if (!group)
        return;
    organ_quant_read_term(&at, "format", &group->format);
    read_weights(&weights, group);
    organ_quant_read_inputs(&at, group);
    if (organ_quant_member(&at, "targets"))
        organ_quant_read_names(&at, "targets", organ_quant_member(&at, "targets"), &config->targets, /*exact=*/true,
                               group);
    else
        organ_quant_add_rule(&at, "targets", &config->targets, ORGAN_RULE_CLASS, "Linear", group);
}

static void read_groups(const scope *at)
{
    const scope groups = organ_quant_enter(at, "config_groups");
    const char *key;
    json_t *value;
    at->config->grouped = groups.object;
    json_object_foreach((json_t *)groups.object, key, value) read_group(&groups, key, value);
}

/* A member whose keys select modules with settings of their own. */
typedef struct override_form {
    const char *member;
    organ_rule_kind kind;
    const organ_quant_field *fields; /* of the weights */
    /* reads other settings, such as the rounding of inputs; NULL: they are those of all modules */
    void (*more)(const scope *at, organ_quant_group *group);
} override_form;

/* AutoRound's keys are names of modules, or regular expressions, which always have one of these characters. Quark's
 * classes are those of torch.nn that Quark itself reads again, and embeddings. */
static organ_rule_kind kind_of_key(const scope *all, organ_rule_kind kind, const char *key)
{
    static const char *const classes[] = {"Linear", "Conv2d", "ConvTranspose2d", "Embedding", NULL};
    if (kind == ORGAN_RULE_CLASS && !organ_is_one_of(key, classes))
        organ_refuse(all->error, all->config->file,
                     "%s has '%.100s', but the modules of this class are unknown: Linear, Conv2d, ConvTranspose2d and "
                     "Embedding are known",
                     all->path, key);
    if (kind == ORGAN_RULE_GLOB && strchr(key, '['))
        organ_refuse(all->error, all->config->file, "%s has '%.100s', but a pattern can have only * and ?", all->path,
                     key);
    return kind == ORGAN_RULE_SEARCH && !strpbrk(key, "*+?^$()[]{}|\\") ? ORGAN_RULE_EXACT : kind;
}

/* In GPTQ's "dynamic" (ORGAN_RULE_REGEX), the key "+:PATTERN" or "PATTERN" gives the modules that match the pattern
 * their own settings, and "-:PATTERN" excludes them from quantisation. AutoRound takes an expression without settings
 * for none. */
static void read_override(const scope *at, const scope *all, const char *key, const override_form *form)
{
    const bool sign = form->kind == ORGAN_RULE_REGEX && (strncmp(key, "-:", 2) == 0 || strncmp(key, "+:", 2) == 0);
    const char *const pattern = sign ? key + strlen("+:") : key;
    if (sign && *key == '-') {
        organ_quant_add_rule(all, key, &at->config->skipped, form->kind, pattern, /*value=*/NULL);
        return;
    }
    const organ_rule_kind kind = kind_of_key(all, form->kind, key);
    const scope override = organ_quant_enter(all, key);
    organ_quant_group *const group = organ_quant_new_group(all, override.path, &at->config->all);
    if (!group || (kind == ORGAN_RULE_SEARCH && json_object_size(override.object) == 0))
        return;
    organ_quant_read_fields(&override, form->fields, group);
    if (form->more)
        form->more(&override, group);
    organ_quant_add_rule(all, key, &at->config->targets, kind, pattern, group);
}

static void read_overrides(const scope *at, const override_form *form)
{
    const scope all = organ_quant_enter(at, form->member);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)all.object, key, value) read_override(at, &all, key, form);
}

/* ---- the whole config ---- */

/* all_fields are for all modules in configs of GPTQ, AWQ and FP8 tools; dynamic_fields are those of GPTQ's
 * "dynamic", layer_fields those of ModelOpt's "quantized_layers". */
static const organ_quant_field all_fields[] = {{"bits", ORGAN_QUANT_BITS},
                                               {"w_bit", ORGAN_QUANT_BITS},
                                               {"wbits", ORGAN_QUANT_BITS},
                                               {"group_size", ORGAN_QUANT_GROUP_SIZE},
                                               {"q_group_size", ORGAN_QUANT_GROUP_SIZE},
                                               {"sym", ORGAN_QUANT_SYMMETRIC},
                                               {"zero_point", ORGAN_QUANT_ZERO_POINT},
                                               {"weight_block_size", ORGAN_QUANT_BLOCK},
                                               {NULL, 0}};
static const organ_quant_field dynamic_fields[] = {
    {"bits", ORGAN_QUANT_BITS}, {"group_size", ORGAN_QUANT_GROUP_SIZE}, {"sym", ORGAN_QUANT_SYMMETRIC}, {NULL, 0}};
static const organ_quant_field auto_round_fields[] = {{"bits", ORGAN_QUANT_BITS},
                                                      {"group_size", ORGAN_QUANT_GROUP_OR_BLOCK},
                                                      {"sym", ORGAN_QUANT_SYMMETRIC},
                                                      {"weight_block_size", ORGAN_QUANT_BLOCK},
                                                      {NULL, 0}};
static const organ_quant_field layer_fields[] = {{"group_size", ORGAN_QUANT_GROUP_SIZE}, {NULL, 0}};
static const organ_quant_field no_fields[] = {{NULL, 0}};

/* Layers of more than 8 bits are not quantised. */
static void read_auto_round_layer(const scope *at, organ_quant_group *group)
{
    if (json_integer_value(organ_quant_member(at, "bits")) <= 8)
        organ_quant_read_fields(at, auto_round_fields, group);
    organ_quant_read_term(at, "data_type", &group->codes);
    organ_quant_read_auto_round(at, group);
}

static const override_form any_overrides[] = {
    {"dynamic", ORGAN_RULE_REGEX, dynamic_fields, NULL},
    {"quantized_layers", ORGAN_RULE_EXACT, layer_fields, organ_quant_read_algorithm},
};
static const override_form quark_overrides[] = {
    {"layer_quant_config", ORGAN_RULE_GLOB, no_fields, organ_quant_read_quark},
    {"layer_type_quant_config", ORGAN_RULE_CLASS, no_fields, organ_quant_read_quark},
};
static const override_form auto_round_overrides = {"extra_config", ORGAN_RULE_SEARCH, no_fields, read_auto_round_layer};

/* scale_fmt and quant_algo state how inputs are rounded (quant_config_inputs.c); the value of fmt is not used. */
static void read_layout(const scope *at)
{
    static const char *const words[] = {"scale_fmt", "fmt", "quant_algo"};
    organ_quant_config *const config = at->config;
    const json_t *const marlin = organ_quant_member(at, "is_marlin_format");
    const char *ignored = "";
    if (marlin && !json_is_boolean(marlin))
        organ_quant_fail_value(at, "is_marlin_format", marlin, "true or false");
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        organ_quant_read_word(at, words[k], &ignored);
    organ_quant_read_term(at, "pack_dtype", &config->pack_dtype);
    if (!strstr(config->method, "gptq") && !strstr(config->method, "awq"))
        return; /* "format" and "version" mean other things in other methods */
    if (json_is_true(marlin))
        config->layout = "marlin";
    else if (organ_quant_member(at, "checkpoint_format"))
        organ_quant_read_term(at, "checkpoint_format", &config->layout);
    else
        organ_quant_read_term(at, organ_quant_member(at, "version") ? "version" : "format", &config->layout);
}

/* ModelOpt may repeat the form of its own file: then the settings are in an object of the section. */
static void read_section(const scope *at, const char *method)
{
    static const scope nothing = {.object = NULL};
    organ_quant_config *const config = at->config;
    config->method = method;
    config->section = at->object;
    organ_quant_read_word(at, "quant_method", &config->method);
    const scope inner = strcmp(config->method, "modelopt") == 0 ? organ_quant_enter(at, MODELOPT_SECTION) : nothing;
    if (inner.object) {
        read_section(&inner, config->method);
        return;
    }
    if (strcmp(config->method, "compressed-tensors") == 0)
        organ_quant_read_term(at, "format", &config->all.format);
    const bool auto_round = strstr(config->method, "auto-round");
    organ_quant_read_fields(at, auto_round ? auto_round_fields : all_fields, &config->all);
    if (auto_round)
        organ_quant_read_term(at, "data_type", &config->all.codes);
    organ_quant_read_scheme(at, &config->all);
    read_groups(at);
    for (size_t k = 0; k < 2; k++)
        read_overrides(at, &any_overrides[k]);
    for (size_t k = 0; k < 2 && strcmp(config->method, "quark") == 0; k++)
        read_overrides(at, &quark_overrides[k]);
    if (auto_round)
        read_overrides(at, &auto_round_overrides);
    organ_quant_check_keys(at);
    organ_quant_read_cache(at);
    organ_quant_read_rotations(at);
    read_layout(at);
    read_skipped(at);
}

/* Reads the file into config->root. The scope has no object if there is no such file, or after an error. */
static scope load_config_file(organ_quant_config *config, const organ_model *model, const char *name,
                              organ_error *error)
{
    organ_clear_json(&config->root);
    config->file = name;
    organ_model_load_json(model, name, name, &config->root, error);
    return (scope){config, error, "", config->root};
}

/* Returns the first section of quantisation that names a method; without an object if there is none. */
static scope find_section(const scope *top, const scope *inner)
{
    const organ_quant_section *at;
    scope section = {.object = NULL};
    for (size_t k = 0; (at = organ_quant_section_at(k)) && !section.object; k++)
        if (at->methods)
            section = organ_quant_enter(top, at->key);
    for (size_t k = 0; (at = organ_quant_section_at(k)) && !section.object; k++)
        if (at->methods)
            section = organ_quant_enter(inner, at->key);
    return section;
}

/* Returns whether the file states a quantisation. */
static bool read_config_json(organ_quant_config *config, const organ_model *model, organ_error *error)
{
    const scope top = load_config_file(config, model, "config.json", error),
                inner = organ_quant_enter(&top, "text_config");
    if (!top.object || organ_quant_read_mlx(model, &top, &inner))
        return top.object;
    const scope section = find_section(&top, &inner);
    if (section.object)
        read_section(&section, "");
    return section.object;
}

/* The order is config.json, then the files that ModelOpt, GPTQ and AWQ write. If no file has settings, config->file
 * is "". */
static organ_status read_files(organ_quant_config *config, const organ_model *model, organ_error *error)
{
    /* file; member with the settings ("": the whole file); method if quant_method is missing */
    static const char *const files[][3] = {{MODELOPT_FILE, MODELOPT_SECTION, "modelopt"},
                                           {"quantize_config.json", "", "gptq"},
                                           {"quant_config.json", "", "awq"}};
    if (read_config_json(config, model, error))
        return error->status;
    for (size_t k = 0; k < 3 && !error->status; k++) {
        const scope top = load_config_file(config, model, files[k][0], error);
        const scope section = *files[k][1] ? organ_quant_enter(&top, files[k][1]) : top;
        if (section.object) {
            read_section(&section, files[k][2]);
            return error->status;
        }
    }
    config->file = "";
    return error->status;
}

organ_status organ_quant_config_check_plain(const organ_model *model, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_quant_config made = {.method = ""};
    const scope top = load_config_file(&made, model, "config.json", error),
                inner = organ_quant_enter(&top, "text_config"), section = find_section(&top, &inner);
    if (section.object)
        organ_quant_check_method(&section);
    organ_arena_release(&made.arena);
    json_decref(made.root);
    return error->status;
}

organ_status organ_quant_config_read(const organ_model *model, organ_quant_config **config, organ_error *error)
{
    organ_quant_config *const made = *config = calloc(1, sizeof *made);
    if (!made)
        return organ_fail_memory(error, model->path);
    made->model_type = model->config.model_type;
    made->file = made->method = made->layout = made->pack_dtype = made->cache_text = made->strangers = made->unrounded =
        made->rotation.type = "";
    made->all = (organ_quant_group){.name = "", .format = "", .codes = "", .strategy = "", .symmetric = -1};
    if (read_files(made, model, error) != ORGAN_OK) {
        organ_quant_config_free(made);
        *config = NULL;
    }
    return error->status;
}

void organ_quant_config_free(organ_quant_config *config)
{
    if (!config)
        return;
    organ_quant_rules_release(&config->targets);
    organ_quant_rules_release(&config->skipped);
    organ_quant_release_rotations(config);
    organ_arena_release(&config->arena);
    json_decref(config->root);
    free(config);
}

/* ModelOpt writes hf_quant_config.json beside a config.json whose section may say nothing about the cache. */
static void read_cache_beside(organ_quant_config *config, const organ_model *model, organ_error *error)
{
    const scope top = load_config_file(config, model, MODELOPT_FILE, error),
                section = organ_quant_enter(&top, MODELOPT_SECTION);
    if (section.object)
        organ_quant_read_cache(&section);
}

organ_status organ_cache_declared(const organ_model *model, organ_cache_codes *codes, char text[64], organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_quant_config *config = NULL;
    *codes = ORGAN_CACHE_PLAIN;
    *text = '\0';
    if (model->gguf || organ_quant_config_read(model, &config, error) != ORGAN_OK)
        return error->status;
    if (!*config->cache_text && strcmp(config->file, "config.json") == 0)
        read_cache_beside(config, model, error);
    if (!error->status && *config->cache_text) {
        *codes = config->cache ? ORGAN_CACHE_E4M3 : ORGAN_CACHE_OTHER;
        snprintf(text, 64, "%s", config->cache_text);
    }
    organ_quant_config_free(config);
    return error->status;
}

/* The name of a module in transformers or mlx-lm may differ from that in the file. */
static organ_status find_rule(organ_quant_config *config, organ_quant_rules *rules, const char *name, bool embedding,
                              bool *found, const void **value, organ_error *error)
{
    char alias[ORGAN_MODULE_NAME_SIZE];
    const bool named = strcmp(config->method, "mlx") == 0
                           ? organ_mlx_module_name(config->model_type, name, alias, sizeof alias)
                           : organ_module_name(config->model_type, name, alias, sizeof alias, /*form=*/NULL);
    const bool other = named && strcmp(name, alias) != 0;
    const organ_quant_module module = {name, other ? alias : NULL, embedding};
    return organ_quant_rules_find(rules, &module, config->file, found, value, error);
}

organ_status organ_quant_config_of(organ_quant_config *config, const char *module, bool embedding,
                                   const organ_quant_group **group, bool *named, organ_error *error)
{
    bool found;
    const void *value;
    if (find_rule(config, &config->targets, module, embedding, &found, &value, error) != ORGAN_OK)
        return error->status;
    *group = found ? value : &config->all;
    *named = found || (*config->method && !config->grouped);
    return ORGAN_OK;
}

organ_status organ_quant_config_is_skipped(organ_quant_config *config, const char *module, bool embedding,
                                           bool *skipped, organ_error *error)
{
    const void *value;
    return find_rule(config, &config->skipped, module, embedding, skipped, &value, error);
}

organ_status organ_quant_config_applies(organ_quant_config *config, organ_quant_apply *apply, const char *module,
                                        bool embedding, bool *selected, organ_error *error)
{
    const void *value;
    bool ignored = false;
    if (find_rule(config, &apply->targets, module, embedding, selected, &value, error) == ORGAN_OK && *selected)
        find_rule(config, &apply->ignored, module, embedding, &ignored, &value, error);
    *selected = *selected && !ignored;
    return error->status;
}
