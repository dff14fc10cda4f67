/* SPDX-License-Identifier: MIT
 * Edits the numbers of config.json for the smaller model: experts, widths, heads, layers. The edit_ functions return in
 * how many members of c->object they found the number that they edit; 0 means that the object does not state it. */
#include "orchestrator/verbs/shrink/cut.h"

#include "formats/base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

/* The objects of config.json that may describe the layers: NULL is the document itself, the others are its members. */
static const char *const parts_of_config[] = {NULL, "text_config", "language_config", "llm_config"};

static uint64_t config_number_of(const organ_cut_config *c, const char *key)
{
    const json_t *const value = json_object_get(c->object, key);
    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static void set_number(const organ_cut_config *c, const char *key, uint64_t value)
{
    organ_cut_set(c, key, json_integer((json_int_t)value));
}

static bool change_list(const organ_cut_config *c, const char *key, uint64_t before, uint64_t after)
{
    const json_t *const list = json_object_get(c->object, key);
    json_t *const made = json_array();
    bool same = json_array_size(list) > 0;
    for (size_t k = 0; k < json_array_size(list); k++) {
        same = same && json_is_integer(json_array_get(list, k)) &&
               json_integer_value(json_array_get(list, k)) == (json_int_t)before;
        if (json_array_append_new(made, json_integer((json_int_t)after)))
            organ_fail_memory(c->error, key);
    }
    if (same)
        organ_cut_set(c, key, json_incref(made));
    json_decref(made);
    return same;
}

/* Returns how many of the members it has set. A list among them is ORGAN_BAD_INPUT. */
static size_t change_numbers(const organ_cut_config *c, const char *const *keys, size_t count, uint64_t before,
                             uint64_t after)
{
    size_t found_settings = 0;
    for (size_t k = 0; k < count; k++) {
        if (json_is_array(json_object_get(c->object, keys[k])))
            organ_cut_refuse(c, keys[k], "a list gives each layer its own number, which no known loader supports");
        if (config_number_of(c, keys[k]) != before)
            continue;
        set_number(c, keys[k], after);
        found_settings++;
    }
    return found_settings;
}

/* ---- experts ---- */

/* If a token uses more experts than are kept, it then uses all kept ones. Returns how many members state the number
 * of experts. */
static size_t edit_experts(const organ_cut_config *c)
{
    static const char *const counts[] = {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
                                         "num_moe_experts"};
    static const char *const chosen[] = {
        "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "moe_k",
        "moe_top_k",           "top_k_experts"};
    const organ_cut_run *const run = c->run;
    uint64_t max = 0; /* experts that a token uses after the cut: the largest value of the members in `chosen` */
    const size_t found_settings = change_numbers(c, counts, COUNT_OF(counts), run->experts_before, run->experts_after);
    for (size_t k = 0; k < COUNT_OF(chosen); k++) {
        uint64_t each = config_number_of(c, chosen[k]);
        if (each > run->experts_after)
            set_number(c, chosen[k], each = run->experts_after);
        max = each > max ? each : max;
    }
    const char *const method = json_string_value(json_object_get(c->object, "topk_method"));
    const bool greedy = method && strcmp(method, "greedy") == 0; /* DeepSeek-V2-Lite: groups are not used */
    const uint64_t groups = greedy ? 0 : config_number_of(c, "n_group");
    const char *const why = organ_cut_groups_fault(run, groups, config_number_of(c, "topk_group"), max);
    if (why)
        organ_cut_refuse(c, "n_group", why);
    return found_settings;
}

/* ---- widths ---- */

static bool boolean_or(const organ_cut_config *c, const char *key, bool otherwise)
{
    const json_t *const value = json_object_get(c->object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* While block_auto_adjust_ff_dim is true, LFM2 computes another width from intermediate_size or block_ff_dim.
 * Returns 1, the number of found members. */
static size_t set_unadjusted(const organ_cut_config *c)
{
    organ_cut_set(c, "block_auto_adjust_ff_dim", json_false());
    set_number(c, "intermediate_size", c->run->channels_after);
    if (json_object_get(c->object, "block_ff_dim"))
        set_number(c, "block_ff_dim", c->run->channels_after);
    return 1;
}

/* Returns how many members state the width. For BLOOM and MPT no member can, because their width follows from the
 * hidden size. */
static size_t edit_channels(const organ_cut_config *c)
{
    static const char *const keys[] = {"intermediate_size", "ffn_hidden_size", "intermediate_size_mlp", "n_inner",
                                       "ffn_dim"};
    static const char *const own[] = {"prefix_dense_intermediate_size"}; /* intermediate_size is then that of experts */
    const char *const model = json_string_value(json_object_get(c->object, "model_type"));
    const uint64_t before = c->run->channels_before, after = c->run->channels_after;
    if (model && strcmp(model, "lfm2") == 0 && boolean_or(c, "block_auto_adjust_ff_dim", true))
        return set_unadjusted(c);
    if (model && (strcmp(model, "bloom") == 0 || strcmp(model, "mpt") == 0))
        organ_cut_refuse(c, "model_type", "loaders give its feed-forward 4 times as many channels as the hidden size");
    if (json_is_array(json_object_get(c->object, keys[0])) && change_list(c, keys[0], before, after)) /* Gemma 3n */
        return 1;
    if (config_number_of(c, own[0]))
        return change_numbers(c, own, COUNT_OF(own), before, after);
    return change_numbers(c, keys, COUNT_OF(keys), before, after);
}

static bool keeps_dense_layer(const organ_cut_run *run)
{
    for (size_t l = 0; l < run->layer_count; l++)
        if (run->facts[l].becomes >= 0 && organ_cut_channels(run->model, run->weights, l, ORGAN_EXPERTS_NONE))
            return true;
    return false;
}

/* Edits the width of shared experts. Returns 1 if the object states it, else 0. The width may be
 *   - a member of its own, which is changed if routed experts keep their width;
 *   - a multiple of the routed width, if a member gives the number of shared experts;
 *   - equal to the routed width intermediate_size, which edit_expert_channels changes.
 * In the last two cases both widths must keep the same share of channels. */
static size_t edit_shared_channels(const organ_cut_config *c)
{
    static const char *const own[] = {"shared_intermediate_size", "shared_expert_intermediate_size",
                                      "moe_shared_expert_intermediate_size"};
    static const char *const keys[] = {"n_shared_experts", "num_shared_experts", "moe_num_shared_experts"};
    const organ_cut_run *const run = c->run;
    if (!run->cuts_expert_channels &&
        change_numbers(c, own, COUNT_OF(own), run->shared_channels_before, run->shared_channels_after))
        return 1;
    /* A number of shared experts gives their width as a multiple of the routed width if the routed width has a member
     * of its own, or if the product is the width that the tensors have. */
    for (size_t k = 0; k < COUNT_OF(keys); k++)
        if (config_number_of(c, keys[k]) &&
            (json_object_get(c->object, "moe_intermediate_size") ||
             config_number_of(c, keys[k]) * run->expert_channels_before == run->shared_channels_before)) {
            if (!organ_cut_shared_follow(run))
                organ_cut_refuse(c, keys[k], ORGAN_CUT_SHARED_FOLLOW);
            return 1;
        }
    for (size_t k = 0; k < COUNT_OF(own); k++)
        if (json_object_get(c->object, own[k]))
            return 0;
    return json_object_get(c->object, "intermediate_size") && organ_cut_shared_follow(run) &&
           run->shared_channels_before == run->expert_channels_before;
}

/* In models without moe_intermediate_size the width is intermediate_size, which may also be the width of kept layers
 * without experts. Returns 1 if the member has the old width, else 0. */
static size_t edit_expert_channels(const organ_cut_config *c)
{
    static const char *const own[] = {"moe_intermediate_size"}, *const common[] = {"intermediate_size"};
    const organ_cut_run *const run = c->run;
    const bool has_own = json_object_get(c->object, own[0]) != NULL;
    const size_t found_settings =
        change_numbers(c, has_own ? own : common, 1, run->expert_channels_before, run->expert_channels_after);
    if (found_settings && !has_own && keeps_dense_layer(run) && !json_object_get(c->object, "intermediate_size_mlp") &&
        !config_number_of(c, "prefix_dense_intermediate_size") &&
        (run->channels_before != run->expert_channels_before || run->channels_after != run->expert_channels_after))
        organ_cut_refuse(c, common[0], "it is also the width of layers without experts, which keep another width");
    return found_settings;
}

/* Adds head_dim if it is missing, because its default is hidden_size / num_attention_heads. Returns 1, or 0 without
 * a change if num_attention_heads of the object is missing or not the model's number. */
static size_t edit_heads(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    const uint64_t heads = config_number_of(c, "num_attention_heads"), hidden = config_number_of(c, "hidden_size");
    if (heads != (uint64_t)run->model->config.num_attention_heads)
        return 0;
    if (!config_number_of(c, "head_dim")) {
        if (hidden == 0 || hidden % heads)
            organ_cut_refuse(c, "hidden_size", "it does not determine the size of a head");
        set_number(c, "head_dim", hidden / heads);
    }
    /* each head of K and V keeps its query heads, the same number for each */
    set_number(c, "num_attention_heads", heads / run->kv_heads_before * run->kv_heads_after);
    set_number(c, "num_key_value_heads", run->kv_heads_after);
    return 1;
}

/* ---- blocks ---- */

/* A member counts as the number of layers only if it fits run->layer_count, the layers that have tensors: these may
 * include layers for multi-token prediction. Without such a member, the length of layers_block_type is the number of
 * layers. Returns how many members state the number of layers. */
static size_t edit_blocks(organ_cut_config *c)
{
    static const char *const counts[] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"};
    static const char *const lists[] = {"layers_block_type"}; /* Nemotron-H of transformers 5 has no number */
    const uint64_t later = config_number_of(c, "num_nextn_predict_layers"); /* layers for multi-token prediction */
    size_t found_settings = 0;
    c->layers = 0;
    for (size_t k = 0; k < COUNT_OF(counts); k++) {
        const uint64_t layers = config_number_of(c, counts[k]);
        if (layers == 0 || layers > c->run->layer_count || layers + later < c->run->layer_count)
            continue;
        c->layers = (size_t)layers;
        set_number(c, counts[k], organ_cut_kept_before(c->run, c->layers));
        found_settings++;
    }
    for (size_t k = 0; k < COUNT_OF(lists) && !found_settings; k++) {
        c->layers = json_array_size(json_object_get(c->object, lists[k]));
        found_settings += c->layers && c->layers <= c->run->layer_count && c->layers + later >= c->run->layer_count;
    }
    if (found_settings && later && c->layers < c->run->layer_count)
        set_number(c, "num_nextn_predict_layers", c->run->layers_after - organ_cut_kept_before(c->run, c->layers));
    if (found_settings)
        organ_cut_edit_layers(c);
    return found_settings;
}

/* ---- names of modules ---- */

static void edit_module_names(const organ_cut_config *c)
{
    static const char *const keys[] = {"quantization_config", "compression_config", "quantization"};
    for (size_t k = 0; k < COUNT_OF(keys) && !c->error->status; k++) {
        const json_t *const value = json_object_get(c->object, keys[k]);
        bool changed = false;
        json_t *const made = value ? organ_cut_renamed(c->run, keys[k], value, &changed, c->error) : NULL;
        if (made && changed && organ_json_edit_set(c->edit, c->inside, keys[k], made, c->error) == ORGAN_OK)
            organ_cut_note(c->run, "config.json", keys[k], NULL, json_string("names of modules follow"), c->error);
        json_decref(made);
    }
}

/* ---- the whole file ---- */

/* For each number that is cut, how many members of config.json state it. */
typedef struct found_settings {
    size_t experts, channels, expert_channels, shared_channels, heads, blocks;
} found_settings;

/* A member of config.json must state each number that the cut changes. */
static organ_status check_found(const organ_cut_run *run, const organ_json_edit *config, const found_settings *f,
                                organ_error *error)
{
    const struct {
        bool requested;        /* the cut changes the number */
        size_t found_settings; /* members that state it */
        const char *what;      /* for the message */
        uint64_t number;       /* its value in the donor, by the tensors */
    } all[] = {{run->cuts_experts, f->experts, "experts", run->experts_before},
               {run->cuts_channels, f->channels, "channels of the feed-forward", run->channels_before},
               {run->cuts_expert_channels, f->expert_channels, "channels of an expert", run->expert_channels_before},
               {run->cuts_shared_channels, f->shared_channels, "shared experts",
                run->shared_channels_before / (run->expert_channels_before ? run->expert_channels_before : 1)},
               {run->cuts_heads, f->heads, "heads", (uint64_t)run->model->config.num_attention_heads},
               {run->cuts_blocks, f->blocks, "layers", run->layer_count}};
    for (size_t k = 0; k < COUNT_OF(all); k++)
        if (all[k].requested && all[k].found_settings == 0)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: has no known member for the number of %s, which is %" PRIu64 " by the tensors",
                              config->label, all[k].what, all[k].number);
    return ORGAN_OK;
}

static void edit_object(organ_cut_config *c, found_settings *f)
{
    f->experts += c->run->cuts_experts ? edit_experts(c) : 0;
    f->channels += c->run->cuts_channels ? edit_channels(c) : 0;
    f->expert_channels += c->run->cuts_expert_channels ? edit_expert_channels(c) : 0;
    f->shared_channels += c->run->cuts_expert_channels || c->run->cuts_shared_channels ? edit_shared_channels(c) : 0;
    f->heads += c->run->cuts_heads ? edit_heads(c) : 0;
    f->blocks += c->run->cuts_blocks ? edit_blocks(c) : 0;
    edit_module_names(c);
}

/* Parses a copy in which organ_hf_config_tidy has replaced NaN and Infinity. */
organ_status organ_cut_edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    organ_cut_run *const run = context;
    char *const bytes = malloc(config->length + 1);
    json_t *root = NULL;
    found_settings f = {0};
    size_t layers = 0; /* of the text model */
    if (!bytes)
        return organ_fail_memory(error, config->label);
    memcpy(bytes, config->bytes, config->length + 1);
    organ_hf_config_tidy(bytes, config->length);
    const organ_json_source text = {config->label, bytes, config->length};
    organ_json_parse_object(&text, &root, error);
    for (size_t k = 0; k < COUNT_OF(parts_of_config) && !error->status; k++) {
        const char *const inside = parts_of_config[k];
        organ_cut_config c = {run, config, inside, inside ? json_object_get(root, inside) : root, 0, error};
        if (json_is_object(c.object))
            edit_object(&c, &f);
        layers = c.layers ? c.layers : layers;
    }
    if (!error->status && check_found(run, config, &f, error) == ORGAN_OK && run->cuts_blocks)
        organ_cut_check_layers(run, config, layers, error);
    json_decref(root);
    free(bytes);
    return error->status;
}
