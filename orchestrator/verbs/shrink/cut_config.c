/* SPDX-License-Identifier: MIT
 * Edits the numbers of config.json for the smaller model: experts, widths, heads, layers. The edit_ functions return in
 * how many members of c->object they found the number that they edit; 0 means that the object does not state it. */
#include "orchestrator/verbs/shrink/cut.h"

#include "formats/architecture/mtp_types.h"
#include "formats/architecture/pairing.h"
#include "formats/base/json.h"
#include "formats/base/quant_sections.h"
#include "orchestrator/surgery/layers/layer_settings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

/* Widths of feed-forwards, of those of layers before the mixtures, of routed and of shared experts. */
#define WIDTH        "intermediate_size"
#define DENSE_WIDTH  "prefix_dense_intermediate_size"
#define EXPERT_WIDTH "moe_intermediate_size"
#define SHARED_WIDTH "expert_shared_feed_forward_length" /* a key of GGUF files, which stands for several members */

static uint64_t config_number_of(const organ_cut_config *c, const char *key)
{
    const json_t *const value = json_object_get(c->object, key);
    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static void set_number(const organ_cut_config *c, const char *key, uint64_t value)
{
    organ_cut_set(c, key, json_integer((json_int_t)value));
}

/* If all elements of the list are the old value, sets them to the new one; returns whether they are. */
static bool change_list(const organ_cut_config *c, const char *key, uint64_t before, uint64_t after)
{
    const json_t *const list = json_object_get(c->object, key);
    ORGAN_OWNED_JSON json_t *const made = json_array();
    bool same = json_array_size(list) > 0;
    for (size_t k = 0; k < json_array_size(list); k++) {
        same = same && json_is_integer(json_array_get(list, k)) &&
               json_integer_value(json_array_get(list, k)) == (json_int_t)before;
        if (json_array_append_new(made, json_integer((json_int_t)after)))
            organ_fail_memory(c->error, key);
    }
    if (same)
        organ_cut_set(c, key, json_incref(made));
    return same;
}

/* Returns 1 if the member has the old value and is set, else 0. A list is ORGAN_BAD_INPUT. */
static size_t change_number(const organ_cut_config *c, const char *key, uint64_t before, uint64_t after)
{
    if (json_is_array(json_object_get(c->object, key)))
        organ_cut_refuse(c, key, "a list gives each layer its own number, which no known loader supports");
    if (config_number_of(c, key) != before)
        return 0;
    set_number(c, key, after);
    return 1;
}

/* Returns how many of the members with the meaning of the GGUF key it has set. */
static size_t change_numbers(const organ_cut_config *c, const char *key, uint64_t before, uint64_t after)
{
    char member[ORGAN_MEMBER_ROOM];
    size_t members = 0;
    for (size_t k = 0; organ_pairing_member(key, k, member); k++)
        members += change_number(c, member, before, after);
    return members;
}

/* ---- experts ---- */

/* If a token uses more experts than are kept, it then uses all kept ones. Returns how many members state the number
 * of experts. */
static size_t edit_experts(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    char chosen[ORGAN_MEMBER_ROOM];
    uint64_t max = 0; /* experts that a token uses after the cut: the largest value of the members that state it */
    const size_t members = change_numbers(c, "expert_count", run->experts_before, run->experts_after);
    for (size_t k = 0; organ_pairing_member("expert_used_count", k, chosen); k++) {
        const uint64_t stated = config_number_of(c, chosen),
                       used = stated < run->experts_after ? stated : run->experts_after;
        if (used < stated)
            set_number(c, chosen, used);
        max = used > max ? used : max;
    }
    const char *const method = json_string_value(json_object_get(c->object, "topk_method"));
    const bool greedy = method && strcmp(method, "greedy") == 0; /* DeepSeek-V2-Lite: groups are not used */
    const uint64_t groups = greedy ? 0 : config_number_of(c, "n_group");
    const char *const why = organ_cut_groups_fault(run, groups, config_number_of(c, "topk_group"), max);
    if (why)
        organ_cut_refuse(c, "n_group", why);
    return members;
}

/* ---- widths ---- */

static bool boolean_or(const organ_cut_config *c, const char *key, bool otherwise)
{
    const json_t *const value = json_object_get(c->object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* While block_auto_adjust_ff_dim is true, LFM2 computes another width from the members.
 * Returns 1, the number of found members. */
static size_t set_unadjusted(const organ_cut_config *c)
{
    organ_cut_set(c, "block_auto_adjust_ff_dim", json_false());
    set_number(c, WIDTH, c->run->channels_after);
    if (json_object_get(c->object, "block_ff_dim"))
        set_number(c, "block_ff_dim", c->run->channels_after);
    return 1;
}

/* Returns how many members state the width. For BLOOM and MPT no member can, because their width follows from the
 * hidden size. */
static size_t edit_channels(const organ_cut_config *c)
{
    const forward_family *const family = organ_layer_family(c->object);
    const uint64_t before = c->run->channels_before, after = c->run->channels_after;
    if (family && family->adjusted_feed && boolean_or(c, "block_auto_adjust_ff_dim", /*otherwise=*/true))
        return set_unadjusted(c);
    if (family && family->four_times_only)
        organ_cut_refuse(c, "model_type", "loaders give its feed-forward 4 times as many channels as the hidden size");
    if (json_is_array(json_object_get(c->object, WIDTH)) && change_list(c, WIDTH, before, after)) /* Gemma 3n */
        return 1;
    if (config_number_of(c, DENSE_WIDTH)) /* the other member is then the width of experts */
        return change_number(c, DENSE_WIDTH, before, after);
    return change_numbers(c, "feed_forward_length", before, after);
}

static bool has_expert_width(const organ_cut_config *c) { return json_object_get(c->object, EXPERT_WIDTH) != NULL; }

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
 *   - equal to the routed width WIDTH, which edit_expert_channels changes.
 * In the last two cases both widths must keep the same share of channels. */
static size_t edit_shared_channels(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    char member[ORGAN_MEMBER_ROOM];
    if (!run->cuts_expert_channels &&
        change_numbers(c, SHARED_WIDTH, run->shared_channels_before, run->shared_channels_after))
        return 1;
    /* A number of shared experts gives their width as a multiple of the routed width if the routed width has a member
     * of its own, or if the product is the width that the tensors have. */
    for (size_t k = 0; organ_pairing_member("expert_shared_count", k, member); k++)
        if (config_number_of(c, member) &&
            (has_expert_width(c) ||
             config_number_of(c, member) * run->expert_channels_before == run->shared_channels_before)) {
            if (!organ_cut_shared_follow(run))
                organ_cut_refuse(c, member, ORGAN_CUT_SHARED_FOLLOW);
            return 1;
        }
    for (size_t k = 0; organ_pairing_member(SHARED_WIDTH, k, member); k++)
        if (json_object_get(c->object, member))
            return 0;
    return json_object_get(c->object, WIDTH) && organ_cut_shared_follow(run) &&
           run->shared_channels_before == run->expert_channels_before;
}

/* In models without a member of its own the width is WIDTH, which may also be the width of kept layers without experts.
 * Returns 1 if the member has the old width, else 0. */
static size_t edit_expert_channels(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    const bool own = has_expert_width(c);
    const size_t members =
        change_number(c, own ? EXPERT_WIDTH : WIDTH, run->expert_channels_before, run->expert_channels_after);
    if (members && !own && keeps_dense_layer(run) && !json_object_get(c->object, "intermediate_size_mlp") &&
        !config_number_of(c, DENSE_WIDTH) &&
        (run->channels_before != run->expert_channels_before || run->channels_after != run->expert_channels_after))
        organ_cut_refuse(c, WIDTH, "it is also the width of layers without experts, which keep another width");
    return members;
}

/* Adds the width of a head if it is missing, because its default depends on the number of heads. Returns 1, or 0
 * without a change if the object does not state the model's number of heads. */
static size_t edit_heads(const organ_cut_config *c)
{
    const organ_cut_run *const run = c->run;
    char query[ORGAN_MEMBER_ROOM], kv[ORGAN_MEMBER_ROOM], width[ORGAN_MEMBER_ROOM];
    organ_pairing_member("attention.head_count", 0, query);
    organ_pairing_member("attention.head_count_kv", 0, kv);
    organ_pairing_member("attention.key_length", 0, width);
    const uint64_t heads = config_number_of(c, query), hidden = config_number_of(c, "hidden_size");
    if (heads != (uint64_t)run->model->config.num_attention_heads)
        return 0;
    if (!config_number_of(c, width)) {
        if (hidden == 0 || hidden % heads)
            organ_cut_refuse(c, "hidden_size", "it does not determine the size of a head");
        set_number(c, width, hidden / heads);
    }
    /* each head of K and V keeps its query heads, the same number for each */
    set_number(c, query, heads / run->kv_heads_before * run->kv_heads_after);
    set_number(c, kv, run->kv_heads_after);
    return 1;
}

/* ---- blocks ---- */

/* Returns the number of blocks for multi-token prediction that c->object states, 0 if it states none. */
static uint64_t drafts_of(const organ_cut_config *c)
{
    const char *counter;
    uint64_t number = 0;
    for (size_t k = 0; (counter = organ_mtp_counter(k)) && !number; k++)
        number = config_number_of(c, counter);
    return number;
}

/* Sets all members that state this number. */
static void set_drafts(const organ_cut_config *c, uint64_t number)
{
    const char *counter;
    for (size_t k = 0; (counter = organ_mtp_counter(k)); k++)
        if (config_number_of(c, counter) > 0)
            set_number(c, counter, number);
}

/* A member counts as the number of layers only if it fits run->own_layers, the layers that have tensors: these may
 * include layers for multi-token prediction. Without such a member, the length of layers_block_type is the number of
 * layers. Returns how many members state the number of layers. */
static size_t edit_blocks(organ_cut_config *c)
{
    static const char *const lists[] = {"layers_block_type"}; /* Nemotron-H of transformers 5 has no number */
    const uint64_t later = drafts_of(c);                      /* layers for multi-token prediction */
    char count[ORGAN_MEMBER_ROOM];
    size_t members = 0;
    c->layers = 0;
    for (size_t k = 0; organ_pairing_member("block_count", k, count); k++) {
        const uint64_t layers = config_number_of(c, count);
        if (layers == 0 || layers > c->run->own_layers || layers + later < c->run->own_layers)
            continue;
        c->layers = (size_t)layers;
        set_number(c, count, organ_cut_kept_before(c->run, c->layers));
        members++;
    }
    for (size_t k = 0; k < COUNT_OF(lists) && !members; k++) {
        c->layers = json_array_size(json_object_get(c->object, lists[k]));
        members += c->layers && c->layers <= c->run->own_layers && c->layers + later >= c->run->own_layers;
    }
    if (members && later && c->layers < c->run->own_layers)
        set_drafts(c, organ_cut_kept_before(c->run, c->run->own_layers) - organ_cut_kept_before(c->run, c->layers));
    if (members)
        organ_cut_edit_layers(c);
    return members;
}

/* ---- names of modules ---- */

static void edit_module_names(const organ_cut_config *c)
{
    const organ_quant_section *section;
    for (size_t k = 0; (section = organ_quant_section_at(k)) && !c->error->status; k++) {
        const json_t *const value = json_object_get(c->object, section->key);
        bool changed = false;
        ORGAN_OWNED_JSON json_t *const made =
            value ? organ_cut_renamed(c->run, section->key, value, &changed, c->error) : NULL;
        if (made && changed && organ_json_edit_set(c->edit, c->inside, section->key, made, c->error) == ORGAN_OK)
            organ_cut_note(c->run, "config.json", NULL, section->key, NULL, json_string("names of modules follow"),
                           c->error);
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
        bool requested;   /* the cut changes the number */
        size_t members;   /* that state it */
        const char *what; /* for the message */
        uint64_t number;  /* its value in the donor, by the tensors */
    } all[] = {{run->cuts_experts, f->experts, "experts", run->experts_before},
               {run->cuts_channels, f->channels, "channels of the feed-forward", run->channels_before},
               {run->cuts_expert_channels, f->expert_channels, "channels of an expert", run->expert_channels_before},
               {run->cuts_shared_channels, f->shared_channels, "shared experts",
                run->shared_channels_before / (run->expert_channels_before ? run->expert_channels_before : 1)},
               {run->cuts_heads, f->heads, "heads", (uint64_t)run->model->config.num_attention_heads},
               {run->cuts_blocks, f->blocks, "layers", run->layer_count}};
    for (size_t k = 0; k < COUNT_OF(all); k++)
        if (all[k].requested && all[k].members == 0)
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
    if (c->run->drops_drafts)
        set_drafts(c, 0);
    edit_module_names(c);
}

/* Parses a copy in which organ_hf_config_tidy has replaced NaN and Infinity. */
organ_status organ_cut_edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    organ_cut_run *const run = context;
    ORGAN_OWNED char *const bytes = malloc(config->length + 1);
    ORGAN_OWNED_JSON json_t *root = NULL;
    found_settings f = {0};
    size_t layers = 0; /* of the text model */
    if (!bytes)
        return organ_fail_memory(error, config->label);
    memcpy(bytes, config->bytes, config->length + 1);
    organ_hf_config_tidy(bytes, config->length);
    const organ_json_source text = {config->label, bytes, config->length};
    organ_json_parse_object(&text, &root, error);
    for (size_t k = 0; k < ORGAN_LAYERS_OBJECTS && !error->status; k++) {
        organ_cut_config c = {.run = run, .edit = config, .error = error};
        c.object = organ_layers_object(root, k, &c.inside);
        if (json_is_object(c.object))
            edit_object(&c, &f);
        layers = c.layers ? c.layers : layers;
    }
    if (!error->status && check_found(run, config, &f, error) == ORGAN_OK && run->cuts_blocks)
        organ_cut_check_layers(run, config, layers, error);
    return error->status;
}
