/* SPDX-License-Identifier: MIT
 * Compares the models of a merge: architectures, settings on which the function of the weights depends, and towers. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_settings.h"

#include <stdlib.h>
#include <string.h>

#define STEP ((size_t)256 << 10) /* bytes of a tower that are compared at once */

/* ---- settings ---- */

static organ_status refuse_other(const model_merge *job, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    for (size_t k = 0; k < job->recipe.donor_count; k++) {
        char of_host[96], other[96];
        const merge_donor *const donor = &job->donors[k];
        if (!organ_settings_agree(organ_merge_stored(host), organ_merge_stored(donor)))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s is of architecture %s, but %s is of %s: the same weights have other functions there; "
                              "--other-architecture merges them nevertheless",
                              host->path, organ_settings_architecture(organ_merge_stored(host), of_host), donor->path,
                              organ_settings_architecture(organ_merge_stored(donor), other));
    }
    return ORGAN_OK;
}

static organ_status compare_settings(model_merge *job, organ_error *error)
{
    const size_t count = job->recipe.donor_count;
    organ_settings_side *const sides = calloc(count, sizeof *sides);
    json_t *const notes = json_array();
    size_t k;
    const json_t *note;
    if (!sides || !notes)
        organ_fail_memory(error, job->recipe.label);
    for (size_t d = 0; d < count && sides; d++)
        sides[d] = (organ_settings_side){organ_merge_stored(&job->donors[d]), job->donors[d].name};
    if (!error->status)
        organ_settings_compare(sides, count, job->host, !job->recipe.sliced, job->clashes, notes, error);
    organ_settings_say(job->clashes, job->recipe.warnings);
    json_array_foreach(notes, k, note) organ_progress_note_once(job->progress, "%s", json_string_value(note));
    json_decref(notes);
    free(sides);
    return error->status;
}

/* ---- towers ---- */

static bool is_of_tower(const organ_tensor *tensor)
{
    return tensor->anatomy.role == ORGAN_ROLE_VISION || tensor->anatomy.role == ORGAN_ROLE_AUDIO;
}

/* Sets *differ. A tower behind a URL is not read. */
static organ_status compare_bytes(const organ_model *a, const organ_tensor *of_a, const organ_model *b,
                                  const organ_tensor *of_b, unsigned char *buffers, bool *differ, organ_error *error)
{
    if (a->files[of_a->file].remote || b->files[of_b->file].remote)
        return ORGAN_OK;
    for (uint64_t at = 0; at < of_a->bytes && !*differ; at += STEP) {
        const size_t bytes = of_a->bytes - at < STEP ? (size_t)(of_a->bytes - at) : STEP;
        if (organ_model_read(a, of_a->file, buffers, bytes, of_a->offset + at, error) ||
            organ_model_read(b, of_b->file, buffers + STEP, bytes, of_b->offset + at, error))
            return error->status;
        *differ = memcmp(buffers, buffers + STEP, bytes) != 0;
    }
    return ORGAN_OK;
}

/* Sets *differ to the first tensor of the host's towers that the other model has with other bytes; NULL: there is none.
 * Files of two formats store towers under other names, so they are not compared. */
static organ_status compare_towers(const organ_model *host, const organ_model *other, unsigned char *buffers,
                                   const organ_tensor **first, organ_error *error)
{
    for (size_t k = 0; k < host->tensor_count && !*first && !host->gguf == !other->gguf; k++) {
        const organ_tensor *const tensor = &host->tensors[k];
        const organ_tensor *const twin = is_of_tower(tensor) ? organ_model_find(other, tensor->name) : NULL;
        bool differ = false;
        if (!twin)
            continue;
        if (!ORGAN_SAME_SHAPE(tensor, twin) || tensor->dtype != twin->dtype)
            differ = true;
        else if (compare_bytes(host, tensor, other, twin, buffers, &differ, error))
            return error->status;
        *first = differ ? tensor : NULL;
    }
    return ORGAN_OK;
}

static organ_status warn_of_towers(model_merge *job, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    unsigned char *const buffers = malloc(2 * STEP);
    if (!buffers)
        return organ_fail_memory(error, host->path);
    for (size_t k = 0; k < job->recipe.donor_count && !error->status; k++) {
        const organ_tensor *first = NULL;
        if (k != job->host &&
            compare_towers(organ_merge_stored(host), organ_merge_stored(&job->donors[k]), buffers, &first, error) ==
                ORGAN_OK &&
            first)
            organ_say(job->recipe.warnings,
                      "the towers of %s and %s differ, first in '%s': those of %s are taken, towers are not merged",
                      host->name, job->donors[k].name, first->name, host->name);
    }
    free(buffers);
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
