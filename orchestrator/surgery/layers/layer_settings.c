/* SPDX-License-Identifier: MIT
 * Settings that depend on other layers or on the number of layers, and the checks of the whole. */
#include "orchestrator/surgery/layers/layer_settings.h"

#include "formats/architecture/families.h"
#include "formats/base/owned.h"
#include "formats/config/model_config.h"

#include <math.h>
#include <string.h>

/* Returns whether the entry of the layer in `list` is `word`. */
static bool is_value(const organ_layer_origin *o, const char *list, const char *word)
{
    ORGAN_OWNED_JSON json_t *const value = organ_layer_value(o, list);
    return json_is_string(value) && strcmp(json_string_value(value), word) == 0;
}

/* ---- the number of layers ---- */

/* MiniCPM multiplies the output of each layer by scale_depth / sqrt(num_hidden_layers); this factor stays the same.
 * null stands for the square root. */
static void edit_depth(organ_layer_plan *p)
{
    static const char *const key = "scale_depth";
    const json_t *const depth = json_object_get(p->s.object, key);
    const bool absent = !depth && organ_layer_is_model(p->s.object, "minicpm minicpm3");
    if (p->after != p->layers && (absent || json_is_number(depth)))
        organ_settings_set(
            &p->s, key,
            json_real((absent ? 1.4 : json_number_value(depth)) * sqrt((double)p->after / (double)p->layers)));
}

/* Model types whose loaders make something of a layer's number itself. */
static const struct numbered {
    const char *models;                                         /* model types, separated by blanks */
    enum { NUMBERED_ALL, NUMBERED_FIRST, NUMBERED_LAST } which; /* all layers, or only the first or last one */
    const char *why;
} numbered[] = {
    {"beam", NUMBERED_ALL, "loaders add the outputs of earlier layers to a layer by its number"},
    {"diffllama", NUMBERED_ALL, "loaders compute the weight of a layer's second attention from its number"},
    {"dory inkling2_text inkling2_loop_text hrm_text", NUMBERED_ALL, "loaders repeat or join layers by their numbers"},
    {"zamba zamba2", NUMBERED_ALL, "loaders share one block between layers by their numbers"},
    {"modernbert-decoder", NUMBERED_FIRST, "loaders give layer 0, and only this layer, no norm before its attention"},
    {"rwkv", NUMBERED_FIRST, "loaders give layer 0, and only this layer, a norm before the others"},
    {"zaya", NUMBERED_FIRST, "loaders give all layers but layer 0 an input from the layer before"},
    {"gpt_neox_japanese", NUMBERED_LAST, "loaders give the last layer, and only this layer, a bias"},
};

/* Returns why the layer of the output cannot come from its origin, or NULL. */
static const char *number_fault(const organ_layer_plan *p, size_t n)
{
    const organ_layer_origin *const o = &p->origins[n];
    const size_t rows = sizeof numbered / sizeof *numbered;
    size_t k = 0;
    while (k < rows && !organ_layer_is_model(p->s.object, numbered[k].models))
        k++;
    if (k == rows)
        return NULL;
    if (numbered[k].which == NUMBERED_ALL)
        return o->layer != n || p->after != p->layers ? numbered[k].why : NULL;
    const bool last = numbered[k].which == NUMBERED_LAST;
    return (last ? o->layer + 1 == o->layers : o->layer == 0) != (last ? n + 1 == p->after : n == 0) ? numbered[k].why
                                                                                                     : NULL;
}

/* In MiniMax 1 the rate at which the lightning attention decays depends on the number of the layer and on the count of
 * layers; GPT-2 may divide scores by the number of the layer. */
static void refuse_numbered(organ_layer_plan *p)
{
    static const char *const inverse = "scale_attn_by_inverse_layer_idx";
    const forward_family *const family = organ_layer_family(p->s.object);
    const bool lightning = family && family->recurrent && family->recurrent->lightning;
    for (size_t n = 0; n < p->after && !p->s.error->status; n++) {
        const organ_layer_origin *const o = &p->origins[n];
        const bool moved = o->layer != n;
        const char *const fault = number_fault(p, n);
        if (fault)
            organ_settings_refuse(&p->s, "model_type", fault);
        else if (lightning && (moved || p->after != p->layers) && is_value(o, "layer_types", "linear_attention"))
            organ_settings_refuse(&p->s, "model_type",
                                  "loaders compute the decays of a layer from its number and the number of layers");
        else if (moved && json_is_true(json_object_get(p->s.object, inverse)))
            organ_settings_refuse(&p->s, inverse, "loaders divide the scores of a layer by its number");
    }
}

/* ---- layers that use what other layers compute ---- */

/* Whether two layers are the same: donors that are one have one object. */
static bool is_origin(const organ_layer_origin *o, const json_t *object, size_t layer)
{
    return o->object == object && o->layer == layer;
}

static bool same_value(const organ_layer_origin *one, const organ_layer_origin *other, const char *list)
{
    ORGAN_OWNED_JSON json_t *const a = organ_layer_value(one, list), *const b = organ_layer_value(other, list);
    return a && b && json_equal(a, b);
}

/* Returns the first of the layers without keys and values of their own; `layers` if there is none, and 0 for a number
 * above `layers`. */
static size_t first_shared(const json_t *object, size_t layers)
{
    const uint64_t shared = organ_layer_number(object, "num_kv_shared_layers", 0);
    return shared < layers ? layers - (size_t)shared : 0;
}

/* Returns 1 + the last layer before `end`, in the donor of `o`, whose type is that of `o`; 0: none. */
static size_t source_in_donor(const organ_layer_origin *o, size_t end)
{
    while (end > 0 && !same_value(&(organ_layer_origin){o->object, o->layers, end - 1, NULL}, o, "layer_types"))
        end--;
    return end;
}

/* The same for the layers of the output. */
static size_t source_in_output(const organ_layer_plan *p, const organ_layer_origin *o, size_t end)
{
    while (end > 0 && !same_value(&p->origins[end - 1], o, "layer_types"))
        end--;
    return end;
}

/* num_kv_shared_layers counts the last layers of the model, which have no keys and values of their own. Each uses
 * those of the last layer of its type that has its own. `first` is the first layer of the output without its own.
 * Returns a reason for which the output cannot have such layers; NULL: none. */
static const char *shared_fault(const organ_layer_plan *p, size_t first)
{
    for (size_t n = 0; n < p->after; n++) {
        const organ_layer_origin *const o = &p->origins[n];
        const size_t first_in_donor = first_shared(o->object, o->layers);
        if ((o->layer >= first_in_donor) != (n >= first))
            return "the layers without keys and values of their own would not be the last ones";
        if (n < first)
            continue;
        if (!same_value(o, o, "layer_types"))
            return "without layer_types it is unknown which layers' keys and values the last layers use";
        const size_t before = source_in_donor(o, first_in_donor), after = source_in_output(p, o, first);
        if (before == 0 || after == 0 || !is_origin(&p->origins[after - 1], o->object, before - 1))
            return "a layer would use the keys and values of another layer than before";
    }
    return NULL;
}

static void edit_shared_kv(organ_layer_plan *p)
{
    static const char *const key = "num_kv_shared_layers";
    size_t shared = 0;
    for (size_t n = 0; n < p->after; n++)
        shared += p->origins[n].layer >= first_shared(p->origins[n].object, p->origins[n].layers);
    const char *const why = shared ? shared_fault(p, p->after - shared) : NULL;
    if (why)
        organ_settings_refuse(&p->s, key, why);
    else if (json_object_get(p->s.object, key) || shared)
        organ_settings_set(&p->s, key, json_integer((json_int_t)shared));
}

/* A layer with a "shared" indexer uses the keys that the last layer before it with a "full" indexer selects. */
static void check_indexers(organ_layer_plan *p)
{
    static const char *const list = "indexer_types", *const own = "full";
    size_t full = 0; /* the last layer of the output with an indexer of its own */
    for (size_t n = 0; n < p->after && organ_layer_has_rule(p->s.object, list) && !p->s.error->status; n++) {
        organ_layer_origin o = p->origins[n]; /* becomes the layer whose keys it uses in the donor */
        full = is_value(&o, list, own) ? n : full;
        while (o.layer > 0 && !is_value(&o, list, own))
            o.layer--;
        if (!is_origin(&p->origins[full], o.object, o.layer))
            organ_settings_refuse(&p->s, list, "a layer would use the keys that another layer than before selects");
    }
}

/* transformers gives the last layer of Gemma 4 global attention even if layer_types says otherwise. */
static void check_last_layer(organ_layer_plan *p)
{
    if (p->after && organ_layer_is_model(p->s.object, "gemma4_text gemma4_unified_text") &&
        !is_value(&p->origins[p->after - 1], "layer_types", "full_attention"))
        organ_settings_refuse(
            &p->s, "layer_types",
            "loaders give the last layer full attention, but the last layer of the output has another "
            "kind");
}

/* The class of OLMo Hybrid refuses a model without attention or without a recurrence. */
static void check_both_kinds(organ_layer_plan *p)
{
    static const char *const list = "layer_types", *const kinds[] = {"full_attention", "linear_attention"};
    for (size_t k = 0; k < 2 && organ_layer_is_model(p->s.object, "olmo_hybrid") && !p->s.error->status; k++) {
        bool found = false;
        for (size_t n = 0; n < p->after; n++)
            found = found || is_value(&p->origins[n], list, kinds[k]);
        if (!found)
            organ_settings_refuse(&p->s, list, "loaders need at least one layer of each kind");
    }
}

/* ---- the object ---- */

static bool is_moved(const organ_layer_plan *p)
{
    bool moved = p->after != p->layers;
    for (size_t n = 0; n < p->count && !moved; n++)
        moved = !is_origin(&p->origins[n], p->s.object, n);
    return moved;
}

organ_status organ_layers_edit(organ_layer_plan *p)
{
    static void (*const parts[])(organ_layer_plan *) = {organ_layers_refuse_unknown,
                                                        refuse_numbered,
                                                        check_indexers,
                                                        check_last_layer,
                                                        check_both_kinds,
                                                        organ_layers_edit_bounds,
                                                        organ_layers_edit_lists,
                                                        organ_layers_edit_periods,
                                                        organ_layers_edit_rules,
                                                        edit_shared_kv,
                                                        edit_depth};
    if (!is_moved(p))
        return ORGAN_OK;
    if (!(p->s.now = json_copy((json_t *)p->s.object)))
        return organ_fail_memory(p->s.error, "config.json");
    for (size_t k = 0; k < sizeof parts / sizeof *parts && !p->s.error->status; k++)
        parts[k](p);
    organ_clear_json(&p->s.now);
    return p->s.error->status;
}

/* ---- tensors with entries by layer ---- */

organ_layer_axis organ_layers_axis(const organ_weight *w)
{
    const bool named = strstr(w->name, "_per_layer") || strstr(w->name, "per_layer_");
    if (!named || w->anatomy.layer >= 0 || w->rank != 2)
        return ORGAN_LAYER_AXIS_NONE;
    if (w->anatomy.role == ORGAN_ROLE_EMBED)
        return ORGAN_LAYER_AXIS_COLUMNS;
    return w->anatomy.role == ORGAN_ROLE_PER_LAYER ? ORGAN_LAYER_AXIS_ROWS : ORGAN_LAYER_AXIS_NONE;
}

/* ---- the structure of layers ---- */

const char *organ_layers_differ(const organ_layer_kind *a, const organ_layer_kind *b, bool sizes)
{
    if (a->mixer != b->mixer || a->second != b->second || a->latent != b->latent)
        return "the kind of mixer";
    if (a->feed != b->feed || a->mixture != b->mixture)
        return "whether it has experts";
    if (a->by_token != b->by_token)
        return "whether a table states its experts";
    if (a->compress != b->compress)
        return "how many tokens are compressed to one";
    if (!a->window != !b->window || !a->chunk != !b->chunk)
        return "the window of its attention";
    if (a->rotated != b->rotated)
        return "whether it rotates queries and keys";
    if (a->sinks != b->sinks || a->indexed != b->indexed || a->value_is_key != b->value_is_key)
        return "a part of its attention";
    if (a->norms_before != b->norms_before || memcmp(a->alpha, b->alpha, sizeof a->alpha) != 0 ||
        memcmp(a->beta, b->beta, sizeof a->beta) != 0)
        return "its norms or residual factors";
    if (a->gate_is_cut != b->gate_is_cut || a->gate_cut < b->gate_cut || a->gate_cut > b->gate_cut)
        return "the sparsity of its gate";
    if (sizes && (a->heads != b->heads || a->kv_heads != b->kv_heads || a->head_dim != b->head_dim ||
                  a->value_dim != b->value_dim || a->intermediate != b->intermediate))
        return "the number of heads or channels";
    return NULL;
}

organ_status organ_layers_check(const organ_json_edit *edit, const char *architecture,
                                const organ_layer_kind *const *kinds, size_t count, bool sizes, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_forward_config_release) organ_forward_config config = {0};
    organ_forward_config_text(edit->label, edit->bytes, edit->length, architecture, &config, error);
    for (size_t n = 0; n < count && !error->status; n++) {
        const size_t at =
            n * (config.layers / count); /* LongCat-Flash: a layer of the file is two of the configuration */
        const char *const what =
            kinds[n] && at < config.layers ? organ_layers_differ(kinds[n], &config.kinds[at], sizes) : NULL;
        if (what)
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: it would give layer %zu of the output another kind than that of the layer it comes from "
                       "(%s), and organ knows no setting that says it",
                       edit->label, n, what);
    }
    return error->status;
}
