/* SPDX-License-Identifier: MIT
 * Step 3.7: gives config.json of published files the members that transformers saves (Step3p7TextConfig.__post_init__
 * of configuration_step3p7.py), and reads what only this architecture has. Lists of published files have entries for
 * draft layers after those of the layers. */
#include "formats/architecture/config_readers.h"
#include "formats/architecture/layer_values.h"
#include "formats/base/json.h"

#include <stdio.h>
#include <string.h>

#define FULL         "full_attention"
#define SLIDING      "sliding_attention"
#define TYPES        "layer_types"
#define FIRST_SPARSE 3 /* first layer with experts if config.json does not say so */

static bool is_missing(const json_t *text, const char *key)
{
    const json_t *const value = json_object_get(text, key);
    return !value || json_is_null(value);
}

static void trim_lists(json_t *text, size_t layers)
{
    static const char *const lists[] = {TYPES, "mlp_layer_types", "swiglu_limits", "swiglu_limits_shared"};
    const json_int_t drafts = json_integer_value(json_object_get(text, "num_nextn_predict_layers"));
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        json_t *const list = json_object_get(text, lists[k]);
        if (drafts > 0 && json_array_size(list) == layers + (size_t)drafts)
            while (json_array_size(list) > layers)
                json_array_remove(list, layers);
    }
}

/* moe_layers_enum is a text with the numbers of layers and commas, or a list of numbers. */
static bool is_sparse(const json_t *numbers, size_t layer)
{
    if (!numbers || json_is_null(numbers))
        return layer >= FIRST_SPARSE;
    return json_is_string(numbers) ? organ_layer_in_text(json_string_value(numbers), layer)
                                   : organ_layer_among(numbers, 0, layer);
}

static void add_words(json_t *text, size_t layers)
{
    if (is_missing(text, TYPES)) {
        json_t *const types = json_array();
        for (size_t l = 0; l < layers; l++)
            json_array_append_new(types, json_string(FULL));
        json_object_set_new(text, TYPES, types);
    }
    if (is_missing(text, "mlp_layer_types")) {
        const json_t *const numbers = json_object_get(text, "moe_layers_enum");
        json_t *const words = json_array();
        for (size_t l = 0; l < layers; l++)
            json_array_append_new(words, json_string(is_sparse(numbers, l) ? "sparse" : "dense"));
        json_object_set_new(text, "mlp_layer_types", words);
    }
}

/* Returns the number of the first layer with this word, or `layers`. */
static size_t first_with(const json_t *text, const char *word, size_t layers)
{
    const json_t *const types = json_object_get(text, TYPES);
    for (size_t l = 0; l < layers; l++) {
        const json_t *const own = json_array_get(types, l);
        if (json_is_string(own) && strcmp(organ_json_plain(own), word) == 0)
            return l;
    }
    return layers;
}

/* Layers of a type share a rotation, so it is that of the first one; rope_scaling is for layers without a window. */
static void add_rotation(const json_t *text, json_t *parameters, const char *word, size_t layer)
{
    const json_t *const thetas = json_object_get(text, "rope_theta"),
                        *const parts = json_object_get(text, "partial_rotary_factors"),
                        *const own = json_is_array(thetas) ? json_array_get(thetas, layer) : thetas;
    json_t *const object = json_object(), *const scaling = json_object_get(text, "rope_scaling");
    json_object_set_new(object, "rope_type", json_string("default"));
    json_object_set_new(object, "rope_theta", own && !json_is_null(own) ? json_deep_copy(own) : json_real(1e4));
    if (json_array_size(parts))
        json_object_set(object, "partial_rotary_factor", json_array_get(parts, layer));
    if (json_is_object(scaling) && strcmp(word, FULL) == 0)
        json_object_update(object, scaling);
    json_object_set_new(parameters, word, object);
}

static void add_rotations(json_t *text, size_t layers)
{
    static const char *const words[] = {FULL, SLIDING};
    const json_t *const old = json_object_get(text, "rope_parameters");
    bool complete = json_is_object(old);
    for (size_t k = 0; k < 2; k++)
        complete = complete &&
                   (first_with(text, words[k], layers) == layers || json_is_object(json_object_get(old, words[k])));
    if (complete)
        return;
    json_t *const parameters = json_object();
    for (size_t k = 0; k < 2; k++) {
        const size_t layer = first_with(text, words[k], layers);
        if (layer < layers)
            add_rotation(text, parameters, words[k], layer);
    }
    json_object_set_new(text, "rope_parameters", parameters);
    json_object_del(text, "rope_theta");
}

/* Published names of members, and those that transformers saves. */
static void add_names(json_t *text)
{
    static const char *const names[][2] = {{"num_attention_groups", "num_key_value_heads"},
                                           {"moe_num_experts", "n_routed_experts"},
                                           {"moe_top_k", "num_experts_per_tok"},
                                           {"moe_router_scaling_factor", "routed_scaling_factor"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (!is_missing(text, names[k][0]) && is_missing(text, names[k][1]))
            json_object_set(text, names[k][1], json_object_get(text, names[k][0]));
}

/* A model without layers of full attention has one rotation, which organ_config_ropes reads as that of windows. */
void organ_config_step(json_t *text)
{
    const json_int_t layers = json_integer_value(json_object_get(text, "num_hidden_layers"));
    if (layers <= 0 || layers > 1 << 16)
        return;
    add_names(text);
    trim_lists(text, (size_t)layers);
    add_words(text, (size_t)layers);
    add_rotations(text, (size_t)layers);
    if (is_missing(text, "query_pre_attn_scalar"))
        json_object_set_new(text, "query_pre_attn_scalar",
                            is_missing(text, "head_dim") ? json_integer(128)
                                                         : json_deep_copy(json_object_get(text, "head_dim")));
}

/* ---- heads and limits of layers ---- */

/* per_layer_config, which transformers saves, has the heads of layers with a window by the number of the layer; in
 * published files attention_other_setting has them. */
static unsigned heads_of(const config_hf_source *s, unsigned layer, bool windowed, unsigned usual)
{
    static const char *const other = "attention_other_setting.num_attention_heads";
    const json_t *const all = organ_config_member(s->root, "per_layer_config");
    char number[64];
    for (int digits = 1; all && digits <= 4; digits++) {
        snprintf(number, sizeof number, "per_layer_config.%0*u.num_attention_heads", digits, layer);
        if (organ_config_member(s->root, number))
            return organ_config_size(s, number, usual);
    }
    if (all || !windowed)
        return usual;
    return organ_config_size(s, "num_sliding_attention_heads", organ_config_size(s, other, usual));
}

static float limit_of(const config_hf_source *s, const char *key, const json_t *list, size_t layer)
{
    const json_t *const value = json_array_get(list, layer);
    const double number = json_number_value(value);
    if (value && !json_is_null(value) && (!json_is_number(value) || !(number >= 0) || number > 1e30))
        organ_config_refuse(s, key, value, "null or a number from 0");
    return (float)number;
}

void organ_config_step_layers(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const keys[] = {"swiglu_limits_shared", "swiglu_limits"};
    c->gate_heads = true;
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        c->kinds[l].heads = heads_of(s, l, c->kinds[l].window != 0, c->heads);
    for (unsigned k = 0; k < 2; k++) {
        const json_t *const list =
            organ_config_member(s->root, keys[k]) ? organ_config_list(s, keys[k], "a number or null", c->layers) : NULL;
        for (unsigned l = 0; list && l < c->layers; l++)
            c->kinds[l].limits[k] = limit_of(s, keys[k], list, l);
    }
}
