/* SPDX-License-Identifier: MIT
 * Outputs that this process has reserved: the lock of the partial directory is held from before the first step of the
 * run, and organ_publish_begin takes it over. */
#include "orchestrator/output/partial.h"

#include "formats/base/owned.h"

#include <string.h>

struct organ_reserved {
    char *partial;     /* path of the partial directory */
    organ_partial own; /* its descriptors; -1 once an organ_publish has taken them */
    organ_reserved *next;
};

static organ_reserved *all_reserved;
static pthread_mutex_t reserved_lock = PTHREAD_MUTEX_INITIALIZER;

static organ_reserved *find(const char *partial)
{
    organ_reserved *r = all_reserved;
    while (r && strcmp(r->partial, partial) != 0)
        r = r->next;
    return r;
}

bool organ_reserved_take(const char *path, organ_partial *partial)
{
    ORGAN_LOCKED(&reserved_lock);
    organ_reserved *const r = find(path);
    const bool held = r && r->own.folder >= 0;
    if (held) {
        *partial = r->own;
        r->own = (organ_partial){-1, -1};
    }
    return held;
}

bool organ_is_reserved(const char *partial)
{
    ORGAN_LOCKED(&reserved_lock);
    return find(partial);
}

organ_status organ_reserved_add(char *partial, const organ_partial *own, organ_reserved **reserved, organ_error *error)
{
    organ_reserved *const r = *reserved = calloc(1, sizeof *r);
    if (!r)
        return organ_fail_memory(error, partial);
    *r = (organ_reserved){.partial = partial, .own = *own};
    ORGAN_LOCKED(&reserved_lock);
    r->next = all_reserved;
    all_reserved = r;
    return ORGAN_OK;
}

void organ_reserved_end(organ_reserved *reserved)
{
    if (!reserved)
        return;
    pthread_mutex_lock(&reserved_lock);
    organ_reserved **at = &all_reserved;
    while (*at != reserved)
        at = &(*at)->next;
    *at = reserved->next;
    pthread_mutex_unlock(&reserved_lock);
    if (reserved->own.folder >= 0 && organ_is_empty_folder(reserved->own.folder))
        organ_partial_remove(&reserved->own, reserved->partial, NULL);
    organ_partial_unlock(&reserved->own);
    free(reserved->partial);
    free(reserved);
}
