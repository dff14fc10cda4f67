/* SPDX-License-Identifier: MIT
 * Members of the maps of a recipe, and the models that it names. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/text.h"

#include <string.h>

organ_status organ_merge_check_keys(const merge_recipe *r, const organ_yaml *map, const char *what,
                                    const char *const *known, organ_error *error)
{
    char hint[ORGAN_HINT_ROOM];
    size_t count = 0;
    while (known[count])
        count++;
    if (map->kind != ORGAN_YAML_MAP)
        return organ_merge_fault(r, map->line, error, "%s is not a map of keys and values", what);
    for (size_t k = 0; k < map->count; k++)
        if (!organ_is_one_of(map->keys[k]->text, known))
            return organ_merge_fault(r, map->keys[k]->line, error, "unknown key '%.100s' in %s%s", map->keys[k]->text,
                                     what, organ_nearest_hint(map->keys[k]->text, known, count, "", hint));
    return ORGAN_OK;
}

organ_status organ_merge_text_member(const merge_recipe *r, const organ_yaml *map, const char *key, const char **value,
                                     organ_error *error)
{
    const organ_yaml *const member = organ_yaml_member(map, key);
    *value = NULL;
    if (organ_yaml_is_null(member))
        return ORGAN_OK;
    if (member->kind != ORGAN_YAML_SCALAR || !*member->text)
        return organ_merge_fault(r, member->line, error, "%s is not a text", key);
    *value = member->text;
    return ORGAN_OK;
}

organ_status organ_merge_donor_named(merge_recipe *r, const char *name, size_t *donor, organ_error *error)
{
    for (*donor = 0; *donor < r->donor_count; ++*donor)
        if (strcmp(r->donors[*donor], name) == 0)
            return ORGAN_OK;
    const char **const more = organ_arena_take(&r->arena, (r->donor_count + 1) * sizeof *more);
    if (!more)
        return organ_fail_memory(error, r->label);
    for (size_t k = 0; k < r->donor_count; k++)
        more[k] = r->donors[k];
    more[r->donor_count++] = name;
    r->donors = more;
    return ORGAN_OK;
}
