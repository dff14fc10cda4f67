/* SPDX-License-Identifier: MIT
 * Opens the finished output of a conversion before it gets its name. The configuration of a GGUF output was checked
 * before its tensors were written (organ_write.begun); both tokenizers were compared when the conversion was planned,
 * so that the output only needs the same bytes. */
#include "orchestrator/surgery/convert/convert_job.h"

#include "orchestrator/surgery/scoring/trial.h"

#include <math.h>
#include <string.h>

static double output_tolerance(const organ_convert_job *job)
{
    if (job->type == ORGAN_F32)
        return ORGAN_TRIAL_ERROR_32;
    return job->type == ORGAN_F16 || job->type == ORGAN_BF16 || job->type == ORGAN_Q8_0 ? ORGAN_TRIAL_ERROR_16
                                                                                        : ORGAN_TRIAL_ERROR_CODES;
}

static organ_status check_tokenizer_bytes(const organ_convert_job *job, const char *path, organ_error *error)
{
    if (job->to_gguf) {
        const organ_gguf view = organ_gguf_writer_view(job->gguf);
        return organ_trial_tokenizer(path, &view, error);
    }
    for (size_t k = 0; k < job->file_count && !error->status; k++) {
        const organ_written_file *const file = &job->files[k];
        organ_trial_file(path, file->name, file->bytes, file->length ? file->length : strlen(file->bytes), error);
    }
    return error->status;
}

organ_status organ_convert_check_output(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_convert_job *const job = context;
    const organ_trial check = {.model = job->model,
                               .path = path,
                               .engine = job->engine,
                               .progress = job->progress,
                               .tolerance = job->options->write.saturate ? (double)INFINITY : output_tolerance(job)};
    if ((!job->to_gguf && organ_convert_check(context, to, path, error)) || check_tokenizer_bytes(job, path, error))
        return error->status;
    if (job->by_name) {
        organ_progress_note_once(job->progress, "the first and the last layer of the output were not tried: the "
                                                "forward pass does not read GGUF files that are converted by name");
        return ORGAN_OK;
    }
    return organ_trial_run(&check, error);
}
