/* SPDX-License-Identifier: MIT
 * Compares the models of a merge: architectures, settings on which the function of the weights depends, and towers. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/tensor/tensor_list.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/head.h"
#include "orchestrator/output/model_settings.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- settings ---- */

static organ_status refuse_other(const model_merge *job, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    for (size_t k = 0; k < job->recipe.donor_count; k++) {
        char of_host[96], other[96];
        const merge_donor *const donor = &job->donors[k];
        if (organ_settings_agree(organ_merge_stored(host), organ_merge_stored(donor)))
            continue;
        const int64_t hidden[2] = {organ_merge_stored(host)->config.hidden_size,
                                   organ_merge_stored(donor)->config.hidden_size};
        if (hidden[0] > 0 && hidden[1] > 0 && hidden[0] != hidden[1])
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "%s (%s, hidden size %" PRId64 ") and %s (%s, hidden size %" PRId64
                ") cannot be merged: their weights have other shapes; merge needs models of one architecture "
                "and size, such as two fine-tunes of one base",
                host->path, organ_settings_architecture(organ_merge_stored(host), of_host), hidden[0], donor->path,
                organ_settings_architecture(organ_merge_stored(donor), other), hidden[1]);
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s is of architecture %s, but %s is of %s: the same weights have other functions there; "
                          "`other_architecture` merges them nevertheless",
                          host->path, organ_settings_architecture(organ_merge_stored(host), of_host), donor->path,
                          organ_settings_architecture(organ_merge_stored(donor), other));
    }
    return ORGAN_OK;
}

static organ_status compare_settings(model_merge *job, organ_error *error)
{
    const size_t count = job->recipe.donor_count;
    ORGAN_OWNED organ_settings_side *const sides = calloc(count, sizeof *sides);
    ORGAN_OWNED_JSON json_t *const notes = json_array();
    size_t k;
    const json_t *note;
    if (!sides || !notes)
        organ_fail_memory(error, job->recipe.label);
    for (size_t d = 0; d < count && sides; d++)
        sides[d] = (organ_settings_side){organ_merge_stored(&job->donors[d]), job->donors[d].name};
    if (!error->status && organ_settings_compare_architectures(sides, count, job->clashes, error) == ORGAN_OK)
        organ_settings_compare(sides, count, job->host, !job->recipe.sliced, job->clashes, notes, error);
    organ_settings_say(job->clashes, job->recipe.warnings);
    json_array_foreach(notes, k, note) organ_progress_note_once(job->progress, "%s", json_string_value(note));
    return error->status;
}

/* ---- towers ---- */

/* Sets *first to the first tensor of the host's towers that the other model has with other bytes; NULL: there is none.
 * Files of two formats store towers under other names, so they are not compared; a tower behind a URL is not read. */
static organ_status compare_towers(const model_merge *job, const organ_model *other, const organ_tensor **first,
                                   organ_error *error)
{
    const organ_model *const host = organ_merge_stored(&job->donors[job->host]);
    for (size_t k = 0; k < host->tensor_count && !*first && !host->gguf == !other->gguf && !error->status; k++) {
        const organ_tensor *const tensor = &host->tensors[k];
        const organ_tensor *const twin =
            organ_role_is_tower(tensor->anatomy.role) ? organ_model_find(other, tensor->name) : NULL;
        if (!twin)
            continue;
        bool differ = !ORGAN_SAME_SHAPE(tensor, twin) || tensor->dtype != twin->dtype;
        if (!differ && !host->files[tensor->file].remote && !other->files[twin->file].remote)
            organ_tensors_differ(host, tensor, other, twin, job->engine, &differ, error);
        *first = differ ? tensor : NULL;
    }
    return error->status;
}

static organ_status warn_of_towers(model_merge *job, organ_error *error)
{
    const char *const host = job->donors[job->host].name;
    for (size_t k = 0; k < job->recipe.donor_count && !error->status; k++) {
        const organ_tensor *first = NULL;
        if (k != job->host && compare_towers(job, organ_merge_stored(&job->donors[k]), &first, error) == ORGAN_OK &&
            first)
            organ_say(job->recipe.warnings,
                      "the towers of %s and %s differ, first in '%s': those of %s are taken, towers are not merged",
                      host, job->donors[k].name, first->name, host);
    }
    return error->status;
}

organ_status organ_merge_compare_donors(model_merge *job, organ_error *error)
{
    if (!(job->clashes = json_array()))
        return organ_fail_memory(error, job->recipe.label);
    if ((!job->options->other_architecture && refuse_other(job, error)) || compare_settings(job, error))
        return error->status;
    return warn_of_towers(job, error);
}
