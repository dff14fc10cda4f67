/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/prune/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define READ_STEP ((size_t)4 << 20)

json_t *organ_prune_journal_head(const organ_prune_job *job)
{
    json_t *files = json_array();
    for (size_t f = 0; f < job->donor->file_count; f++) {
        const organ_model_file *file = &job->donor->files[f];
        json_array_append_new(files, json_pack("{s:s, s:I, s:I}", "file", file->name, "bytes", (json_int_t)file->size, "modified_ns",
                                               (json_int_t)file->modified.tv_sec * 1000000000 + file->modified.tv_nsec));
    }
    return json_pack("{s:s, s:s, s:o, s:o}", "schema", "organ.journal/1", "definition", "physarum-v1/1", "parameters",
                     organ_prune_parameters(job->options), "donor", files);
}

static organ_status agree(const organ_prune_job *job, const json_t *head, organ_error *error)
{
    json_t *now = organ_prune_journal_head(job);
    if (!now)
        return organ_fail_errno(error, ENOMEM, "%s", job->options->output);
    static const char *const fields[] = {"schema", "definition", "parameters", "donor"};
    for (size_t k = 0; k < sizeof fields / sizeof *fields && !error->status; k++) {
        const json_t *then = json_object_get(head, fields[k]), *here = json_object_get(now, fields[k]);
        if (json_equal(then, here))
            continue;
        char *a = json_dumps(then, JSON_COMPACT | JSON_ENCODE_ANY), *b = json_dumps(here, JSON_COMPACT | JSON_ENCODE_ANY);
        organ_fail(error, ORGAN_USAGE,
                   "%s: the unfinished run cannot be continued: its %s was %.300s, now it is %.300s; --force starts over",
                   job->options->output, fields[k], a ? a : "missing", b ? b : "missing");
        free(a);
        free(b);
    }
    json_decref(now);
    return error->status;
}

/* Digest of a tensor's bytes in the copy. */
static organ_status digest(const organ_model_copy *copy, const organ_tensor *tensor, const organ_progress *progress, char out[17],
                           organ_error *error)
{
    XXH3_state_t *state = XXH3_createState();
    char *buffer = malloc(READ_STEP);
    if (!state || !buffer)
        organ_fail_errno(error, ENOMEM, "%s", tensor->name);
    else
        XXH3_64bits_reset(state);
    for (uint64_t at = 0; at < tensor->bytes && !error->status; at += READ_STEP) {
        const size_t bytes = tensor->bytes - at < READ_STEP ? (size_t)(tensor->bytes - at) : READ_STEP;
        if (organ_model_copy_read(copy, tensor, buffer, bytes, tensor->offset + at, error) == ORGAN_OK)
            XXH3_64bits_update(state, buffer, bytes);
        organ_progress_advance(progress, bytes, NULL, NULL);
    }
    if (!error->status)
        snprintf(out, 17, "%016llx", (unsigned long long)XXH3_64bits_digest(state));
    free(buffer);
    XXH3_freeState(state);
    return error->status;
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
    if (digest(copy, part->tensor, job->progress, found, error))
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
    if (agree(job, json_array_get(lines, 0), error))
        return error->status;
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
