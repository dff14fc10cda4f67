/* SPDX-License-Identifier: MIT
 * Findings of lora sanitize: what servers reject of an adapter, and what only some load. One row stands for all tensors
 * or modules of a kind. */
#include "orchestrator/verbs/lora/rewrite.h"
#include "orchestrator/verbs/lora/servers.h"

#include "formats/base/format_rest.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <math.h>
#include <string.h>

unsigned organ_served_rank(uint64_t rank)
{
    static const unsigned limits[] = {1, 8, 16, 32, 64, 128, 256, 320, ORGAN_SERVED_RANK};
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++)
        if (rank <= limits[k])
            return limits[k];
    return 0;
}

static bool is_served(const organ_served *row, const char *architecture)
{
    return row->served && (strcmp(row->name, "embeddings") != 0 || !architecture || !*architecture ||
                           organ_vllm_serves_embeddings(architecture));
}

const organ_served *organ_lora_unservable(const organ_adapter *adapter, const char *architecture, const char *name,
                                          bool factor)
{
    const organ_served *const row = adapter->gguf ? NULL : organ_served_of(name);
    if (!factor)
        return organ_served_named("whole");
    return row && !is_served(row, architecture) ? row : NULL;
}

const organ_served *organ_lora_pair_unservable(const organ_adapter *adapter, const char *architecture,
                                               const organ_adapter_pair *pair)
{
    if (adapter->gguf)
        return NULL;
    if (pair->experts > 1 && !(architecture && organ_vllm_stacks_experts(architecture)))
        return organ_served_named("stacks");
    return organ_lora_unservable(adapter, architecture, pair->weight, /*factor=*/true);
}

bool organ_lora_is_base_copy(const char *name)
{
    static const char *const ends[] = {".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight"};
    size_t length = strlen(name);
    return organ_cut_end(name, &length, ends[0]) || organ_cut_end(name, &length, ends[1]);
}

bool organ_lora_is_target(const char *target, const char *module) { return organ_ends_in_words(module, target); }

typedef struct check {
    const organ_adapter *adapter;
    const char *architecture; /* of the base; NULL: unknown */
    const organ_lora_form *form;
    json_t *findings, *conditions; /* lists to which note_finding appends */
    organ_error *error;
} check;

/* ---- rows ---- */

/* Counts one more tensor or module in the row of this rule and text, or appends the row. */
static void add_row(const check *c, json_t *rows, const char *rule, const char *where, const char *text)
{
    size_t k;
    json_t *row;
    json_array_foreach(rows, k, row) if (strcmp(json_string_value(json_object_get(row, "rule")), rule) == 0 &&
                                         strcmp(json_string_value(json_object_get(row, "text")), text) == 0)
    {
        json_t *const count = json_object_get(row, "count");
        json_integer_set(count, json_integer_value(count) + 1);
        return;
    }
    row = ORGAN_OBJECT(SET_TEXT("rule", rule), SET_BYTES("where", where), SET_BYTES("text", text),
                       SET("count", json_integer(1)));
    if (!row || json_array_append_new(rows, row))
        organ_fail_errno(c->error, ENOMEM, "%s", c->adapter->path);
}

static void note_finding(const check *c, const char *rule, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void note_finding(const check *c, const char *rule, const char *where, const char *format, ...)
{
    char text[600];
    ORGAN_FORMAT_REST(text, format);
    add_row(c, c->findings, rule, where, text);
}

/* ---- the config ---- */

/* null, false, an empty list and an empty object are what peft writes for a field that is not used. */
static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0);
}

static void check_targets(const check *c)
{
    const json_t *const targets = json_object_get(c->adapter->config, "target_modules");
    const json_t *const parameters = json_object_get(c->adapter->config, "target_parameters");
    if ((!is_set(targets) && !is_set(parameters)) || (json_is_string(targets) && !*json_string_value(targets)))
        note_finding(c, "field", "target_modules", "it is missing, but servers require it");
    for (size_t k = 0; k < json_array_size(targets); k++) {
        const char *const target = json_string_value(json_array_get(targets, k));
        const organ_served *const why = organ_lora_unservable(c->adapter, c->architecture, target, /*factor=*/true);
        if (why)
            note_finding(c, "target", "target_modules", "'%s' cannot be served: %s", target, why->text);
    }
}

/* A server that ignores rank_pattern and alpha_pattern computes the right scales if lora_alpha and r alone give the
 * scale of every pair, and no pair has a rank above r. */
static bool has_one_scale(const organ_adapter *adapter)
{
    /* the scale that peft uses without patterns */
    const double scale = adapter->alpha / (adapter->rslora ? sqrt((double)adapter->r) : (double)adapter->r);
    for (size_t k = 0; k < adapter->pair_count; k++)
        if (adapter->pairs[k].scale != scale || adapter->pairs[k].rank > (uint64_t)adapter->r)
            return false;
    return true;
}

static void check_field(const check *c, const organ_served *row)
{
    const json_t *const value = json_object_get(c->adapter->config, row->name);
    const bool none = json_is_string(value) && strcmp(json_string_value(value), "none") == 0;
    if (!is_set(value) || none || (strstr(row->name, "_pattern") && has_one_scale(c->adapter)))
        return;
    if (row->served)
        add_row(c, c->conditions, "field", row->name, row->text);
    else
        note_finding(c, "field", row->name, "%s", row->text);
}

static void check_config(const check *c)
{
    const organ_served *row;
    for (unsigned k = 0; (row = organ_served_row(k)); k++)
        if (!row->words)
            check_field(c, row);
    if (organ_adapter_changed_base(c->adapter))
        note_finding(c, "field", "init_lora_weights",
                     "it is \"%s\": the factors fit only the base as changed by the initialisation",
                     organ_adapter_changed_base(c->adapter));
    check_targets(c);
}

/* ---- keys ---- */

static void check_key(const check *c, const organ_adapter_pair *pair, const char *name)
{
    const organ_served *const why = organ_lora_pair_unservable(c->adapter, c->architecture, pair);
    const organ_served *const row = c->adapter->gguf ? NULL : organ_served_of(pair->weight);
    const bool first = name == pair->a->name;
    if (why)
        note_finding(c, "key", name, "%s", why->text);
    else if (row && !c->architecture && first)
        add_row(c, c->conditions, "key", pair->module, row->text);
    if (c->adapter->gguf)
        return;
    if (pair->anatomy.expert >= 0 && first && c->architecture && organ_vllm_stacks_experts(c->architecture))
        add_row(c, c->conditions, "key", pair->module, organ_served_named("experts")->text);
    if (strncmp(name, "base_model.model.", strlen("base_model.model.")) != 0)
        note_finding(c, "key", name, "it does not begin with 'base_model.model.': peft would silently ignore it");
    if (strstr(name, ".default"))
        note_finding(c, "key", name,
                     "it contains the name of the adapter, 'default', which is not part of keys in files");
}

static void check_fit(const check *c, const organ_adapter_pair *pair, const organ_lora_names *base)
{
    char shape[ORGAN_SHAPE_TEXT];
    bool transposed;
    const organ_weight *const w = organ_lora_names_find(base, pair->weight);
    if (!w)
        note_finding(c, "base", pair->module, "the base has no '%s'", pair->weight);
    else if (!organ_lora_fits(c->form, pair, w, &transposed))
        note_finding(c, "base", pair->module, "B A is %llu x %llu, but '%s' of the base is %s",
                     (unsigned long long)pair->out_features, (unsigned long long)pair->in_features, w->name,
                     organ_shape_text(w->rank, w->shape, shape));
}

uint64_t organ_lora_compared_rank(const organ_adapter *adapter)
{
    return organ_lora_config_rank(adapter->config, (uint64_t)adapter->r);
}

organ_status organ_lora_findings(const organ_lora_check *checked, json_t *findings, json_t *conditions,
                                 organ_error *error)
{
    const organ_adapter *const adapter = checked->adapter, *const fit = checked->fit;
    const organ_lora_form form =
        checked->model ? organ_lora_form_of(checked->model, checked->base->weights, fit) : (organ_lora_form){0};
    const check c = {adapter, checked->model ? checked->model->config.architecture : NULL, &form, findings, conditions,
                     error};
    const uint64_t rank = organ_lora_compared_rank(adapter);
    size_t servable = 0; /* pairs that servers can load */
    if (!adapter->gguf)
        check_config(&c);
    for (size_t k = 0; k < adapter->rest_count && !error->status; k++)
        if (!organ_lora_is_base_copy(adapter->rest[k]->name))
            note_finding(&c, "key", adapter->rest[k]->name, "%s", organ_served_named("whole")->text);
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++) {
        const organ_adapter_pair *const pair = &adapter->pairs[k];
        check_key(&c, pair, pair->a->name);
        check_key(&c, pair, pair->b->name);
        servable += organ_lora_pair_unservable(adapter, c.architecture, pair) == NULL;
    }
    for (size_t k = 0; k < fit->pair_count && checked->base && !error->status; k++)
        if (fit != adapter || !organ_lora_pair_unservable(adapter, c.architecture, &fit->pairs[k]))
            check_fit(&c, &fit->pairs[k], checked->base);
    if (servable == 0)
        note_finding(&c, "key", ORGAN_ADAPTER_WEIGHTS, "no module remains that a server would accept");
    if (!adapter->gguf && rank > checked->max)
        note_finding(&c, "rank", "r", "the rank is %llu, above %llu: organ lora resize makes it smaller",
                     (unsigned long long)rank, (unsigned long long)checked->max);
    return error->status;
}
