/* SPDX-License-Identifier: MIT
 * --activations: NVFP4 with quantised activations. Servers round the inputs of a matrix to E2M1 codes with an E4M3
 * scale for 16 of them, which they compute at run time and multiply by input_global_scale. This source measures the
 * greatest magnitude of each matrix's inputs, from which that scale follows. Matrices that servers fuse have the same
 * inputs, and so the same scale. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include <stdlib.h>

/* ---- callbacks of the calibration run ---- */

static uint64_t matrix_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    (void)context, (void)calib, (void)tensor;
    return 0;
}

static organ_status take_greatest(void *context, const organ_calibration_matrix *matrix, float *weights,
                                  organ_error *error)
{
    organ_quantize_job *const job = context;
    (void)weights, (void)error;
    job->list.parts[matrix->target].greatest_input = organ_calibration_moments(matrix->calibration)->greatest;
    return ORGAN_OK;
}

/* ---- the run ---- */

/* All ranks measure all parts, also those that an earlier run or another rank writes: each rank then has all scales,
 * and no rank waits for another one. */

organ_status organ_quantize_activations_open(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    organ_quantize_walk *const m = &job->measured;
    if (!o->activations || organ_quantize_by_text(o))
        return ORGAN_OK;
    m->targets = (organ_targets){.tensors = calloc(job->list.part_count + 1, sizeof *m->targets.tensors),
                                 .count = job->list.part_count};
    if (!m->targets.tensors)
        return organ_fail_memory(error, o->model);
    for (size_t k = 0; k < job->list.part_count; k++)
        m->targets.tensors[k] = organ_quantize_next_part(job, k)->weight->codes;
    m->options = (organ_calibration_run_options){.calibration = o->calibration,
                                                 .method = "`activations`",
                                                 .verb = "measure",
                                                 .doing = "measuring",
                                                 .streams = ORGAN_INPUTS_DONOR,
                                                 .moments_only = true,
                                                 .reruns = true,
                                                 .all_experts = o->all_experts,
                                                 .blocks = true};
    m->work = (organ_calibration_work){.context = job, .memory = matrix_memory, .change = take_greatest, .alike = true};
    return organ_calibration_run_open(&m->options, job->model, &m->targets, &m->work, job->engine, job->progress,
                                      &m->run, error);
}

organ_status organ_quantize_activations_run(organ_quantize_job *job, organ_error *error)
{
    return job->measured.run ? organ_calibration_run_layers(job->measured.run, error) : ORGAN_OK;
}

void organ_quantize_activations_close(organ_quantize_job *job)
{
    organ_calibration_run_close(job->measured.run);
    free(job->measured.targets.tensors);
}
