/* SPDX-License-Identifier: MIT
 * An importance matrix in place of a text: every target finds its entry before anything is written. */
#include "orchestrator/surgery/calibrated/job.h"

#include <stdio.h>
#include <stdlib.h>

#define DIGEST_CHUNK ((size_t)1 << 20)

/* How many experts each role has in the layer that was asked for last. */
typedef struct census {
    int32_t layer[ORGAN_ROLE_COUNT];
    uint64_t experts[ORGAN_ROLE_COUNT];
} census;

static uint64_t experts_of(const organ_model *donor, const organ_anatomy *a, census *known)
{
    if (known->experts[a->role] == 0 || known->layer[a->role] != a->layer) {
        known->layer[a->role] = a->layer;
        known->experts[a->role] = 0;
        for (size_t k = 0; k < donor->tensor_count; k++) {
            const organ_anatomy *const other = &donor->tensors[k].anatomy;
            if (other->layer == a->layer && other->role == a->role && other->expert >= 0 &&
                (uint64_t)other->expert >= known->experts[a->role])
                known->experts[a->role] = (uint64_t)other->expert + 1;
        }
    }
    return known->experts[a->role];
}

static organ_status take_digest(organ_calibrated_job *job, organ_error *error)
{
    const organ_imatrix *const imatrix = job->imatrix;
    XXH3_state_t *const hash = XXH3_createState();
    void *const bytes = malloc(DIGEST_CHUNK);
    if (!hash || !bytes)
        organ_fail_memory(error, imatrix->path);
    else
        XXH3_64bits_reset(hash);
    for (uint64_t at = 0; at < imatrix->bytes && !error->status;) {
        const size_t some = imatrix->bytes - at < DIGEST_CHUNK ? (size_t)(imatrix->bytes - at) : DIGEST_CHUNK;
        if (organ_imatrix_read(imatrix, bytes, some, at, error) == ORGAN_OK)
            XXH3_64bits_update(hash, bytes, some);
        at += some;
    }
    if (!error->status)
        snprintf(job->digest, sizeof job->digest, "%016llx", (unsigned long long)XXH3_64bits_digest(hash));
    free(bytes);
    XXH3_freeState(hash);
    return error->status;
}

/* Some architectures stack their experts as (inputs, outputs). Where the two differ, the imatrix shows it. */
static organ_status check_axes(const organ_model *donor, const organ_tensor *tensor, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    if (donor->gguf || m.count == 1 || m.rows != m.cols)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "tensor '%s': is a stack of %llu matrices of %llu x %llu: which of its axes are the inputs cannot be told, so that "
                      "no imatrix can be put to it",
                      tensor->name, (unsigned long long)m.count, (unsigned long long)m.rows, (unsigned long long)m.cols);
}

static organ_status find_place(const organ_calibrated_job *job, size_t part, uint64_t matrix, uint64_t experts, organ_imatrix_place *place,
                               organ_error *error)
{
    const organ_tensor *const tensor = job->base.targets.tensors[part];
    const uint64_t stacked = organ_tensor_matrices(tensor).count;
    const bool single = tensor->anatomy.expert >= 0;
    const int64_t expert = single ? tensor->anatomy.expert : stacked > 1 ? (int64_t)matrix : -1;
    return organ_imatrix_find(job->imatrix, tensor->name, &tensor->anatomy, expert, single ? experts : stacked, place, error);
}

static organ_status check_target(organ_calibrated_job *job, size_t part, census *known, organ_error *error)
{
    const organ_tensor *const tensor = job->base.targets.tensors[part];
    const organ_matrices m = organ_tensor_matrices(tensor);
    organ_calibrated_part *const told = &job->parts[part];
    float *const norms = malloc((size_t)m.cols * sizeof *norms);
    double count;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    told->experts = tensor->anatomy.expert >= 0 ? experts_of(job->base.donor, &tensor->anatomy, known) : 0;
    check_axes(job->base.donor, tensor, error);
    for (uint64_t k = 0; k < m.count && !error->status; k++) {
        organ_imatrix_place place;
        if (find_place(job, part, k, told->experts, &place, error) == ORGAN_OK &&
            organ_imatrix_norms(job->imatrix, &place, tensor->name, m.cols, norms, &count, error) == ORGAN_OK)
            told->entry = place.entry->name;
    }
    free(norms);
    return error->status;
}

organ_status organ_calibrated_imatrix(organ_calibrated_job *job, organ_error *error)
{
    census known = {0};
    if (organ_imatrix_open(job->options->imatrix, &job->imatrix, error) != ORGAN_OK || take_digest(job, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->base.targets.count && !error->status; k++)
        check_target(job, k, &known, error);
    return error->status;
}

organ_status organ_calibrated_norms(const organ_calibrated_job *job, size_t part, uint64_t matrix, organ_calibration **calibration,
                                    organ_error *error)
{
    const organ_tensor *const tensor = job->base.targets.tensors[part];
    const size_t features = (size_t)organ_tensor_matrices(tensor).cols;
    const organ_calibration_options options = {.features = features, .name = tensor->name};
    float *const norms = malloc(features * sizeof *norms);
    organ_imatrix_place place;
    double count;
    *calibration = NULL;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    if (find_place(job, part, matrix, job->parts[part].experts, &place, error) == ORGAN_OK &&
        organ_imatrix_norms(job->imatrix, &place, tensor->name, features, norms, &count, error) == ORGAN_OK)
        organ_calibration_from_norms(&options, norms, (uint64_t)count, calibration, error);
    free(norms);
    return error->status;
}
