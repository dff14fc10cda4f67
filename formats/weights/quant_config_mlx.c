/* SPDX-License-Identifier: MIT
 * Reads MLX's quantisation settings: {"bits": 4, "group_size": 64, "mode": "affine"}. The same object lists modules
 * with their own numbers ("model.embed_tokens": {"bits": 8, ...}) or without quantisation (false). */
#include "formats/weights/quant_config_parts.h"

#include "formats/base/path.h"

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
    static const organ_quant_group nothing = {.format = "", .symmetric = -1};
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
            add_mlx_module(at, name, &at->config->skipped, NULL);
    }
}

/* A section with `quant_method` is the config of another method, left over from the model that was converted. */
bool organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner)
{
    static const char *const keys[] = {"quantization", "quantization_config"};
    organ_quant_scope section = {.object = NULL};
    const bool words = has_packed_weights(model);
    for (size_t k = 0; words && k < 4 && !section.object; k++) {
        section = organ_quant_enter(k < 2 ? top : inner, keys[k % 2]);
        if (organ_quant_member(&section, "quant_method"))
            section.object = NULL; /* settings of another method */
    }
    if (section.object)
        read_section(&section);
    return section.object;
}
