/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/prune/job.h"

#include "orchestrator/surgery/output/run_journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

json_t *organ_prune_journal_head(const organ_prune_job *job)
{
    return json_pack("{s:s, s:s, s:o, s:o}", "schema", "organ.journal/1", "definition", "physarum-v1/1", "parameters",
                     organ_prune_parameters(job->options), "donor", organ_run_files(job->donor, NULL));
}

typedef struct place {
    const organ_model_copy *copy;
    const organ_tensor *tensor;
} place;

static organ_status read_copy(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const place *const p = context;
    return organ_model_copy_read(p->copy, p->tensor->file, data, bytes, offset, error);
}

static uint64_t count_of(const json_t *line, const char *key) { return (uint64_t)json_integer_value(json_object_get(line, key)); }

/* What the last line of each part says. Lines of the journal come in the order of the parts, repeated where a run went over them again. */
static void read_lines(organ_prune_job *job, const json_t *lines, const json_t **of_part)
{
    size_t k = 0, index;
    json_t *line;
    json_array_foreach(lines, index, line)
    {
        const char *tensor = json_string_value(json_object_get(line, "tensor")),
                   *gain_of = json_string_value(json_object_get(line, "gain_of"));
        const char *name = tensor ? tensor : gain_of;
        for (size_t tries = 0; name && tries < job->targets.count && strcmp(job->parts[k].tensor->name, name) != 0; tries++)
            k = (k + 1) % job->targets.count;
        if (!name || strcmp(job->parts[k].tensor->name, name) != 0)
            continue;
        job->parts[k].gain = json_real_value(json_object_get(line, "gain"));
        if (tensor)
            of_part[k] = line;
    }
}

static organ_status take_over(organ_prune_job *job, const organ_model_copy *copy, size_t k, const json_t *line, organ_error *error)
{
    organ_prune_part *part = &job->parts[k];
    const char *written = json_string_value(json_object_get(line, "xxh3"));
    char found[17];
    const place here = {copy, part->tensor};
    if (organ_run_digest(read_copy, &here, part->tensor->offset, part->tensor->bytes, job->progress, found, error))
        return error->status;
    if (!written || strcmp(written, found) != 0) {
        organ_progress_note(job->progress,
                            "%s: its bytes in the unfinished output are not those that were written down: it is pruned again",
                            part->tensor->name);
        return ORGAN_OK;
    }
    part->counts = (organ_prune_counts){
        .zero_before = count_of(line, "zero_before"), .killed = count_of(line, "killed"), .kept = count_of(line, "kept")};
    part->tiles = count_of(line, "tiles");
    memcpy(part->xxh3, found, sizeof found);
    part->done = true;
    job->clocks[part->tensor->file].left--;
    return ORGAN_OK;
}

organ_status organ_prune_resume(organ_prune_job *job, const organ_model_copy *copy, const json_t *lines, organ_error *error)
{
    const json_t **of_part = calloc(job->targets.count, sizeof *of_part);
    if (!of_part)
        return organ_fail_errno(error, ENOMEM, "%s", job->options->output);
    read_lines(job, lines, of_part);
    uint64_t bytes = 0;
    size_t tensors = 0, done = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        if (of_part[k]) {
            bytes += job->parts[k].tensor->bytes;
            tensors++;
        }
    organ_progress_begin(job->progress, "checking what is there", bytes, tensors);
    for (size_t k = 0; k < job->targets.count && !error->status; k++)
        if (of_part[k] && take_over(job, copy, k, of_part[k], error) == ORGAN_OK)
            done += job->parts[k].done;
    organ_progress_end(job->progress);
    free(of_part);
    if (!error->status)
        organ_progress_note(job->progress, "continuing: %zu of %zu tensors are done and intact", done, job->targets.count);
    return error->status;
}
