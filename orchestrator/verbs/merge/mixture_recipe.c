/* SPDX-License-Identifier: MIT
 * Reads the keys of a mixture: those of mergekit-moe 0.1.5, and `text` of an expert. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "formats/base/text.h"
#include "orchestrator/output/facts.h"

#include <math.h>
#include <string.h>

static const char *const gate_names[MIXTURE_GATES] = {"hidden", "hidden_avg",     "hidden_last", "cheap_embed",
                                                      "random", "uniform_random", "fit"};

const char *organ_mixture_gate_name(mixture_gate gate) { return gate_names[gate]; }

/* ---- members ---- */

/* Sets *number to a member that is a finite number; leaves it if the member is absent. */
static organ_status read_number(const merge_recipe *r, const organ_yaml *map, const char *key, double *number,
                                organ_error *error)
{
    const organ_yaml *const value = organ_yaml_member(map, key);
    if (organ_yaml_is_null(value) ||
        (value->kind == ORGAN_YAML_SCALAR && organ_yaml_number(value, number) && isfinite((float)*number)))
        return ORGAN_OK;
    return organ_merge_fault(r, value->line, error, "%s is not a number of FP32", key);
}

static organ_status read_prompts(merge_recipe *r, const organ_yaml *map, const char *key, const char ***prompts,
                                 size_t *count, organ_error *error)
{
    const organ_yaml *const list = organ_yaml_member(map, key);
    *count = 0;
    if (organ_yaml_is_null(list))
        return ORGAN_OK;
    if (list->kind != ORGAN_YAML_LIST)
        return organ_merge_fault(r, list->line, error, "%s is not a list of texts", key);
    if (!(*prompts = organ_arena_take(&r->arena, (list->count + 1) * sizeof **prompts)))
        return organ_fail_memory(error, r->label);
    for (size_t k = 0; k < list->count; k++) {
        if (list->values[k]->kind != ORGAN_YAML_SCALAR)
            return organ_merge_fault(r, list->values[k]->line, error, "%s is not a list of texts", key);
        (*prompts)[(*count)++] = list->values[k]->text;
    }
    return ORGAN_OK;
}

/* ---- experts ---- */

static organ_status read_expert(merge_recipe *r, const organ_yaml *map, bool shared, mixture_expert *expert,
                                organ_error *error)
{
    static const char *const known[] = {
        "source_model", "positive_prompts", "negative_prompts", "noise_scale", "residual_scale", "text", NULL};
    const char *name;
    *expert = (mixture_expert){.line = map->line, .residual = 1};
    if (organ_merge_check_keys(r, map, shared ? "a shared expert" : "an expert", known, error) ||
        organ_merge_text_member(r, map, "source_model", &name, error) ||
        organ_merge_text_member(r, map, "text", &expert->text, error) ||
        read_prompts(r, map, "positive_prompts", &expert->positive, &expert->positive_count, error) ||
        read_prompts(r, map, "negative_prompts", &expert->negative, &expert->negative_count, error) ||
        read_number(r, map, "noise_scale", &expert->noise, error) ||
        read_number(r, map, "residual_scale", &expert->residual, error))
        return error->status;
    if (!name)
        return organ_merge_fault(r, map->line, error, "source_model is missing");
    if (expert->noise < 0)
        return organ_merge_fault(r, organ_yaml_member(map, "noise_scale")->line, error, "noise_scale is below 0");
    if (expert->text && shared)
        return organ_merge_fault(r, organ_yaml_member(map, "text")->line, error,
                                 "text is for experts that the router chooses, not for a shared one");
    return organ_merge_donor_named(r, name, &expert->donor, error);
}

static organ_status read_list(merge_recipe *r, const organ_yaml *list, bool shared, mixture_expert *experts,
                              organ_error *error)
{
    for (size_t k = 0; k < list->count && !error->status; k++)
        read_expert(r, list->values[k], shared, &experts[k], error);
    return error->status;
}

static organ_status read_experts(merge_recipe *r, merge_mixture *m, organ_error *error)
{
    const organ_yaml *const routed = organ_yaml_member(r->tree, "experts"),
                            *shared = organ_yaml_member(r->tree, "shared_experts");
    if (routed->kind != ORGAN_YAML_LIST || !routed->count)
        return organ_merge_fault(r, routed->line, error, "experts is not a list with elements");
    if (organ_yaml_is_null(shared))
        shared = NULL;
    if (shared && shared->kind != ORGAN_YAML_LIST)
        return organ_merge_fault(r, shared->line, error, "shared_experts is not a list");
    m->count = routed->count;
    m->shared = shared ? shared->count : 0;
    m->shared_line = shared ? shared->line : 0;
    if (m->count + m->shared > MIXTURE_EXPERTS)
        return organ_merge_fault(r, routed->line, error, "there are more than %d experts", MIXTURE_EXPERTS);
    if (!(m->experts = organ_arena_take(&r->arena, (m->count + m->shared) * sizeof *m->experts)))
        return organ_fail_memory(error, r->label);
    return read_list(r, routed, /*shared=*/false, m->experts, error) || !m->shared
               ? error->status
               : read_list(r, shared, /*shared=*/true, m->experts + m->count, error);
}

/* ---- the other keys ---- */

static organ_status read_used(const merge_recipe *r, merge_mixture *m, organ_error *error)
{
    double used = 2;
    if (read_number(r, r->tree, "experts_per_token", &used, error))
        return error->status;
    const organ_yaml *const value = organ_yaml_member(r->tree, "experts_per_token");
    m->used_line = value ? value->line : 0;
    if (used != floor(used) || used < 1)
        return organ_merge_fault(r, m->used_line, error, "experts_per_token is not a whole number from 1 on");
    if (used > (double)m->count)
        return organ_merge_fault(r, m->used_line, error, "experts_per_token is %g%s, but there %s %zu expert%s", used,
                                 value ? "" : " by default", m->count == 1 ? "is" : "are", m->count,
                                 m->count == 1 ? "" : "s");
    m->used = (unsigned)used;
    return ORGAN_OK;
}

static organ_status read_gate(const merge_recipe *r, merge_mixture *m, organ_error *error)
{
    const char *name;
    char hint[ORGAN_HINT_ROOM];
    if (organ_merge_text_member(r, r->tree, "gate_mode", &name, error) || !name)
        return error->status;
    m->gate_line = organ_yaml_member(r->tree, "gate_mode")->line;
    for (size_t k = 0; k < MIXTURE_GATES; k++)
        if (strcmp(name, gate_names[k]) == 0) {
            m->gate = (mixture_gate)k;
            return ORGAN_OK;
        }
    return organ_merge_fault(r, m->gate_line, error,
                             "gate_mode is '%.60s', which is no gate%s (gates: hidden, hidden_avg, hidden_last, "
                             "cheap_embed, random, uniform_random, fit)",
                             name, organ_nearest_hint(name, gate_names, MIXTURE_GATES, "", hint));
}

/* ---- prompts and texts ---- */

static bool same_texts(const char *const *a, size_t count, const char *const *b, size_t other)
{
    bool same = count == other;
    for (size_t k = 0; k < count && same; k++)
        same = strcmp(a[k], b[k]) == 0;
    return same;
}

static bool same_prompts(const mixture_expert *a, const mixture_expert *b)
{
    return same_texts(a->positive, a->positive_count, b->positive, b->positive_count) &&
           same_texts(a->negative, a->negative_count, b->negative, b->negative_count);
}

/* With a gate that reads prompts each routed expert has some, and they are not all the same. */
static organ_status check_prompts(const merge_recipe *r, const merge_mixture *m, organ_error *error)
{
    bool same = m->count > 1, any = false;
    for (size_t k = 0; k < m->count; k++) {
        const mixture_expert *const e = &m->experts[k];
        same &= same_prompts(e, &m->experts[0]);
        any |= e->positive_count || e->negative_count;
        if (organ_mixture_needs_prompts(m->gate) && !e->positive_count)
            return organ_merge_fault(r, e->line, error,
                                     "positive_prompts are missing: gate_mode %s makes the router of them",
                                     gate_names[m->gate]);
    }
    if (organ_mixture_needs_prompts(m->gate) && same)
        return organ_merge_fault(r, m->experts[1].line, error,
                                 "all experts have the same prompts: the router could not tell them apart");
    if (!organ_mixture_needs_prompts(m->gate) && any)
        organ_say(r->warnings, "prompts are not used by gate_mode %s", gate_names[m->gate]);
    return ORGAN_OK;
}

/* Either all routed experts have a text, or none has. */
static organ_status check_texts(const merge_recipe *r, const merge_mixture *m, organ_error *error)
{
    bool any = m->gate == MIXTURE_FIT;
    for (size_t k = 0; k < m->count; k++)
        any |= m->experts[k].text != NULL;
    for (size_t k = 0; k < m->count && any; k++)
        if (!m->experts[k].text)
            return organ_merge_fault(r, m->experts[k].line, error, "text is missing: %s",
                                     m->gate == MIXTURE_FIT ? "gate_mode fit fits the router to a text of each expert"
                                                            : "other experts have one");
    if (any && m->count < 2)
        return organ_merge_fault(r, m->experts[0].line, error, "a text needs at least 2 experts to choose from");
    return ORGAN_OK;
}

static void warn_of_same(const merge_recipe *r, const merge_mixture *m)
{
    bool same = m->count > 1;
    for (size_t k = 0; k < m->count; k++)
        same &= m->experts[k].donor == m->experts[0].donor && m->experts[k].noise == 0;
    if (same)
        organ_say(r->warnings, "all experts are %s: until it is trained, the mixture gives the output of a dense model",
                  r->donors[m->experts[0].donor]);
}

/* One slice of all models, whose layers correspond. */
static organ_status make_slice(merge_recipe *r, organ_error *error)
{
    merge_slice *const slice = organ_arena_take(&r->arena, sizeof *slice);
    merge_source *const sources = organ_arena_take(&r->arena, r->donor_count * sizeof *sources);
    if (!slice || !sources)
        return organ_fail_memory(error, r->label);
    for (size_t k = 0; k < r->donor_count; k++)
        sources[k] = (merge_source){.donor = k};
    for (size_t k = 0; k < r->mixture->count + r->mixture->shared; k++)
        if (!sources[r->mixture->experts[k].donor].line)
            sources[r->mixture->experts[k].donor].line = r->mixture->experts[k].line;
    *slice = (merge_slice){.sources = sources, .source_count = r->donor_count};
    r->slices = slice;
    r->slice_count = 1;
    return ORGAN_OK;
}

organ_status organ_mixture_read(merge_recipe *r, organ_error *error)
{
    static const char *const known[] = {"base_model",        "experts",        "gate_mode",    "dtype", "out_dtype",
                                        "experts_per_token", "shared_experts", "architecture", NULL};
    merge_mixture *const m = organ_arena_take(&r->arena, sizeof *m);
    const char *base;
    if (!m)
        return organ_fail_memory(error, r->label);
    *m = (merge_mixture){.gate = MIXTURE_HIDDEN};
    if (organ_merge_check_keys(r, r->tree, "a recipe with experts", known, error) ||
        organ_merge_text_member(r, r->tree, "base_model", &base, error) ||
        organ_merge_text_member(r, r->tree, "architecture", &m->architecture, error))
        return error->status;
    if (!base)
        return organ_merge_fault(r, 0, error, "base_model is missing: all but the experts is its");
    if (m->architecture)
        m->architecture_line = organ_yaml_member(r->tree, "architecture")->line;
    if (organ_merge_donor_named(r, base, &r->base, error) || read_experts(r, m, error) || read_used(r, m, error) ||
        read_gate(r, m, error) || check_prompts(r, m, error) || check_texts(r, m, error))
        return error->status;
    warn_of_same(r, m);
    r->method = &organ_merge_mixture;
    r->mixture = m;
    return make_slice(r, error);
}
