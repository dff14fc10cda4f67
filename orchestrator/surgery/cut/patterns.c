/* SPDX-License-Identifier: MIT
 * Edits settings of config.json that give a layer its kind by its number, after blocks were dropped. */
#include "orchestrator/surgery/cut/cut_settings.h"

#include <string.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

static bool is_model(const organ_cut_config *c, const char *start)
{
    const char *const model = json_string_value(json_object_get(c->object, "model_type"));
    return model && strncmp(model, start, strlen(start)) == 0;
}

/* ---- patterns that a list overrides ---- */

/* Loaders give layer i one kind (hit) if (i + shift) % period is 0, else another kind (miss). A list with an entry
 * for each layer overrides the pattern. */
typedef struct layers_pattern {
    /* beginning of model_type in models that have the pattern; NULL: all models with `key` have it */
    const char *model;
    const char *key; /* member of config.json with the period; NULL: the period is the constant `period` */
    uint64_t period; /* used if `key` is NULL */
    uint64_t shift;
    const char *list;       /* member of config.json that is the list */
    const char *hit, *miss; /* entries of the list for hits and for misses; NULL: the numbers 0 and 1 */
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
        if (organ_cut_stays(c, l) ? json_array_append_new(made, entry) : (json_decref(entry), 0)) {
            json_decref(made);
            return NULL;
        }
    }
    return made;
}

static void edit_pattern(const organ_cut_config *c, const layers_pattern *p)
{
    uint64_t period = p->period;
    if (p->key && !organ_cut_whole(c, p->key, &period))
        return;
    if (p->model && !is_model(c, p->model))
        return;
    if (period < 2 || json_is_array(json_object_get(c->object, p->list)) ||
        organ_json_edit_has(c->edit, c->inside, p->list))
        return;
    if (!organ_cut_period_holds(c->run, c->layers, period, p->shift))
        organ_cut_set(c, p->list, pattern_list(c, p, period));
}

/* Cohere2MoeConfig without layer_types gives layers full attention by two rules: among the first
 * first_k_dense_replace layers, which are dense, every prefix_dense_sliding_window_pattern-th; among the later
 * layers, counted from 1 again, every sliding_window_pattern-th. Absent members have the defaults of transformers, 1
 * and 4. */
static void list_dense_prefix(const organ_cut_config *c)
{
    static const char *const key = "layer_types";
    uint64_t dense, own = 1,
                    other = 4; /* dense layers; periods of full attention in them, and in the layers after them */
    json_t *const list = json_array();
    organ_cut_whole(c, "first_k_dense_replace", &dense);
    if (organ_cut_whole(c, "prefix_dense_sliding_window_pattern", &own) == NULL)
        own = 1;
    if (organ_cut_whole(c, "sliding_window_pattern", &other) == NULL)
        other = 4;
    for (size_t l = 0; l < c->layers; l++) {
        const uint64_t every = l < dense ? own : other, number = l < dense ? l : l - dense;
        const bool full = every && (number + 1) % every == 0;
        if (organ_cut_stays(c, l) &&
            json_array_append_new(list, json_string(full ? "full_attention" : "sliding_attention")))
            organ_fail_memory(c->error, key);
    }
    organ_cut_set(c, key, list);
}

/* In indexer_types of GlmMoeDsaConfig, a "full" layer has an indexer of its own, and a "shared" layer uses the keys
 * selected by the last "full" layer before it. If the list is absent, the letters F and S in index_topk_pattern give
 * the kinds. Without that member, the first index_skip_topk_offset layers (default 2) are full, and after them every
 * index_topk_freq-th. The new list overrides these members. */
static void list_indexers(const organ_cut_config *c)
{
    static const char *const key = "indexer_types";
    const char *const letters = json_string_value(json_object_get(c->object, "index_topk_pattern"));
    uint64_t freq, offset;
    const bool numbered = organ_cut_whole(c, "index_topk_freq", &freq) && freq > 1;
    if (organ_cut_whole(c, "index_skip_topk_offset", &offset) == NULL)
        offset = 2;
    if (json_is_array(json_object_get(c->object, key)) || (!letters && !numbered))
        return;
    if (letters && strlen(letters) != c->layers) {
        organ_cut_refuse(c, "index_topk_pattern", "it does not have one letter for each layer");
        return;
    }
    json_t *const list = json_array();
    size_t full = 0; /* the last layer with an indexer of its own, up to layer l */
    for (size_t l = 0; l < c->layers; l++) {
        const bool indexed = letters ? letters[l] == 'F' : l + 1 <= offset || (l + 1 - offset) % freq == 0;
        full = indexed ? l : full;
        if (!organ_cut_stays(c, l))
            continue;
        if (!organ_cut_stays(c, full))
            organ_cut_refuse(c, letters ? "index_topk_pattern" : "index_topk_freq",
                             "a kept layer uses the keys that a dropped layer selects");
        if (json_array_append_new(list, json_string(indexed ? "full" : "shared")))
            organ_fail_memory(c->error, key);
    }
    organ_cut_set(c, key, list);
}

/* ---- steps that no list overrides ---- */

/* With a member for an offset, layer l has the kind if l % step is the offset; otherwise if (l + shift) % step is 0. */
typedef struct patterns_step {
    const char *key;       /* member of config.json with the step */
    const char *offset;    /* member with the offset; NULL: none */
    const char *from, *to; /* members with the first and the last layer that the setting is for; NULL: all layers */
    const char *model;     /* model_type of models for which loaders have default values; NULL: none */
    uint64_t shift;        /* used if `offset` is NULL */
    uint64_t otherwise, offset_otherwise; /* the default values of step and offset in these models */
} patterns_step;

static const patterns_step steps[] = {
    {.key = "moe_layer_interval", .shift = 1, .from = "moe_layer_start_index", .to = "moe_layer_end_index"},
    {.key = "moe_layer_freq", .from = "first_k_dense_replace"},
    {.key = "interleave_moe_layer_step", .shift = 1},
    {.key = "attn_layer_period",
     .offset = "attn_layer_offset",
     .model = "jamba",
     .otherwise = 8,
     .offset_otherwise = 4},
    {.key = "expert_layer_period",
     .offset = "expert_layer_offset",
     .model = "jamba",
     .otherwise = 2,
     .offset_otherwise = 1},
    {.key = "global_attn_every_n_layers"},
};

static uint64_t setting_or(const organ_cut_config *c, const char *key, uint64_t otherwise)
{
    uint64_t value;
    return key && organ_cut_whole(c, key, &value) ? value : otherwise;
}

/* The step fits if the new number n of each kept layer has n % step == offset if and only if its old number l has l
 * % before == before_offset. */
static bool step_fits(const organ_cut_config *c, const patterns_step *s, uint64_t before, uint64_t before_offset,
                      uint64_t step, uint64_t offset)
{
    const uint64_t from = setting_or(c, s->from, 0), to = setting_or(c, s->to, UINT64_MAX);
    for (size_t l = 0; l < c->layers; l++)
        if (organ_cut_stays(c, l) && l >= from && l <= to &&
            (l % before == before_offset) != ((uint64_t)c->run->facts[l].becomes % step == offset))
            return false;
    return true;
}

/* Without a member for the offset, the offset must be the one for which (l + shift) % step is 0. Steps up to
 * c->layers + 1 suffice: with that step and the last offset no layer has the kind. */
static bool find_least_step(const organ_cut_config *c, const patterns_step *s, uint64_t before, uint64_t before_offset,
                            uint64_t *step, uint64_t *offset)
{
    for (*step = 1; *step <= c->layers + 1; ++*step)
        for (*offset = 0; *offset < *step; ++*offset)
            if ((s->offset || *offset == (*step - s->shift % *step) % *step) &&
                step_fits(c, s, before, before_offset, *step, *offset))
                return true;
    return false;
}

/* An old step of 0 or 1 means all layers. If the member for the step is absent, the old step is s->otherwise in
 * models of the type s->model, else 0. */
static void edit_step(const organ_cut_config *c, const patterns_step *s)
{
    const bool known = s->model && is_model(c, s->model);
    const uint64_t before = setting_or(c, s->key, known ? s->otherwise : 0);
    uint64_t step, offset;
    if (before < 2)
        return;
    const uint64_t before_offset = s->offset ? setting_or(c, s->offset, known ? s->offset_otherwise : 0) % before
                                             : (before - s->shift % before) % before;
    if (step_fits(c, s, before, before_offset, before, before_offset))
        return;
    if (!find_least_step(c, s, before, before_offset, &step, &offset)) {
        organ_cut_refuse(c, s->key,
                         s->offset ? "no step and offset give the kept layers their kinds"
                                   : "no other step gives the kept layers their kinds");
        return;
    }
    organ_cut_set(c, s->key, json_integer((json_int_t)step));
    if (s->offset)
        organ_cut_set(c, s->offset, json_integer((json_int_t)offset));
}

/* Layers of Qwen are mixtures if (l + 1) % decoder_sparse_step is 0. If this would give a kept layer another kind,
 * the period becomes 1 and mlp_only_layers lists the dense layers. */
static void edit_sparse_step(const organ_cut_config *c)
{
    uint64_t period;
    if (!organ_cut_whole(c, "decoder_sparse_step", &period) || period < 2 ||
        organ_cut_period_holds(c->run, c->layers, period, 1))
        return;
    json_t *const dense = json_array();
    for (size_t l = 0; l < c->layers; l++)
        if (organ_cut_stays(c, l) && c->run->facts[l].experts == 0)
            json_array_append_new(dense, json_integer(c->run->facts[l].becomes));
    organ_cut_set(c, "decoder_sparse_step", json_integer(1));
    organ_cut_set(c, "mlp_only_layers", dense);
}

void organ_cut_edit_patterns(const organ_cut_config *c)
{
    const bool cuts = organ_cut_kept_before(c->run, c->layers) < c->layers;
    /* the list moe_layers, which cut_layer_settings.c edits, overrides interleave_moe_layer_step */
    const bool listed = json_is_array(json_object_get(c->object, "moe_layers"));
    if (!cuts)
        return;
    list_indexers(c);
    if (is_model(c, "cohere2_moe") && !json_is_array(json_object_get(c->object, "layer_types")))
        list_dense_prefix(c);
    for (size_t k = 0; k < COUNT_OF(patterns) && !c->error->status; k++)
        edit_pattern(c, &patterns[k]);
    for (size_t k = 0; k < COUNT_OF(steps) && !c->error->status; k++)
        if (!listed || strncmp(steps[k].key, "interleave", 10) != 0)
            edit_step(c, &steps[k]);
    if (!c->error->status)
        edit_sparse_step(c);
}
