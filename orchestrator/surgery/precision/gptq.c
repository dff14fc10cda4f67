/* SPDX-License-Identifier: MIT
 * Runs GPTQ on a matrix: prepares the second moments, chooses the first scales, sweeps over the columns, refits.
 *
 * Ranks: they divide the rows of a matrix, not the matrices, because later layers need the quantised earlier ones. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibration/expand_moments.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STRIP     ORGAN_GPTQ_STRIP
#define PANEL     ((size_t)256) /* columns of W - values that a worker multiplies by H at a time */
#define CLIPPINGS 16 /* number of scales that are tried for a group: the present one x (1 - k / 32), k = 0 .. 15 */
/* Greatest number of bits of codes whose first scales are clipped: at 8 bits clipping raises the error by 5 %. */
#define CLIPPED_BITS 4u
#define ROUNDS       4 /* rounds of the refit: each refits scales, then improves codes by coordinate descent */

/* ---- inputs ---- */

/* A column of a block of H, and its diagonal entry there. */
typedef struct column_weight {
    float weight;
    uint32_t column;
} column_weight;

/* Orders columns by falling diagonal entry of H, equal ones by their number; for qsort. */
static int by_falling_weight(const void *a, const void *b)
{
    const column_weight *const x = a, *const y = b;
    return x->weight != y->weight ? (x->weight < y->weight) - (x->weight > y->weight)
                                  : (x->column > y->column) - (x->column < y->column);
}

/* Sets in->order for the block of H that begins at column `start` and has `width` columns: columns by falling mean
 * square of their inputs (act-order of GPTQ). Copies the block in that order to in->factor. Returns false if memory
 * cannot be allocated. */
static bool order_block(organ_gptq_inputs *in, size_t start, size_t width)
{
    const float *const h = in->h + start * in->block;
    float *const factor = in->factor + start * in->block;
    column_weight *const columns = malloc(width * sizeof *columns);
    if (!columns)
        return false;
    for (size_t j = 0; j < width; j++)
        columns[j] = (column_weight){h[j * (width + 1)], (uint32_t)j};
    qsort(columns, width, sizeof *columns, by_falling_weight);
    for (size_t i = 0; i < width; i++) {
        in->order[start + i] = (uint32_t)start + columns[i].column;
        for (size_t j = 0; j < width; j++)
            factor[i * width + j] = h[columns[i].column * width + columns[j].column];
    }
    free(columns);
    return true;
}

/* Computes H and the factor U of its inverse. For each block of H: sorts the columns, copies the block in this order
 * and factorises the copy. If that fails, H is not positive definite in spite of the damping. */
organ_status organ_gptq_inputs_open(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                    organ_gptq_inputs *in, organ_error *error)
{
    const organ_input_moments *const m = organ_calibration_moments(calibration);
    /* `entries`: values in all diagonal blocks, of which the last has `rest` columns if that is not 0 */
    const size_t n = m->features, rest = n % m->block, entries = n / m->block * m->block * m->block + rest * rest;
    *in =
        (organ_gptq_inputs){.engine = engine, .of = calibration, .features = n, .block = m->block, .tokens = m->tokens};
    /* factors 0, 1: only the moments of the inputs that the changed layers compute */
    in->h = organ_expand_moments(engine, m, 0, 1, ORGAN_GPTQ_DAMPING * m->mean_diagonal);
    in->factor = organ_floats(entries, 1);
    in->order = malloc(n * sizeof *in->order);
    if (!in->h || !in->factor || !in->order)
        return organ_fail_errno(error, ENOMEM, "%s: second moments of %zu inputs", name, n);
    for (size_t start = 0; start < n; start += m->block) {
        const size_t width = organ_min(m->block, n - start);
        bool definite = false;
        if (!order_block(in, start, width) ||
            !organ_inverse_factor(engine, in->factor + start * m->block, width, &definite))
            return organ_fail_errno(error, ENOMEM, "%s: second moments of %zu inputs", name, n);
        if (!definite)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: the second moments of inputs %zu to %zu cannot be inverted (mean square %g)", name,
                              start, start + width - 1, m->mean_diagonal);
    }
    return ORGAN_OK;
}

/* Frees the arrays and sets all members to 0. */
void organ_gptq_inputs_close(organ_gptq_inputs *in)
{
    free(in->h);
    free(in->factor);
    free(in->order);
    *in = (organ_gptq_inputs){0};
}

/* Opens the inputs of `calibration`, unless `in` has them already. */
organ_status organ_gptq_inputs_reopen(const organ_engine *engine, const organ_calibration *calibration,
                                      const char *name, organ_gptq_inputs *in, organ_error *error)
{
    if (in->of == calibration)
        return ORGAN_OK;
    organ_gptq_inputs_close(in);
    return organ_gptq_inputs_open(engine, calibration, name, in, error);
}

/* ---- loss ---- */

/* Context of residual_strip. `losses`: output, the loss of each row; NULL: losses are not computed. */
typedef struct residual {
    organ_gptq_job *job;
    double *losses;
} residual;

/* Computes the loss of rows row .. row + rows - 1: the output error (w - v) H (w - v)^T, where job->field has (w - v)
 * H. Sixteen partial sums make the result independent of the instruction set. */
static void row_losses(const organ_gptq_job *job, size_t row, size_t rows, double *losses)
{
    for (size_t i = row; i < row + rows; i++) {
        const float *const w = job->matrix->weights + i * job->cols, *const v = job->matrix->values + i * job->cols;
        const float *const r = job->field + i * job->cols;
        double lanes[16] = {0}, sum = 0;
        for (size_t j = 0; j < job->cols; j++)
            lanes[j % 16] += (double)(w[j] - v[j]) * (double)r[j];
        for (size_t l = 0; l < 16; l++)
            sum += lanes[l];
        losses[i] = sum;
    }
}

/* Computes the rows of strip `index` of job->field = (W - V) H, where V are the values of the codes: block by block of
 * H, and PANEL columns of W - V at a time. Then computes the losses of these rows if they are requested. */
static void residual_strip(void *context, size_t index, size_t worker)
{
    const residual *const x = context;
    const organ_gptq_job *const job = x->job;
    const organ_gptq_inputs *const in = job->inputs;
    const size_t row = index * STRIP, rows = organ_min(STRIP, job->rows - row);
    float *const difference = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    for (size_t from = 0; from < job->cols; from += PANEL) {
        const size_t start = from / in->block * in->block, width = organ_min(in->block, job->cols - start);
        const size_t n = organ_min(PANEL, start + width - from);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < n; j++) {
                const size_t at = (row + i) * job->cols + from + j;
                difference[i * PANEL + j] = job->matrix->weights[at] - job->matrix->values[at];
            }
        const organ_product product = {.m = rows,
                                       .n = width,
                                       .k = n,
                                       .a = organ_by_rows(difference, PANEL),
                                       .b = organ_by_columns(in->h + start * in->block + (from - start) * width, width),
                                       .c = job->field + row * job->cols + start,
                                       .c_stride = job->cols,
                                       .into = from == start ? ORGAN_PRODUCT_SET : ORGAN_PRODUCT_ADD};
        in->engine->kernels->product(&product, difference + STRIP * PANEL);
    }
    if (x->losses)
        row_losses(job, row, rows, x->losses);
}

/* Computes job->field = (W - values) H on all workers and, unless `losses` is NULL, the loss of each row. */
static void compute_residual(organ_gptq_job *job, double *losses)
{
    residual x = {job, losses};
    organ_share(job->inputs->engine, NULL, job->padded / STRIP, residual_strip, &x);
}

/* Returns the sum of the losses of `rows` rows, in order. */
static double gptq_sum_of(const double *losses, size_t rows)
{
    double sum = 0;
    for (size_t i = 0; i < rows; i++)
        sum += losses[i];
    return sum;
}

/* ---- first and stored scales ---- */

/* Context of clip_strip and fit_strip. */
typedef struct fitting {
    organ_gptq_job *job;
    const float *weights; /* weight of each column in the sum of squared errors */
} fitting;

/* Returns the number of consecutive rows that share their scales. */
static size_t rows_in_band(const organ_gptq *m) { return organ_grid_band(&m->grid, m->rows); }

/* Returns the weighted squared error of n values w if they are coded with this scale: the sum of weights[j] times the
 * square of the error of w[j]. */
static double clipping_error(const organ_gptq_job *job, const float *w, size_t n, const float *weights, float scale)
{
    float codes[64];
    double lanes[16] = {0}, sum = 0;
    for (size_t from = 0; from < n; from += 64) {
        const size_t count = organ_min((size_t)64, n - from);
        organ_grid_codes(&job->matrix->grid, scale, 0, w + from, codes, count);
        for (size_t j = 0; j < count; j++) {
            const double e = (double)(w[from + j] - codes[j] * scale);
            lanes[j % 16] += (double)weights[from + j] * e * e;
        }
    }
    for (size_t l = 0; l < 16; l++)
        sum += lanes[l];
    return sum;
}

/* Chooses the scale of each group in strip `index` of rows: of CLIPPINGS fractions of the present scale, the one with
 * the least weighted error. The present scale maps the greatest magnitude to the largest code; a smaller one clips the
 * greatest values, but codes all others more finely. */
static void clip_strip(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    (void)worker;
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++)
        for (size_t g = 0; g < job->groups; g++) {
            const size_t from = g * job->group, n = organ_min(job->group, job->cols - from);
            float *const scale = &job->scales[g * job->padded + i];
            const float whole = *scale;
            double least = INFINITY;
            for (unsigned k = 0; k < CLIPPINGS; k++) {
                const float tried = organ_grid_stored(&job->matrix->grid, job->inputs->engine->kernels,
                                                      whole * (1 - (float)k / (2 * CLIPPINGS)));
                const double error =
                    clipping_error(job, job->matrix->weights + i * job->cols + from, n, f->weights + from, tried);
                if (error < least) {
                    least = error;
                    *scale = tried;
                }
            }
        }
}

/* Sets the scale of each group so that the greatest magnitude of its values gets the largest code. A group extends over
 * all rows of a band. */
static void set_scales_from_greatest(organ_gptq_job *job)
{
    const organ_kernels *const kernels = job->inputs->engine->kernels;
    const size_t band = rows_in_band(job->matrix);
    for (size_t first = 0; first < job->rows; first += band)
        for (size_t g = 0; g < job->groups; g++) {
            const size_t from = g * job->group, n = organ_min(job->group, job->cols - from),
                         end = organ_min(first + band, job->rows);
            float greatest = 0;
            for (size_t i = first; i < end; i++) {
                const float here = kernels->amax(job->matrix->weights + i * job->cols + from, n);
                greatest = here > greatest ? here : greatest;
            }
            const float scale = organ_grid_scale(&job->matrix->grid, kernels, greatest);
            for (size_t i = first; i < end; i++)
                job->scales[g * job->padded + i] = scale;
        }
}

/* Returns the bytes of a row of GGUF blocks; 0 for other grids. */
static size_t row_bytes(const organ_grid *grid, size_t cols)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    return kind ? cols / kind->elements * kind->bytes : 0;
}

/* Sets weights[j] to the weight of column j in the search for scales: its diagonal entry of H over the mean of the
 * diagonal, limited to ORGAN_MIN_WEIGHT .. ORGAN_MAX_WEIGHT. */
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

/* Sets the scales of the rows of strip `index` to those that nearest quantisation finds for GGUF blocks of W. The codes
 * of these blocks are not used. */
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

/* Sets the scales with which GPTQ codes the columns. For GGUF, those that nearest quantisation finds. For other grids,
 * those that map the greatest magnitude to the largest code, clipped if codes have few bits and each row has its own
 * scales. Column weights are in job->field, which is not used before the sweep. */
static void set_initial_scales(organ_gptq_job *job)
{
    fitting f = {job, job->matrix->weighing};
    /* 1 for the scales of all groups, 0 for other numbers: these remain in padded rows */
    for (size_t k = 0; k < job->numbers * job->padded; k++)
        job->scales[k] = k < job->groups * job->padded;
    if (!organ_grid_blocks(&job->matrix->grid)) {
        set_scales_from_greatest(job);
        if (job->matrix->grid.bits && job->matrix->grid.bits <= CLIPPED_BITS && rows_in_band(job->matrix) == 1) {
            weigh_columns(job->inputs, job->field);
            f.weights = job->field;
            organ_share(job->inputs->engine, NULL, job->padded / STRIP, clip_strip, &f);
        }
        return;
    }
    if (!f.weights) {
        weigh_columns(job->inputs, job->field);
        f.weights = job->field;
    }
    organ_share(job->inputs->engine, NULL, job->padded / STRIP, fit_strip, &f);
}

/* Copies the scales of each band, which its first row has, to matrix->scales, [bands][numbers]. */
static void copy_final_scales(const organ_gptq_job *job)
{
    const size_t band = rows_in_band(job->matrix);
    for (size_t first = 0; first < job->rows; first += band)
        for (size_t k = 0; k < job->numbers; k++)
            job->matrix->scales[first / band * job->numbers + k] = job->scales[k * job->padded + first];
}

/* ---- a matrix ---- */

/* Returns the number of rows that stay on one rank: a matrix is divided among ranks at multiples of it. It is a strip,
 * or a band of rows with common scales if that is longer. */
static size_t rows_between_cuts(const organ_gptq *m) { return organ_max(rows_in_band(m), STRIP); }

/* Gathers the losses of all rows from all ranks in `losses`, an array for the whole matrix, and sets *sum to their sum,
 * added in order of rows. */
static organ_status sum_losses_of_ranks(const organ_gptq_job *job, double *losses, double *sum, organ_error *error)
{
    const organ_gptq *const all = job->whole;
    if (organ_ranks_complete_rows(all->ranks, "coding rows", losses, sizeof *losses, all->rows, rows_between_cuts(all),
                                  error) == ORGAN_OK)
        *sum = gptq_sum_of(losses, all->rows);
    return error->status;
}

/* Copies of values, scales and losses before the refit, to restore rows that it does not improve. */
typedef struct gptq_result {
    float *values, *scales; /* as matrix->values and job->scales */
    double *losses;         /* loss of each row */
} gptq_result;

/* Improves the result of GPTQ in ROUNDS rounds: refits the scales for fixed codes, then lowers the loss by coordinate
 * descent over the codes for fixed scales. Restores values and scales of rows whose loss did not fall. `gptq`: gets
 * copies of values and scales, and has the losses of GPTQ. `losses`: output, the final loss of each row. */
static organ_status gptq_improve(organ_gptq_job *job, const gptq_result *gptq, double *losses, organ_error *error)
{
    organ_gptq *const m = job->matrix;
    const bool rows_have_scales = m->grid.scale_of != ORGAN_SCALE_BLOCK && m->grid.scale_of != ORGAN_SCALE_TENSOR;
    memcpy(gptq->values, m->values, job->rows * job->cols * sizeof *m->values);
    memcpy(gptq->scales, job->scales, job->numbers * job->padded * sizeof *job->scales);
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (rows_have_scales) {
            organ_gptq_scales(job);
            compute_residual(job, NULL);
        }
        if (organ_gptq_sweep(job, true, error) != ORGAN_OK)
            return error->status;
        compute_residual(job, losses);
    }
    for (size_t i = 0; i < job->rows; i++) {
        if (losses[i] <= gptq->losses[i])
            continue;
        memcpy(m->values + i * job->cols, gptq->values + i * job->cols, job->cols * sizeof *m->values);
        for (size_t k = 0; k < job->numbers; k++)
            job->scales[k * job->padded + i] = gptq->scales[k * job->padded + i];
        losses[i] = gptq->losses[i];
        m->rows_kept++;
    }
    return ORGAN_OK;
}

/* Quantises this rank's rows by GPTQ, then refits scales and codes unless m->no_resolve. Sets energy and losses of
 * job->whole. `losses` and gptq->losses have an entry for each row of the whole matrix; gptq->values and gptq->scales
 * have only this rank's rows. */
static organ_status gptq_quantise(organ_gptq_job *job, const gptq_result *gptq, double *losses, organ_error *error)
{
    organ_gptq *const m = job->matrix, *const whole = job->whole;
    const gptq_result own = {gptq->values, gptq->scales, gptq->losses + job->first};
    /* with values 0 the losses are the energies w H w^T of the rows */
    memset(m->values, 0, job->rows * job->cols * sizeof *m->values);
    compute_residual(job, losses + job->first);
    if (sum_losses_of_ranks(job, losses, &whole->energy, error) != ORGAN_OK)
        return error->status;
    set_initial_scales(job);
    for (size_t i = 0; i < job->rows; i++)
        for (size_t j = 0; j < job->cols; j++)
            job->field[i * job->cols + j] = m->weights[i * job->cols + job->inputs->order[j]];
    if (organ_gptq_sweep(job, false, error) != ORGAN_OK)
        return error->status;
    compute_residual(job, own.losses);
    if (sum_losses_of_ranks(job, gptq->losses, &whole->gptq_loss, error) != ORGAN_OK)
        return error->status;
    memcpy(losses, gptq->losses, whole->rows * sizeof *losses);
    if (!m->no_resolve && gptq_improve(job, &own, losses + job->first, error) != ORGAN_OK)
        return error->status;
    copy_final_scales(job);
    return sum_losses_of_ranks(job, losses, &whole->loss, error);
}

/* Completes values and scales of job->whole with the rows of all ranks. */
static organ_status gather_rows(const organ_gptq_job *job, organ_error *error)
{
    const organ_gptq *const all = job->whole;
    const size_t step = rows_between_cuts(all), band = rows_in_band(all);
    if (organ_ranks_complete_rows(all->ranks, "computing row values", all->values, all->cols * sizeof *all->values,
                                  all->rows, step, error) != ORGAN_OK)
        return error->status;
    /* scales have a row per band; a band that is longer than a cut is on one rank */
    return organ_ranks_complete_rows(all->ranks, "computing row scales", all->scales,
                                     job->numbers * sizeof *all->scales, (all->rows + band - 1) / band,
                                     organ_max(step / band, 1), error);
}

/* Returns the rows of `all` that this rank quantises, as a matrix whose arrays point into those of `all`. `numbers`:
 * organ_grid_numbers, the length of a row of all->scales. */
static organ_gptq own_rows(const organ_gptq *all, size_t numbers)
{
    const organ_row_range own = organ_ranks_own_rows(all->ranks, all->rows, rows_between_cuts(all));
    organ_gptq part = *all;
    part.rows = own.end - own.first;
    part.weights += own.first * all->cols;
    part.keep = all->keep ? all->keep + own.first * all->cols : NULL;
    part.values += own.first * all->cols;
    part.scales += own.first / rows_in_band(all) * numbers;
    return part;
}

/* Returns the scratch bytes of a worker: the largest need of all steps. */
static size_t worker_scratch_bytes(const organ_gptq_job *job)
{
    const size_t residual_room = STRIP * PANEL * sizeof(float) + ORGAN_PRODUCT_SCRATCH;
    const size_t max = organ_max(organ_max(organ_gptq_sweep_room(), residual_room), organ_gptq_scales_room(job));
    return organ_max(max, row_bytes(&job->matrix->grid, job->cols));
}

/* Returns the bytes of job.field, gptq.values and m->values, job.scales and gptq.scales, both arrays of losses, and the
 * factorisation of H. */
uint64_t organ_gptq_memory(const organ_grid *grid, uint64_t rows, uint64_t cols)
{
    const uint64_t numbers = organ_grid_numbers(grid, (size_t)cols), padded = (rows + STRIP - 1) / STRIP * STRIP;
    return sizeof(float) * (3 * rows * cols + 2 * numbers * padded) + 2 * rows * sizeof(double) +
           organ_inverse_factor_memory(cols);
}

/* Quantises a matrix: the rows of this rank, then gathers the rows of all ranks. A rank without rows still takes part
 * in the gathering, so its buffers have at least one row. */
organ_status organ_gptq_run(const organ_gptq_inputs *in, organ_gptq *m, organ_error *error)
{
    const size_t workers = organ_workers_count(in->engine->workers);
    organ_gptq part = own_rows(m, organ_grid_numbers(&m->grid, m->cols));
    organ_gptq_job job = {.inputs = in, .whole = m, .matrix = &part, .rows = part.rows, .cols = m->cols};
    job.first = m->cols ? (size_t)(part.values - m->values) / m->cols : 0;
    job.group = organ_grid_group(&m->grid, m->cols);
    job.groups = organ_grid_groups(&m->grid, m->cols);
    job.terms = organ_grid_affine(&m->grid) ? 2 : 1;
    job.supers = organ_grid_supers(&m->grid, m->cols);
    job.numbers = organ_grid_numbers(&m->grid, m->cols);
    job.padded = (part.rows + STRIP - 1) / STRIP * STRIP;
    job.scratch_bytes = organ_to_line(worker_scratch_bytes(&job));
    const size_t rows = organ_max(part.rows, 1), columns = organ_max(job.padded, STRIP);
    job.field = organ_floats(rows, m->cols);
    job.scales = organ_floats(job.numbers, columns);
    job.scratch = aligned_alloc(64, workers * job.scratch_bytes);
    double *const losses = malloc(m->rows * sizeof *losses);
    gptq_result gptq = {organ_floats(rows, m->cols), organ_floats(job.numbers, columns),
                        malloc(m->rows * sizeof *gptq.losses)};
    part.rows_kept = 0;
    if (!job.field || !job.scales || !job.scratch || !losses || !gptq.values || !gptq.scales || !gptq.losses)
        organ_fail_errno(error, ENOMEM, "%s: GPTQ of %zu x %zu", m->name, m->rows, m->cols);
    else if (gptq_quantise(&job, &gptq, losses, error) == ORGAN_OK)
        gather_rows(&job, error);
    m->rows_kept = part.rows_kept;
    ORGAN_FREE_ARRAYS(job.field, job.scales, job.scratch, losses, gptq.values, gptq.scales, gptq.losses);
    return error->status;
}
