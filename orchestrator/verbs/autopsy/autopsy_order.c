/* SPDX-License-Identifier: MIT
 * Finds, without the original, scales that are stored at the wrong block, and rows of blocks whose scales are wrong by
 * a factor.
 *
 * An absmax scale is the largest value of the block divided by the largest code. From block to block the largest of
 * many values scatters more than their rms: by 6 to 10 percent, if the rms of adjacent blocks differs by 1 percent. The
 * rms of the codes therefore varies inversely to the scale of the block, and the values (code times scale) have nearly
 * the same rms in all blocks. If each block has the scale of another block, the rms differs from block to block. If the
 * scales are moved back to their blocks, the rms is nearly the same again. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/plain_numbers.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANCE          1e-4 /* largest probability by chance for a finding about one weight */
#define MIN_GAIN        1.25 /* smallest ratio of the mean squares of residuals, stored to moved */
#define SUSPECT         1e-2 /* largest probability by chance for a suspect, which the next two limits must confirm */
#define FAR_OFF         16   /* smallest mean square with the stored scales, over the median of all weights */
#define CORRECTED_SHARE 4    /* largest mean square with the scales moved back, over the same median */
#define POOLED          5    /* standard deviations that the evidence of all weights together must exceed */
#define FEW_WEIGHTS     3    /* smallest number of weights for pooled evidence */
#define FEW_RESTS       8    /* smallest number of weights for the median of their residuals */
#define EDGE_ROWS       16   /* smallest number of rows of values in a block for judging rows of blocks */
#define ROW_FACTOR      2    /* smallest factor between a row of blocks and the others */
#define ROW_BEYOND      8    /* |ln| of that factor in standard deviations (judge_rows) above which it is a finding */
#define ROW_SPREAD      0.01 /* smallest standard deviation of ln rms of rows of blocks that is assumed */

/* ---- order ---- */

/* Overwrites the table. With `both`, the mean of its row is subtracted from each number and then the mean of its
 * column; otherwise only the mean of the whole table. */
static double residual_mean_square(double *table, size_t rows, size_t cols, bool both)
{
    double sum = 0, all = 0;
    for (size_t k = 0; k < rows * cols; k++)
        all += table[k] / (double)(rows * cols);
    for (size_t r = 0; r < rows; r++) {
        double mean = both ? 0 : all;
        for (size_t c = 0; both && c < cols; c++)
            mean += table[r * cols + c] / (double)cols;
        for (size_t c = 0; c < cols; c++)
            table[r * cols + c] -= mean;
    }
    for (size_t c = 0; c < cols; c++) {
        double mean = 0;
        for (size_t r = 0; both && r < rows; r++)
            mean += table[r * cols + c] / (double)rows;
        for (size_t r = 0; r < rows; r++)
            sum += (table[r * cols + c] - mean) * (table[r * cols + c] - mean);
    }
    return sum / (double)(rows * cols);
}

/* Returns an upper bound of ln P(F > ratio), ratio > 1, for the F distribution with `freedom` degrees of freedom on
 * both sides, from the series of the incomplete beta function. */
static double ln_chance(double ratio, double freedom)
{
    const double a = freedom / 2, y = 1 / (1 + ratio);
    return a * log(y * (1 - y)) - log(a) - (2 * lgamma(a) - lgamma(2 * a)) - log(1 - 2 * y);
}

/* Returns an upper bound of the variance of a ln F, where a = freedom / 2 and F has the F distribution of ln_chance: 2
 * a^2 trigamma(a), from the first terms of the trigamma function. */
static double evidence_variance(double freedom)
{
    const double a = freedom / 2;
    return 2 * a * a * (1 / a + 1 / (2 * a * a) + 1 / (6 * a * a * a));
}

/* Mean squares of the residuals of ln rms of the blocks, with the stored scales (own) and with a wrong order undone
 * (moved), and their degrees of freedom; freedom 0: too few blocks for a verdict. */
typedef struct order_fit {
    double own, moved, freedom;
} order_fit;

/* Residuals are the ln rms of the blocks in the range of organ_order_fits minus the means of their row and column.
 * Only the mean of the table is subtracted in a single row or column, and for ORGAN_ORDER_TRANSPOSED in a grid of 2
 * x 2, where the means of rows and columns would hide the exchange. Returns zeros if the order does not fit the
 * grid, a block is all zero, or a mean square is 0. `scratch` has 2 x rows x cols elements. */
static order_fit fit_order(const organ_blocks *b, organ_order order, double *scratch)
{
    organ_order_range range;
    if (!organ_order_fits(b, order, &range))
        return (order_fit){0};
    const size_t rows = range.row_end - range.row, cols = range.col_end - range.col;
    const bool square = order == ORGAN_ORDER_TRANSPOSED && rows == 2 && cols == 2,
               both = rows > 1 && cols > 1 && !square;
    double *const stored = scratch, *const moved = scratch + rows * cols;
    size_t n = 0;
    for (size_t r = range.row; r < range.row_end; r++)
        for (size_t c = range.col; c < range.col_end; c++, n++) {
            const size_t k = r * b->cols + c;
            stored[n] = organ_block_ln_rms(&b->sums[k]);
            moved[n] =
                stored[n] - log((double)b->scales[k]) + log((double)b->scales[organ_order_index(b, order, r, c)]);
            if (!isfinite(stored[n]))
                return (order_fit){0};
        }
    /* degrees of freedom; 1 for the transposed grid of 2 x 2, in which only two blocks exchange their scales */
    const uint64_t rests = both ? (rows - 1) * (cols - 1) : rows * cols - 1;
    const order_fit fit = {residual_mean_square(stored, rows, cols, both),
                           residual_mean_square(moved, rows, cols, both), square ? 1 : (double)rests};
    return fit.own > 0 && fit.moved > 0 ? fit : (order_fit){0};
}

static void report_order(organ_autopsy_job *job, const organ_weight *weight, organ_order order, const char *value)
{
    const bool turned = order == ORGAN_ORDER_TRANSPOSED;
    const organ_verdict verdict = {
        "scale_order", "scales in the wrong order", "blocks whose rms differs less than with another order",
        turned ? "The grid of scales was written column by column and is read row by row, or the reverse. "
                 "Transpose it in the file, or convert the original again."
               : "The scales belong to the neighbouring blocks: a row or column was inserted, dropped or "
                 "padded when they were written. Move them back, or convert the original again.",
        true};
    organ_autopsy_report(job, /*finding=*/true, weight, &verdict, "%s: %s", organ_order_text(order), value);
}

/* With a = freedom / 2 and F = own / moved, `evidence` grows by a ln F and `variance` by the variance of a ln F by
 * chance. The weight counts in `better` if F > 1. */
static void pool_order(organ_order_pool *p, const organ_weight *weight, const order_fit *fit)
{
    p->weights++;
    p->evidence += fit->freedom / 2 * log(fit->own / fit->moved);
    p->variance += evidence_variance(fit->freedom);
    p->better += fit->own > fit->moved;
    if (fit->own > fit->moved && !p->first)
        p->first = weight;
}

/* The gain is sqrt(own / moved): with the order undone, the rms of the blocks would differ that many times less.
 * `own` and `moved` are those of order_fit. */
static void report_gain(organ_autopsy_job *job, const organ_weight *weight, organ_order order, double own, double moved)
{
    char value[96];
    organ_snprintf(value, sizeof value, "with the scales reordered, the rms of its blocks would differ %.1f times less",
                   sqrt(own / moved));
    report_order(job, weight, order, value);
}

/* judge_suspects judges the suspects when pool->rests has the residuals of all weights. */
static organ_status suspect_order(organ_scale_pool *pool, const organ_weight *weight, organ_order order,
                                  const order_fit *fit, organ_error *error)
{
    organ_order_suspect *const more = realloc(pool->suspects, (pool->suspect_count + 1) * sizeof *more);
    if (!more)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", weight->name);
    pool->suspects = more;
    pool->suspects[pool->suspect_count++] = (organ_order_suspect){weight, order, fit->own, fit->moved};
    return ORGAN_OK;
}

/* The gain is the greatest factor by which undoing an order reduces the mean square of the residuals. Gains up to
 * MIN_GAIN and up to 1 + 9 / sqrt(blocks) are ignored, because gains by chance are greatest in grids of few blocks.
 * Adds a finding if the probability of a greater gain by chance is below CHANCE; makes the weight a suspect if it is
 * below SUSPECT. */
static organ_status judge_order(organ_autopsy_job *job, organ_scale_pool *pool, const organ_weight *weight,
                                const organ_blocks *b, double *scratch, organ_error *error)
{
    organ_order best = ORGAN_ORDER_COUNT;
    order_fit least = {0};
    for (organ_order order = 0; order < ORGAN_ORDER_COUNT; order++) {
        const order_fit fit = fit_order(b, order, scratch);
        if (fit.freedom == 0)
            continue;
        pool_order(&pool->orders[order], weight, &fit);
        if (fit.own > fit.moved && (best == ORGAN_ORDER_COUNT || fit.own / fit.moved > least.own / least.moved)) {
            best = order;
            least = fit;
        }
    }
    const double gain = best == ORGAN_ORDER_COUNT ? 0 : least.own / least.moved;
    if (gain <= fmax(MIN_GAIN, 1 + 9 / sqrt((double)(b->rows * b->cols))))
        return ORGAN_OK;
    const double chance = ln_chance(gain, least.freedom);
    if (chance >= log(CHANCE))
        return chance < log(SUSPECT) ? suspect_order(pool, weight, best, &least, error) : ORGAN_OK;
    pool->orders[best].reported++;
    report_gain(job, weight, best, least.own, least.moved);
    return ORGAN_OK;
}

/* judge_suspects compares suspects with the median of pool->rests. Grids smaller than 3 x 3, blocks with fewer than
 * EDGE_ROWS rows of values, and mean squares that are not finite are left out. `scratch` has b->rows x b->cols
 * elements. */
static organ_status add_residual(organ_scale_pool *pool, const organ_weight *weight, const organ_blocks *b,
                                 double *scratch, organ_error *error)
{
    if (b->rows < 3 || b->cols < 3 || b->height < EDGE_ROWS)
        return ORGAN_OK;
    for (size_t k = 0; k < b->rows * b->cols; k++)
        scratch[k] = organ_block_ln_rms(&b->sums[k]);
    const double rest = residual_mean_square(scratch, b->rows, b->cols, /*both=*/true);
    double *const more = isfinite(rest) ? realloc(pool->rests, (pool->rest_count + 1) * sizeof *more) : pool->rests;
    if (!more && isfinite(rest))
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", weight->name);
    pool->rests = more;
    if (isfinite(rest))
        pool->rests[pool->rest_count++] = rest;
    return ORGAN_OK;
}

/* A suspect gets a finding if its mean square of residuals is above FAR_OFF times the median of pool->rests with the
 * stored scales, and below CORRECTED_SHARE times that median with the order undone. */
static void judge_suspects(organ_autopsy_job *job, organ_scale_pool *pool)
{
    if (pool->rest_count < FEW_RESTS)
        return;
    const double usual = organ_autopsy_median(pool->rests, pool->rest_count);
    for (size_t k = 0; k < pool->suspect_count; k++) {
        const organ_order_suspect *const s = &pool->suspects[k];
        if (s->own <= FAR_OFF * usual || s->moved >= CORRECTED_SHARE * usual)
            continue;
        pool->orders[s->order].reported++;
        report_gain(job, s->weight, s->order, s->own, s->moved);
    }
}

/* One weight may have too few blocks to show a wrong order alone. Conditions: at least FEW_WEIGHTS weights were
 * judged; in three quarters of them the residuals are smaller with the order undone than as stored; and the sum of
 * their evidence exceeds POOLED of the standard deviations that it has by chance. An order for which a weight has a
 * finding of its own is skipped. The finding names the first weight whose residuals are smaller. */
static void judge_pooled_order(organ_autopsy_job *job, const organ_scale_pool *pool)
{
    for (organ_order order = 0; order < ORGAN_ORDER_COUNT; order++) {
        const organ_order_pool *const p = &pool->orders[order];
        char value[96];
        snprintf(value, sizeof value,
                 "with the scales reordered, the rms of blocks would differ less in %zu of %zu weights", p->better,
                 p->weights);
        if (p->weights >= FEW_WEIGHTS && p->reported == 0 && 4 * p->better >= 3 * p->weights &&
            p->evidence > POOLED * sqrt(p->variance))
            report_order(job, p->first, order, value);
    }
}

/* ---- one row of blocks ---- */

/* The row is that whose ln rms (b->lines) is farthest from the median of all rows. *off becomes its ln rms minus the
 * median, *usual the median distance of all rows from the median. `scratch` has one value per row. */
static size_t odd_row(const organ_blocks *b, double *scratch, double *off, double *usual)
{
    size_t odd = 0;
    memcpy(scratch, b->lines, b->rows * sizeof *scratch);
    const double middle = organ_autopsy_median(scratch, b->rows);
    *off = 0;
    for (size_t r = 0; r < b->rows; r++) {
        scratch[r] = fabs(b->lines[r] - middle);
        if (scratch[r] > fabs(*off)) {
            odd = r;
            *off = b->lines[r] - middle;
        }
    }
    *usual = organ_autopsy_median(scratch, b->rows);
    return odd;
}

/* A row that differs from the median by more than ln ROW_FACTOR is only appended to pool->odd; judge_rows judges it
 * when all weights have been read. Fewer than 3 rows of blocks, and blocks with fewer than EDGE_ROWS rows of values,
 * are left out. */
static organ_status note_rows(organ_scale_pool *pool, const organ_weight_stats *v, const organ_blocks *b,
                              double *scratch, organ_error *error)
{
    const organ_role role = v->weight->anatomy.role;
    double off, usual;
    if (b->height < EDGE_ROWS || b->rows < 3)
        return ORGAN_OK;
    const size_t row = odd_row(b, scratch, &off, &usual);
    if (!isfinite(off) || !isfinite(usual))
        return ORGAN_OK;
    pool->row_usual[role] += usual;
    pool->row_weights[role]++;
    if (fabs(off) <= log(ROW_FACTOR))
        return ORGAN_OK;
    organ_odd_row *const odd = realloc(pool->odd, (pool->odd_count + 1) * sizeof *odd);
    if (!odd)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    pool->odd = odd;
    pool->odd[pool->odd_count++] = (organ_odd_row){v->weight, row, b->height, off, usual};
    return ORGAN_OK;
}

/* A row must differ by more than ROW_BEYOND standard deviations, the largest of three: that of the weight, the mean
 * of its role in this model, and ROW_SPREAD. 1.4826 converts a median absolute deviation to a standard deviation. */
static void judge_rows(organ_autopsy_job *job, const organ_scale_pool *pool)
{
    static const organ_verdict verdict = {
        "scale_row", "one row of blocks has wrong scales", "rows of blocks with values of about the same size",
        "The scales of this row of blocks are too large or too small by one factor, because all its rows differ from "
        "the others by the same factor: a row of scales was overwritten or converted separately.",
        true};
    for (size_t k = 0; k < pool->odd_count; k++) {
        const organ_odd_row *const o = &pool->odd[k];
        const organ_role role = o->weight->anatomy.role;
        const double usual =
            fmax(fmax(o->usual, pool->row_usual[role] / (double)pool->row_weights[role]) * 1.4826, ROW_SPREAD);
        if (fabs(o->off) > ROW_BEYOND * usual)
            organ_autopsy_report(job, /*finding=*/true, o->weight, &verdict,
                                 "row %zu of blocks (rows %llu to %llu) has %.3g times the rms of the others", o->row,
                                 (unsigned long long)(o->row * o->height),
                                 (unsigned long long)((o->row + 1) * o->height - 1), exp(o->off));
    }
}

/* ---- all tests ---- */

/* Tests that need all weights only collect evidence in job->pool. A weight with values that are not finite or only
 * zeros is left out. */
organ_status organ_autopsy_judge_grid(organ_autopsy_job *job, const organ_weight_stats *v, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_blocks_release) organ_blocks blocks = {0};
    ORGAN_OWNED double *scratch = NULL;
    if (v->unread || v->moments.nan + v->moments.inf > 0 || v->moments.zero == v->moments.n || !v->weight->scale ||
        v->weight->scale->elements < 2)
        return ORGAN_OK;
    if (!job->pool && !(job->pool = calloc(1, sizeof *job->pool)))
        return organ_fail_memory(error, job->options->model);
    if (organ_blocks_read(job, v, /*compare=*/false, &blocks, error) == ORGAN_OK && blocks.scales) {
        if (!(scratch = calloc(2 * blocks.rows * blocks.cols, sizeof *scratch)))
            organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
        else if (note_rows(job->pool, v, &blocks, scratch, error) == ORGAN_OK &&
                 add_residual(job->pool, v->weight, &blocks, scratch, error) == ORGAN_OK &&
                 judge_order(job, job->pool, v->weight, &blocks, scratch, error) == ORGAN_OK)
            organ_autopsy_judge_digits(job, v, &blocks);
    }
    return error->status ? error->status : organ_autopsy_judge_lines(job, v, error);
}

organ_status organ_autopsy_judge_scales(organ_autopsy_job *job, organ_error *error)
{
    if (job->pool) {
        judge_rows(job, job->pool);
        judge_suspects(job, job->pool);
        judge_pooled_order(job, job->pool);
        ORGAN_OWNED double *const scratch = calloc(job->pool->top_count + 1, sizeof *scratch);
        if (!scratch)
            return organ_fail_memory(error, job->options->model);
        organ_autopsy_judge_tops(job, job->pool, scratch);
    }
    return organ_autopsy_judge_factors(job, error);
}

void organ_autopsy_scales_release(organ_autopsy_job *job)
{
    if (!job->pool)
        return;
    ORGAN_FREE_ARRAYS(job->pool->odd, job->pool->tops, job->pool->suspects, job->pool->rests, job->pool);
    job->pool = NULL;
}
