/* SPDX-License-Identifier: MIT
 * The scales with which GPTQ codes the columns: those that nearest quantisation finds for the weights, with errors
 * weighted by the mean squares of the inputs where each row has its own scales. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"

#define STRIP ORGAN_GPTQ_STRIP
#define TRIES 16 /* scales that a search compares */
/* Greatest number of bits of codes whose first scales are clipped: at 8 bits clipping raises the error by 5 %. */
#define CLIPPED_BITS 4u
/* Matrices up to this magnitude get the scale of try 0, as in organ_kernels.search_scales. */
#define SEARCHED 0x1p-100f

typedef struct fitting {
    organ_gptq_job *job;
    const float *weights; /* weight of each column in the sum of squared errors */
    float *errors;        /* for a scale of the whole matrix: errors of all tries, [rows][TRIES] */
    float greatest;       /* and the value of largest magnitude */
} fitting;

/* The weight of a column is its diagonal entry of H over the mean of the diagonal, limited to ORGAN_MIN_WEIGHT ..
 * ORGAN_MAX_WEIGHT. */
static void weigh_columns(const organ_gptq_inputs *in, float *weights)
{
    double sum = 0;
    for (size_t j = 0; j < in->features; j++) {
        const size_t start = j / in->block * in->block, width = organ_min(in->block, in->features - start);
        weights[j] = in->h[start * in->block + (j - start) * (width + 1)];
        sum += (double)weights[j];
    }
    for (size_t j = 0; j < in->features; j++) {
        double weight = (double)weights[j] / (sum / (double)in->features);
        weight = weight < ORGAN_MIN_WEIGHT ? ORGAN_MIN_WEIGHT : weight;
        weights[j] = (float)(weight > ORGAN_MAX_WEIGHT ? ORGAN_MAX_WEIGHT : weight);
    }
}

/* The scales are those that nearest quantisation finds for GGUF blocks of W; the codes of these blocks are not used. */
static void fit_strip(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    const organ_grid *const grid = &job->matrix->grid;
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    unsigned char *const blocks = job->scratch + worker * job->scratch_bytes;
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++) {
        job->inputs->engine->kernels->fit[kind->type](job->matrix->weights + i * job->cols, f->weights, job->cols,
                                                      blocks, job->cols / kind->elements);
        organ_grid_split(grid, blocks, job->cols, job->scales + i, job->padded);
    }
}

/* Codes of 2 to 4 bits get other tries than without a text: half of them map the greatest magnitude to the largest
 * code or clip it, the other half do the same with the least code, which is one step farther from 0, by negative
 * scales. Columns of small weight may be clipped more than nearest rounding would gain by. */
static organ_scale_search search_of(const organ_grid *grid)
{
    organ_scale_search search = *organ_grid_search(grid);
    const float top = organ_grid_max(grid);
    for (unsigned k = 0; k < TRIES / 2 && grid->bits && grid->bits <= CLIPPED_BITS; k++) {
        const float part = 1 - (float)k / TRIES;
        search.peaks[k] = top / part;
        search.peaks[TRIES / 2 + k] = -(top + 0.5f) / part;
    }
    return search;
}

static void search_strip(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    const organ_scale_search search = search_of(&job->matrix->grid);
    float *const scales = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++) {
        job->inputs->engine->kernels->search_weighted(&search, job->matrix->weights + i * job->cols, f->weights,
                                                      job->cols, job->group, scales);
        for (size_t g = 0; g < job->groups; g++)
            job->scales[g * job->padded + i] = scales[g];
    }
}

static void search_band(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    const size_t band = organ_grid_band(&job->matrix->grid, job->rows), first = index * band,
                 rows = organ_min(band, job->rows - first);
    float *const scales = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    job->inputs->engine->kernels->search_scales(organ_grid_search(&job->matrix->grid),
                                                job->matrix->weights + first * job->cols, job->cols, rows, job->cols,
                                                job->group, scales);
    for (size_t g = 0; g < job->groups; g++)
        for (size_t i = first; i < first + rows; i++)
            job->scales[g * job->padded + i] = scales[g];
}

static void try_strip(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    float scales[TRIES];
    (void)worker;
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++)
        job->inputs->engine->kernels->scale_errors(organ_grid_search(&job->matrix->grid),
                                                   job->matrix->weights + i * job->cols, job->cols, f->greatest, scales,
                                                   f->errors + i * TRIES);
}

/* The errors of a try are added in order of rows. */
static bool search_matrix(fitting *f)
{
    const organ_gptq_job *const job = f->job;
    const organ_kernels *const kernels = job->inputs->engine->kernels;
    float scales[TRIES], errors[TRIES];
    double sums[TRIES] = {0};
    size_t best = 0;
    f->greatest = 0;
    for (size_t i = 0; i < job->rows; i++) {
        const float here = kernels->amax(job->matrix->weights + i * job->cols, job->cols);
        f->greatest = here > f->greatest ? here : f->greatest;
    }
    kernels->scale_errors(organ_grid_search(&job->matrix->grid), NULL, 0, f->greatest, scales, errors);
    if (f->greatest > SEARCHED) {
        if (!(f->errors = organ_floats(job->rows, TRIES)))
            return false;
        organ_share(job->inputs->engine, NULL, job->padded / STRIP, try_strip, f);
        for (size_t i = 0; i < job->rows; i++)
            for (size_t k = 0; k < TRIES; k++)
                sums[k] += (double)f->errors[i * TRIES + k];
        for (size_t k = 1; k < TRIES; k++)
            best = sums[k] < sums[best] ? k : best;
        ORGAN_FREE_ARRAYS(f->errors);
    }
    for (size_t i = 0; i < job->rows; i++)
        job->scales[i] = scales[best];
    return true;
}

bool organ_gptq_first_scales(organ_gptq_job *job)
{
    const organ_grid *const grid = &job->matrix->grid;
    const organ_engine *const engine = job->inputs->engine;
    fitting f = {.job = job, .weights = job->matrix->weighing};
    /* 1 for the scales of all groups, 0 for other numbers: these remain in padded rows */
    for (size_t k = 0; k < job->numbers * job->padded; k++)
        job->scales[k] = k < job->groups * job->padded;
    if (grid->scale_of == ORGAN_SCALE_TENSOR)
        return job->rows == 0 || search_matrix(&f);
    if (grid->scale_of == ORGAN_SCALE_BLOCK) {
        const size_t band = organ_grid_band(grid, job->rows);
        organ_share(engine, NULL, (job->rows + band - 1) / band, search_band, &f);
        return true;
    }
    if (!f.weights) {
        weigh_columns(job->inputs, job->errors);
        f.weights = job->errors;
    }
    organ_share(engine, NULL, job->padded / STRIP, organ_grid_blocks(grid) ? fit_strip : search_strip, &f);
    return true;
}
