/* SPDX-License-Identifier: MIT */
#include "formats/weights/quant_config_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef organ_quant_scope scope;

/* ---- lists of modules ---- */

static organ_status add_rule(const scope *at, const char *key, organ_quant_rules *rules, organ_rule_kind kind, const char *text,
                             const void *value, organ_error *error)
{
    char field[320];
    snprintf(field, sizeof field, "%.200s%s%.100s", at->path, *at->path ? "." : "", key);
    return organ_quant_rules_add(rules, kind, text, value, at->config->file, field, error);
}

/* compressed-tensors writes whole names of modules, other tools write parts of them; a name without a dot may be that of a class. */
static organ_status add_name(const scope *at, const char *key, organ_quant_rules *rules, const char *text, bool whole, const void *value,
                             organ_error *error)
{
    if (strncmp(text, "re:", 3) == 0)
        return add_rule(at, key, rules, ORGAN_RULE_REGEX, text + 3, value, error);
    if (strpbrk(text, "*?"))
        return add_rule(at, key, rules, ORGAN_RULE_GLOB, text, value, error);
    if (add_rule(at, key, rules, ORGAN_RULE_EXACT, text, value, error) != ORGAN_OK)
        return error->status;
    if (!whole)
        return add_rule(at, key, rules, ORGAN_RULE_PART, text, value, error);
    return strchr(text, '.') ? ORGAN_OK : add_rule(at, key, rules, ORGAN_RULE_CLASS, text, value, error);
}

static organ_status read_names(const scope *at, const char *key, const json_t *list, organ_quant_rules *rules, bool whole,
                               const void *value, organ_error *error)
{
    if (!list)
        return ORGAN_OK;
    if (!json_is_array(list))
        return organ_quant_fail_value(at, key, list, "a list of strings", error);
    for (size_t k = 0; k < json_array_size(list); k++) {
        const char *const text = organ_json_plain(json_array_get(list, k));
        if (!text)
            return organ_quant_fail_value(at, key, json_array_get(list, k), "a string", error);
        if (*text && add_name(at, key, rules, text, whole, value, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

static organ_status read_spared(const scope *at, organ_error *error)
{
    static const char *const keys[] = {"ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules", "exclude"};
    const bool whole = strcmp(at->config->method, "compressed-tensors") == 0;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        if (read_names(at, keys[k], organ_quant_member(at, keys[k]), &at->config->spared, whole, NULL, error) != ORGAN_OK)
            return error->status;
    return ORGAN_OK;
}

/* ---- groups ---- */

static organ_quant_group *new_group(const scope *at, const char *name, const organ_quant_group *like, organ_error *error)
{
    organ_quant_group *const group = organ_arena_take(&at->config->arena, sizeof *group);
    if (!group)
        organ_quant_no_memory(at, error);
    else
        *group = *like;
    if (group)
        group->name = name;
    return group;
}

/* A strategy that needs a number has it. */
static organ_status check_strategy(const scope *at, organ_quant_group *group, organ_error *error)
{
    static const char *const known[] = {"tensor", "channel", "group", "block", "token", "tensor_group", "attn_head"};
    const char *strategy = "";
    if (organ_quant_read_term(at, "strategy", &strategy, error) != ORGAN_OK)
        return error->status;
    bool found = !*strategy;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        found = found || strcmp(strategy, known[k]) == 0;
    if (!found)
        return organ_quant_fail_value(at, "strategy", organ_quant_member(at, "strategy"), "a strategy that is known", error);
    if ((strcmp(strategy, "group") == 0 || strcmp(strategy, "tensor_group") == 0) && group->group_size <= 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s.strategy is \"%s\", but there is no group_size above 0", at->config->file,
                          at->path, strategy);
    if (strcmp(strategy, "block") == 0 && group->block_rows == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s.strategy is \"block\", but there is no block_structure", at->config->file,
                          at->path);
    if (strcmp(strategy, "channel") == 0)
        group->group_size = -1;
    return ORGAN_OK;
}

static organ_status read_weights(const scope *at, organ_quant_group *group, organ_error *error)
{
    static const organ_quant_field fields[] = {{"num_bits", ORGAN_QUANT_BITS},
                                               {"symmetric", ORGAN_QUANT_SYMMETRIC},
                                               {"group_size", ORGAN_QUANT_GROUP_SIZE},
                                               {"block_structure", ORGAN_QUANT_BLOCK},
                                               {NULL, 0}};
    const char *type = "int";
    if (organ_quant_read_fields(at, fields, group, error) != ORGAN_OK || organ_quant_read_term(at, "type", &type, error) != ORGAN_OK)
        return error->status;
    if (strcmp(type, "int") != 0 && strcmp(type, "float") != 0)
        return organ_quant_fail_value(at, "type", organ_quant_member(at, "type"), "\"int\" or \"float\"", error);
    return check_strategy(at, group, error);
}

/* A group of compressed-tensors or ModelOpt: {targets, weights, format}, or only targets under the name of a preset. */
static organ_status read_group(const scope *groups, const char *key, const json_t *value, organ_error *error)
{
    scope at, weights;
    organ_quant_config *const config = groups->config;
    if (json_is_array(value)) {
        organ_quant_group *const preset = new_group(groups, key, &config->all, error);
        return preset ? read_names(groups, key, value, &config->targets, true, preset, error) : error->status;
    }
    if (organ_quant_enter(groups, key, &at, error) != ORGAN_OK || !at.object ||
        organ_quant_enter(&at, "weights", &weights, error) != ORGAN_OK || !weights.object)
        return error->status;
    organ_quant_group *const group = new_group(&at, weights.path, &config->all, error);
    if (!group || organ_quant_read_term(&at, "format", &group->format, error) != ORGAN_OK ||
        read_weights(&weights, group, error) != ORGAN_OK)
        return error->status;
    if (!organ_quant_member(&at, "targets"))
        return add_rule(&at, "targets", &config->targets, ORGAN_RULE_CLASS, "Linear", group, error);
    return read_names(&at, "targets", organ_quant_member(&at, "targets"), &config->targets, true, group, error);
}

static organ_status read_groups(const scope *at, organ_error *error)
{
    scope groups;
    const char *key;
    json_t *value;
    if (organ_quant_enter(at, "config_groups", &groups, error) != ORGAN_OK || !groups.object)
        return error->status;
    at->config->grouped = true;
    json_object_foreach((json_t *)groups.object, key, value)
    {
        if (read_group(&groups, key, value, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

/* Modules with numbers of their own. GPTQ's dynamic: "+:pattern" has other numbers, "-:pattern" is left as it is. ModelOpt's
 * quantized_layers: names of layers. */
static organ_status read_overrides(const scope *at, const char *key_of_all, organ_rule_kind kind, const organ_quant_field *fields,
                                   organ_error *error)
{
    scope all, override;
    const char *key;
    json_t *value;
    if (organ_quant_enter(at, key_of_all, &all, error) != ORGAN_OK || !all.object)
        return error->status;
    json_object_foreach((json_t *)all.object, key, value)
    {
        const bool sign = kind == ORGAN_RULE_REGEX && (strncmp(key, "-:", 2) == 0 || strncmp(key, "+:", 2) == 0);
        if (sign && *key == '-') {
            if (add_rule(&all, key, &at->config->spared, kind, key + 2, NULL, error) != ORGAN_OK)
                return error->status;
            continue;
        }
        if (organ_quant_enter(&all, key, &override, error) != ORGAN_OK)
            return error->status;
        organ_quant_group *const group = new_group(&all, override.path, &at->config->all, error);
        if (!group || organ_quant_read_fields(&override, fields, group, error) != ORGAN_OK ||
            add_rule(&all, key, &at->config->targets, kind, key + 2 * sign, group, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

/* ---- the whole ---- */

/* The numbers of all modules, under the names that GPTQ, AWQ and FP8 tools give them. */
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
static const organ_quant_field layer_fields[] = {{"group_size", ORGAN_QUANT_GROUP_SIZE}, {NULL, 0}};

static organ_status read_layout(const scope *at, organ_error *error)
{
    organ_quant_config *const config = at->config;
    const json_t *const marlin = organ_quant_member(at, "is_marlin_format");
    const char *ignored = "";
    if (marlin && !json_is_boolean(marlin))
        return organ_quant_fail_value(at, "is_marlin_format", marlin, "true or false", error);
    if (organ_quant_read_word(at, "scale_fmt", &ignored, error) != ORGAN_OK ||
        organ_quant_read_word(at, "fmt", &ignored, error) != ORGAN_OK ||
        organ_quant_read_word(at, "quant_algo", &ignored, error) != ORGAN_OK ||
        organ_quant_read_term(at, "pack_dtype", &config->pack_dtype, error) != ORGAN_OK)
        return error->status;
    if (!strstr(config->method, "gptq") && !strstr(config->method, "awq"))
        return ORGAN_OK; /* "format" and "version" mean other things there */
    const char *const key = organ_quant_member(at, "checkpoint_format") ? "checkpoint_format"
                            : organ_quant_member(at, "version")         ? "version"
                                                                        : "format";
    if (json_is_true(marlin))
        config->layout = "marlin";
    return json_is_true(marlin) ? ORGAN_OK : organ_quant_read_term(at, key, &config->layout, error);
}

static organ_status read_section(const scope *at, const char *method, organ_error *error)
{
    organ_quant_config *const config = at->config;
    config->method = method;
    if (organ_quant_read_word(at, "quant_method", &config->method, error) != ORGAN_OK)
        return error->status;
    if (strcmp(config->method, "compressed-tensors") == 0 && organ_quant_read_term(at, "format", &config->all.format, error) != ORGAN_OK)
        return error->status;
    if (organ_quant_read_fields(at, all_fields, &config->all, error) != ORGAN_OK || read_groups(at, error) != ORGAN_OK ||
        read_overrides(at, "dynamic", ORGAN_RULE_REGEX, dynamic_fields, error) != ORGAN_OK ||
        read_overrides(at, "quantized_layers", ORGAN_RULE_EXACT, layer_fields, error) != ORGAN_OK || read_layout(at, error) != ORGAN_OK)
        return error->status;
    return read_spared(at, error);
}

/* Loads a file of the model as config->root, NULL if there is none. */
static organ_status load_config_file(organ_quant_config *config, const organ_model *model, const char *name, organ_error *error)
{
    char *bytes;
    size_t length;
    json_decref(config->root);
    config->root = NULL;
    config->file = name;
    if (organ_model_load(model, name, ORGAN_CONFIG_LIMIT, &bytes, &length, error) != ORGAN_OK || !bytes)
        return error->status;
    organ_hf_config_tidy(bytes, length);
    const organ_json_text text = {name, bytes, length};
    organ_json_parse(&text, (organ_json_span){0, length}, NULL, &config->root, error);
    free(bytes);
    if (!error->status && !json_is_object(config->root))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is not an object", name);
    return error->status;
}

static organ_status read_config_json(organ_quant_config *config, const organ_model *model, bool *found, organ_error *error)
{
    static const char *const keys[] = {"quantization_config", "compression_config"};
    scope inner = {.object = NULL}, section = {.object = NULL};
    if (load_config_file(config, model, "config.json", error) != ORGAN_OK || !config->root)
        return error->status;
    const scope top = {config, "", config->root};
    if (organ_quant_enter(&top, "text_config", &inner, error) != ORGAN_OK ||
        organ_quant_read_mlx(model, &top, &inner, found, error) != ORGAN_OK || *found)
        return error->status;
    for (size_t k = 0; k < 4 && !section.object; k++) {
        const scope *const outer = k < 2 ? &top : &inner;
        if (outer->object && organ_quant_enter(outer, keys[k % 2], &section, error) != ORGAN_OK)
            return error->status;
    }
    *found = section.object != NULL;
    return *found ? read_section(&section, "", error) : ORGAN_OK;
}

static organ_status read_files(organ_quant_config *config, const organ_model *model, organ_error *error)
{
    static const char *const files[][3] = {
        {"hf_quant_config.json", "quantization", "modelopt"}, {"quantize_config.json", "", "gptq"}, {"quant_config.json", "", "awq"}};
    bool found = false;
    if (read_config_json(config, model, &found, error) != ORGAN_OK || found)
        return error->status;
    for (size_t k = 0; k < 3; k++) {
        if (load_config_file(config, model, files[k][0], error) != ORGAN_OK)
            return error->status;
        if (!config->root)
            continue;
        const scope top = {config, "", config->root};
        scope section = top;
        if (*files[k][1] && organ_quant_enter(&top, files[k][1], &section, error) != ORGAN_OK)
            return error->status;
        if (section.object)
            return read_section(&section, files[k][2], error);
    }
    config->file = "";
    return ORGAN_OK;
}

organ_status organ_quant_config_read(const organ_model *model, organ_quant_config **config, organ_error *error)
{
    *config = NULL;
    organ_quant_config *const made = calloc(1, sizeof *made);
    if (!made)
        return organ_fail_memory(error, model->path);
    made->file = made->method = made->layout = made->pack_dtype = "";
    made->all = (organ_quant_group){.name = "", .format = "", .symmetric = -1};
    if (read_files(made, model, error) != ORGAN_OK) {
        organ_quant_config_free(made);
        return error->status;
    }
    *config = made;
    return ORGAN_OK;
}

void organ_quant_config_free(organ_quant_config *config)
{
    if (!config)
        return;
    organ_quant_rules_release(&config->targets);
    organ_quant_rules_release(&config->spared);
    organ_arena_release(&config->arena);
    json_decref(config->root);
    free(config);
}

const char *organ_quant_config_file(const organ_quant_config *config) { return config->file; }
const char *organ_quant_config_method(const organ_quant_config *config) { return config->method; }
const char *organ_quant_config_layout(const organ_quant_config *config) { return config->layout; }
const char *organ_quant_config_pack_dtype(const organ_quant_config *config) { return config->pack_dtype; }

organ_status organ_quant_config_of(organ_quant_config *config, const char *module, bool embedding, const organ_quant_group **group,
                                   bool *named, organ_error *error)
{
    bool found;
    const void *value;
    if (organ_quant_rules_find(&config->targets, module, embedding, config->file, &found, &value, error) != ORGAN_OK)
        return error->status;
    *group = found ? value : &config->all;
    *named = found || (*config->method && !config->grouped);
    return ORGAN_OK;
}

organ_status organ_quant_config_spares(organ_quant_config *config, const char *module, bool embedding, bool *spared, organ_error *error)
{
    const void *value;
    return organ_quant_rules_find(&config->spared, module, embedding, config->file, spared, &value, error);
}
