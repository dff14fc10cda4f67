/* SPDX-License-Identifier: MIT
 * Filters the rows of the chosen tensors, and sums their energy before and after. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/purify/purify_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The energy is the sum of squared deviations from the mean (m2), plus n mean^2. */
static double energy_of(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread s;
    kernels->spread(values, n, &s);
    return s.m2 + (double)s.n * s.mean * s.mean;
}

/* A row with a value that is not finite, before or after the filter, is counted and not stored. */
static void purify_row(void *context, const organ_row *row)
{
    const organ_purify_job *const job = context;
    const organ_fft *const fft = job->parts[row->index].fft;
    const double before = energy_of(row->kernels, row->values, row->cols), strength = job->options->strength;
    row->sums[ORGAN_ENERGY_BEFORE] += before;
    if (!isfinite(before)) {
        row->sums[ORGAN_INFINITE_BEFORE]++;
        return;
    }
    if (strength == 0) { /* the row keeps its bits: no conversion, so no rounding */
        row->sums[ORGAN_ENERGY_AFTER] += before;
        return;
    }
    if (fft)
        organ_fft_purify(fft, row->values, job->threshold, strength, row->scratch);
    else
        row->kernels->haar_purify(row->values, row->cols, (float)job->threshold, (float)strength, row->scratch);
    /* Checked before storing, because GGUF blocks cannot store infinite values or NaN. */
    if (!isfinite(energy_of(row->kernels, row->values, row->cols))) {
        row->sums[ORGAN_INFINITE_AFTER]++;
        return;
    }
    organ_row_store(row);
    const double after = energy_of(row->kernels, row->values, row->cols);
    row->sums[ORGAN_ENERGY_AFTER] += after;
    row->sums[ORGAN_INFINITE_AFTER] += !isfinite(after);
}

static organ_status check_part_sums(void *context, size_t index, const double *sums, organ_error *error)
{
    const organ_purify_job *const job = context;
    const organ_tensor *const tensor = job->parts[index].tensor;
    const char *const file = job->donor->files[tensor->file].path;
    if (sums[ORGAN_INFINITE_BEFORE] > 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s' has values that are NaN or infinite: noise is undefined for them", file,
                          tensor->name);
    if (sums[ORGAN_INFINITE_AFTER] > 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s': its values are so large that purified values exceed the range of %s", file,
                          tensor->name, organ_dtype_describe(tensor->dtype)->name);
    return ORGAN_OK;
}

static void energy_remark(const double *sums, char remark[64])
{
    const double before = sums[ORGAN_ENERGY_BEFORE], after = sums[ORGAN_ENERGY_AFTER];
    organ_snprintf(remark, 64, "%.2f %% of its energy removed", before > 0 ? 100.0 * (before - after) / before : 0.0);
}

static organ_status make_transforms(organ_purify_job *job, organ_error *error)
{
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
        if (job->rows.scratch_bytes < organ_fft_scratch(cols))
            job->rows.scratch_bytes = (size_t)organ_fft_scratch(cols);
    }
    free(lengths);
    return error->status;
}

/* job->rows.least is the memory that measuring theta needs later. */
organ_status organ_purify_prepare(organ_purify_job *job, organ_error *error)
{
    const size_t longest = job->haar ? organ_row_longest(job->donor, job->chosen) : 0;
    job->rows = (organ_row_work){
        .scratch_bytes = longest * sizeof(float), .row = purify_row, .judge = check_part_sums, .remark = energy_remark};
    if (!job->haar && make_transforms(job, error))
        return error->status;
    return organ_measure_min(job->donor, &(organ_z_options){.chosen = job->chosen}, job->engine, &job->rows.least,
                             error);
}
