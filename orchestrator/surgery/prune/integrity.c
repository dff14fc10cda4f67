/* SPDX-License-Identifier: MIT
 * Checks the written copy of a pruned model against its donor, before it is published. */
#include "orchestrator/surgery/prune/prune_job.h"

#include "formats/base/paged_rows.h"
#include <organ/machine.h>
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/prune/comparison.h"

#include <string.h>

#define HEADER_STEP 16384 /* bytes of a header that are compared at once */

static bool same_bytes(const organ_model *a, const organ_model *b, size_t file, uint64_t bytes, organ_error *error)
{
    char x[HEADER_STEP], y[HEADER_STEP];
    for (uint64_t at = 0; at < bytes; at += HEADER_STEP) {
        const size_t step = bytes - at < HEADER_STEP ? (size_t)(bytes - at) : HEADER_STEP;
        if (organ_model_read(a, file, x, step, at, error) || organ_model_read(b, file, y, step, at, error) ||
            memcmp(x, y, step) != 0)
            return false;
    }
    return true;
}

/* A header is the name, the size and all bytes before the data. `single`: the copy is a single file, whose name may
 * differ. */
static size_t same_headers(const organ_model *donor, const organ_model *copy, bool single, organ_error *error)
{
    size_t same = 0;
    for (size_t f = 0; f < donor->file_count && f < copy->file_count; f++) {
        const organ_model_file *a = &donor->files[f], *b = &copy->files[f];
        same += (single || strcmp(a->name, b->name) == 0) && a->size == b->size && a->data_offset == b->data_offset &&
                same_bytes(donor, copy, f, a->data_offset, error);
    }
    return same;
}

static size_t same_tensors(const organ_model *donor, const organ_model *copy)
{
    size_t same = 0;
    for (size_t t = 0; t < donor->tensor_count; t++) {
        const organ_tensor *a = &donor->tensors[t], *b = organ_model_find(copy, a->name);
        same += b && a->dtype == b->dtype && ORGAN_SAME_SHAPE(a, b);
    }
    return same;
}

static void check_against(const organ_prune_job *job, const organ_model *copy, json_t *checks, organ_error *error)
{
    const organ_model *donor = job->donor;
    const bool single = organ_output_is_file(job->options->write.output);
    const size_t headers = same_headers(donor, copy, single, error), tensors = same_tensors(donor, copy);
    organ_check_add(checks, "shards present", copy->file_count == donor->file_count, "%zu of %zu", copy->file_count,
                    donor->file_count);
    organ_check_add(checks, "headers identical to the donor's", headers == donor->file_count, "%zu of %zu shards",
                    headers, donor->file_count);
    if (donor->index)
        organ_check_add(checks, "index valid: every tensor in its listed file",
                        copy->index != NULL && copy->problem_count == 0, "%zu entries in %s", copy->tensor_count,
                        donor->index);
    organ_check_add(checks, "dtype and shape preserved",
                    tensors == donor->tensor_count && copy->tensor_count == donor->tensor_count, "%zu of %zu tensors",
                    tensors, donor->tensor_count);
}

static void integrity_check_targets(const organ_prune_job *job, json_t *checks)
{
    size_t done = 0;
    uint64_t processed = 0;
    for (size_t k = 0; k < job->targets.count; k++) {
        const organ_prune_counts *c = &job->parts[k].counts;
        done += job->parts[k].done;
        processed += c->zero_before + c->killed + c->kept;
    }
    char a[32], b[32];
    organ_check_add(checks, "target tensors processed", done == job->targets.count, "%zu of %zu", done,
                    job->targets.count);
    organ_check_add(checks, "target weights processed", processed == job->targets.elements, "%s of %s",
                    organ_count_text(processed, a), organ_count_text(job->targets.elements, b));
    organ_check_add(checks, "other files copied", true, "%zu", job->others.count);
}

static organ_status fail_unsound(const organ_prune_job *job, organ_error *error)
{
    size_t index;
    json_t *check;
    json_array_foreach(job->checks, index, check) if (!json_is_true(json_object_get(check, "ok"))) organ_fail(
        error, ORGAN_IO, "%s: a check of the written output failed: %s: %s", job->options->write.output,
        json_string_value(json_object_get(check, "check")), json_string_value(json_object_get(check, "detail")));
    return error->status;
}

static organ_status compute_maps(organ_prune_job *job, const organ_model *copy, organ_error *error)
{
    organ_tally *const rows = organ_prune_tally(job);
    if (!rows)
        organ_fail_memory(error, job->donor->path);
    else if (organ_tile_map(job->donor, copy, rows, job->targets.count, job->options->block_size, job->engine,
                            &job->tile_map, error) == ORGAN_OK)
        organ_magnitudes_json(job->sizes, copy, job->engine->ranks, &job->magnitudes, error);
    organ_rows_free(rows);
    return error->status;
}

organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error)
{
    organ_model *copy = NULL;
    if (!(job->checks = json_array()))
        return organ_fail_memory(error, job->donor->path);
    if (organ_model_open(path, &copy, error))
        return error->status;
    check_against(job, copy, job->checks, error);
    integrity_check_targets(job, job->checks);
    if (!error->status && fail_unsound(job, error) == ORGAN_OK)
        compute_maps(job, copy, error);
    organ_model_close(copy);
    return error->status;
}
