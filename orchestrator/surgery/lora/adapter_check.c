/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/adapter_check.h"

#include "formats/base/path.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/lora/turned.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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

const char *organ_lora_unservable(const organ_adapter *adapter, const char *name, bool factor)
{
    static const struct {
        const char *word, *why;
    } words[] = {{"lm_head", "name has 'lm_head'"},     {"embed_tokens", "name has 'embed_tokens'"},
                 {"layernorm", "name has 'layernorm'"}, {"norm", "name has 'norm'"},
                 {"bias", "name has 'bias'"},           {"rotary_emb", "name has 'rotary_emb'"}};
    for (size_t k = 0; k < sizeof words / sizeof *words && !adapter->gguf; k++)
        if (strstr(name, words[k].word))
            return words[k].why;
    return factor ? NULL : "not a factor of LoRA";
}

const char *organ_lora_pair_unservable(const organ_adapter *adapter, const organ_adapter_pair *pair)
{
    if (pair->experts > 1 && !adapter->gguf)
        return "the factors of a stack of experts";
    return organ_lora_unservable(adapter, pair->a->name, true);
}

bool organ_lora_is_target(const char *target, const char *module) { return organ_ends_in_words(module, target); }

typedef struct check {
    const organ_adapter *adapter;
    json_t *findings;                   /* list to which note_finding appends */
    organ_lora_orientation orientation; /* of the base; ORGAN_LORA_STRAIGHT without a base */
    organ_error *error;
} check;

static void note_finding(check *c, const char *rule, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void note_finding(check *c, const char *rule, const char *where, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    organ_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_t *const row = ORGAN_OBJECT(SET_TEXT("rule", rule), SET_BYTES("where", where), SET_BYTES("text", text));
    if (!row || json_array_append_new(c->findings, row))
        organ_fail_errno(c->error, ENOMEM, "%s", c->adapter->path);
}

/* ---- the config ---- */

static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0);
}

static void check_targets(check *c)
{
    const json_t *const targets = json_object_get(c->adapter->config, "target_modules");
    if (!is_set(targets) || (json_is_string(targets) && !*json_string_value(targets)))
        note_finding(c, "field", "target_modules", "it is missing, but servers require it");
    for (size_t k = 0; k < json_array_size(targets); k++) {
        const char *const target = json_string_value(json_array_get(targets, k));
        if (organ_lora_unservable(c->adapter, target, true))
            note_finding(c, "target", "target_modules", "'%s' cannot be served: %s", target,
                         organ_lora_unservable(c->adapter, target, true));
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

static void check_config(check *c)
{
    static const struct {
        const char *field, *text;
    } fields[] = {
        {"modules_to_save", "servers do not load whole modules from an adapter"},
        {"use_dora", "servers do not support DoRA"},
        {"rank_pattern", "servers use one r and one scale for all modules: fold the others into B"},
        {"alpha_pattern", "servers use one lora_alpha for all modules: fold the others into B"},
        {"lora_bias", "servers do not support biases of B"},
        {"trainable_token_indices", "servers do not support separately trained tokens"},
    };
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (is_set(json_object_get(c->adapter->config, fields[k].field)) &&
            !(strstr(fields[k].field, "_pattern") && has_one_scale(c->adapter)))
            note_finding(c, "field", fields[k].field, "%s", fields[k].text);
    const char *const bias = json_string_value(json_object_get(c->adapter->config, "bias"));
    if (bias && strcmp(bias, "none") != 0)
        note_finding(c, "field", "bias", "it is \"%s\": servers do not support biases", bias);
    if (organ_adapter_changed_base(c->adapter))
        note_finding(c, "field", "init_lora_weights",
                     "it is \"%s\": the factors fit only the base as changed by the initialisation",
                     organ_adapter_changed_base(c->adapter));
    check_targets(c);
}

/* ---- keys ---- */

static void check_key(check *c, const organ_adapter_pair *pair, const char *name)
{
    const char *const why = organ_lora_pair_unservable(c->adapter, pair);
    if (why)
        note_finding(c, "key", name, "%s", why);
    if (c->adapter->gguf)
        return;
    if (strncmp(name, "base_model.model.", 17) != 0)
        note_finding(c, "key", name, "it does not begin with 'base_model.model.': peft would silently ignore it");
    if (strstr(name, ".default"))
        note_finding(c, "key", name,
                     "it contains the name of the adapter, 'default', which is not part of keys in files");
}

static void check_fit(check *c, const organ_adapter_pair *pair, const organ_lora_names *base)
{
    char shape[ORGAN_SHAPE_TEXT];
    const organ_weight *const w = organ_lora_names_find(base, pair->weight);
    const uint64_t rows = pair->embedding ? pair->in_features : pair->out_features;
    const uint64_t cols = pair->embedding ? pair->out_features : pair->in_features;
    const unsigned rank = pair->experts > 1 ? 3 : 2;
    /* rows and columns of the base's weight; NULL: it has another number of dimensions */
    const uint64_t *const last = w && w->rank == rank ? w->shape + rank - 2 : NULL;
    const bool experts = rank == 2 || (last && w->shape[0] == pair->experts);
    const bool straight = last && experts && last[0] == rows && last[1] == cols;
    const bool transposed = last && last[0] == cols && last[1] == rows && rank == 2 &&
                            (c->adapter->fan_in_fan_out || organ_lora_is_turned(c->orientation, w));
    if (!w)
        note_finding(c, "base", pair->module, "the base has no '%s'", pair->weight);
    else if (!straight && !transposed)
        note_finding(c, "base", pair->module, "B A is %llu x %llu, but '%s' of the base is %s",
                     (unsigned long long)pair->out_features, (unsigned long long)pair->in_features, w->name,
                     organ_shape_text(w->rank, w->shape, shape));
}

organ_status organ_lora_findings(const organ_adapter *adapter, const organ_model *model, const organ_lora_names *base,
                                 uint64_t max, json_t *findings, organ_error *error)
{
    check c = {adapter, findings,
               model ? organ_lora_orientation_of(model, base->weights, adapter) : ORGAN_LORA_STRAIGHT, error};
    uint64_t rank = 0;   /* largest rank of the pairs that servers can load */
    size_t servable = 0; /* their number */
    if (!adapter->gguf)
        check_config(&c);
    for (size_t k = 0; k < adapter->rest_count && !error->status; k++)
        note_finding(&c, "key", adapter->rest[k]->name, "%s",
                     organ_lora_unservable(adapter, adapter->rest[k]->name, false));
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++) {
        const organ_adapter_pair *const pair = &adapter->pairs[k];
        check_key(&c, pair, pair->a->name);
        check_key(&c, pair, pair->b->name);
        if (organ_lora_pair_unservable(adapter, pair))
            continue;
        servable++;
        rank = pair->rank > rank ? pair->rank : rank;
        if (base)
            check_fit(&c, pair, base);
    }
    if (servable == 0)
        note_finding(&c, "key", ORGAN_ADAPTER_WEIGHTS, "no module remains that a server would accept");
    if (!adapter->gguf && (rank > max || (uint64_t)adapter->r > max))
        note_finding(&c, "rank", "r", "the rank is %llu, above %llu: organ lora resize makes it smaller",
                     (unsigned long long)(rank > (uint64_t)adapter->r ? rank : (uint64_t)adapter->r),
                     (unsigned long long)max);
    return error->status;
}
