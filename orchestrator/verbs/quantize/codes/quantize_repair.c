/* SPDX-License-Identifier: MIT
 * --repair-rank: while GPTQ chooses the codes of a matrix, organ chooses a correction of low rank for it (arXiv
 * 2606.01412), and later layers run with both. The adapter is written by a run of its own that encloses the calibrated
 * part of this one. */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/publish.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST_REPORT ((size_t)1 << 28) /* bytes; a larger one is not read */

/* The adapter gets its name before the model: a run that was interrupted in between left it complete, and the model
 * unfinished. */
static organ_status find_named(organ_quantize_job *job, organ_error *error)
{
    const organ_write_options *const w = &job->options->write;
    const bool begun = !w->dry_run && organ_publish_is_begun(w->output);
    const bool named = access(job->repair.output, F_OK) == 0 && !organ_publish_is_begun(job->repair.output);
    if (begun && !w->resume && !w->force)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: an unfinished run was found%s%s: `resume` continues it, `force` starts over", w->output,
                          named ? ", which has finished its adapter " : "", named ? job->repair.output : "");
    job->repair.named = begun && named && w->resume;
    return ORGAN_OK;
}

organ_status organ_quantize_repair_open(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    const char *const output = o->write.output ? o->write.output : "";
    if (!o->gptq.repair_rank)
        return ORGAN_OK;
    job->repair.output = organ_quantize_name_beside(output, "-adapter");
    job->repair.changed = calloc(job->model->tensor_count + 1, sizeof *job->repair.changed);
    if (!job->repair.output || !job->repair.changed)
        return organ_fail_memory(error, o->model);
    if (find_named(job, error))
        return error->status;
    for (size_t k = 0; k < job->along.targets.count; k++)
        job->repair.changed[job->along.targets.tensors[k] - job->model->tensors] = true;
    const organ_repair_adapter_options options = {.model = o->model,
                                                  .base = output,
                                                  .output = job->repair.output,
                                                  .dtype = "bf16",
                                                  .rank = o->gptq.repair_rank,
                                                  .force = o->write.force || job->repair.named,
                                                  .resume = o->write.resume,
                                                  .dry_run = o->write.dry_run,
                                                  .changed = job->repair.changed};
    return organ_repair_adapter_open(&options, job->engine, job->progress, &job->repair.adapter, error);
}

/* The adapter has the corrections of all calibrated targets, so the run that made it had finished all their codes. */
static organ_status take_named(organ_quantize_job *job, organ_error *error)
{
    char *const path = organ_format("%s/organ/lora_extract.json", job->repair.output);
    char *text = NULL, pair[17] = "";
    organ_adapter *named = NULL;
    json_error_t fault;
    size_t length = 0;
    bool no_memory = false, whole = true;
    for (size_t k = 0; k < job->along.targets.count; k++)
        whole = whole && job->list.pieces[job->along.parts[k]->codes].done;
    if (!path)
        organ_fail_memory(error, job->repair.output);
    else if (organ_adapter_open(job->repair.output, &named, error) == ORGAN_OK)
        organ_repair_pair_of(named, pair, error);
    organ_adapter_close(named);
    whole = whole && strcmp(pair, job->repair.pair) == 0;
    if (!error->status && whole && organ_input_load(path, path, LARGEST_REPORT, &text, &length, error) == ORGAN_OK)
        job->repair.report = organ_json_load(text, length, 0, &fault, &no_memory);
    if (!error->status && no_memory)
        organ_fail_memory(error, path);
    else if (!error->status && !job->repair.report)
        organ_fail(error, ORGAN_USAGE, "%s: is not the adapter of the unfinished run of %s: `force` starts over",
                   job->repair.output, job->options->write.output);
    ORGAN_FREE_ARRAYS(path, text);
    return error->status;
}

organ_status organ_quantize_repair_write(organ_quantize_job *job,
                                         organ_status (*calibrated)(void *job, organ_error *error), organ_error *error)
{
    return job->repair.named ? take_named(job, error)
                             : organ_repair_adapter_write(job->repair.adapter, job->repair.pair, calibrated, job,
                                                          &job->repair.report, error);
}

void organ_quantize_repair_close(organ_quantize_job *job)
{
    organ_repair_adapter_close(job->repair.adapter);
    json_decref(job->repair.report);
    ORGAN_FREE_ARRAYS(job->repair.output, job->repair.changed);
}
