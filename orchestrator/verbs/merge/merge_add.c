/* SPDX-License-Identifier: MIT
 * Adds tensors to the plan of an output. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/rows.h"

#include <string.h>

merge_tensor *organ_merge_add_tensor(model_merge *job, const char *name, const organ_weight *like, size_t from,
                                     size_t inputs, organ_error *error)
{
    if (!organ_grow(&job->tensors, job->tensor_count, &job->tensor_room, sizeof *job->tensors)) {
        organ_fail_memory(error, job->recipe.label);
        return NULL;
    }
    merge_tensor *const t = &job->tensors[job->tensor_count];
    *t = (merge_tensor){.like = like, .from = from, .layer = organ_anatomy_of(name).layer};
    organ_merge_input *const list = organ_merge_take(job, (inputs + 1) * sizeof *list, error);
    const char **const donor = organ_merge_take(job, (inputs + 1) * sizeof *donor, error);
    t->donors = organ_merge_take(job, (inputs + 1) * sizeof *t->donors, error);
    t->moved = organ_merge_take(job, (inputs + 1) * sizeof *t->moved, error);
    t->name = organ_arena_copy(&job->arena, name, strlen(name));
    if (!t->name)
        organ_fail_memory(error, job->recipe.label);
    t->item = (organ_merge_item){.inputs = list,
                                 .task = {.method = job->recipe.method,
                                          .name = t->name,
                                          .shape = organ_weight_matrices(like),
                                          .rank = like->rank,
                                          .donor = donor,
                                          .seed = job->options->seed,
                                          .kernels = job->engine->kernels}};
    job->tensor_count += !error->status;
    return error->status ? NULL : t;
}

void organ_merge_put_input(model_merge *job, merge_tensor *t, size_t at, size_t donor, const organ_weight *weight)
{
    organ_merge_input *const list = (organ_merge_input *)t->item.inputs;
    const char **const names = (const char **)t->item.task.donor;
    list[at] = (organ_merge_input){.model = organ_merge_stored(&job->donors[donor]),
                                   .weight = weight,
                                   .change = organ_adapted_change(&job->donors[donor].adapted, weight, t->like)};
    names[at] = job->donors[donor].key;
    t->donors[at] = donor;
}

organ_status organ_merge_pass_through(merge_tensor *t, size_t at, const char *why, const organ_error *error)
{
    static const double one[] = {1};
    organ_merge_input *const list = (organ_merge_input *)t->item.inputs;
    const char **const names = (const char **)t->item.task.donor;
    list[0] = list[at];
    names[0] = names[at];
    t->donors[0] = t->donors[at];
    t->item.task.method = &organ_merge_passthrough;
    t->item.task.inputs = 1;
    t->item.task.base = false;
    t->item.task.values = one;
    t->why = why;
    return error->status;
}
