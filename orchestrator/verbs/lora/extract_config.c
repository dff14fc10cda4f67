/* SPDX-License-Identifier: MIT
 * Makes adapter_config.json. Its names are those of transformers, which peft matches with the modules of the model. */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"

#include <organ/base.h>
#include <stdlib.h>
#include <string.h>

/* ---- target_modules ---- */

/* target_modules does not select parameters, nor modules that peft reaches only by a parameter. */
static bool is_target(const organ_lora_module *m)
{
    return organ_lora_stored_rank(m) > 0 && !m->parameter && !m->as_weight && !m->group;
}

/* *inside becomes true if the word comes before the last one, so that it also selects a module that contains others. */
static bool ends_with_word(const char *name, const char *word, bool *inside)
{
    const size_t length = strlen(word);
    bool last = false;
    for (const char *at = name; at; at = strchr(at, '.'), at += at != NULL)
        if (strncmp(at, word, length) == 0 && at[length] == '.') {
            last = strcmp(at + length, ".weight") == 0;
            *inside |= strchr(at + length + 1, '.') != NULL;
        }
    return last;
}

/* If all modules with this last word are targets, the word alone suffices in target_modules. Otherwise peft would
 * also wrap the modules without factors. */
static bool all_have_factors(const organ_lora_job *job, const char *word)
{
    size_t in_base = 0, here = 0; /* modules with this word: in the base, and targets */
    bool inside = false;
    for (size_t k = 0; k < job->base_weights->count; k++) {
        in_base += ends_with_word(job->base_names[k], word, &inside);
        organ_rows_passed();
    }
    for (size_t k = 0; k < job->module_count; k++) {
        const char *const dot = strrchr(job->modules[k].target, '.');
        here += is_target(&job->modules[k]) && strcmp(dot ? dot + 1 : job->modules[k].target, word) == 0;
        organ_rows_passed();
    }
    return in_base == here && !inside;
}

static json_t *targets_of(const organ_lora_job *job)
{
    ORGAN_OWNED const char **const names = malloc((job->module_count + 1) * sizeof *names);
    size_t count = 0;
    bool words = true; /* the words suffice */
    for (size_t k = 0; names && k < job->module_count; k++)
        if (is_target(&job->modules[k]))
            names[count++] = job->modules[k].target;
    if (!names)
        organ_memory_count_refusal();
    json_t *targets = names ? organ_adapter_targets(names, count) : NULL;
    for (size_t k = 0; k < json_array_size(targets); k++)
        words = words && all_have_factors(job, json_string_value(json_array_get(targets, k)));
    if (targets && !words) {
        json_array_clear(targets);
        for (size_t k = 0; k < count; k++)
            json_array_append_new(targets, json_string(names[k]));
    }
    return targets;
}

/* ---- modules_to_save ---- */

/* The modules in job->modules are omitted: if such a module has factors, peft wraps it already. The names are full,
 * because peft would apply a bare word to every module whose name ends with it. */
static json_t *kept_of(const organ_lora_job *job)
{
    json_t *const words = json_array();
    for (size_t k = 0; k < job->other_count; k++) {
        const organ_lora_other *const other = &job->others[k];
        ORGAN_OWNED char *const module = other->kept && !other->bare ? strdup(other->key) : NULL;
        if (!module)
            continue;
        char *const dot = strrchr(module, '.');
        if (dot)
            *dot = '\0';
        bool factors = false, seen = false;
        for (size_t m = 0; m < job->module_count; m++)
            factors = factors || strcmp(job->modules[m].target, module) == 0;
        for (size_t w = 0; w < json_array_size(words); w++)
            seen = seen || strcmp(json_string_value(json_array_get(words, w)), module) == 0;
        if (!factors && !seen)
            json_array_append_new(words, json_string(module));
    }
    return words;
}

/* ---- ranks and parameters ---- */

static void put_rank(json_t *config, char *pattern, size_t rank, size_t r)
{
    if (rank && rank != r) {
        json_object_set_new(json_object_get(config, "rank_pattern"), pattern ? pattern : "",
                            json_integer((json_int_t)rank));
        json_object_set_new(json_object_get(config, "alpha_pattern"), pattern ? pattern : "",
                            json_integer((json_int_t)rank));
    }
    free(pattern);
}

/* The expression matches the name of the module in transformers and in the adapter's tensors. */
static char *pattern_of(const organ_lora_module *m)
{
    char *const target = organ_adapter_pattern(m->target);
    if (!target || strcmp(m->target, m->key) == 0)
        return target;
    char *const key = organ_adapter_pattern(m->key), *const both = key ? organ_format("(%s|%s)", target, key) : NULL;
    free(target);
    free(key);
    return both;
}

static void put_parameter(json_t *config, json_t *names, const char *module, const char *end, size_t rank, size_t r)
{
    ORGAN_OWNED char *const name = organ_format("%s%s", module, end);
    json_array_append_new(names, json_string(name ? name : ""));
    put_rank(config, name ? organ_adapter_pattern(name) : NULL, rank, r);
}

/* In these parameters transformers stacks numbered experts. peft joins the factors of gate and up projections to
 * factors of twice the rank. The factors in the file have the rank of the group, for readers of single experts. */
static void put_groups(const organ_lora_job *job, json_t *config, json_t *names, size_t r)
{
    for (size_t k = 0; k < job->group_count; k++) {
        const organ_lora_group *const g = &job->groups[k];
        if (!g->stacked || !g->changed)
            continue;
        if (g->pairs)
            put_parameter(config, names, g->name, ".gate_up_proj", 2 * g->rank, r);
        put_parameter(config, names, g->name, ".down_proj", g->rank, r);
        if (g->rank != r) {
            ORGAN_OWNED char *const file = organ_adapter_pattern(g->file);
            put_rank(config, file ? organ_format("%s\\.\\d+\\.[^.]+", file) : NULL, g->rank, r);
        }
    }
}

static void put_ranks(const organ_lora_job *job, json_t *config, size_t r)
{
    ORGAN_OWNED_JSON json_t *const names = json_array();
    for (size_t k = 0; k < job->module_count; k++) {
        const organ_lora_module *const m = &job->modules[k];
        const size_t rank = organ_lora_stored_rank(m);
        if (rank == 0 || (m->group && m->group->stacked))
            continue;
        if (m->parameter || m->as_weight)
            put_parameter(config, names, m->target, m->parameter ? "" : ".weight", rank, r);
        else
            put_rank(config, pattern_of(m), rank, r);
        organ_rows_passed();
    }
    put_groups(job, config, names, r);
    if (json_array_size(names))
        json_object_set(config, "target_parameters", names);
}

/* alpha = r in each module gives scale 1, both for readers of the patterns and for readers that only use lora_alpha
 * / r. */
json_t *organ_lora_config(const organ_lora_job *job)
{
    size_t r = 0;
    bool turned = false; /* a module is Conv1D */
    for (size_t k = 0; k < job->module_count; k++) {
        const organ_lora_module *const m = &job->modules[k];
        r = organ_lora_stored_rank(m) > r ? organ_lora_stored_rank(m) : r;
        turned = turned || (m->rank && m->turned && !m->parameter);
    }
    json_t *const targets = targets_of(job), *const kept = kept_of(job);
    json_t *const config =
        targets && kept ? organ_adapter_config_make(job->options->base, (json_int_t)r, targets) : NULL;
    if (config)
        put_ranks(job, config, r);
    if (config && turned)
        ORGAN_ADD(config, SET_FLAG("fan_in_fan_out", true));
    if (config && json_array_size(kept))
        ORGAN_ADD(config, SET_HELD("modules_to_save", kept));
    json_decref(kept);
    return config;
}
