/* SPDX-License-Identifier: MIT
 * Checks the options of pruning a matrix, runs its method on the whole matrix or in bands, and reports zeros and
 * error. */
#include "orchestrator/verbs/prune/prune_matrix.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- checks of options ---- */

static bool method_compensates(const organ_prune_matrix_options *o)
{
    return o->method == ORGAN_PRUNE_SPARSEGPT || o->method == ORGAN_PRUNE_ALPS ||
           o->method == ORGAN_PRUNE_PHYSARUM_V3 || (o->method == ORGAN_PRUNE_PHYSARUM_V2 && !o->no_compensate);
}

/* Pattern and sparsity must not both be set. If neither is set, the method must choose the sparsity itself. Rows of
 * `cols` weights must be whole groups of the pattern. */
static organ_status check_goal(const organ_prune_matrix_options *o, size_t cols, organ_error *error)
{
    const bool flow = o->method == ORGAN_PRUNE_PHYSARUM_V2 || o->method == ORGAN_PRUNE_PHYSARUM_V3;
    if (o->pattern.of && (o->pattern.of > ORGAN_PATTERN_MAX || o->pattern.keep < 1 || o->pattern.keep >= o->pattern.of))
        return organ_fail(error, ORGAN_USAGE, "%s: a pattern keeps N of M with 1 <= N < M <= %d, not %u:%u", o->name,
                          ORGAN_PATTERN_MAX, o->pattern.keep, o->pattern.of);
    if (o->pattern.of && cols % o->pattern.of)
        return organ_fail(error, ORGAN_USAGE, "%s: rows of %zu weights are not whole groups of pattern %u:%u", o->name,
                          cols, o->pattern.keep, o->pattern.of);
    if (o->pattern.of && o->sparsity != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: pattern %u:%u sets the sparsity; it cannot be combined with %g %%",
                          o->name, o->pattern.keep, o->pattern.of, o->sparsity);
    if (!(o->sparsity >= 0 && o->sparsity < 100) || (o->sparsity == 0 && !o->pattern.of && !flow))
        return organ_fail(error, ORGAN_USAGE, "%s: a sparsity is above 0 and below 100 %%, not %g", o->name,
                          o->sparsity);
    if (flow && !(o->effort > 0 && o->effort <= 100))
        return organ_fail(error, ORGAN_USAGE, "%s: an effort is above 0 and at most 100, not %g", o->name, o->effort);
    return ORGAN_OK;
}

static organ_status check_shape(const organ_prune_matrix_options *o, const organ_input_moments *moments, size_t rows,
                                size_t cols, organ_error *error)
{
    if (rows == 0 || cols == 0 || rows > INT_MAX || cols > INT_MAX)
        return organ_fail(error, ORGAN_USAGE, "%s: a matrix of %zu x %zu cannot be pruned", o->name, rows, cols);
    if (!moments && (o->method != ORGAN_PRUNE_MAGNITUDE || o->measure))
        return organ_fail(error, ORGAN_USAGE, "%s: this method needs a finished calibration", o->name);
    if (moments && !moments->h && (method_compensates(o) || o->measure))
        return organ_fail(error, ORGAN_USAGE, "%s: needs the second moments of the inputs, but has only their norms",
                          o->name);
    if (moments && moments->features != cols)
        return organ_fail(error, ORGAN_USAGE, "%s: rows of %zu weights, calibrated with %zu inputs", o->name, cols,
                          moments->features);
    if (moments && moments->drift && moments->rows != rows)
        return organ_fail(error, ORGAN_USAGE, "%s: %zu rows, calibrated with the weights of %zu", o->name, rows,
                          moments->rows);
    return ORGAN_OK;
}

/* ---- report ---- */

/* The dot product in FP64 is the squared length of a X if h_a = a H. */
static double weighted_norm(const float *a, const float *h_a, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)a[k] * (double)h_a[k];
    return sum;
}

/* The output error is tr(D H D^T) / tr(W H W^T) with D = W - V. V is job->weights; `before` contains W, the weights
 * before pruning, and is overwritten with D. */
static organ_status measure_output_error(const organ_matrix_job *job, float *before, organ_error *error)
{
    const size_t n = job->rows * job->cols;
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const product = organ_take_floats(&buffers, n, 1);
    const float *const h = organ_expand_moments(job->engine, job->moments, /*c=*/0, /*h=*/1,
                                                ORGAN_SQUARES_DAMPING * job->moments->mean_diagonal, &buffers);
    const organ_block_matrix moments = {job->cols, job->moments->block, h};
    if (buffers.lacking)
        organ_fail_errno(error, ENOMEM, "%s: output error of %zu x %zu", job->options->name, job->rows, job->cols);
    else if (organ_block_multiply(job->engine, &moments, before, job->rows, product, error) == ORGAN_OK) {
        const double whole = weighted_norm(before, product, n);
        for (size_t k = 0; k < n; k++)
            before[k] -= job->weights[k];
        organ_block_multiply(job->engine, &moments, before, job->rows, product, error);
        job->report->output_error = whole > 0 ? weighted_norm(before, product, n) / whole : 0;
    }
    return error->status;
}

typedef struct entry_counts {
    uint64_t broken, zeros, removed;
} entry_counts;

typedef struct counting {
    const organ_matrix_job *job;
    bool masked;      /* there is a mask: removed weights are set to 0 and counted */
    entry_counts sum; /* atomic */
} counting;

static void count_row_entries(void *context, size_t row, size_t worker)
{
    counting *const c = context;
    const size_t cols = c->job->cols;
    float *const weights = c->job->weights + row * cols;
    const uint8_t *const keep = c->job->keep + row * cols;
    uint32_t broken = 0, zeros = 0, removed = 0; /* INT_MAX columns at most */
    (void)worker;
    for (size_t k = 0; k < cols && c->masked; k++) {
        weights[k] = keep[k] ? weights[k] : 0.0f;
        removed += !keep[k];
    }
    for (size_t k = 0; k < cols; k++) {
        broken += !(fabsf(weights[k]) <= FLT_MAX);
        zeros += weights[k] == 0;
    }
    __atomic_fetch_add(&c->sum.broken, broken, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->sum.zeros, zeros, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->sum.removed, removed, __ATOMIC_RELAXED);
}

static entry_counts count_entries(const organ_matrix_job *job, bool masked)
{
    counting c = {.job = job, .masked = masked};
    organ_share_work(job->engine, NULL, job->rows, ORGAN_SHARE_NUMBER * (double)job->rows * (double)job->cols,
                     count_row_entries, &c);
    return c.sum;
}

static organ_status fail_overflow(const organ_matrix_job *job, organ_error *error)
{
    size_t k = 0;
    while (isfinite(job->weights[k]))
        k++;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: weight [%zu, %zu] of the pruned matrix is %g: weights or activations are too large",
                      job->options->name, k / job->cols, k % job->cols, (double)job->weights[k]);
}

/* ---- in memory ---- */

/* A matrix in memory is one band; count_entries sets all removed weights to 0. */
static organ_status take_whole(void *context, size_t first, organ_error *error)
{
    (void)context;
    (void)first;
    return error->status;
}

static void keep_row(void *context, size_t row, size_t worker)
{
    const organ_matrix_job *const job = context;
    (void)worker;
    memset(job->keep + row * job->cols, 1, job->cols);
}

static organ_status run_method(organ_matrix_job *job, organ_error *error)
{
    const bool compensates = method_compensates(job->options);
    if (compensates)
        organ_share_work(job->engine, NULL, job->rows, ORGAN_SHARE_NUMBER * (double)job->rows * (double)job->cols,
                         keep_row, job);
    switch (job->options->method) {
    case ORGAN_PRUNE_PHYSARUM_V2:
        return compensates ? organ_prune_by_stages(job, error) : organ_prune_by_flow(job, error);
    case ORGAN_PRUNE_PHYSARUM_V3:
        return organ_prune_by_flow_and_admm(job, error);
    case ORGAN_PRUNE_ALPS:
        return organ_prune_by_alps(job, error);
    case ORGAN_PRUNE_SPARSEGPT:
        return organ_prune_by_sweep(job, error);
    default:
        return organ_prune_by_rank(job, error);
    }
}

static void report_mask(const organ_matrix_job *job, const entry_counts *counts)
{
    job->report->zero_after = counts->zeros;
    job->report->sparsity = 100 * (double)counts->removed / (double)job->report->elements;
}

static organ_status change_and_report(organ_matrix_job *job, float *before, organ_error *error)
{
    if (run_method(job, error) != ORGAN_OK)
        return error->status;
    const entry_counts counts = count_entries(job, /*masked=*/true);
    if (counts.broken > 0)
        return fail_overflow(job, error);
    if (!before || measure_output_error(job, before, error) == ORGAN_OK)
        report_mask(job, &counts);
    return error->status;
}

organ_status organ_prune_matrix(const organ_engine *engine, const organ_prune_matrix_options *options,
                                const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                uint8_t *keep, organ_prune_matrix_report *report, organ_error *error)
{
    organ_matrix_bands all = {
        .name = options->name, .rows = rows, .cols = cols, .dtype = ORGAN_F32, .band_rows = rows, .values = weights};
    organ_matrix_job job = {.engine = engine,
                            .options = options,
                            .moments = calibration ? organ_calibration_moments(calibration) : NULL,
                            .report = report,
                            .keep = keep,
                            .weights = weights,
                            .rows = rows,
                            .cols = cols,
                            .bands = &all,
                            .take = take_whole,
                            .context = &job};
    *report = (organ_prune_matrix_report){.output_error = NAN};
    if (check_shape(options, job.moments, rows, cols, error) || check_goal(options, cols, error) ||
        organ_matrix_band(engine, &all, 0, error))
        return error->status;
    const size_t n = rows * cols;
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const before = options->measure ? organ_take_floats(&buffers, n, 1) : NULL;
    if (options->measure && !before)
        return organ_fail_errno(error, ENOMEM, "%s: output error of %zu x %zu", options->name, rows, cols);
    if (before)
        memcpy(before, weights, n * sizeof *weights);
    report->elements = n;
    report->zero_before = count_entries(&job, /*masked=*/false).zeros;
    report->block_diagonal = job.moments && job.moments->block < job.moments->features;
    return change_and_report(&job, before, error);
}

uint64_t organ_prune_matrix_memory(const organ_engine *engine, const organ_prune_matrix_options *options, uint64_t rows,
                                   uint64_t cols)
{
    const uint64_t mask = rows * cols;
    if (!method_compensates(options))
        return mask;
    if (options->method == ORGAN_PRUNE_SPARSEGPT)
        return organ_prune_sweep_memory(engine, rows, cols);
    if (options->method == ORGAN_PRUNE_ALPS || options->method == ORGAN_PRUNE_PHYSARUM_V3)
        /* for each weight: 1 byte for the mask, 4 for ADMM's target, 1 for the mask of ALPS's last comparison */
        return 6 * mask + organ_admm_memory(engine, rows, cols);
    return 2 * mask + organ_masked_squares_memory(engine, rows, cols); /* the mask, and that of the last flow */
}

/* ---- factors of matrices with the same inputs ---- */

void organ_prune_share_end(organ_prune_shared *shared)
{
    organ_admm_factors_release(&shared->factors);
    organ_buffers_release(&shared->inverse.buffers);
    shared->inverse.values = NULL;
    shared->of = NULL;
}

void organ_prune_share(organ_prune_shared *shared, organ_prune_matrix_options *options,
                       const organ_calibration *calibration, bool again, uint64_t spare)
{
    const organ_input_moments *const m = calibration ? organ_calibration_moments(calibration) : NULL;
    const bool solves = options->method == ORGAN_PRUNE_PHYSARUM_V3, sweeps = options->method == ORGAN_PRUNE_SPARSEGPT;
    options->factors = NULL;
    options->inverse = NULL;
    if (shared->of != calibration)
        organ_prune_share_end(shared);
    if (!(solves || sweeps) || !m || !(again || shared->of))
        return;
    const uint64_t bytes = solves ? organ_admm_factors_memory(m->features, m->block)
                                  : organ_block_entries(m->features, m->block) * sizeof(float);
    if (bytes > spare)
        return;
    shared->of = calibration;
    options->factors = solves ? &shared->factors : NULL;
    options->inverse = sweeps ? &shared->inverse : NULL;
}

/* ---- in bands ---- */

organ_status organ_prune_bands(const organ_engine *engine, const organ_prune_matrix_options *options,
                               const organ_calibration *calibration, organ_matrix_bands *bands, uint8_t *keep,
                               organ_status (*take)(void *context, size_t first, organ_error *error), void *context,
                               organ_prune_matrix_report *report, organ_error *error)
{
    organ_matrix_job job = {.engine = engine,
                            .options = options,
                            .moments = calibration ? organ_calibration_moments(calibration) : NULL,
                            .report = report,
                            .keep = keep,
                            .rows = bands->rows,
                            .cols = bands->cols,
                            .bands = bands,
                            .take = take,
                            .context = context};
    *report = (organ_prune_matrix_report){.output_error = NAN};
    if (method_compensates(options) || options->measure)
        return organ_fail(error, ORGAN_USAGE, "%s: this method, or measuring, needs the whole matrix", options->name);
    if (check_shape(options, job.moments, bands->rows, bands->cols, error) || check_goal(options, bands->cols, error))
        return error->status;
    return run_method(&job, error);
}

static uint64_t bands_memory(const organ_matrix_bands *bands, organ_prune_method method, size_t workers,
                             size_t band_rows)
{
    organ_matrix_bands sized = *bands;
    sized.band_rows = band_rows;
    const uint64_t band = (uint64_t)band_rows * bands->cols * (organ_dtype_describe(bands->dtype)->bytes + 1);
    return band + (method == ORGAN_PRUNE_PHYSARUM_V2
                       ? organ_flow_memory(workers) + bands->cols * sizeof(float) /* the food */
                       : organ_rank_memory(&sized, workers));
}

/* A band of physarum v2 is a multiple of a step of ORGAN_FLOW_TILE rows, so that it has whole tiles; for other
 * methods a step is one row. Memory is a fixed part (for a band of 0 rows) plus the same bytes for each step. */
bool organ_prune_bands_fit(const organ_engine *engine, organ_prune_method method, uint64_t extra,
                           organ_matrix_bands *bands, uint64_t *least)
{
    const size_t workers = organ_workers_count(engine->workers);
    const size_t tile = method == ORGAN_PRUNE_PHYSARUM_V2 ? ORGAN_FLOW_TILE : 1,
                 step = organ_min(tile, bands->rows ? bands->rows : 1);
    const uint64_t fixed = extra + bands_memory(bands, method, workers, 0);
    const uint64_t of_step =
        extra + bands_memory(bands, method, workers, step) - fixed + (bands->cols == 0); /* never 0: it is a divisor */
    *least = fixed + of_step;
    if (*least > organ_engine_memory(engine))
        return false;
    const uint64_t steps = (organ_engine_memory(engine) - fixed) / of_step;
    bands->band_rows = steps >= (bands->rows + step - 1) / step ? bands->rows : (size_t)steps * step;
    return true;
}
