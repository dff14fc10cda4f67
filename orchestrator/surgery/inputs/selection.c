/* SPDX-License-Identifier: MIT
 * Parses the options that select layers and groups of tensors, map layers, and choose a number type. */
#include "orchestrator/surgery/inputs/selection.h"

#include <string.h>

#define ALL_GROUPS ((1u << (ORGAN_GROUP_OTHER + 1)) - 1) /* a bit for each organ_group */

static bool selection_read_layer(const char **text, int32_t *layer)
{
    const char *at = *text;
    int64_t number = 0;
    for (; *at >= '0' && *at <= '9' && number <= INT32_MAX; at++)
        number = 10 * number + (*at - '0');
    if (at == *text || number > INT32_MAX)
        return false;
    *layer = (int32_t)number;
    *text = at;
    return true;
}

static bool read_span(const char **text, organ_layer_span *span)
{
    const char *at = *text;
    if (!selection_read_layer(&at, &span->from))
        return false;
    span->to = span->from;
    if (*at == '-' && (at++, !selection_read_layer(&at, &span->to)))
        return false;
    *text = at;
    return span->to >= span->from;
}

static organ_status read_types(const char *types, organ_selection *selection, organ_error *error)
{
    for (const char *word = types;; word++) {
        const size_t length = strcspn(word, ",");
        unsigned groups = length == 3 && memcmp(word, "all", 3) == 0 ? ALL_GROUPS : 0;
        for (organ_group g = 0; g <= ORGAN_GROUP_OTHER; g++)
            if (strlen(organ_group_name(g)) == length && memcmp(word, organ_group_name(g), length) == 0)
                groups |= 1u << g;
        if (!groups)
            return organ_fail(error, ORGAN_USAGE,
                              "--type has '%.*s', but the values are skeleton, organ, embed, norm, other and all",
                              (int)(length < 200 ? length : 200), word);
        selection->groups |= groups;
        word += length;
        if (!*word)
            return ORGAN_OK;
    }
}

static organ_status read_layers(const char *layers, organ_selection *selection, organ_error *error)
{
    for (const char *word = layers;; word++) {
        if (selection->span_count == ORGAN_SELECTION_SPANS)
            return organ_fail(error, ORGAN_USAGE, "--layers has more than %d ranges", ORGAN_SELECTION_SPANS);
        const char *at = word;
        if (!read_span(&at, &selection->spans[selection->span_count++]) || (*at && *at != ','))
            return organ_fail(error, ORGAN_USAGE,
                              "--layers has '%.200s', but must be numbers and ranges such as 5-20 or 0-3,8", word);
        if (!*at)
            return ORGAN_OK;
        word = at;
    }
}

organ_status organ_selection_parse(const char *types, const char *layers, organ_selection *selection,
                                   organ_error *error)
{
    *selection = (organ_selection){0};
    if (!types)
        selection->groups = ALL_GROUPS;
    else if (read_types(types, selection, error))
        return error->status;
    return layers ? read_layers(layers, selection, error) : ORGAN_OK;
}

bool organ_selected(const organ_selection *selection, const organ_tensor *tensor)
{
    bool inside = selection->span_count == 0;
    for (size_t k = 0; k < selection->span_count && !inside; k++)
        inside = tensor->anatomy.layer >= selection->spans[k].from && tensor->anatomy.layer <= selection->spans[k].to;
    return inside && (selection->groups >> tensor->anatomy.group & 1);
}

organ_status organ_layer_map_parse(const char *text, organ_layer_moves *map, organ_error *error)
{
    *map = (organ_layer_moves){0};
    for (const char *word = text; word; word++) {
        organ_layer_span from, to;
        const char *at = word;
        if (map->count == ORGAN_SELECTION_SPANS)
            return organ_fail(error, ORGAN_USAGE, "--map has more than %d ranges", ORGAN_SELECTION_SPANS);
        if (!read_span(&at, &from) || *at++ != ':' || !read_span(&at, &to) || (*at && *at != ','))
            return organ_fail(error, ORGAN_USAGE,
                              "--map has '%.200s', but must be pairs of ranges such as 5-20:6-21 or 3:7,4:9", word);
        if (from.to - from.from != to.to - to.from)
            return organ_fail(error, ORGAN_USAGE,
                              "--map has '%.200s': %d-%d and %d-%d have different numbers of layers", word,
                              (int)from.from, (int)from.to, (int)to.from, (int)to.to);
        map->spans[map->count].from = from;
        map->spans[map->count++].to = to.from;
        if (!*at)
            break;
        word = at;
    }
    return ORGAN_OK;
}

int32_t organ_layer_mapped(const organ_layer_moves *map, int32_t layer)
{
    for (size_t k = 0; k < map->count; k++)
        if (layer >= map->spans[k].from.from && layer <= map->spans[k].from.to)
            return map->spans[k].to + (layer - map->spans[k].from.from);
    return layer;
}

organ_status organ_dtype_requested(const char *name, organ_dtype *dtype, organ_error *error)
{
    static const struct {
        const char *name;
        organ_dtype dtype;
    } known[] = {{"bf16", ORGAN_BF16}, {"f16", ORGAN_F16}, {"f32", ORGAN_F32}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (!name || strcmp(name, known[k].name) == 0) {
            *dtype = known[k].dtype;
            return ORGAN_OK;
        }
    return organ_fail(error, ORGAN_USAGE, "dtype '%s' is not one of bf16, f16, f32", name);
}
