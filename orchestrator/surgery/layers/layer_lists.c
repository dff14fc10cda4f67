/* SPDX-License-Identifier: MIT
 * Lists in config.json with an entry for each layer, and lists of layer numbers. */
#include "orchestrator/surgery/layers/layer_settings.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists with an entry for each layer ---- */

/* The list has entries for the layers of the text model or for the draft layers too; the latter stay if the file has no
 * draft layers. A donor without the list and without a rule for it is an error. */
static void edit_entries(organ_layer_plan *p, const char *key, const json_t *list)
{
    const size_t size = json_array_size(list), count = size == p->layers ? p->after : p->count;
    json_t *const made = json_array();
    for (size_t n = 0; n < count && !p->s.error->status; n++) {
        json_t *const entry = organ_layer_value(&p->origins[n], key);
        if (!entry)
            organ_settings_refuse(&p->s, key, "the config.json of another donor does not say it of its layers");
        else if (json_array_append_new(made, entry))
            organ_fail_memory(p->s.error, key);
    }
    for (size_t k = p->layers; p->count == p->after && k < size && !p->s.error->status; k++)
        if (json_array_append(made, json_array_get(list, k)))
            organ_fail_memory(p->s.error, key);
    if (p->s.error->status)
        json_decref(made);
    else
        organ_settings_set(&p->s, key, made);
}

/* ---- lists of layer numbers ---- */

static bool are_numbers(const json_t *list, size_t first, size_t limit)
{
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *const value = json_array_get(list, k);
        if (!json_is_integer(value) || json_integer_value(value) < (json_int_t)first ||
            (size_t)json_integer_value(value) - first >= limit)
            return false;
    }
    return true;
}

/* The numbers of the output's layers whose layers in the donors are in the donors' lists. */
static json_t *numbers_of(const organ_layer_plan *p, const char *object, const char *key, size_t first)
{
    json_t *const made = json_array();
    for (size_t n = 0; n < p->count; n++) {
        const organ_layer_origin *const o = &p->origins[n];
        const json_t *const from = object ? json_object_get(o->object, object) : o->object;
        if (organ_layer_among(json_object_get(from, key), first, o->layer) &&
            json_array_append_new(made, json_integer((json_int_t)(n + first))))
            organ_fail_memory(p->s.error, key);
    }
    return made;
}

static void edit_numbers(organ_layer_plan *p, const char *key, const json_t *list)
{
    for (size_t n = 0; n < p->count; n++)
        if (!json_is_array(json_object_get(p->origins[n].object, key))) {
            organ_settings_refuse(&p->s, key, "the config.json of another donor has no such list");
            return;
        }
    if (are_numbers(list, 0, p->layers + (p->count - p->after)))
        organ_settings_set(&p->s, key, numbers_of(p, /*object=*/NULL, key, 0));
    else
        organ_settings_refuse(&p->s, key, "it is not a list of layer numbers");
}

/* moe_layers_enum of Step 3.7 is a text with layer numbers and commas. */
static void edit_number_text(organ_layer_plan *p)
{
    static const char *const key = "moe_layers_enum";
    const bool listed = json_is_string(json_object_get(p->s.object, key));
    ORGAN_OWNED char *text = listed ? strdup("") : NULL;
    for (size_t n = 0; text && n < p->count && !p->s.error->status; n++) {
        const char *const from = json_string_value(json_object_get(p->origins[n].object, key));
        if (!from)
            organ_settings_refuse(&p->s, key, "the config.json of another donor has no such text");
        else if (organ_layer_in_text(from, p->origins[n].layer)) {
            char *const longer = organ_format("%s%s%zu", text, *text ? "," : "", n);
            free(text);
            text = longer;
        }
    }
    if (listed && !text)
        organ_fail_memory(p->s.error, key);
    else if (listed && !p->s.error->status)
        organ_settings_set(&p->s, key, json_string(text));
}

/* The lists of layer numbers in linear_attn_config of Kimi Linear count from 1. */
static void edit_linear_layers(organ_layer_plan *p)
{
    static const char *const key = "linear_attn_config", *const lists[] = {"kda_layers", "full_attn_layers", NULL};
    const json_t *const old = json_object_get(p->s.object, key);
    ORGAN_OWNED_JSON json_t *const made = json_is_object(old) ? json_copy((json_t *)old) : NULL;
    for (size_t k = 0; made && lists[k]; k++) {
        const json_t *const list = json_object_get(old, lists[k]);
        if (!are_numbers(list, 1, p->layers))
            organ_settings_refuse(&p->s, key, "a list has something else than numbers of layers, from 1 on");
        else if (list && json_object_set_new(made, lists[k], numbers_of(p, key, lists[k], 1)))
            organ_fail_memory(p->s.error, key);
    }
    if (made && !p->s.error->status)
        organ_settings_set(&p->s, key, json_incref(made));
}

/* sparse_attention_config of MiniMax M3 has lists with an entry for each layer. */
static void edit_sparse_layers(organ_layer_plan *p)
{
    static const char *const object = "sparse_attention_config", *const lists[] = {"sparse_attention_freq",
                                                                                   "sparse_disable_index_value", NULL};
    const json_t *const old = json_object_get(p->s.object, object);
    ORGAN_OWNED_JSON json_t *const made = json_is_object(old) ? json_copy((json_t *)old) : NULL;
    for (size_t k = 0; made && lists[k] && !p->s.error->status; k++) {
        if (!json_is_array(json_object_get(old, lists[k])))
            continue;
        json_t *const list = json_array();
        for (size_t n = 0; n < p->after; n++) {
            const organ_layer_origin *const o = &p->origins[n];
            const json_t *const from = json_object_get(json_object_get(o->object, object), lists[k]);
            if (json_array_size(from) != o->layers)
                organ_settings_refuse(&p->s, object, "a list of it does not have one entry for each layer");
            else if (json_array_append(list, json_array_get(from, o->layer)))
                organ_fail_memory(p->s.error, object);
        }
        if (json_object_set_new(made, lists[k], list))
            organ_fail_memory(p->s.error, object);
    }
    if (made && !p->s.error->status)
        organ_settings_set(&p->s, object, json_incref(made));
}

/* ---- letters and members by number ---- */

static void edit_letters(organ_layer_plan *p, const char *key)
{
    const char *const letters = json_string_value(json_object_get(p->s.object, key));
    ORGAN_OWNED char *const made = letters && strlen(letters) == p->layers ? calloc(p->after + 1, 1) : NULL;
    if (letters && !made)
        organ_settings_refuse(&p->s, key, "it does not have one letter for each layer");
    for (size_t n = 0; made && n < p->after; n++) {
        const organ_layer_origin *const o = &p->origins[n];
        const char *const from = json_string_value(json_object_get(o->object, key));
        if (from && strlen(from) == o->layers)
            made[n] = from[o->layer];
        else
            organ_settings_refuse(&p->s, key, "the config.json of another donor has no letter for each of its layers");
    }
    if (made && !p->s.error->status)
        organ_settings_set(&p->s, key, json_string(made));
}

/* Gemma 4's object per_layer_config has the sizes of single layers in members named by the layer's number. */
static void edit_layer_sizes(organ_layer_plan *p)
{
    static const char *const key = "per_layer_config";
    const json_t *const sizes = json_object_get(p->s.object, key);
    json_t *const made = json_is_object(sizes) ? json_object() : NULL, *value;
    const char *number;
    char name[24];
    json_object_foreach((json_t *)sizes, number, value)
    {
        char *end;
        if (strtoul(number, &end, 10) >= p->layers || end == number || *end)
            organ_settings_refuse(&p->s, key, "a member's name is not the number of a layer");
    }
    for (size_t n = 0; made && n < p->after && !p->s.error->status; n++) {
        snprintf(name, sizeof name, "%zu", p->origins[n].layer);
        value = json_object_get(json_object_get(p->origins[n].object, key), name);
        snprintf(name, sizeof name, "%zu", n);
        if (value && json_object_set(made, name, value))
            organ_fail_memory(p->s.error, key);
    }
    if (made && !p->s.error->status)
        organ_settings_set(&p->s, key, json_incref(made));
    json_decref(made);
}

static bool has_entries(const organ_layer_plan *p, const char *key, size_t count)
{
    const size_t drafts = organ_layer_number(p->s.object, ORGAN_SETTING_DRAFTS, 0),
                 stored = p->count - p->after; /* draft layers of the file */
    return organ_layer_member_is(key, LAYER_MEMBER_ENTRIES) &&
           (count == p->layers || (count > p->layers && count == p->layers + (stored ? stored : drafts)));
}

void organ_layers_edit_lists(organ_layer_plan *p)
{
    static const char *const letters[] = {"hybrid_override_pattern", "index_topk_pattern", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)p->s.object, key, value)
    {
        const size_t count = json_array_size(value);
        if (!count || p->s.error->status || organ_layer_member_is(key, LAYER_MEMBER_OTHER_LIST))
            continue;
        if (has_entries(p, key, count))
            edit_entries(p, key, value);
        else if (organ_layer_member_is(key, LAYER_MEMBER_NUMBERS))
            edit_numbers(p, key, value);
    }
    for (size_t k = 0; letters[k] && !p->s.error->status; k++)
        edit_letters(p, letters[k]);
    if (!p->s.error->status)
        edit_number_text(p);
    if (!p->s.error->status)
        edit_linear_layers(p);
    if (!p->s.error->status)
        edit_sparse_layers(p);
    if (!p->s.error->status)
        edit_layer_sizes(p);
}

/* ---- unknown members ---- */

/* Words in the names of numbers by layer, and parts of names that have such a word for another reason. */
static const char *const words[] = {"layer", "block", "interval", "period", "step", "first", NULL};
static const char *const parts[] = {"layer_norm", "layernorm", "layerdrop", "layer_drop",
                                    "layerscale", "time_step", NULL};

bool organ_layers_is_suggestive(const char *name)
{
    bool suggestive = false;
    for (size_t k = 0; parts[k]; k++)
        if (strstr(name, parts[k]))
            return false;
    for (size_t k = 0; words[k] && !suggestive; k++)
        suggestive = strstr(name, words[k]);
    return suggestive;
}

/* Each layer keeps its number, and all donors say the same. */
static bool is_kept(const organ_layer_plan *p, const char *key, const json_t *value)
{
    bool kept = p->after == p->layers;
    for (size_t n = 0; n < p->count && kept; n++) {
        const json_t *const other = json_object_get(p->origins[n].object, key);
        kept = p->origins[n].layer == n && other && json_equal(other, value);
    }
    return kept;
}

static bool is_unknown_list(const organ_layer_plan *p, const char *key, size_t count)
{
    return count && !organ_layer_member_is(key, LAYER_MEMBER_OTHER_LIST) &&
           !organ_layer_member_is(key, LAYER_MEMBER_NUMBERS) && !has_entries(p, key, count) &&
           (count == p->layers || strstr(key, "layer"));
}

void organ_layers_refuse_unknown(organ_layer_plan *p)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)p->s.object, key, value)
    {
        const char *why = NULL;
        if (json_is_number(value) && organ_layers_is_suggestive(key) && !organ_layer_member_is(key, LAYER_MEMBER_KNOWN))
            why = ORGAN_LAYERS_SUGGESTS;
        else if (is_unknown_list(p, key, json_array_size(value)))
            why = ORGAN_LAYERS_LISTS;
        if (why && !p->s.error->status && !is_kept(p, key, value))
            organ_settings_refuse(&p->s, key, why);
    }
}
