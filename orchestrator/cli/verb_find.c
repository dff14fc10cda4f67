/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/verb_find.h"

#include <stdio.h>
#include <string.h>

static bool is_family(const char *name, const organ_verb *verb)
{
    const size_t length = strlen(name);
    return strncmp(verb->name, name, length) == 0 && verb->name[length] == ' ';
}

static const organ_verb *refuse_second(const organ_verb_table *table, const char *family, const char *second,
                                       organ_error *error)
{
    char all[256] = "";
    const char *names[ORGAN_MAX_VERBS];
    size_t count = 0;
    for (size_t k = 0; k < table->count; k++)
        if (is_family(family, table->verbs[k])) {
            names[count] = strchr(table->verbs[k]->name, ' ') + 1;
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", count ? ", " : "", names[count]);
            count++;
        }
    const char *const nearest = second ? organ_nearest(second, names, count) : NULL;
    if (!second)
        organ_fail(error, ORGAN_USAGE, "%s: the second word is missing: one of %s", family, all);
    else if (nearest)
        organ_fail(error, ORGAN_USAGE, "unknown verb '%s %s'; did you mean '%s %s'?", family, second, family, nearest);
    else
        organ_fail(error, ORGAN_USAGE, "unknown verb '%s %s': after '%s' use %s", family, second, family, all);
    return NULL;
}

static const char *with_second(const organ_verb_table *table, const char *word)
{
    for (size_t k = 0; k < table->count; k++) {
        const char *const blank = strchr(table->verbs[k]->name, ' ');
        if (blank && strcmp(blank + 1, word) == 0)
            return table->verbs[k]->name;
    }
    return NULL;
}

const organ_verb *organ_verb_find(const organ_verb_table *table, const char *name, const char *second, int *words,
                                  organ_error *error)
{
    const char *names[ORGAN_MAX_VERBS];
    bool family = false;
    for (size_t k = 0; k < table->count; k++) {
        names[k] = table->verbs[k]->name;
        family = family || is_family(name, table->verbs[k]);
        *words = is_family(name, table->verbs[k]) ? 2 : 1;
        if (*words == 2 ? second && strcmp(second, names[k] + strlen(name) + 1) == 0 : strcmp(name, names[k]) == 0)
            return table->verbs[k];
    }
    if (family)
        return refuse_second(table, name, second, error);
    const char *const of_family = with_second(table, name);
    const char *const nearest = of_family ? of_family : organ_nearest(name, names, table->count);
    organ_fail(error, ORGAN_USAGE, nearest ? "unknown verb '%s'; did you mean '%s'?" : "unknown verb '%s'", name,
               nearest);
    return NULL;
}

const organ_verb *organ_verb_topic(const organ_verb_table *table, const char *name, const char *second,
                                   const char *asker, organ_error *error)
{
    int words = 1;
    const organ_verb *const verb = organ_verb_find(table, name, second, &words, error);
    if (!verb || words == 2 || !second)
        return verb;
    organ_fail(error, ORGAN_USAGE, "%s: '%s' is one word too many: '%s' is a verb of one word", asker, second,
               verb->name);
    return NULL;
}
