/* SPDX-License-Identifier: MIT
 * Opens, runs and closes the walk over a calibration text with which quantize changes matrices
 * (quantize_calibrated.c). */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "orchestrator/machine/quantity.h"

#include <stdlib.h>

static organ_calibration_inputs_of streams_of(const organ_quantize_job *job)
{
    return job->repair.adapter ? ORGAN_INPUTS_BOTH : ORGAN_INPUTS_CHANGED;
}

/* If the run also prunes, the pruning method decides which inputs and moments are computed. */
static organ_status open_walk(organ_quantize_job *job, const organ_targets *targets, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    const organ_quantize_pruning *const pruning = job->pruning;
    job->along.options =
        (organ_calibration_run_options){.calibration = o->calibration,
                                        .unpacked = true,
                                        .all_experts = o->gptq.all_experts,
                                        .blocks = job->blocks,
                                        .method = pruning ? pruning->method : o->method,
                                        .verb = pruning ? "prune" : "quantise",
                                        .doing = pruning ? "pruning" : "quantising",
                                        .streams = pruning ? pruning->streams : streams_of(job),
                                        .moments_only = !pruning || pruning->moments_only,
                                        .reserve = pruning ? pruning->reserve : organ_allocate_reserve(&o->allocate),
                                        .seed = pruning ? pruning->seed : 0};
    job->along.work = organ_quantize_calibrated_work(job);
    return organ_calibration_run_open(&job->along.options, job->model, targets, &job->along.work, job->engine,
                                      job->progress, &job->along.run, error);
}

organ_status organ_quantize_check_text(organ_quantize_job *job, const organ_targets *targets, organ_error *error)
{
    open_walk(job, targets, error);
    organ_calibration_run_close(job->along.run);
    job->along.run = NULL;
    return error->status;
}

static organ_status list_calibrated(organ_quantize_job *job, organ_error *error)
{
    job->along.targets.tensors = calloc(job->list.part_count + 1, sizeof *job->along.targets.tensors);
    job->along.parts = calloc(job->list.part_count + 1, sizeof *job->along.parts);
    if (!job->along.targets.tensors || !job->along.parts)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->list.part_count; k++) {
        organ_quantize_part *const part = organ_quantize_next_part(job, k);
        if (part->calibrated) {
            job->along.parts[job->along.targets.count] = part;
            job->along.targets.tensors[job->along.targets.count++] = part->weight->codes;
        }
    }
    return job->along.targets.count
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE,
                            "`method` gptq: none of the targets is in a layer; embeddings and head are not calibrated");
}

/* ---- sizes of the output ---- */

/* The bytes follow from type and shape, because organ_piece.bytes is set only later. */
static uint64_t piece_bytes(const organ_piece *piece)
{
    uint64_t bytes = organ_dtype_describe(piece->dtype)->bytes;
    for (unsigned k = 0; k < piece->rank; k++)
        bytes *= piece->shape[k];
    return bytes;
}

static organ_status open_pruning(void *context, organ_error *error)
{
    organ_quantize_job *const job = context;
    organ_quantize_held held = {
        .model = job->model, .targets = &job->along.targets, .other_bytes = organ_model_tensor_bytes(job->model)};
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_quantize_part *const p = organ_quantize_next_part(job, k);
        held.codes += piece_bytes(&job->list.pieces[p->codes]);
        held.scales += piece_bytes(&job->list.pieces[p->scale]);
        /* adds the shape, and removes the target's own bytes, which are among those of the model */
        held.other_bytes += (organ_encoding_is_packed(p->encoding) ? piece_bytes(&job->list.pieces[p->shape]) : 0) +
                            (organ_encoding_has_divisor(p->encoding) ? piece_bytes(&job->list.pieces[p->global]) : 0) -
                            p->weight->codes->bytes;
    }
    return job->pruning->open(job->pruning->context, &held, error);
}

/* ---- the walk ---- */

organ_status organ_quantize_open_text(organ_quantize_job *job, organ_error *error)
{
    if (list_calibrated(job, error) != ORGAN_OK || organ_quantize_repair_open(job, error) != ORGAN_OK)
        return error->status;
    open_walk(job, &job->along.targets, error);
    return job->pruning && job->pruning->open ? organ_memory_check_also(open_pruning, job, error) : error->status;
}

organ_status organ_quantize_calibrated(void *job, organ_error *error)
{
    return organ_calibration_run_layers(((organ_quantize_job *)job)->along.run, error);
}

void organ_quantize_close_text(organ_quantize_job *job)
{
    if (job->pruning && job->pruning->close)
        job->pruning->close(job->pruning->context);
    organ_gptq_inputs_close(&job->along.inputs);
    organ_donor_target_close(&job->repair.donor);
    organ_calibration_run_close(job->along.run);
    ORGAN_FREE_ARRAYS(job->along.targets.tensors, job->along.parts);
}
