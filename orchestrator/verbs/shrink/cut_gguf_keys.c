/* SPDX-License-Identifier: MIT
 * Edits the key-values of the smaller GGUF model. */
#include "orchestrator/verbs/shrink/cut.h"

#include "formats/architecture/config_readers.h"
#include "formats/architecture/mtp_types.h"
#include "formats/base/json.h"
#include "formats/gguf/file.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/surgery/layers/layer_settings.h"

#include <inttypes.h>
#include <organ/architecture.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))
#define KEY            160 /* bytes of the longest key */

/* The functions name keys without the architecture: "block_count". */
typedef struct keys {
    organ_cut_run *run;       /* run->gguf has the key-values of the output */
    const organ_gguf *gguf;   /* the donor's key-values */
    const char *architecture; /* "llama": the beginning of most keys */
    organ_error *error;
} keys;

static const char *full_key(const keys *k, const char *name, char key[KEY])
{
    snprintf(key, KEY, "%s.%s", k->architecture, name);
    return key;
}

static const organ_gguf_kv *find_key(const keys *k, const char *name)
{
    char key[KEY];
    return organ_gguf_find(k->gguf, full_key(k, name, key));
}

/* Returns -1 if the key is absent, negative or an array. */
static int64_t keys_number_of(const keys *k, const char *name)
{
    const organ_gguf_kv *const kv = find_key(k, name);
    int64_t value;
    return kv && kv->type != ORGAN_GGUF_ARRAY && organ_gguf_integer_at(kv, 0, &value) && value >= 0 ? value : -1;
}

static void set_key(const keys *k, const char *name, uint64_t value)
{
    char key[KEY];
    const int64_t before = keys_number_of(k, name);
    full_key(k, name, key);
    if (before == (int64_t)value)
        return;
    if (organ_gguf_writer_set_integer(k->run->gguf, key, ORGAN_GGUF_U32, (int64_t)value, k->error) == ORGAN_OK)
        organ_cut_note(k->run, "GGUF", NULL, key, before < 0 ? NULL : json_integer(before),
                       json_integer((json_int_t)value), k->error);
}

static void refuse_key(const keys *k, const char *name, const char *why)
{
    organ_fail(k->error, ORGAN_BAD_INPUT, "%s: key '%s.%s' is %" PRId64 ": %s", k->run->model->path, k->architecture,
               name, keys_number_of(k, name), why);
}

/* The tensors imply `before`; another value of the donor is ORGAN_BAD_INPUT. */
static void keys_change(const keys *k, const char *name, uint64_t before, uint64_t after)
{
    if (keys_number_of(k, name) == (int64_t)before)
        set_key(k, name, after);
    else
        organ_fail(k->error, ORGAN_BAD_INPUT, "%s: key '%s.%s' is not the %" PRIu64 " that the tensors have",
                   k->run->model->path, k->architecture, name, before);
}

/* ---- experts, widths ---- */

static void edit_experts(const keys *k)
{
    const organ_cut_run *const run = k->run;
    const int64_t used = keys_number_of(k, "expert_used_count"), groups = keys_number_of(k, "expert_group_count");
    const uint64_t used_after = used > 0 ? organ_min((size_t)used, run->experts_after) : 0;
    const int64_t used_groups = keys_number_of(k, "expert_group_used_count");
    keys_change(k, "expert_count", run->experts_before, run->experts_after);
    if (used > (int64_t)used_after)
        set_key(k, "expert_used_count", used_after);
    const char *const why = organ_cut_groups_fault(run, groups > 0 ? (uint64_t)groups : 0,
                                                   used_groups > 0 ? (uint64_t)used_groups : 0, used_after);
    if (why)
        refuse_key(k, "expert_group_count", why);
}

/* In models without expert_feed_forward_length the width is feed_forward_length, which cannot also describe cut
 * layers without experts. */
static void edit_expert_channels(const keys *k)
{
    const organ_cut_run *const run = k->run;
    const bool own = find_key(k, "expert_feed_forward_length") != NULL;
    if (!own && run->cuts_channels)
        refuse_key(k, "feed_forward_length",
                   "it is the width both of experts and of layers without experts, which cannot both be cut");
    else
        keys_change(k, own ? "expert_feed_forward_length" : "feed_forward_length", run->expert_channels_before,
                    run->expert_channels_after);
}

/* If the model states only the number of shared experts (expert_shared_count), their width is this number times the
 * width of a routed expert. Shared and routed experts must then keep the same share of channels. Otherwise channels
 * of shared experts cannot be cut. */
static void check_shared(const keys *k)
{
    const bool counted =
        keys_number_of(k, "expert_shared_count") > 0 && !find_key(k, "expert_shared_feed_forward_length");
    if (counted && !organ_cut_shared_follow(k->run))
        refuse_key(k, "expert_shared_count", ORGAN_CUT_SHARED_FOLLOW);
    else if (!counted && k->run->cuts_shared_channels)
        refuse_key(k, "expert_shared_feed_forward_length",
                   "channels of shared experts can be cut only if it is absent");
}

/* The sizes of keys and values are added if they are missing, because their defaults depend on the number of heads. */
static void edit_heads(const keys *k)
{
    static const char *const lengths[] = {"attention.key_length", "attention.value_length"};
    const organ_cut_run *const run = k->run;
    const int64_t heads = keys_number_of(k, "attention.head_count"), hidden = keys_number_of(k, "embedding_length");
    if (heads < 1 || hidden < 1) {
        refuse_key(k, "attention.head_count", "heads can be cut only if it and embedding_length are numbers");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        if (keys_number_of(k, lengths[i]) < 0)
            set_key(k, lengths[i], (uint64_t)(hidden / heads));
    set_key(k, "attention.head_count", (uint64_t)heads / run->kv_heads_before * run->kv_heads_after);
    set_key(k, "attention.head_count_kv", run->kv_heads_after);
}

/* ---- blocks ---- */

static bool is_listed(const keys *k)
{
    const organ_gguf_kv *const windows = find_key(k, "attention.sliding_window_pattern");
    return windows && windows->type == ORGAN_GGUF_ARRAY;
}

/* Returns whether the windows of layers decide which layers rotate. */
static bool windows_rotate(const organ_forward_config *c)
{
    for (unsigned a = 0; a < c->layers; a++)
        for (unsigned b = 0; b < a; b++)
            if (!c->kinds[a].window == !c->kinds[b].window && c->kinds[a].rotated != c->kinds[b].rotated)
                return false;
    return true;
}

/* Without a key with an element for each layer, a layer gets the attention that the donor's layer of its number has.
 * Returns false if the donor cannot be read. */
static bool check_positions(const keys *k)
{
    organ_forward_config c = {0};
    organ_error unknown = {0};
    const organ_cut_run *const run = k->run;
    if (organ_forward_config_read(run->model, &c, &unknown) || c.layers > run->layer_count) {
        organ_forward_config_release(&c);
        return false;
    }
    const bool listed = is_listed(k), rotate = listed && windows_rotate(&c);
    for (unsigned l = 0; l < c.layers && !k->error->status; l++) {
        const int32_t n = run->facts[l].becomes;
        if (n < 0)
            continue;
        const organ_layer_kind *const was = &c.kinds[l], *const is = &c.kinds[n];
        if (was->mixer == ORGAN_MIXER_LIGHTNING)
            organ_fail(k->error, ORGAN_BAD_INPUT,
                       "%s: the decays of layer %u depend on its number and on the number of layers: no block can be "
                       "dropped",
                       run->model->path, l);
        else if ((!listed && !was->window != !is->window) || !was->chunk != !is->chunk ||
                 (!rotate && was->rotated != is->rotated))
            organ_fail(
                k->error, ORGAN_BAD_INPUT,
                "%s: llama.cpp gives layers of %s their attention by their position: layer %u would become layer "
                "%d, which has another kind; drop other layers, or convert to safetensors first",
                run->model->path, k->architecture, l, (int)n);
    }
    organ_forward_config_release(&c);
    return true;
}

/* Without a key for it, llama.cpp gives every period-th layer of some architectures another kind, so kept layers would
 * change their kind. Other models llama.cpp recognises by their number of layers. */
static void check_architecture(const keys *k)
{
    const forward_family *const family = organ_forward_family_named(k->architecture, /*gguf=*/true);
    const bool decided = check_positions(k) || is_listed(k);
    const uint64_t period = family ? organ_forward_gguf_period(family) : 0;
    if (period && !decided && !organ_cut_period_holds(k->run, k->run->layer_count, period, 1))
        organ_fail(k->error, ORGAN_BAD_INPUT,
                   "%s: llama.cpp gives every %" PRIu64
                   "th layer of %s another attention by its position: drop whole periods of %" PRIu64
                   ", so that the kept layers keep their kind",
                   k->run->model->path, period, k->architecture, period);
    if (family && family->large_layers && k->run->layer_count == family->large_layers)
        organ_fail(k->error, ORGAN_BAD_INPUT,
                   "%s: llama.cpp recognises the %s with a different attention scale by its %u layers: none can be "
                   "dropped",
                   k->run->model->path, k->architecture, family->large_layers);
}

static void check_layer_periods(const keys *k)
{
    static const char *const names[] = {"attention.sliding_window_pattern", "full_attention_interval",
                                        "interleave_moe_layer_step", "moe_every_n_layers"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (keys_number_of(k, names[i]) > 1 &&
            !organ_cut_period_holds(k->run, k->run->layer_count, (uint64_t)keys_number_of(k, names[i]), 1))
            refuse_key(k, names[i], "without these blocks it would describe the kept layers wrongly");
    if (keys_number_of(k, "attention.shared_kv_layers") > 0)
        refuse_key(k, "attention.shared_kv_layers",
                   "layers use the keys and values of other layers by position: blocks cannot be dropped");
}

/* `kv` has one entry per layer, of a fixed size (no strings). The bytes of an array are its head (element type in 4
 * bytes, count in 8) and its elements. */
static void cut_array(const keys *k, const organ_gguf_kv *kv)
{
    const organ_cut_run *const run = k->run;
    const size_t each = organ_gguf_type_bytes(kv->element); /* bytes of an element */
    organ_gguf_kv cut = *kv;
    cut.count = run->layers_after;
    cut.size = ORGAN_GGUF_ARRAY_HEAD + run->layers_after * each;
    unsigned char *const bytes = organ_arena_take(&k->run->arena, cut.size);
    if (!bytes) {
        organ_fail_memory(k->error, kv->key);
        return;
    }
    memcpy(bytes, kv->bytes, ORGAN_GGUF_ARRAY_HEAD);
    for (size_t b = 0; b < 8; b++)
        bytes[4 + b] = (unsigned char)((uint64_t)run->layers_after >> 8 * b); /* little endian */
    for (size_t l = 0; l < run->layer_count; l++)
        if (run->facts[l].becomes >= 0)
            memcpy(bytes + ORGAN_GGUF_ARRAY_HEAD + (size_t)run->facts[l].becomes * each,
                   kv->bytes + ORGAN_GGUF_ARRAY_HEAD + l * each, each);
    cut.bytes = bytes;
    if (organ_gguf_writer_kv(k->run->gguf, &cut, k->error) == ORGAN_OK)
        organ_cut_note(k->run, "GGUF", NULL, kv->key, NULL, json_string("an element for each kept layer"), k->error);
}

/* An array is cut if it has as many elements as the donor has layers. Arrays of strings stay whole, and so does
 * rope.dimension_sections, whose length does not depend on the layers. */
static void cut_arrays(const keys *k)
{
    const size_t length = strlen(k->architecture);
    for (size_t i = 0; i < k->gguf->kv_count && !k->error->status; i++) {
        const organ_gguf_kv *const kv = &k->gguf->kvs[i];
        const bool is_own_array = kv->type == ORGAN_GGUF_ARRAY &&
                                  ((strncmp(kv->key, k->architecture, length) == 0 && kv->key[length] == '.') ||
                                   strncmp(kv->key, "xielu.", 6) == 0);
        if (is_own_array && kv->count == k->run->layer_count && organ_gguf_type_bytes(kv->element) &&
            !strstr(kv->key, "sections"))
            cut_array(k, kv);
    }
}

static void edit_blocks(const keys *k)
{
    const organ_cut_run *const run = k->run;
    const int64_t later = organ_mtp_stated(k->gguf, k->architecture),
                  dense = keys_number_of(k, "leading_dense_block_count");
    organ_layers_check_keys(run->model, k->error);
    check_architecture(k);
    check_layer_periods(k);
    keys_change(k, "block_count", run->layer_count, run->layers_after);
    if (later > 0 && (uint64_t)later < run->layer_count)
        set_key(k, ORGAN_MTP_KEY, run->layers_after - organ_cut_kept_before(run, run->layer_count - (size_t)later));
    if (dense > 0)
        set_key(k, "leading_dense_block_count", organ_cut_kept_before(run, (size_t)dense));
    cut_arrays(k);
}

/* The config.json of an architecture that organ convert knows only by name. */
static void edit_own_config(const keys *k)
{
    size_t length = 0;
    const char *const text = organ_gguf_string(k->gguf, ORGAN_GGUF_CONFIG, &length);
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    if (text && organ_json_edit_begin(&edit, k->run->model->path, text, length, k->error) == ORGAN_OK &&
        organ_cut_edit_config(k->run, &edit, k->error) == ORGAN_OK)
        organ_gguf_writer_set_string(k->run->gguf, ORGAN_GGUF_CONFIG, edit.bytes, edit.length, k->error);
}

organ_status organ_cut_edit_keys(organ_cut_run *run, organ_error *error)
{
    const keys k = {run, run->model->gguf, run->model->config.architecture, error};
    if (run->cuts_experts)
        edit_experts(&k);
    if (run->cuts_channels && !error->status)
        keys_change(&k, "feed_forward_length", run->channels_before, run->channels_after);
    if (run->cuts_expert_channels && !error->status)
        edit_expert_channels(&k);
    if ((run->cuts_expert_channels || run->cuts_shared_channels) && !error->status)
        check_shared(&k);
    if (run->cuts_heads && !error->status)
        edit_heads(&k);
    if (run->cuts_blocks && !error->status)
        edit_blocks(&k);
    if (!error->status)
        edit_own_config(&k);
    return error->status;
}
