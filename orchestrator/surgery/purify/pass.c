/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/purify/job.h"

#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/remake/row_pass.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tile_result {
    double before, after;       /* energy */
    bool bad_before, bad_after; /* not finite */
} tile_result;

static double energy_of(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread s;
    kernels->spread(values, n, &s);
    return s.m2 + (double)s.n * s.mean * s.mean;
}

/* Out of its storage type, filtered, back, and out again for what is now stored. */
static void purify_row(void *context, size_t index, void *units, size_t units_count, size_t cols, float *row, void *of_tile)
{
    const organ_purify_job *const job = context;
    const organ_purify_part *const part = &job->parts[index];
    const organ_kernels *const kernels = job->engine->kernels;
    const organ_dtype dtype = part->tensor->dtype;
    tile_result *const result = of_tile;
    float *const rest = row + job->room;
    organ_widen(kernels, dtype, units, row, units_count);
    const double before = energy_of(kernels, row, cols);
    result->before += before;
    if (!isfinite(before)) {
        result->bad_before = true;
        return;
    }
    if (job->options->strength == 0) { /* not even rounded */
        result->after += before;
        return;
    }
    if (part->fft)
        organ_fft_purify(part->fft, row, job->threshold, job->options->strength, rest);
    else
        kernels->haar_purify(row, cols, (float)job->threshold, (float)job->options->strength, rest);
    if (!isfinite(energy_of(kernels, row, cols))) { /* such values have no block */
        result->bad_after = true;
        return;
    }
    organ_narrow(kernels, dtype, row, units, units_count);
    organ_widen(kernels, dtype, units, row, units_count);
    const double after = energy_of(kernels, row, cols);
    result->after += after;
    result->bad_after |= !isfinite(after);
}

static organ_status fold_tiles(void *context, size_t index, const void *results, size_t count, organ_error *error)
{
    const organ_purify_job *const job = context;
    organ_purify_part *const part = &job->parts[index];
    const tile_result *const tiles = results;
    const char *const file = job->donor->files[part->tensor->file].path;
    for (size_t t = 0; t < count; t++) {
        part->before += tiles[t].before;
        part->after += tiles[t].after;
        if (tiles[t].bad_before)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensor '%s' has values that are NaN or infinite: there is no noise to tell from them", file,
                              part->tensor->name);
        if (tiles[t].bad_after)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': its values are so large that purified ones do not fit into %s",
                              file, part->tensor->name, organ_dtype_describe(part->tensor->dtype)->name);
    }
    return ORGAN_OK;
}

static json_t *finish_part(void *context, size_t index, const char xxh3[17], char remark[64])
{
    organ_purify_part *const part = &((organ_purify_job *)context)->parts[index];
    memcpy(part->xxh3, xxh3, sizeof part->xxh3);
    snprintf(remark, 64, "%.2f %% of its energy removed", part->before > 0 ? 100.0 * (part->before - part->after) / part->before : 0.0);
    return json_pack("{s:o, s:o, s:s}", "before", organ_exact_json(part->before), "after", organ_exact_json(part->after), "xxh3", xxh3);
}

bool organ_purify_recall(void *context, size_t index, const json_t *results)
{
    organ_purify_part *const part = &((organ_purify_job *)context)->parts[index];
    const char *const digest = json_string_value(json_object_get(results, "xxh3"));
    if (!digest || strlen(digest) + 1 != sizeof part->xxh3 || !organ_exact_value(json_object_get(results, "before"), &part->before) ||
        !organ_exact_value(json_object_get(results, "after"), &part->after))
        return false;
    memcpy(part->xxh3, digest, sizeof part->xxh3);
    return true;
}

organ_status organ_purify_prepare(organ_purify_job *job, organ_error *error)
{
    if (job->haar)
        return ORGAN_OK;
    uint64_t *lengths = calloc(job->count + 1, sizeof *lengths);
    job->ffts = calloc(job->count + 1, sizeof *job->ffts);
    if (!lengths || !job->ffts)
        organ_fail_memory(error, job->donor->path);
    for (size_t k = 0; k < job->count && !error->status; k++) {
        const uint64_t cols = organ_tensor_matrices(job->parts[k].tensor).cols;
        size_t at = 0;
        while (at < job->fft_count && lengths[at] != cols)
            at++;
        if (at == job->fft_count && organ_fft_create(cols, &job->ffts[at], error) == ORGAN_OK)
            lengths[job->fft_count++] = cols;
        job->parts[k].fft = job->ffts[at];
    }
    free(lengths);
    return error->status;
}

organ_status organ_purify_fill(void *context, organ_unit_run *run, organ_error *error)
{
    organ_purify_job *const job = context;
    const organ_tensor **const tensors = calloc(job->count + 1, sizeof *tensors);
    if (!tensors)
        return organ_fail_memory(error, job->donor->path);
    for (size_t k = 0; k < job->count; k++)
        tensors[k] = job->parts[k].tensor;
    const size_t cols = organ_row_longest(tensors, job->count);
    job->room = organ_row_floats(cols);
    organ_row_pass pass = {.model = job->donor,
                           .tensors = tensors,
                           .count = job->count,
                           .scratch_bytes = job->haar ? job->room * sizeof(float) : (size_t)organ_fft_scratch(cols),
                           .result_bytes = sizeof(tile_result),
                           .engine = job->engine,
                           .progress = job->progress,
                           .context = job,
                           .row = purify_row,
                           .fold = fold_tiles,
                           .finish = finish_part};
    if (organ_measure_least(job->donor, &(organ_z_options){.chosen = job->chosen}, job->engine, &pass.least, error) == ORGAN_OK)
        organ_row_pass_run(&pass, run, error);
    free(tensors);
    return error->status;
}
