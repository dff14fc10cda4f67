/* SPDX-License-Identifier: MIT
 * Numbers of leading layers and periods in config.json, and lists that take the place of a rule that no longer holds.
 */
#include "orchestrator/surgery/layers/layer_settings.h"

#include "formats/base/text.h"

#include <string.h>

/* ---- numbers of leading layers ---- */

#define MLP_TYPES "mlp_layer_types"

/* In models whose class reads a list of the layers' feed-forwards, the list decides. */
static bool is_dense(const layer_lead *b, const organ_layer_origin *o)
{
    if (!organ_layer_has_rule(o->object, MLP_TYPES))
        return o->layer < organ_layer_number(o->object, b->key, b->otherwise);
    ORGAN_OWNED_JSON json_t *const type = organ_layer_value(o, MLP_TYPES);
    const bool dense = json_is_string(type) && strcmp(json_string_value(type), "dense") == 0;
    return dense;
}

static void edit_leading(organ_layer_plan *p, const layer_lead *b)
{
    size_t first = 0;
    while (first < p->after && is_dense(b, &p->origins[first]))
        first++;
    for (size_t n = first; n < p->after; n++)
        if (is_dense(b, &p->origins[n]) && !organ_layer_has_rule(p->s.object, MLP_TYPES)) {
            organ_settings_refuse(
                &p->s, b->key,
                "it counts the layers of a kind before all others, but one of the output would follow a "
                "layer of another kind");
            return;
        }
    if (organ_layer_number(p->s.now, b->key, b->otherwise) != first)
        organ_settings_set(&p->s, b->key, json_integer((json_int_t)first));
}

/* Values beyond the last layer stay beyond it. */
static void edit_window_layers(organ_layer_plan *p)
{
    static const char *const key = "max_window_layers";
    const uint64_t before = organ_layer_number(p->s.object, key, UINT64_MAX);
    uint64_t below = 0;
    if (before == UINT64_MAX)
        return;
    for (size_t n = 0; n < p->after; n++)
        below += p->origins[n].layer < organ_layer_number(p->origins[n].object, key, UINT64_MAX);
    organ_settings_set(&p->s, key,
                       json_integer((json_int_t)(before >= p->layers ? before - p->layers + p->after : below)));
}

void organ_layers_edit_bounds(organ_layer_plan *p)
{
    const char *done = NULL; /* key of the last row that applied; consecutive rows may have one key */
    for (size_t k = 0; organ_leading_layers[k].key && !p->s.error->status; k++) {
        const layer_lead *const b = &organ_leading_layers[k];
        const bool stated = json_is_integer(json_object_get(p->s.object, b->key));
        if ((done && strcmp(done, b->key) == 0) ||
            (b->models ? !organ_layer_is_model(p->s.object, b->models) : !stated))
            continue;
        if (stated || !organ_layer_has_rule(p->s.object, MLP_TYPES))
            edit_leading(p, b);
        done = b->key;
    }
    if (!p->s.error->status)
        edit_window_layers(p);
}

/* ---- layers with experts, by two settings ---- */

/* Returns whether a layer has experts by the settings of origin->object. */
typedef bool has_experts(const organ_layer_origin *origin);

/* Returns whether the edited object gives each layer of the output what its origin has. */
static bool holds(const organ_layer_plan *p, has_experts *has)
{
    for (size_t n = 0; n < p->after; n++)
        if (has(&p->origins[n]) != has(&(organ_layer_origin){p->s.now, p->after, n, NULL}))
            return false;
    return true;
}

/* Returns the numbers of the output's layers whose origins have experts (`what` true) or have none. */
static json_t *layers_that(const organ_layer_plan *p, has_experts *has, bool what)
{
    json_t *const made = json_array();
    for (size_t n = 0; n < p->after; n++)
        if (has(&p->origins[n]) == what && json_array_append_new(made, json_integer((json_int_t)n)))
            organ_fail_memory(p->s.error, "config.json");
    return made;
}

static bool has_dense_rule(const json_t *object, forward_dense rule)
{
    const forward_family *const family = organ_layer_family(object);
    return family && family->mixture && family->mixture->dense == rule;
}

/* Qwen: every decoder_sparse_step-th layer that mlp_only_layers does not list. */
static bool qwen_has_experts(const organ_layer_origin *o)
{
    const uint64_t step = organ_layer_number(o->object, "decoder_sparse_step", 1);
    return step && (o->layer + 1) % step == 0 &&
           !organ_layer_among(json_object_get(o->object, "mlp_only_layers"), 0, o->layer);
}

static void edit_sparse_step(organ_layer_plan *p)
{
    static const char *const step = "decoder_sparse_step", *const list = "mlp_only_layers";
    if ((!json_object_get(p->s.object, step) && !json_object_get(p->s.object, list)) || holds(p, qwen_has_experts))
        return;
    organ_settings_set(&p->s, step, json_integer(1));
    organ_settings_set(&p->s, list, layers_that(p, qwen_has_experts, /*what=*/false));
}

/* Llama 4: the layers of moe_layers, or else every interleave_moe_layer_step-th. */
static bool llama_has_experts(const organ_layer_origin *o)
{
    const json_t *const list = json_object_get(o->object, "moe_layers");
    const uint64_t step = organ_layer_number(o->object, "interleave_moe_layer_step", 1);
    return json_is_array(list) ? organ_layer_among(list, 0, o->layer) : step && (o->layer + 1) % step == 0;
}

static void edit_moe_layers(organ_layer_plan *p)
{
    static const char *const list = "moe_layers";
    const bool listed = json_is_array(json_object_get(p->s.object, list)),
               stepped =
                   has_dense_rule(p->s.object, DENSE_STEP) || json_object_get(p->s.object, "interleave_moe_layer_step");
    if (listed || (stepped && !holds(p, llama_has_experts)))
        organ_settings_set(&p->s, list, layers_that(p, llama_has_experts, /*what=*/true));
}

/* ---- ERNIE: a period within a range ---- */

static const char *const ernie[] = {"moe_layer_interval", "moe_layer_start_index", "moe_layer_end_index"};

/* A last layer of -1 is the last layer of the model. */
static bool ernie_has_experts(const organ_layer_origin *o)
{
    const uint64_t interval = organ_layer_number(o->object, ernie[0], 1),
                   first = organ_layer_number(o->object, ernie[1], 1),
                   last = organ_layer_number(o->object, ernie[2], UINT64_MAX);
    return interval && (o->layer + 1) % interval == 0 && o->layer >= first && o->layer <= last;
}

/* Returns the least interval that fits layers [from, end) of the output; 0: none. An interval larger than the number of
 * layers gives no layer experts. */
static uint64_t fitting_interval(const organ_layer_plan *p, size_t from, size_t end)
{
    for (uint64_t interval = 1; interval <= p->after + 1; interval++) {
        bool fits = true;
        for (size_t n = from; n < end; n++)
            fits = fits && ernie_has_experts(&p->origins[n]) == ((n + 1) % interval == 0);
        if (fits)
            return interval;
    }
    return 0;
}

static void edit_range(organ_layer_plan *p)
{
    size_t from = 0, end = p->after; /* [from, end) are the layers from the first to the last one with experts */
    const bool stated = json_object_get(p->s.object, ernie[0]) || json_object_get(p->s.object, ernie[1]) ||
                        json_object_get(p->s.object, ernie[2]);
    if ((!stated && !has_dense_rule(p->s.object, DENSE_INTERVAL)) || holds(p, ernie_has_experts))
        return;
    while (from < p->after && !ernie_has_experts(&p->origins[from]))
        from++;
    while (end > from && !ernie_has_experts(&p->origins[end - 1]))
        end--;
    const uint64_t interval = from < end ? fitting_interval(p, from, end) : 1;
    if (!interval) {
        organ_settings_refuse(&p->s, ernie[0],
                              "no interval within a range of layers gives the layers of the output their kinds");
        return;
    }
    organ_settings_set(&p->s, ernie[0], json_integer((json_int_t)interval));
    organ_settings_set(&p->s, ernie[1], json_integer((json_int_t)from));
    organ_settings_set(&p->s, ernie[2], json_integer((json_int_t)end - 1)); /* -1 if end is 0: no layer has experts */
}

/* ---- steps that no list overrides ---- */

/* Returns whether the step reaches the layer. A step below 2 reaches all layers, unless the row has an offset. */
static bool is_step_hit(const layer_step *s, const organ_layer_origin *o)
{
    const bool known = s->model && organ_layer_is_model(o->object, s->model);
    const uint64_t step = organ_layer_number(o->object, s->key, known ? s->otherwise : 0),
                   offset = s->offset ? organ_layer_number(o->object, s->offset, known ? s->offset_otherwise : 0) : 0;
    if (step < 2 && !s->offset)
        return true;
    return step && o->layer % step == offset;
}

/* Layers below the number in the member s->from have the same kind whatever the step is. */
static bool concerns(const layer_step *s, const organ_layer_origin *o)
{
    return !s->from || o->layer >= organ_layer_number(o->object, s->from, 0);
}

static bool step_fits(const organ_layer_plan *p, const layer_step *s, uint64_t step, uint64_t offset)
{
    for (size_t n = 0; n < p->after; n++)
        if (concerns(s, &p->origins[n]) && is_step_hit(s, &p->origins[n]) != (n % step == offset))
            return false;
    return true;
}

/* Steps up to the number of layers plus 1 suffice: with that step and the last offset no layer has the kind. */
static bool find_least_step(const organ_layer_plan *p, const layer_step *s, uint64_t *step, uint64_t *offset)
{
    for (*step = 1; *step <= p->after + 1; ++*step)
        for (*offset = 0; *offset < *step; ++*offset)
            if ((s->offset || *offset == 0) && step_fits(p, s, *step, *offset))
                return true;
    return false;
}

static void edit_step(organ_layer_plan *p, const layer_step *s)
{
    uint64_t step, offset;
    bool fits = true;
    if (!json_is_integer(json_object_get(p->s.object, s->key)) &&
        !(s->model && organ_layer_is_model(p->s.object, s->model)))
        return;
    for (size_t n = 0; n < p->after && fits; n++)
        fits = !concerns(s, &p->origins[n]) ||
               is_step_hit(s, &p->origins[n]) == is_step_hit(s, &(organ_layer_origin){p->s.now, p->after, n, NULL});
    if (fits)
        return;
    if (!find_least_step(p, s, &step, &offset)) {
        organ_settings_refuse(&p->s, s->key,
                              s->offset ? "no step and offset give the layers of the output their kinds"
                                        : "no other step gives the layers of the output their kinds");
        return;
    }
    organ_settings_set(&p->s, s->key, json_integer((json_int_t)step));
    if (s->offset)
        organ_settings_set(&p->s, s->offset, json_integer((json_int_t)offset));
}

/* GPT-Neo's attention_types becomes one list of kinds, repeated once. */
static void edit_repeated(organ_layer_plan *p)
{
    static const char *const key = "attention_types";
    ORGAN_OWNED_JSON json_t *const kinds = json_is_array(json_object_get(p->s.object, key)) ? json_array() : NULL;
    for (size_t n = 0; kinds && n < p->after; n++)
        if (json_array_append_new(kinds, organ_layer_value(&p->origins[n], "attention_layers"))) { /* also for NULL */
            organ_settings_refuse(&p->s, key, "it does not have a kind for each layer");
            break;
        }
    if (kinds && !p->s.error->status)
        organ_settings_set(&p->s, key, json_pack("[[O, i]]", kinds, 1));
}

void organ_layers_edit_periods(organ_layer_plan *p)
{
    edit_sparse_step(p);
    edit_moe_layers(p);
    edit_range(p);
    edit_repeated(p);
    for (size_t k = 0; organ_layer_steps[k].key && !p->s.error->status; k++)
        if (!organ_layer_has_rule(p->s.object, "layer_types") ||
            strcmp(organ_layer_steps[k].key, "global_attn_every_n_layers") != 0)
            edit_step(p, &organ_layer_steps[k]);
}

/* ---- rules of transformers ---- */

/* If the rule no longer gives the layers of the output their values, the list that it derives is added. */
static void edit_rule(organ_layer_plan *p, const char *list)
{
    ORGAN_OWNED_JSON json_t *const wanted = json_array();
    bool same = true;
    for (size_t n = 0; n < p->after && !p->s.error->status; n++) {
        json_t *const value = organ_layer_value(&p->origins[n], list);
        ORGAN_OWNED_JSON json_t *const given =
            organ_layer_value(&(organ_layer_origin){p->s.now, p->after, n, NULL}, list);
        same = same && value && given && json_equal(value, given);
        if (!value)
            organ_settings_refuse(&p->s, list, "the config.json of another donor does not say it of its layers");
        else if (json_array_append_new(wanted, value))
            organ_fail_memory(p->s.error, list);
    }
    if (!same && !p->s.error->status)
        organ_settings_set(&p->s, list, json_incref(wanted));
}

void organ_layers_edit_rules(organ_layer_plan *p)
{
    const char *list;
    for (size_t k = 0; !p->s.error->status && organ_layer_rule(p->s.object, k, &list); k++)
        if (!organ_layer_list(p->s.object, list))
            edit_rule(p, list);
}
