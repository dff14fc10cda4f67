/* SPDX-License-Identifier: MIT
 * Filters of recipes fit a tensor by any name that its part has: that of the file, of published files, of transformers,
 * and that of most architectures. Settings that no tensor uses are warned of. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/architecture/families.h"
#include "formats/architecture/pairing.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_settings.h"

#include <stdio.h>
#include <string.h>

/* ---- other names of a tensor ---- */

void organ_merge_know_names(model_merge *job)
{
    char architecture[96];
    organ_settings_architecture(job->donors[job->host].model, architecture);
    job->recipe.family = organ_forward_family_named(architecture, /*gguf=*/false);
}

/* Finds the part of a tensor of the host's architecture, and where its name after prefix and number begins. */
static bool find_part(const forward_family *family, const char *name, const char **tail, pairing_part *part)
{
    const int32_t layer = organ_anatomy_of(name).layer;
    char number[16];
    snprintf(number, sizeof number, ".%d.", (int)layer);
    const char *const at = layer < 0 ? NULL : strstr(name, number);
    if (at) {
        *tail = at + strlen(number);
        return organ_pairing_find_part(family, /*gguf=*/false, /*top=*/false, *tail, part);
    }
    for (*tail = name; *tail; *tail = strchr(*tail, '.') ? strchr(*tail, '.') + 1 : NULL)
        if (organ_pairing_find_part(family, /*gguf=*/false, /*top=*/true, *tail, part))
            return true;
    return false;
}

/* Returns whether the filter occurs in the name that consists of the tensor's prefix and `pattern`, a name of the part.
 * Of a name with a number that the tensor lacks, a stack of experts, only what precedes the number counts. */
static bool has_text(const char *filter, const char *name, const char *tail, const pairing_part *part,
                     const char *pattern)
{
    char biased[256], whole[2 * MERGE_NAME];
    const char *const own = part->bias ? organ_forward_bias_name(pattern, biased) : pattern;
    const char *const mark = strchr(own, '#'); /* stands for the number */
    const int length = (int)(mark ? mark - own : (ptrdiff_t)strlen(own));
    const int used = snprintf(whole, sizeof whole, "%.*s%.*s", (int)(tail - name), name, length, own);
    if (mark && part->number >= 0 && used > 0 && (size_t)used < sizeof whole)
        snprintf(whole + used, sizeof whole - (size_t)used, "%lld%s", (long long)part->number, mark + 1);
    return strstr(whole, filter) != NULL;
}

/* Returns whether a name of the part `as`, that of the tensor or of another layout of it, has the filter. */
static bool fits_part(const forward_family *family, forward_part as, const char *filter, const char *name,
                      const char *tail, const pairing_part *part)
{
    const char *pattern = organ_forward_part_name(/*names=*/NULL, as, /*gguf=*/false, 0); /* of most architectures */
    if (pattern && has_text(filter, name, tail, part, pattern))
        return true;
    for (unsigned k = 0; (pattern = organ_forward_part_name(family->names, as, /*gguf=*/false, k)); k++)
        if (has_text(filter, name, tail, part, pattern))
            return true;
    return false;
}

/* Experts are numbered in some files and stacked in others. */
static const forward_part layouts[][2] = {{PART_EXPERT_GATE, PART_EXPERTS_GATE_UP},
                                          {PART_EXPERT_UP, PART_EXPERTS_GATE_UP},
                                          {PART_EXPERT_DOWN, PART_EXPERTS_DOWN}};

bool organ_merge_filter_fits(const merge_recipe *r, const char *filter, const char *name)
{
    const char *tail;
    pairing_part part = {.number = -1};
    if (strcmp(filter, "*") == 0 || strstr(name, filter) ||
        (strcmp(filter, "router") == 0 && organ_anatomy_is_router(name)))
        return true;
    if (!r->family || !find_part(r->family, name, &tail, &part))
        return false;
    bool fits = fits_part(r->family, part.part, filter, name, tail, &part);
    for (size_t k = 0; k < sizeof layouts / sizeof *layouts && !fits; k++)
        for (size_t side = 0; side < 2 && !fits; side++)
            fits = layouts[k][side] == part.part && fits_part(r->family, layouts[k][!side], filter, name, tail, &part);
    return fits;
}

/* ---- settings without a use ---- */

static size_t count_nodes(const organ_yaml *node)
{
    size_t count = 1;
    for (size_t k = 0; node && k < node->count; k++)
        count += count_nodes(node->values[k]);
    return count;
}

organ_status organ_merge_begin_use(merge_recipe *r, organ_error *error)
{
    merge_use *const use = organ_arena_take(&r->arena, sizeof *use);
    if (use)
        *use = (merge_use){organ_arena_take(&r->arena, count_nodes(r->tree) * sizeof *use->nodes), 0};
    r->use = use;
    return use && use->nodes ? ORGAN_OK : organ_fail_memory(error, r->label);
}

static bool is_used(const merge_recipe *r, const organ_yaml *node)
{
    for (size_t k = 0; k < r->use->count; k++)
        if (r->use->nodes[k] == node)
            return true;
    return false;
}

void organ_merge_use(const merge_recipe *r, const organ_yaml *node)
{
    if (r->use && !is_used(r, node))
        r->use->nodes[r->use->count++] = node;
}

/* A value of an option has no line. */
static const char *place_of(const merge_recipe *r, const organ_yaml *value, char place[40])
{
    *place = '\0';
    if (!r->of_options)
        snprintf(place, 40, " (line %zu)", value->line);
    return place;
}

static void warn_of_condition(merge_recipe *r, const char *parameter, const organ_yaml *condition, bool *named)
{
    const organ_yaml *const filter = organ_yaml_member(condition, "filter");
    char place[40];
    if (organ_yaml_is_null(filter) || strcmp(filter->text, "*") == 0 || is_used(r, condition))
        return;
    *named = true;
    organ_say(r->warnings,
              "filter '%.100s' of %s%s is not used: no merged tensor has such a name, or an "
              "earlier setting counts for all that have it",
              filter->text, parameter, place_of(r, filter, place));
}

static void warn_of_setting(merge_recipe *r, const char *parameter, const organ_yaml *setting)
{
    bool named = false;
    char place[40];
    if (setting->kind == ORGAN_YAML_MAP)
        warn_of_condition(r, parameter, setting, &named);
    for (size_t k = 0; setting->kind == ORGAN_YAML_LIST && k < setting->count; k++)
        if (setting->values[k]->kind == ORGAN_YAML_MAP)
            warn_of_condition(r, parameter, setting->values[k], &named);
    if (!named && !is_used(r, setting))
        organ_say(r->warnings, "%s%s is not used: no merged tensor takes its value", parameter,
                  place_of(r, setting, place));
}

/* `own`: the parameters of one model. */
static void warn_of_level(merge_recipe *r, const organ_yaml *level, bool own)
{
    for (size_t k = 0; level && k < level->count; k++) {
        const size_t at = organ_merge_parameter_named(r->method, level->keys[k]->text);
        const bool known = at < r->method->parameter_count && (!own || r->method->parameters[at].per_input);
        if (known && !organ_yaml_is_null(level->values[k]))
            warn_of_setting(r, level->keys[k]->text, level->values[k]);
    }
}

void organ_merge_warn_of_unused(merge_recipe *r)
{
    warn_of_level(r, r->parameters, /*own=*/false);
    warn_of_level(r, r->module_parameters, /*own=*/false);
    for (size_t s = 0; s < r->slice_count; s++) {
        warn_of_level(r, r->slices[s].parameters, /*own=*/false);
        for (size_t k = 0; k < r->slices[s].source_count; k++)
            warn_of_level(r, r->slices[s].sources[k].parameters, /*own=*/true);
    }
}
