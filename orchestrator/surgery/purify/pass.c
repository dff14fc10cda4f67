/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/purify/job.h"

#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define TILE_ROWS 8 /* fixed: the energies of tiles are added in their order */

typedef struct tile_result {
    double before, after;       /* energy */
    bool bad_before, bad_after; /* not finite */
} tile_result;

typedef struct filter {
    organ_purify_job *job;
    organ_unit_run *run;
    size_t *todo; /* parts that are not done, by the items of the pass */
    XXH3_state_t *hash;
    size_t room; /* floats of one row in the scratch */
} filter;

static size_t to_line(size_t floats) { return (floats + 15) / 16 * 16; }

static double energy_of(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread s;
    kernels->spread(values, n, &s);
    return s.m2 + (double)s.n * s.mean * s.mean;
}

/* A row in its storage type: out, filtered, back, and out again for what is now stored. */
static void purify_row(const filter *f, const organ_purify_part *part, void *units, size_t units_count, size_t cols, float *scratch,
                       tile_result *result)
{
    const organ_purify_job *job = f->job;
    const organ_kernels *kernels = job->engine->kernels;
    const organ_dtype dtype = part->tensor->dtype;
    float *row = scratch, *rest = scratch + f->room;
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

static void work(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const filter *f = context;
    const organ_purify_part *part = &f->job->parts[f->todo[tile->item]];
    const organ_dtype_info *type = organ_dtype_describe(part->tensor->dtype);
    for (size_t r = 0; r < tile->rows; r++)
        purify_row(f, part, (char *)tile->data + r * tile->stride * type->bytes, tile->cols, tile->cols * type->elements, scratch, result);
}

static organ_status fold(const filter *f, organ_purify_part *part, const organ_band *band, organ_error *error)
{
    const tile_result *tiles = band->results;
    const char *file = f->job->donor->files[part->tensor->file].path;
    for (size_t t = 0; t < band->tiles; t++) {
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

static organ_status finish(filter *f, size_t index, organ_error *error)
{
    organ_purify_part *const part = &f->job->parts[index];
    char remark[64];
    snprintf(part->xxh3, sizeof part->xxh3, "%016llx", (unsigned long long)XXH3_64bits_digest(f->hash));
    XXH3_64bits_reset(f->hash);
    json_t *const results =
        json_pack("{s:o, s:o, s:s}", "before", organ_exact_json(part->before), "after", organ_exact_json(part->after), "xxh3", part->xxh3);
    if (organ_unit_run_finish(f->run, index, results, error))
        return error->status;
    snprintf(remark, sizeof remark, "%.2f %% of its energy removed",
             part->before > 0 ? 100.0 * (part->before - part->after) / part->before : 0.0);
    organ_progress_advance(f->job->progress, 0, part->tensor->name, remark);
    return ORGAN_OK;
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

static organ_status retire(void *context, const organ_band *band, organ_error *error)
{
    filter *f = context;
    const size_t index = f->todo[band->item];
    organ_purify_part *part = &f->job->parts[index];
    if (fold(f, part, band, error) ||
        organ_unit_run_put(f->run, index, band->data, band->bytes, band->offset - part->tensor->offset, NULL, error))
        return error->status;
    XXH3_64bits_update(f->hash, band->data, band->bytes);
    organ_progress_advance(f->job->progress, band->bytes, NULL, NULL);
    return band->last ? finish(f, index, error) : ORGAN_OK;
}

static size_t longest_row(const organ_purify_job *job)
{
    uint64_t cols = 0;
    for (size_t k = 0; k < job->count; k++) {
        const uint64_t here = organ_tensor_matrices(job->parts[k].tensor).cols;
        cols = here > cols ? here : cols;
    }
    return (size_t)cols;
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
    const size_t cols = longest_row(job), room = to_line(cols);
    filter f = {.job = job, .run = run, .todo = calloc(job->count + 1, sizeof *f.todo), .hash = XXH3_createState(), .room = room};
    organ_pass_item *items = calloc(job->count + 1, sizeof *items);
    size_t count = 0;
    if (!items || !f.todo || !f.hash)
        organ_fail_memory(error, job->donor->path);
    for (size_t k = 0; k < job->count && !error->status; k++)
        if (!run->units[k].done) {
            f.todo[count] = k;
            items[count++].tensor = job->parts[k].tensor;
        }
    organ_pass pass = {.model = job->donor,
                       .items = items,
                       .item_count = count,
                       .tile_rows = TILE_ROWS,
                       .scratch_bytes = room * sizeof(float) + (job->haar ? room * sizeof(float) : (size_t)organ_fft_scratch(cols)),
                       .result_bytes = sizeof(tile_result),
                       .context = &f,
                       .work = work,
                       .retire = retire};
    if (count && !error->status &&
        organ_measure_least(job->donor, &(organ_z_options){.chosen = job->chosen}, job->engine, &pass.least, error) == ORGAN_OK) {
        XXH3_64bits_reset(f.hash);
        organ_pass_run(&pass, job->engine, error);
    }
    XXH3_freeState(f.hash);
    free(f.todo);
    free(items);
    return error->status;
}
