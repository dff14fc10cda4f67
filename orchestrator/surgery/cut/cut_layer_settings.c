/* SPDX-License-Identifier: MIT
 * Edits settings of single layers in config.json after blocks were dropped: lists with an entry per layer, lists
 * of layer numbers, counts of layers. */
#include "orchestrator/surgery/cut/cut_settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

static bool is_among(const char *key, const char *const *keys, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (strcmp(key, keys[k]) == 0)
            return true;
    return false;
}

/* ---- lists ---- */

static json_t *kept_entries(const organ_cut_config *c, const json_t *list)
{
    json_t *const made = json_array();
    for (size_t k = 0; k < json_array_size(list); k++)
        if (organ_cut_stays(c, k) && json_array_append(made, json_array_get(list, k))) {
            json_decref(made);
            return NULL;
        }
    return made;
}

/* The numbers of the layers are `first` to first + limit - 1. A list that is NULL is empty. */
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

static json_t *kept_numbers(const organ_cut_config *c, const json_t *list, size_t first)
{
    json_t *const made = json_array();
    for (size_t k = 0; k < json_array_size(list); k++) {
        const size_t layer = (size_t)json_integer_value(json_array_get(list, k)) - first;
        const json_int_t becomes = (json_int_t)first + (json_int_t)c->run->facts[layer].becomes;
        if (organ_cut_stays(c, layer) && json_array_append_new(made, json_integer(becomes))) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

/* A list may have an entry for each layer (by_layer), with or without layers of multi-token prediction, or be a list
 * of layer numbers (of_numbers); lists of other things (of_others) stay unchanged. Any other list may depend on
 * layers, and is refused, if it has an entry for each layer or its name contains "layer". */
static void edit_list(const organ_cut_config *c, const char *key, const json_t *list)
{
    static const char *const by_layer[] = {"layer_types",
                                           "mlp_layer_types",
                                           "no_rope_layers",
                                           "layer_rope_theta",
                                           "block_types",
                                           "layers_block_type",
                                           "attn_layer_types",
                                           "moe_layer_freq",
                                           "sliding_window_pattern",
                                           "block_configs",
                                           "intermediate_size",
                                           "activation_sparsity_pattern",
                                           "num_key_value_heads",
                                           "num_attention_heads",
                                           "attention_layers",
                                           "ffn_multipliers",
                                           "num_query_heads",
                                           "num_kv_heads",
                                           "moe_topk",
                                           "num_shared_expert",
                                           "moe_intermediate_size",
                                           "num_attention_heads_per_layer",
                                           "indexer_types"};
    static const char *const of_numbers[] = {"mlp_only_layers",    "moe_layers",       "cross_attention_layers",
                                             "attn_layer_indices", "hybrid_layer_ids", "full_attn_idxs"};
    static const char *const of_others[] = {
        "architectures",         "eos_token_id",    "bos_token_id",    "pad_token_id",    "suppress_tokens",
        "mtp_layers_block_type", "time_step_limit", "ssm_multipliers", "mlp_multipliers", "mup_multipliers"};
    const size_t count = json_array_size(list);
    if (is_among(key, of_others, COUNT_OF(of_others)))
        return;
    if (is_among(key, by_layer, COUNT_OF(by_layer)) && (count == c->layers || count == c->run->layer_count))
        organ_cut_set(c, key, kept_entries(c, list));
    else if (is_among(key, of_numbers, COUNT_OF(of_numbers)) && are_numbers(list, 0, c->run->layer_count))
        organ_cut_set(c, key, kept_numbers(c, list, 0));
    else if (count && (count == c->layers || strstr(key, "layer")))
        organ_cut_refuse(c, key,
                         "it may have an entry for each layer or name layers, and organ does not know how to cut it");
}

static void edit_letters(const organ_cut_config *c, const char *key)
{
    const char *const letters = json_string_value(json_object_get(c->object, key));
    char *const kept = letters && strlen(letters) == c->layers ? calloc(c->layers + 1, 1) : NULL;
    size_t count = 0;
    if (!letters)
        return;
    if (!kept) {
        organ_cut_refuse(c, key, "it does not have one letter for each layer");
        return;
    }
    for (size_t l = 0; l < c->layers; l++)
        if (organ_cut_stays(c, l))
            kept[count++] = letters[l];
    organ_cut_set(c, key, json_string(kept));
    free(kept);
}

static void edit_lists(const organ_cut_config *c)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)c->object, key, value)
    {
        if (json_is_array(value) && !c->error->status)
            edit_list(c, key, value);
    }
    edit_letters(c, "hybrid_override_pattern");
}

/* ---- numbers of leading layers ---- */

/* The value n of these members divides the layers into 0 .. n - 1 and n .. last, such as first_k_dense_replace: the
 * new value is the number of kept layers among 0 .. n - 1. In moe_layer_end_index, n is the last layer of a range,
 * so the new value is the number of kept layers among 0 .. n, minus 1. */
static void edit_layer_bounds(const organ_cut_config *c)
{
    static const char *const bounds[] = {"max_window_layers", "first_k_dense_replace", "num_dense_layers",
                                         "n_dense_layers", "moe_layer_start_index"};
    uint64_t value;
    for (size_t k = 0; k < COUNT_OF(bounds); k++)
        if (organ_cut_whole(c, bounds[k], &value))
            organ_cut_set(c, bounds[k], json_integer((json_int_t)organ_cut_kept_before(c->run, (size_t)value)));
    if (organ_cut_whole(c, "moe_layer_end_index", &value) && organ_cut_kept_before(c->run, (size_t)value + 1) == 0)
        organ_cut_refuse(c, "moe_layer_end_index", "no layer up to it would remain");
    else if (organ_cut_whole(c, "moe_layer_end_index", &value))
        organ_cut_set(c, "moe_layer_end_index",
                      json_integer((json_int_t)organ_cut_kept_before(c->run, (size_t)value + 1) - 1));
}

/* num_kv_shared_layers counts the last layers of the model, which have no keys and values of their own. Each uses
 * those of the last layer of its type (layer_types) that has its own, so that layer must be kept. */
static void edit_shared_kv(const organ_cut_config *c)
{
    static const char *const key = "num_kv_shared_layers";
    const json_t *const types = json_object_get(c->object, "layer_types");
    uint64_t shared;
    if (!organ_cut_whole(c, key, &shared) || shared == 0)
        return;
    if (shared >= c->layers || json_array_size(types) != c->layers) {
        organ_cut_refuse(c, key, "without layer_types it is unknown which layers' keys and values the last layers use");
        return;
    }
    const size_t first = c->layers - (size_t)shared; /* first layer without keys and values of its own */
    size_t kept = 0;
    for (size_t l = first; l < c->layers; l++) {
        size_t from = first; /* after the search, layer l uses the keys and values of layer from - 1; 0: of none */
        while (from > 0 && !json_equal(json_array_get(types, from - 1), json_array_get(types, l)))
            from--;
        if (organ_cut_stays(c, l) && (from == 0 || !organ_cut_stays(c, from - 1))) {
            organ_cut_refuse(c, key, "a kept layer uses the keys and values of a dropped one");
            return;
        }
        kept += organ_cut_stays(c, l);
    }
    organ_cut_set(c, key, json_integer((json_int_t)kept));
}

/* Gemma 4's object per_layer_config has the sizes of single layers in members named by the layer's number. */
static void renumber_layer_sizes(const organ_cut_config *c)
{
    static const char *const key = "per_layer_config";
    const json_t *const sizes = json_object_get(c->object, key);
    json_t *const made = json_is_object(sizes) ? json_object() : NULL, *value;
    const char *number;
    char to[24];
    json_object_foreach((json_t *)sizes, number, value)
    {
        char *end;
        const unsigned long layer = strtoul(number, &end, 10);
        if (end == number || *end || layer >= c->layers) {
            organ_cut_refuse(c, key, "a member's name is not the number of a layer");
            break;
        }
        snprintf(to, sizeof to, "%zu", organ_cut_kept_before(c->run, layer));
        if (organ_cut_stays(c, layer) && json_object_set(made, to, value))
            organ_fail_memory(c->error, key);
    }
    if (made && !c->error->status)
        organ_cut_set(c, key, json_incref(made));
    json_decref(made);
}

/* The lists of layer numbers in linear_attn_config of Kimi Linear count from 1. */
static void renumber_linear_layers(const organ_cut_config *c)
{
    static const char *const key = "linear_attn_config", *const lists[] = {"kda_layers", "full_attn_layers"};
    const json_t *const old = json_object_get(c->object, key);
    json_t *const made = json_is_object(old) ? json_copy((json_t *)old) : NULL;
    for (size_t k = 0; made && k < COUNT_OF(lists); k++) {
        const json_t *const list = json_object_get(old, lists[k]);
        if (!are_numbers(list, 1, c->layers))
            organ_cut_refuse(c, key, "a list has something else than numbers of layers, from 1 on");
        else if (list && json_object_set_new(made, lists[k], kept_numbers(c, list, 1)))
            organ_fail_memory(c->error, key);
    }
    if (made && !c->error->status)
        organ_cut_set(c, key, json_incref(made));
    json_decref(made);
}

/* transformers gives the last layer of Gemma 4 global attention even if layer_types says otherwise. */
static void check_last_layer(const organ_cut_config *c)
{
    const char *const model = json_string_value(json_object_get(c->object, "model_type"));
    const json_t *const types = json_object_get(c->object, "layer_types");
    size_t last = c->layers;
    while (last > 0 && !organ_cut_stays(c, last - 1))
        last--;
    const char *const type = last ? json_string_value(json_array_get(types, last - 1)) : NULL;
    if (model && strncmp(model, "gemma4", 6) == 0 && (!type || strcmp(type, "full_attention")))
        organ_cut_refuse(c, "layer_types",
                         "loaders give the last layer full attention, but the last kept layer has another kind");
}

/* In MiniMax 1 the rate at which the lightning attention decays depends on the number of the layer and on the count
 * of layers. */
static void check_decay_rates(const organ_cut_config *c, size_t kept)
{
    const char *const model = json_string_value(json_object_get(c->object, "model_type"));
    if (model && strcmp(model, "minimax") == 0 && kept < c->layers)
        organ_cut_refuse(c, "model_type", "loaders compute the decays of a layer from its number");
}

/* A layer with a "shared" indexer uses the keys that the last layer before it with a "full" indexer selects. */
static void check_indexers(const organ_cut_config *c)
{
    static const char *const key = "indexer_types";
    const json_t *const types = json_object_get(c->object, key);
    size_t full = 0; /* the last layer with an indexer of its own, up to layer l */
    for (size_t l = 0; l < c->layers && l < json_array_size(types); l++) {
        const char *const type = json_string_value(json_array_get(types, l));
        full = type && strcmp(type, "full") == 0 ? l : full;
        if (organ_cut_stays(c, l) && !organ_cut_stays(c, full)) {
            organ_cut_refuse(c, key, "a kept layer uses the keys that a dropped layer selects");
            return;
        }
    }
}

/* ---- the object ---- */

/* MiniCPM multiplies the output of each layer by scale_depth / sqrt(num_hidden_layers); this factor stays the same. */
static void edit_depth(const organ_cut_config *c, size_t kept)
{
    const json_t *const depth = json_object_get(c->object, "scale_depth");
    if (json_is_number(depth))
        organ_cut_set(c, "scale_depth", json_real(json_number_value(depth) * sqrt((double)kept / (double)c->layers)));
}

void organ_cut_edit_layers(const organ_cut_config *c)
{
    size_t kept = 0;
    for (size_t l = 0; l < c->layers; l++)
        kept += organ_cut_stays(c, l);
    if (kept < c->layers)
        edit_depth(c, kept);
    check_decay_rates(c, kept);
    check_indexers(c);
    check_last_layer(c);
    edit_lists(c);
    edit_layer_bounds(c);
    edit_shared_kv(c);
    renumber_layer_sizes(c);
    renumber_linear_layers(c);
    if (!c->error->status)
        organ_cut_edit_patterns(c);
}
