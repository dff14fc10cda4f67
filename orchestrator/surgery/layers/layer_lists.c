/* SPDX-License-Identifier: MIT
 * Lists in config.json with an entry for each layer, and lists of layer numbers. */
#include "orchestrator/surgery/layers/layer_settings.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A member that is a list may have an entry for each layer (by_layer), with or without draft layers, or be a list of
 * layer numbers (of_numbers); lists of other things (of_others) stay unchanged. */
static const char *const by_layer[] = {"layer_types",
                                       "mlp_layer_types",
                                       "no_rope_layers",
                                       "layer_rope_theta",
                                       "block_types",
                                       "layers_block_type",
                                       "attn_layer_types",
                                       "attn_type_list",
                                       "moe_layer_freq",
                                       "hybrid_layer_pattern",
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
                                       "num_key_value_heads_per_layer",
                                       "indexer_types",
                                       "index_topk_pattern",
                                       "sliding_windows",
                                       "swiglu_limits",
                                       "swiglu_limits_shared",
                                       NULL};
static const char *const of_numbers[] = {"mlp_only_layers",  "cross_attention_layers", "attn_layer_indices",
                                         "hybrid_layer_ids", "full_attn_idxs",         NULL};
static const char *const of_others[] = {"architectures",
                                        "eos_token_id",
                                        "bos_token_id",
                                        "pad_token_id",
                                        "suppress_tokens",
                                        "begin_suppress_tokens",
                                        "keys_to_ignore_at_inference",
                                        "mtp_layers_block_type",
                                        "mtp_layer_types",
                                        "mtp_mlp_layer_types",
                                        "time_step_limit",
                                        "ssm_multipliers",
                                        "mlp_multipliers",
                                        "mup_multipliers",
                                        "mrope_section",
                                        "moe_layers",      /* layer_periods.c */
                                        "attention_types", /* layer_periods.c */
                                        NULL};

/* ---- lists with an entry for each layer ---- */

/* The list has entries for the layers of the text model or for the draft layers too. A donor without the list and
 * without a rule for it is an error. */
static void edit_entries(organ_layer_plan *p, const char *key, const json_t *list)
{
    const size_t count = json_array_size(list) == p->layers ? p->after : p->count;
    json_t *const made = json_array();
    for (size_t n = 0; n < count && !p->error->status; n++) {
        json_t *const entry = organ_layer_value(&p->origins[n], key);
        if (!entry)
            organ_layers_refuse(p, key, "the config.json of another donor does not say it of its layers");
        else if (json_array_append_new(made, entry))
            organ_fail_memory(p->error, key);
    }
    if (p->error->status)
        json_decref(made);
    else
        organ_layers_set(p, key, made);
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
            organ_fail_memory(p->error, key);
    }
    return made;
}

static void edit_numbers(organ_layer_plan *p, const char *key, const json_t *list)
{
    for (size_t n = 0; n < p->count; n++)
        if (!json_is_array(json_object_get(p->origins[n].object, key))) {
            organ_layers_refuse(p, key, "the config.json of another donor has no such list");
            return;
        }
    if (are_numbers(list, 0, p->layers + (p->count - p->after)))
        organ_layers_set(p, key, numbers_of(p, NULL, key, 0));
    else
        organ_layers_refuse(p, key, "it is not a list of layer numbers");
}

/* The lists of layer numbers in linear_attn_config of Kimi Linear count from 1. */
static void edit_linear_layers(organ_layer_plan *p)
{
    static const char *const key = "linear_attn_config", *const lists[] = {"kda_layers", "full_attn_layers", NULL};
    const json_t *const old = json_object_get(p->object, key);
    json_t *const made = json_is_object(old) ? json_copy((json_t *)old) : NULL;
    for (size_t k = 0; made && lists[k]; k++) {
        const json_t *const list = json_object_get(old, lists[k]);
        if (!are_numbers(list, 1, p->layers))
            organ_layers_refuse(p, key, "a list has something else than numbers of layers, from 1 on");
        else if (list && json_object_set_new(made, lists[k], numbers_of(p, key, lists[k], 1)))
            organ_fail_memory(p->error, key);
    }
    if (made && !p->error->status)
        organ_layers_set(p, key, json_incref(made));
    json_decref(made);
}

/* ---- letters and members by number ---- */

static void edit_letters(organ_layer_plan *p, const char *key)
{
    const char *const letters = json_string_value(json_object_get(p->object, key));
    char *const made = letters && strlen(letters) == p->layers ? calloc(p->after + 1, 1) : NULL;
    if (letters && !made)
        organ_layers_refuse(p, key, "it does not have one letter for each layer");
    for (size_t n = 0; made && n < p->after; n++) {
        const organ_layer_origin *const o = &p->origins[n];
        const char *const from = json_string_value(json_object_get(o->object, key));
        if (from && strlen(from) == o->layers)
            made[n] = from[o->layer];
        else
            organ_layers_refuse(p, key, "the config.json of another donor has no letter for each of its layers");
    }
    if (made && !p->error->status)
        organ_layers_set(p, key, json_string(made));
    free(made);
}

/* Gemma 4's object per_layer_config has the sizes of single layers in members named by the layer's number. */
static void edit_layer_sizes(organ_layer_plan *p)
{
    static const char *const key = "per_layer_config";
    const json_t *const sizes = json_object_get(p->object, key);
    json_t *const made = json_is_object(sizes) ? json_object() : NULL, *value;
    const char *number;
    char name[24];
    json_object_foreach((json_t *)sizes, number, value)
    {
        char *end;
        if (strtoul(number, &end, 10) >= p->layers || end == number || *end)
            organ_layers_refuse(p, key, "a member's name is not the number of a layer");
    }
    for (size_t n = 0; made && n < p->after && !p->error->status; n++) {
        snprintf(name, sizeof name, "%zu", p->origins[n].layer);
        value = json_object_get(json_object_get(p->origins[n].object, key), name);
        snprintf(name, sizeof name, "%zu", n);
        if (value && json_object_set(made, name, value))
            organ_fail_memory(p->error, key);
    }
    if (made && !p->error->status)
        organ_layers_set(p, key, json_incref(made));
    json_decref(made);
}

static bool has_entries(const organ_layer_plan *p, const char *key, size_t count)
{
    return organ_is_one_of(key, by_layer) &&
           (count == p->layers || (count > p->layers && count == p->layers + p->count - p->after));
}

void organ_layers_edit_lists(organ_layer_plan *p)
{
    static const char *const letters[] = {"hybrid_override_pattern", "index_topk_pattern", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)p->object, key, value)
    {
        const size_t count = json_array_size(value);
        if (!count || p->error->status || organ_is_one_of(key, of_others))
            continue;
        if (has_entries(p, key, count))
            edit_entries(p, key, value);
        else if (organ_is_one_of(key, of_numbers))
            edit_numbers(p, key, value);
    }
    for (size_t k = 0; letters[k] && !p->error->status; k++)
        edit_letters(p, letters[k]);
    if (!p->error->status)
        edit_linear_layers(p);
    if (!p->error->status)
        edit_layer_sizes(p);
}

/* ---- unknown members ---- */

/* Words in the names of numbers by layer, and names of numbers that have such a word for another reason. */
static const char *const words[] = {"layer", "block", "interval", "period", "step", "first", NULL};
static const char *const known[] = {
    /* edited in layer_periods.c, by the caller, or read by a rule of formats/architecture/layer_values.c */
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "first_k_dense_replace", "num_dense_layers",
    "n_dense_layers", "max_window_layers", "moe_layer_start_index", "moe_layer_end_index", "moe_layer_interval",
    "moe_layer_freq", "interleave_moe_layer_step", "decoder_sparse_step", "attn_layer_period", "attn_layer_offset",
    "expert_layer_period", "expert_layer_offset", "global_attn_every_n_layers", "full_attention_interval",
    "no_rope_layer_interval", "num_kv_shared_layers", "index_skip_topk_offset", "layer_switch",
    /* of draft layers, towers, encoders, adapters, training and blocks of a sequence */
    "num_nextn_predict_layers", "num_mtp_layers", "mtp_num_layers", "mtp_num_hidden_layers", "num_mtp_hidden_layers",
    "vision_feature_layer", "spatial_vision_layer", "encoder_layers", "decoder_layers", "num_decoder_layers",
    "num_encoder_layers", "hidden_size_per_layer_input", "vocab_size_per_layer_input", "block_size",
    "block_multiple_of", "block_ffn_dim_multiplier", "block_ff_dim", "summary_first_dropout", "decoder_start_token_id",
    "num_random_blocks", "layer_scale_init_value", "index_topk_blocks", "index_local_blocks", "index_block_size", NULL};
static const char *const parts[] = {"layer_norm", "layernorm", "layerdrop", "layer_drop",
                                    "layerscale", "time_step", NULL};

bool organ_layers_is_suggestive(const char *name)
{
    bool has = false;
    for (size_t k = 0; parts[k]; k++)
        if (strstr(name, parts[k]))
            return false;
    for (size_t k = 0; words[k] && !has; k++)
        has = strstr(name, words[k]);
    return has;
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
    return count && !organ_is_one_of(key, of_others) && !organ_is_one_of(key, of_numbers) &&
           !has_entries(p, key, count) && (count == p->layers || strstr(key, "layer"));
}

void organ_layers_refuse_unknown(organ_layer_plan *p)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)p->object, key, value)
    {
        const char *why = NULL;
        if (json_is_number(value) && organ_layers_is_suggestive(key) && !organ_is_one_of(key, known))
            why = ORGAN_LAYERS_SUGGESTS;
        else if (is_unknown_list(p, key, json_array_size(value)))
            why = ORGAN_LAYERS_LISTS;
        if (why && !p->error->status && !is_kept(p, key, value))
            organ_layers_refuse(p, key, why);
    }
}
