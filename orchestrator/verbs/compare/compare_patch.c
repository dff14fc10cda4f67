/* SPDX-License-Identifier: MIT
 * Measures the sizes of patches from one model to the others: compresses the changes as organ patch extract does, and
 * counts the bytes. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/patch/patch_changes.h"

#include <stdio.h>

enum { LEVEL = 1 }; /* of Zstandard, as organ patch extract has it by default */

static json_t *row_of(size_t from, size_t to, const organ_patch_sums *s)
{
    char pair[8];
    snprintf(pair, sizeof pair, "%s %s", organ_compare_label(from), organ_compare_label(to));
    return ORGAN_OBJECT(SET_TEXT("pair", pair), SET_COUNT("same", s->same), SET_COUNT("changed", s->changed),
                        SET_COUNT("whole", s->whole), SET_COUNT("bytes", s->bytes),
                        SET_COUNT("changed_bytes", s->changed_bytes), SET_COUNT("whole_bytes", s->whole_bytes),
                        SET_COUNT("patch_bytes", s->packed),
                        SET_REAL("patch_percent", organ_percent(s->packed, s->bytes)));
}

static organ_status cost_of(compare_job *job, size_t from, size_t to, organ_error *error)
{
    const organ_model *const base = job->models[from].model, *const tuned = job->models[to].model;
    const organ_patch_pass pass = {.base = base,
                                   .tuned = tuned,
                                   .engine = job->engine,
                                   .progress = job->progress,
                                   .encoding = ORGAN_DELTA_XOR,
                                   .kind = ORGAN_CHECKSUM_XXH3_128,
                                   .level = LEVEL,
                                   .changes = organ_patch_pair(base, tuned)};
    if (!pass.changes)
        organ_fail_memory(error, tuned->path);
    else if (organ_patch_run(&pass, error) == ORGAN_OK) {
        const organ_patch_sums sums = organ_patch_add_up(pass.changes, tuned->tensor_count);
        job->broken |= json_array_append_new(job->patches, row_of(from, to, &sums)) != 0;
    }
    organ_rows_free(pass.changes);
    return error->status;
}

organ_status organ_compare_check_patches(const compare_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->count; k++)
        if (job->models[k].adapted.adapter)
            return organ_fail(error, ORGAN_USAGE, "`patch`: %s has an adapter, which no patch has: merge it first",
                              job->models[k].name);
    return ORGAN_OK;
}

organ_status organ_compare_patches(compare_job *job, organ_error *error)
{
    const size_t from = job->base == COMPARE_NONE ? 0 : job->base;
    for (size_t k = 0; k < job->count && !error->status; k++)
        if (k != from)
            cost_of(job, from, k, error);
    return error->status;
}
