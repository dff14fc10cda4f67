/* SPDX-License-Identifier: MIT
 * Edits the numbers of config.json, or of the key-values of a GGUF file, for the smaller model: experts, widths, heads,
 * layers. The edit_ functions return in how many settings they found the number that they edit; 0 means that the object
 * does not state it. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/base/json.h"
#include "formats/base/quant_sections.h"
#include "formats/config/model_config.h"

#include <inttypes.h>
#include <string.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

/* Widths of feed-forwards, of routed and of shared experts. */
#define WIDTH        "intermediate_size"
#define EXPERT_WIDTH "moe_intermediate_size"
#define SHARED_WIDTH "shared_expert_intermediate_size"

/* Returns a member of config.json; NULL also for a GGUF file. */
static const json_t *member_of(const organ_cut_config *c, const char *name)
{
    return json_object_get(c->s.object, name);
}

/* Returns the member with the width of layers without experts, beside which WIDTH is that of experts; NULL: none. */
static const char *dense_width_of(const organ_cut_config *c)
{
    static const char *const names[] = {"prefix_dense_intermediate_size", "dense_intermediate_size"};
    for (size_t k = 0; k < COUNT_OF(names); k++)
        if (organ_settings_get(&c->s, names[k]))
            return names[k];
    return NULL;
}

/* If all elements of the list are the old value, sets them to the new one; returns whether they are. */
static bool change_list(const organ_cut_config *c, const char *key, uint64_t before, uint64_t after)
{
    const json_t *const list = member_of(c, key);
    ORGAN_OWNED_JSON json_t *const made = json_array();
    bool same = json_array_size(list) > 0;
    for (size_t k = 0; k < json_array_size(list); k++) {
        same = same && json_is_integer(json_array_get(list, k)) &&
               json_integer_value(json_array_get(list, k)) == (json_int_t)before;
        if (json_array_append_new(made, json_integer((json_int_t)after)))
            organ_fail_memory(c->s.error, key);
    }
    if (same)
        organ_settings_set(&c->s, key, json_incref(made));
    return same;
}

/* ---- experts ---- */

/* If a token uses more experts than are kept, it then uses all kept ones. Returns how many settings state the number
 * of experts. */
static size_t edit_experts(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    char chosen[ORGAN_MEMBER_ROOM];
    uint64_t max = 0; /* experts that a token uses after the cut: the largest value of the settings that state it */
    const size_t found =
        organ_settings_change_all(&c->s, ORGAN_SETTING_EXPERTS, run->experts_before, run->experts_after);
    for (size_t k = 0; organ_settings_alias(&c->s, "num_experts_per_tok", k, chosen); k++) {
        const uint64_t stated = organ_settings_get(&c->s, chosen),
                       used = stated < run->experts_after ? stated : run->experts_after;
        if (used < stated)
            organ_settings_set_number(&c->s, chosen, used);
        max = used > max ? used : max;
    }
    const char *const method = json_string_value(member_of(c, "topk_method"));
    const bool greedy = method && strcmp(method, "greedy") == 0; /* DeepSeek-V2-Lite: groups are not used */
    const uint64_t groups = greedy ? 0 : organ_settings_get(&c->s, "n_group");
    const char *const why = organ_cut_groups_fault(run, groups, organ_settings_get(&c->s, "topk_group"), max);
    if (why)
        organ_settings_refuse(&c->s, "n_group", why);
    return found;
}

/* ---- widths ---- */

/* While block_auto_adjust_ff_dim is true, LFM2 computes another width from the members.
 * Returns 1, the number of found members. */
static size_t set_unadjusted(const organ_cut_config *c)
{
    organ_settings_set(&c->s, "block_auto_adjust_ff_dim", json_false());
    organ_settings_set_number(&c->s, WIDTH, c->run->channels_after);
    if (member_of(c, "block_ff_dim"))
        organ_settings_set_number(&c->s, "block_ff_dim", c->run->channels_after);
    return 1;
}

/* Returns how many settings state the width. For BLOOM and MPT no member can, because their width follows from the
 * hidden size. */
static size_t edit_channels(const organ_cut_config *c)
{
    const forward_family *const family = organ_layer_family(c->s.object);
    const uint64_t before = c->run->channels_before, after = c->run->channels_after;
    if (family && family->adjusted_feed && !json_is_false(member_of(c, "block_auto_adjust_ff_dim")))
        return set_unadjusted(c);
    if (family && family->four_times_only)
        organ_settings_refuse(&c->s, "model_type",
                              "loaders give its feed-forward 4 times as many channels as the hidden size");
    if (change_list(c, WIDTH, before, after)) /* Gemma 3n */
        return 1;
    if (dense_width_of(c))
        return organ_settings_change(&c->s, dense_width_of(c), before, after);
    return organ_settings_change_all(&c->s, WIDTH, before, after);
}

static bool keeps_dense_layer(const organ_cut_run *run)
{
    for (size_t l = 0; l < run->layer_count; l++)
        if (run->facts[l].becomes >= 0 && organ_cut_channels(run->model, run->weights, l, ORGAN_EXPERTS_NONE))
            return true;
    return false;
}

static bool has_any(const organ_cut_config *c, const char *setting)
{
    char name[ORGAN_MEMBER_ROOM];
    bool found = false;
    for (size_t k = 0; !found && organ_settings_alias(&c->s, setting, k, name); k++)
        found = organ_settings_has(&c->s, name);
    return found;
}

/* Edits the width of shared experts. Returns 1 if the object states it, else 0. The width may be
 *   - a setting of its own, which is changed if routed experts keep their width;
 *   - a multiple of the routed width, if a setting gives the number of shared experts;
 *   - equal to the routed width WIDTH, which edit_expert_channels changes.
 * In the last two cases both widths must keep the same share of channels. */
static size_t edit_shared_channels(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    const bool follow = organ_cut_shared_follow(run);
    char name[ORGAN_MEMBER_ROOM];
    if (!run->cuts_expert_channels &&
        organ_settings_change_all(&c->s, SHARED_WIDTH, run->shared_channels_before, run->shared_channels_after))
        return 1;
    if (c->s.gguf && has_any(c, SHARED_WIDTH)) { /* llama.cpp reads it rather than the number of shared experts */
        if (run->cuts_shared_channels)
            organ_settings_refuse(&c->s, SHARED_WIDTH,
                                  "channels of shared and of routed experts can be cut together only if it is absent");
        return 1;
    }
    /* A number of shared experts gives their width as a multiple of the routed width if the routed width has a setting
     * of its own, or if the product is the width that the tensors have. */
    for (size_t k = 0; organ_settings_alias(&c->s, "n_shared_experts", k, name); k++) {
        const uint64_t count = organ_settings_get(&c->s, name);
        if (!count || (!organ_settings_has(&c->s, EXPERT_WIDTH) &&
                       count * run->expert_channels_before != run->shared_channels_before))
            continue;
        if (!follow)
            organ_settings_refuse(&c->s, name, ORGAN_CUT_SHARED_FOLLOW);
        return 1;
    }
    return !has_any(c, SHARED_WIDTH) && organ_settings_has(&c->s, WIDTH) && follow &&
           run->shared_channels_before == run->expert_channels_before;
}

/* In models without a setting of its own the width is WIDTH, which may also be the width of kept layers without
 * experts. Returns 1 if the setting has the old width, else 0. */
static size_t edit_expert_channels(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    const bool own = organ_settings_has(&c->s, EXPERT_WIDTH);
    const size_t found = organ_settings_change(&c->s, own ? EXPERT_WIDTH : WIDTH, run->expert_channels_before,
                                               run->expert_channels_after);
    if (found && !own && keeps_dense_layer(run) && !member_of(c, "intermediate_size_mlp") && !dense_width_of(c) &&
        (run->channels_before != run->expert_channels_before || run->channels_after != run->expert_channels_after))
        organ_settings_refuse(&c->s, WIDTH, "it is also the width of layers without experts, which keep another width");
    return found;
}

/* Adds the width of a head if it is missing, because its default depends on the number of heads. Returns 1, or 0
 * without a change if the object does not state the model's number of heads. */
static size_t edit_heads(const organ_cut_config *c)
{
    static const char *const sizes[] = {"head_dim", "v_head_dim"}; /* a GGUF file has a key for each */
    const organ_cut_run *const run = c->run;
    const uint64_t heads = organ_settings_get(&c->s, ORGAN_SETTING_HEADS),
                   hidden = organ_settings_get(&c->s, "hidden_size");
    if (!heads || heads != (uint64_t)run->model->config.num_attention_heads)
        return 0;
    for (size_t k = 0; k < (c->s.gguf ? 2 : 1); k++) {
        if (organ_settings_get(&c->s, sizes[k]))
            continue;
        if (hidden == 0 || hidden % heads)
            organ_settings_refuse(&c->s, "hidden_size", "it does not determine the size of a head");
        organ_settings_set_number(&c->s, sizes[k], hidden / heads);
    }
    /* each head of K and V keeps its query heads, the same number for each */
    organ_settings_set_number(&c->s, ORGAN_SETTING_HEADS, heads / run->kv_heads_before * run->kv_heads_after);
    organ_settings_set_number(&c->s, ORGAN_SETTING_KV_HEADS, run->kv_heads_after);
    return 1;
}

/* ---- blocks ---- */

/* Returns the number of blocks for multi-token prediction that the object states, 0 if it states none. */
static uint64_t drafts_of(const organ_cut_config *c)
{
    char name[ORGAN_MEMBER_ROOM];
    uint64_t number = 0;
    for (size_t k = 0; !number && organ_settings_alias(&c->s, ORGAN_SETTING_DRAFTS, k, name); k++)
        number = organ_settings_get(&c->s, name);
    return number;
}

/* Sets all settings that state this number. */
static void set_drafts(const organ_cut_config *c, uint64_t number)
{
    char name[ORGAN_MEMBER_ROOM];
    for (size_t k = 0; organ_settings_alias(&c->s, ORGAN_SETTING_DRAFTS, k, name); k++)
        if (organ_settings_get(&c->s, name))
            organ_settings_set_number(&c->s, name, number);
}

/* Sets c->layers. A setting counts as the number of layers only if it fits run->own_layers, the layers that have
 * tensors: these may include layers for multi-token prediction, which a GGUF file counts, and config.json does not.
 * Without such a setting, the length of layers_block_type is the number of layers. Returns how many settings state the
 * number of layers. */
static size_t edit_count(organ_cut_config *c, uint64_t later)
{
    static const char *const lists[] = {"layers_block_type"}; /* Nemotron-H of transformers 5 has no number */
    const size_t own = c->run->own_layers;
    const uint64_t counted = c->s.gguf ? later : 0; /* layers for multi-token prediction in the number */
    char name[ORGAN_MEMBER_ROOM];
    size_t found = 0;
    c->layers = 0;
    for (size_t k = 0; organ_settings_alias(&c->s, ORGAN_SETTING_LAYERS, k, name); k++) {
        const uint64_t layers = organ_settings_get(&c->s, name);
        if (layers <= counted || layers > own || layers - counted + later < own)
            continue;
        c->layers = (size_t)(layers - counted);
        organ_settings_set_number(&c->s, name, organ_cut_kept_before(c->run, (size_t)layers));
        found++;
    }
    for (size_t k = 0; k < COUNT_OF(lists) && !found; k++) {
        c->layers = json_array_size(member_of(c, lists[k]));
        found += c->layers && c->layers <= own && c->layers + later >= own;
    }
    return found;
}

static size_t edit_blocks(organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    const uint64_t later = drafts_of(c); /* layers for multi-token prediction */
    if (c->s.gguf)
        organ_cut_check_keys(c);
    const size_t found = edit_count(c, later);
    if (found && later && c->layers < run->own_layers)
        set_drafts(c, organ_cut_kept_before(run, run->own_layers) - organ_cut_kept_before(run, c->layers));
    if (found)
        organ_cut_edit_layers(c);
    return found;
}

/* ---- names of modules ---- */

static void edit_module_names(const organ_cut_config *c)
{
    const organ_quant_section *section;
    for (size_t k = 0; (section = organ_quant_section_at(k)) && !c->s.error->status; k++) {
        const json_t *const value = member_of(c, section->key);
        bool changed = false;
        ORGAN_OWNED_JSON json_t *const made =
            value ? organ_cut_renamed(c->run, section->key, value, &changed, c->s.error) : NULL;
        if (made && changed && organ_json_edit_set(c->s.edit, c->s.inside, section->key, made, c->s.error) == ORGAN_OK)
            organ_cut_note(c->run, &(organ_settings){.error = c->s.error}, section->key, NULL,
                           json_string("names of modules follow"));
    }
}

/* ---- the whole file ---- */

/* For each number that is cut, how many settings state it. */
typedef struct found_settings {
    size_t experts, channels, expert_channels, shared_channels, heads, blocks;
} found_settings;

/* Refuses a model if no setting states a number that the cut changes. The message names the key of a GGUF file, but
 * the number for config.json, where several members may state it. */
static organ_status check_found(const organ_cut_config *c, const found_settings *f)
{
    const organ_cut_run *const run = c->run;
    const char *const expert = organ_settings_has(&c->s, EXPERT_WIDTH) ? EXPERT_WIDTH : WIDTH;
    const struct {
        bool requested;   /* the cut changes the number */
        size_t found;     /* settings that state it */
        const char *what; /* for the message */
        uint64_t number;  /* its value in the donor, by the tensors */
        const char *setting;
    } all[] = {
        {run->cuts_experts, f->experts, "experts", run->experts_before, ORGAN_SETTING_EXPERTS},
        {run->cuts_channels, f->channels, "channels of the feed-forward", run->channels_before, WIDTH},
        {run->cuts_expert_channels, f->expert_channels, "channels of an expert", run->expert_channels_before, expert},
        {run->cuts_shared_channels, f->shared_channels, "shared experts",
         run->shared_channels_before / (run->expert_channels_before ? run->expert_channels_before : 1), SHARED_WIDTH},
        {run->cuts_heads, f->heads, "heads", (uint64_t)run->model->config.num_attention_heads, ORGAN_SETTING_HEADS},
        {run->cuts_blocks, f->blocks, "layers", run->layer_count, ORGAN_SETTING_LAYERS}};
    for (size_t k = 0; k < COUNT_OF(all); k++) {
        char why[64];
        snprintf(why, sizeof why, "it is not the %" PRIu64 " that the tensors have", all[k].number);
        if (all[k].requested && !all[k].found && c->s.gguf)
            organ_settings_refuse(&c->s, all[k].setting, why);
        else if (all[k].requested && !all[k].found)
            organ_fail(c->s.error, ORGAN_BAD_INPUT,
                       "%s: has no known member for the number of %s, which is %" PRIu64 " by the tensors", c->s.label,
                       all[k].what, all[k].number);
    }
    return c->s.error->status;
}

static void edit_object(organ_cut_config *c, found_settings *f)
{
    f->experts += c->run->cuts_experts ? edit_experts(c) : 0;
    f->channels += c->run->cuts_channels ? edit_channels(c) : 0;
    f->expert_channels += c->run->cuts_expert_channels ? edit_expert_channels(c) : 0;
    f->shared_channels += c->run->cuts_expert_channels || c->run->cuts_shared_channels ? edit_shared_channels(c) : 0;
    f->heads += c->run->cuts_heads ? edit_heads(c) : 0;
    f->blocks += c->run->cuts_blocks ? edit_blocks(c) : 0;
    if (c->run->drops_drafts)
        set_drafts(c, 0);
    edit_module_names(c);
}

organ_status organ_cut_edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    organ_cut_config c = {
        .run = context,
        .s = {.label = config->label, .edit = config, .changed = organ_cut_note, .context = context, .error = error}};
    ORGAN_OWNED_JSON json_t *root = NULL;
    found_settings f = {0};
    size_t layers = 0; /* of the text model */
    organ_config_parse(config->label, config->bytes, config->length, &root, error);
    for (size_t k = 0; organ_settings_enter(&c.s, root, &k);) {
        edit_object(&c, &f);
        layers = c.layers ? c.layers : layers;
    }
    if (!error->status && check_found(&c, &f) == ORGAN_OK && c.run->cuts_blocks)
        organ_cut_check_layers(c.run, config, layers, error);
    return error->status;
}

/* The config.json of an architecture that organ convert knows only by name. */
static void edit_own_config(organ_cut_run *run, organ_error *error)
{
    size_t length = 0;
    const char *const text = organ_gguf_string(run->model->gguf, ORGAN_GGUF_CONFIG, &length);
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    if (text && organ_json_edit_begin(&edit, run->model->path, text, length, error) == ORGAN_OK &&
        organ_cut_edit_config(run, &edit, error) == ORGAN_OK)
        organ_gguf_writer_set_string(run->gguf, ORGAN_GGUF_CONFIG, edit.bytes, edit.length, error);
}

organ_status organ_cut_edit_keys(organ_cut_run *run, organ_error *error)
{
    organ_cut_config c = {.run = run, .s = organ_settings_of(run->model, run->gguf, error)};
    found_settings f = {0};
    c.s.changed = organ_cut_note;
    c.s.context = run;
    edit_object(&c, &f);
    if (check_found(&c, &f) == ORGAN_OK)
        edit_own_config(run, error);
    return error->status;
}
