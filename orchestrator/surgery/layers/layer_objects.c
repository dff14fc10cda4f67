/* SPDX-License-Identifier: MIT
 * The objects of config.json that describe layers, and the settings of single layers of two models. */
#include "orchestrator/surgery/layers/layer_settings.h"

#include "formats/base/owned.h"

#include <string.h>

bool organ_layers_describes(const json_t *object, uint64_t layers, char count[ORGAN_MEMBER_ROOM])
{
    static const char *const lists[] = {"layers_block_type", "layer_types", NULL};
    const char *const letters = json_string_value(json_object_get(object, "hybrid_override_pattern"));
    for (size_t k = 0; organ_pairing_member("block_count", k, count); k++)
        if (json_is_integer(json_object_get(object, count)))
            return (uint64_t)json_integer_value(json_object_get(object, count)) == layers;
    *count = 0;
    for (size_t k = 0; lists[k]; k++)
        if (json_is_array(json_object_get(object, lists[k])))
            return json_array_size(json_object_get(object, lists[k])) == layers;
    return letters && strlen(letters) == layers;
}

organ_status organ_layers_load(const organ_model *model, uint64_t layers, json_t **root, const json_t **object,
                               organ_error *error)
{
    const char *inside;
    char count[ORGAN_MEMBER_ROOM];
    *object = NULL;
    if (organ_model_load_json(model, "config.json", model->path, root, error) || !*root)
        return error->status;
    for (size_t k = ORGAN_LAYERS_OBJECTS; k-- > 0 && !*object;) {
        const json_t *const found = organ_layers_object(*root, k, &inside);
        if (organ_layers_describes(found, layers, count))
            *object = found;
    }
    return error->status;
}

/* ---- the settings of two layers ---- */

static bool same_values(const organ_layer_origin *one, const organ_layer_origin *other, const char *list)
{
    ORGAN_OWNED_JSON json_t *const a = organ_layer_value(one, list), *const b = organ_layer_value(other, list);
    return a && b ? json_equal(a, b) : a == b;
}

static bool same_letters(const json_t *value, const organ_layer_origin *one, const organ_layer_origin *other,
                         const char *key)
{
    const char *const a = json_string_value(value), *const b = json_string_value(json_object_get(other->object, key));
    return strlen(a) != one->layers || (b && strlen(b) == other->layers && a[one->layer] == b[other->layer]);
}

/* Members of `one` with an entry for each layer that no rule has; and objects of layers, and lists of numbers. */
static bool same_members(const organ_layer_origin *one, const organ_layer_origin *other)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)one->object, key, value)
    {
        const json_t *const there = json_object_get(other->object, key);
        const bool entries = json_array_size(value) >= one->layers && json_array_size(there) >= other->layers;
        const bool named = strstr(key, "layer") || strstr(key, "idxs") || strstr(key, "linear_attn_config");
        if (entries && json_array_get(value, one->layer) && json_array_get(there, other->layer)) {
            if (!json_equal(json_array_get(value, one->layer), json_array_get(there, other->layer)))
                return false;
        } else if ((json_is_array(value) || json_is_object(value)) && (entries || named) &&
                   !(there && json_equal(value, there)))
            return false;
        else if (json_is_string(value) && !same_letters(value, one, other, key))
            return false;
    }
    return true;
}

bool organ_layers_same(const organ_layer_origin *one, const organ_layer_origin *other)
{
    const char *list;
    for (size_t k = 0; organ_layer_rule(one->object, k, &list); k++)
        if (!same_values(one, other, list))
            return false;
    return same_members(one, other) && same_members(other, one);
}
