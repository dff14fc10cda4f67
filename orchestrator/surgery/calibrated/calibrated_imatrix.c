/* SPDX-License-Identifier: MIT
 * Reads an importance matrix (imatrix) in place of a text. organ_calibrated_imatrix checks all entries before anything
 * is written; organ_calibrated_norms reads those of one matrix. */
#include "orchestrator/surgery/calibrated/calibrated_job.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <stdlib.h>

/* Checks that the imatrix has usable entries for all matrices of target `part`, and sets `experts` and `entry` of
 * job->parts[part]. Adds experts without tokens to the member `fallback` of the same entry: they use the norms of other
 * experts, or norms of 1 (organ_importance_norms). `known`: cache of organ_experts_of_role. */
static organ_status check_target(organ_calibrated_job *job, size_t part, organ_expert_census *known, organ_error *error)
{
    const organ_tensor *const tensor = job->base.targets.tensors[part];
    const organ_matrices m = organ_tensor_matrices(tensor);
    organ_calibrated_part *const result = &job->parts[part];
    float *const norms = malloc((size_t)m.cols * sizeof *norms);
    double count;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    result->experts = organ_experts_of_role(job->base.donor, tensor, known);
    for (uint64_t k = 0; k < m.count && !error->status; k++)
        if (organ_importance_norms(job->imatrix, job->base.donor, tensor, k, result->experts, norms, &count,
                                   &result->entry, error) == ORGAN_OK &&
            count == 0)
            organ_calibration_note_expert(&result->fallback, tensor, k);
    free(norms);
    return error->status;
}

/* Opens the imatrix, computes its digest, and checks the entries of all targets. */
organ_status organ_calibrated_imatrix(organ_calibrated_job *job, organ_error *error)
{
    organ_expert_census known = {0};
    if (organ_imatrix_open(job->options->imatrix, &job->imatrix, error) != ORGAN_OK ||
        organ_importance_digest(job->imatrix, job->digest, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->base.targets.count && !error->status; k++)
        check_target(job, k, &known, error);
    return error->status;
}

/* Creates a calibration for one matrix of a target: it has the norm of each input from the imatrix, but no second
 * moments. *calibration is NULL after an error. */
organ_status organ_calibrated_norms(const organ_calibrated_job *job, size_t part, uint64_t matrix,
                                    organ_calibration **calibration, organ_error *error)
{
    const organ_tensor *const tensor = job->base.targets.tensors[part];
    const size_t features = (size_t)organ_tensor_matrices(tensor).cols;
    const organ_calibration_options options = {.features = features, .name = tensor->name};
    float *const norms = malloc(features * sizeof *norms);
    const char *entry;
    double count;
    *calibration = NULL;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    if (organ_importance_norms(job->imatrix, job->base.donor, tensor, matrix, job->parts[part].experts, norms, &count,
                               &entry, error) == ORGAN_OK)
        organ_calibration_from_norms(&options, norms, (uint64_t)count, calibration, error);
    free(norms);
    return error->status;
}
