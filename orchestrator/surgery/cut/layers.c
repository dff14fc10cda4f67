/* SPDX-License-Identifier: MIT
 * Edits settings of single layers in config.json after blocks were dropped: lists with an entry per layer, lists
 * of layer numbers, counts of layers, and patterns by position, which are kept if they remain valid or replaced by
 * lists. */
#include "orchestrator/surgery/cut/settings.h"

#include <stdlib.h>
#include <math.h>
#include <string.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

static bool is_among(const char *key, const char *const *keys, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (strcmp(key, keys[k]) == 0)
            return true;
    return false;
}

static bool stays(const organ_cut_config *c, size_t layer)
{
    return layer < c->run->layer_count && c->run->facts[layer].becomes >= 0;
}

/* ---- lists ---- */

/* Returns the entries of kept layers. NULL if out of memory. */
static json_t *kept_entries(const organ_cut_config *c, const json_t *list)
{
    json_t *const made = json_array();
    for (size_t k = 0; k < json_array_size(list); k++)
        if (stays(c, k) && json_array_append(made, json_array_get(list, k))) {
            json_decref(made);
            return NULL;
        }
    return made;
}

static bool are_numbers_below(const json_t *list, size_t limit)
{
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *const value = json_array_get(list, k);
        if (!json_is_integer(value) || json_integer_value(value) < 0 || (size_t)json_integer_value(value) >= limit)
            return false;
    }
    return true;
}

/* Returns the new numbers of kept layers. NULL if out of memory. */
static json_t *kept_numbers(const organ_cut_config *c, const json_t *list)
{
    json_t *const made = json_array();
    for (size_t k = 0; k < json_array_size(list); k++) {
        const size_t layer = (size_t)json_integer_value(json_array_get(list, k));
        if (stays(c, layer) && json_array_append_new(made, json_integer(c->run->facts[layer].becomes))) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

static void edit_list(const organ_cut_config *c, const char *key, const json_t *list)
{
    static const char *const by_layer[] = {"layer_types",
                                           "mlp_layer_types",
                                           "no_rope_layers",
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
                                           "num_kv_heads"};
    static const char *const of_numbers[] = {"mlp_only_layers",    "moe_layers",       "cross_attention_layers",
                                             "attn_layer_indices", "hybrid_layer_ids", "full_attn_idxs"};
    static const char *const of_others[] = {"architectures", "eos_token_id", "bos_token_id", "pad_token_id",
                                            "suppress_tokens"};
    const size_t count = json_array_size(list);
    if (is_among(key, of_others, COUNT_OF(of_others)))
        return;
    if (is_among(key, by_layer, COUNT_OF(by_layer)) && (count == c->layers || count == c->run->layer_count))
        organ_cut_set(c, key, kept_entries(c, list));
    else if (is_among(key, of_numbers, COUNT_OF(of_numbers)) && are_numbers_below(list, c->run->layer_count))
        organ_cut_set(c, key, kept_numbers(c, list));
    else if (count && (count == c->layers || strstr(key, "layer")))
        organ_cut_refuse(
            c, key, "it may have an entry for each layer, or name layers, and it is not known how it would be cut");
}

/* Edits a string with one letter per layer. */
static void edit_letters(const organ_cut_config *c, const char *key)
{
    const char *const letters = json_string_value(json_object_get(c->object, key));
    char *const kept = letters && strlen(letters) == c->layers ? calloc(c->layers + 1, 1) : NULL;
    size_t count = 0;
    if (!letters)
        return;
    if (!kept) {
        organ_cut_refuse(c, key, "it has not a letter for each layer");
        return;
    }
    for (size_t l = 0; l < c->layers; l++)
        if (stays(c, l))
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

static const json_t *whole(const organ_cut_config *c, const char *key, uint64_t *value)
{
    const json_t *const member = json_object_get(c->object, key);
    const bool there = json_is_integer(member) && json_integer_value(member) >= 0;
    *value = there ? (uint64_t)json_integer_value(member) : 0;
    return there ? member : NULL;
}

static void edit_bounds(const organ_cut_config *c)
{
    static const char *const bounds[] = {"max_window_layers", "first_k_dense_replace", "num_dense_layers",
                                         "n_dense_layers", "moe_layer_start_index"};
    uint64_t value;
    for (size_t k = 0; k < COUNT_OF(bounds); k++)
        if (whole(c, bounds[k], &value))
            organ_cut_set(c, bounds[k], json_integer((json_int_t)organ_cut_kept_before(c->run, (size_t)value)));
    if (whole(c, "moe_layer_end_index", &value) && organ_cut_kept_before(c->run, (size_t)value + 1) == 0)
        organ_cut_refuse(c, "moe_layer_end_index", "no layer up to it would be left");
    else if (whole(c, "moe_layer_end_index", &value))
        organ_cut_set(c, "moe_layer_end_index",
                      json_integer((json_int_t)organ_cut_kept_before(c->run, (size_t)value + 1) - 1));
}

/* The last num_kv_shared_layers layers use keys and values of the last earlier layer of the same type. */
static void edit_shared_kv(const organ_cut_config *c)
{
    static const char *const key = "num_kv_shared_layers";
    const json_t *const types = json_object_get(c->object, "layer_types");
    uint64_t shared;
    if (!whole(c, key, &shared) || shared == 0)
        return;
    if (shared >= c->layers || json_array_size(types) != c->layers) {
        organ_cut_refuse(c, key,
                         "without a list layer_types it is not known whose keys and values the last layers take");
        return;
    }
    const size_t first = c->layers - (size_t)shared;
    size_t kept = 0;
    for (size_t l = first; l < c->layers; l++) {
        size_t from = first;
        while (from > 0 && !json_equal(json_array_get(types, from - 1), json_array_get(types, l)))
            from--;
        if (stays(c, l) && (from == 0 || !stays(c, from - 1))) {
            organ_cut_refuse(c, key, "a layer that stays takes its keys and values from one that would be dropped");
            return;
        }
        kept += stays(c, l);
    }
    organ_cut_set(c, key, json_integer((json_int_t)kept));
}

/* Gemma 4 may state sizes per layer number (per_layer_config) or one for layers with global attention
 * (global_head_dim), and always treats its last layer as global. Removing the last layer would give another layer
 * these sizes. */
static void refuse_layer_sizes(const organ_cut_config *c)
{
    static const char *const keys[] = {"per_layer_config", "global_head_dim"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *const value = json_object_get(c->object, keys[k]);
        if (value && !json_is_null(value) && (k == 0 || !stays(c, c->layers - 1)))
            organ_cut_refuse(c, keys[k], "layers have sizes by their numbers, which would be those of other layers");
    }
}

/* ---- patterns by position ---- */

/* A pattern by position: layer i has the value `hit` if (i + shift) % period is 0, else `miss`. */
typedef struct layers_pattern {
    const char *model,
        *key; /* the key with the period; NULL for models without such a key, whose model_type begins with `model` */
    uint64_t period; /* used if `key` is NULL */
    uint64_t shift;
    const char *list, *hit, *miss; /* a list that overrides the pattern. `hit` NULL: the list has the numbers 0 and
                                    * 1. */
} layers_pattern;

static const layers_pattern patterns[] = {
    {NULL, "sliding_window_pattern", 0, 1, "layer_types", "full_attention", "sliding_attention"},
    {NULL, "_sliding_window_pattern", 0, 1, "layer_types", "full_attention", "sliding_attention"},
    {NULL, "full_attention_interval", 0, 1, "layer_types", "full_attention", "linear_attention"},
    {NULL, "no_rope_layer_interval", 0, 1, "no_rope_layers", NULL, NULL},
    {"gemma2", NULL, 2, 1, "layer_types", "full_attention", "sliding_attention"},
    {"gemma3_text", NULL, 6, 1, "layer_types", "full_attention", "sliding_attention"},
    {"cohere2", NULL, 4, 1, "layer_types", "full_attention", "sliding_attention"},
    {"gpt_oss", NULL, 2, 1, "layer_types", "full_attention", "sliding_attention"},
    {"olmo3", NULL, 4, 1, "layer_types", "full_attention", "sliding_attention"},
    {"qwen3_next", NULL, 4, 1, "layer_types", "full_attention", "linear_attention"},
    {"smollm3", NULL, 4, 1, "no_rope_layers", NULL, NULL},
    {"llama4", NULL, 4, 1, "no_rope_layers", NULL, NULL},
};

static json_t *pattern_list(const organ_cut_config *c, const layers_pattern *p, uint64_t period)
{
    json_t *const made = json_array();
    for (size_t l = 0; l < c->layers; l++) {
        const bool hit = (l + p->shift) % period == 0;
        json_t *const entry = p->hit ? json_string(hit ? p->hit : p->miss) : json_integer(!hit);
        if (stays(c, l) ? json_array_append_new(made, entry) : (json_decref(entry), 0)) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

/* Writes the overriding list if the pattern is no longer valid for the kept layers. */
static void edit_pattern(const organ_cut_config *c, const layers_pattern *p)
{
    const char *const model = json_string_value(json_object_get(c->object, "model_type"));
    uint64_t period = p->period;
    if (p->key && !whole(c, p->key, &period))
        return;
    if (p->model && (!model || strncmp(model, p->model, strlen(p->model)) != 0))
        return;
    if (period < 2 || json_is_array(json_object_get(c->object, p->list)) ||
        organ_json_edit_has(c->edit, c->inside, p->list))
        return;
    if (!organ_cut_period_holds(c->run, c->layers, period, p->shift))
        organ_cut_set(c, p->list, pattern_list(c, p, period));
}

/* Checks the steps between layers with experts. Qwen can also list its dense layers, so that its step is replaced by a
 * list. */
static void edit_steps(const organ_cut_config *c)
{
    static const struct {
        const char *key;
        uint64_t shift;
    } fixed[] = {{"moe_layer_interval", 1}, {"moe_layer_freq", 0},      {"interleave_moe_layer_step", 1},
                 {"attn_layer_period", 0},  {"expert_layer_period", 0}, {"global_attn_every_n_layers", 0}};
    uint64_t period;
    for (size_t k = 0; k < COUNT_OF(fixed); k++) {
        const bool listed =
            strncmp(fixed[k].key, "interleave", 10) == 0 && json_is_array(json_object_get(c->object, "moe_layers"));
        uint64_t offset = 0;
        if (strcmp(fixed[k].key, "attn_layer_period") == 0)
            whole(c, "attn_layer_offset", &offset);
        if (strcmp(fixed[k].key, "expert_layer_period") == 0)
            whole(c, "expert_layer_offset", &offset);
        if (!listed && whole(c, fixed[k].key, &period) && period > 1 &&
            !organ_cut_period_holds(c->run, c->layers, period, fixed[k].shift + period - offset % period))
            organ_cut_refuse(c, fixed[k].key,
                             "without these blocks it would say something else of the layers that stay");
    }
    if (!whole(c, "decoder_sparse_step", &period) || period < 2 || organ_cut_period_holds(c->run, c->layers, period, 1))
        return;
    json_t *const dense = json_array();
    for (size_t l = 0; l < c->layers; l++)
        if (stays(c, l) && c->run->facts[l].experts == 0)
            json_array_append_new(dense, json_integer(c->run->facts[l].becomes));
    organ_cut_set(c, "decoder_sparse_step", json_integer(1));
    organ_cut_set(c, "mlp_only_layers", dense);
}

/* MiniCPM multiplies what a layer adds by scale_depth / sqrt(num_hidden_layers). */
static void edit_depth(const organ_cut_config *c, size_t kept)
{
    const json_t *const depth = json_object_get(c->object, "scale_depth");
    if (json_is_number(depth))
        organ_cut_set(c, "scale_depth", json_real(json_number_value(depth) * sqrt((double)kept / (double)c->layers)));
}

/* Patterns that depend on the numbers of layers, for models whose config.json does not list the layers. */
static void refuse_numbered(const organ_cut_config *c)
{
    uint64_t period;
    if (json_is_string(json_object_get(c->object, "index_topk_pattern")))
        organ_cut_refuse(c, "index_topk_pattern", "layers share the choice of an indexer by their numbers");
    if (whole(c, "index_topk_freq", &period) && period > 1)
        organ_cut_refuse(c, "index_topk_freq", "layers share the choice of an indexer by their numbers");
    if (json_object_get(c->object, "prefix_dense_sliding_window_pattern") &&
        !json_is_array(json_object_get(c->object, "layer_types")))
        organ_cut_refuse(c, "prefix_dense_sliding_window_pattern", "layer_types does not list the layers");
}

void organ_cut_edit_layers(const organ_cut_config *c)
{
    size_t kept = 0;
    for (size_t l = 0; l < c->layers; l++)
        kept += stays(c, l);
    if (kept < c->layers) {
        edit_depth(c, kept);
        refuse_numbered(c);
    }
    edit_lists(c);
    edit_bounds(c);
    edit_shared_kv(c);
    refuse_layer_sizes(c);
    for (size_t k = 0; k < COUNT_OF(patterns) && !c->error->status; k++)
        edit_pattern(c, &patterns[k]);
    if (!c->error->status)
        edit_steps(c);
}
