/* SPDX-License-Identifier: MIT
 * What MLX writes of its quantisation: {"bits": 4, "group_size": 64, "mode": "affine"}, and among these the modules that have numbers of
 * their own ("model.embed_tokens": {"bits": 8, ...}) or are left as they are (false). */
#include "formats/weights/quant_config_parts.h"

#include "formats/base/path.h"

static bool has_words(const organ_model *model)
{
    for (size_t k = 0; k < model->tensor_count; k++)
        if (model->tensors[k].dtype == ORGAN_U32 && organ_ends_with(model->tensors[k].name, ".weight"))
            return true;
    return false;
}

static organ_status read_numbers(const organ_quant_scope *at, organ_quant_group *group, organ_error *error)
{
    static const organ_quant_field fields[] = {{"bits", ORGAN_QUANT_BITS}, {"group_size", ORGAN_QUANT_GROUP_SIZE}, {NULL, 0}};
    if (organ_quant_read_fields(at, fields, group, error) != ORGAN_OK)
        return error->status;
    return organ_quant_read_term(at, "mode", &group->format, error);
}

/* Names of modules are those of the tensors: no pattern. */
static organ_status add_mlx_module(const organ_quant_scope *at, const char *name, organ_quant_rules *rules, const organ_quant_group *group,
                                   organ_error *error)
{
    return organ_quant_rules_add(rules, ORGAN_RULE_EXACT, name, group, at->config->file, at->path, error);
}

static organ_status read_module(const organ_quant_scope *at, const char *name, organ_error *error)
{
    organ_quant_config *const config = at->config;
    organ_quant_scope module;
    if (organ_quant_enter(at, name, &module, error) != ORGAN_OK)
        return error->status;
    organ_quant_group *const group = organ_arena_take(&config->arena, sizeof *group);
    if (!group)
        return organ_quant_no_memory(at, error);
    *group = (organ_quant_group){.name = module.path, .format = "", .symmetric = -1};
    if (read_numbers(&module, group, error) != ORGAN_OK)
        return error->status;
    return add_mlx_module(at, name, &config->targets, group, error);
}

static organ_status read_section(const organ_quant_scope *at, organ_error *error)
{
    const char *name;
    json_t *value;
    at->config->method = "mlx";
    if (read_numbers(at, &at->config->all, error) != ORGAN_OK)
        return error->status;
    json_object_foreach((json_t *)at->object, name, value)
    {
        if (json_is_object(value) && read_module(at, name, error) != ORGAN_OK)
            return error->status;
        if (json_is_false(value) && add_mlx_module(at, name, &at->config->spared, NULL, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

organ_status organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner, bool *found,
                                  organ_error *error)
{
    static const char *const keys[] = {"quantization", "quantization_config"};
    organ_quant_scope section = {.object = NULL};
    *found = false;
    if (!has_words(model))
        return ORGAN_OK;
    for (size_t k = 0; k < 4 && !section.object; k++) {
        const organ_quant_scope *const from = k < 2 ? top : inner;
        if (from->object && organ_quant_enter(from, keys[k % 2], &section, error) != ORGAN_OK)
            return error->status;
        if (section.object && organ_quant_member(&section, "quant_method"))
            section.object = NULL; /* of another owner */
    }
    *found = section.object != NULL;
    return *found ? read_section(&section, error) : ORGAN_OK;
}
