/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/run_names.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/rename_output.h"

#include <stdlib.h>
#include <string.h>

/* ---- one output ---- */

static organ_status fail_make(const char *final, const char *partial, int fault, organ_error *error)
{
    ORGAN_OWNED char *const parent = strndup(partial, (size_t)(strrchr(partial, '/') - partial));
    if (!parent)
        return organ_fail_memory(error, final);
    if (organ_check_parent(final, *parent ? parent : "/", error) == ORGAN_OK)
        organ_fail_errno(error, fault, "%s: cannot be created", partial);
    return error->status;
}

/* Locks the partial directory, and makes it if there is none. */
static organ_status reserve_partial(const char *final, const char *partial, organ_partial *own, organ_error *error)
{
    bool made = true;
    int fault = 0;
    const organ_partial_state state = organ_partial_take(partial, 0777, own, &made, &fault);
    return made ? organ_partial_judge(state, partial, final, fault, error) : fail_make(final, partial, fault, error);
}

static organ_status reserve_output(const char *final, bool discard, organ_reserved **reserved, organ_error *error)
{
    organ_partial own = {-1, -1};
    char *const partial = organ_publish_partial(final);
    *reserved = NULL;
    if (!partial)
        return organ_publish_finish(final, error) ? error->status : organ_fail_memory(error, final);
    if (!organ_is_reserved(partial) && organ_publish_finish(final, error) == ORGAN_OK &&
        reserve_partial(final, partial, &own, error) == ORGAN_OK &&
        (!discard || organ_publish_discard_waiting(final, &own, error) == ORGAN_OK))
        organ_reserved_add(partial, &own, reserved, error);
    if (*reserved)
        return ORGAN_OK;
    organ_partial_unlock(&own);
    free(partial);
    return error->status;
}

/* ---- all outputs ---- */

static int by_path(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

organ_status organ_run_names_reserve(organ_run_names *names, const char *const *outputs, size_t count, bool discard,
                                     organ_ranks *ranks, organ_error *error)
{
    *names = (organ_run_names){0};
    if (!organ_ranks_first(ranks) || error->status)
        return organ_ranks_agree(ranks, "reserving the outputs", error);
    ORGAN_OWNED const char **const sorted = calloc(count + 1, sizeof *sorted);
    size_t used = 0;
    names->of = calloc(count + 1, sizeof *names->of);
    if (!sorted || !names->of)
        organ_fail_memory(error, "the names of the outputs");
    for (size_t k = 0; k < count && !error->status; k++)
        if (outputs[k])
            sorted[used++] = outputs[k];
    if (sorted)
        qsort(sorted, used, sizeof *sorted, by_path);
    for (size_t k = 0; k < used && !error->status; k++)
        if (reserve_output(sorted[k], discard, &names->of[names->count], error) == ORGAN_OK)
            names->count++;
    return organ_ranks_agree(ranks, "reserving the outputs", error);
}

void organ_run_names_release(organ_run_names *names)
{
    for (size_t k = 0; k < names->count; k++)
        organ_reserved_end(names->of[k]);
    free(names->of);
    *names = (organ_run_names){0};
}
