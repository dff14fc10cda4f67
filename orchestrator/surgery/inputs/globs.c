/* SPDX-License-Identifier: MIT
 * Splits lists of shell patterns and matches names with them. */
#include "orchestrator/surgery/inputs/globs.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

organ_status organ_globs_read(const char *list, organ_globs *globs, organ_error *error)
{
    const size_t max = list ? strlen(list) : 0;
    char *rest = NULL;
    *globs = (organ_globs){0};
    if (!list)
        return ORGAN_OK;
    globs->text = strdup(list);
    globs->patterns = calloc(max + 1, sizeof *globs->patterns);
    globs->used = calloc(max + 1, sizeof *globs->used);
    if (!globs->text || !globs->patterns || !globs->used) {
        organ_globs_release(globs);
        return organ_fail_memory(error, list);
    }
    for (const char *glob = strtok_r(globs->text, ",", &rest); glob; glob = strtok_r(NULL, ",", &rest))
        globs->patterns[globs->count++] = glob;
    return ORGAN_OK;
}

void organ_globs_release(organ_globs *globs)
{
    free(globs->text);
    free(globs->patterns);
    free(globs->used);
    *globs = (organ_globs){0};
}

/* All patterns are compared, also after a match, so that each matching pattern is marked. */
bool organ_globs_match(organ_globs *globs, const char *name)
{
    bool matches = !globs->text;
    for (size_t k = 0; k < globs->count; k++)
        if (fnmatch(globs->patterns[k], name, 0) == 0)
            matches = globs->used[k] = true;
    return matches;
}

const char *organ_globs_unused(const organ_globs *globs)
{
    for (size_t k = 0; k < globs->count; k++)
        if (!globs->used[k])
            return globs->patterns[k];
    return NULL;
}
