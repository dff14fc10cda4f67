/* SPDX-License-Identifier: MIT
 * Finds wrong scales of a quantised weight by comparison with its counterpart, the same weight of another model. A
 * block is the part of a weight that shares a scale. If only the scale of a block is wrong, its values are a multiple
 * of those of the counterpart: the factor of the block. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/plain_numbers.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Largest relative error, as a multiple of the largest usual error, that may remain after each block is multiplied by
 * its factor. */
#define ABOUT     1.5
#define OFF       0.05 /* two factors count as equal if their logarithms differ by at most this */
#define EXPLAINED 0.5  /* largest share of the rms of ln factors that may remain after a wrong order is undone */
#define MAX_LINES 4    /* largest number of rows or columns of blocks that a finding lists */

typedef struct autopsy_against_factors {
    const organ_blocks *blocks;
    double *ln;           /* ln of the factor of each block, rows x cols; NAN if the factor is not positive */
    double *scratch;      /* buffer of 2 x rows x cols numbers, for medians */
    double before, after; /* relative error, and the same with each block of the counterpart times its factor */
    double middle;        /* median of `ln` without NAN */
} autopsy_against_factors;

static size_t against_count_of(const autopsy_against_factors *f) { return f->blocks->rows * f->blocks->cols; }

/* The factor of a block is <a, b> / <b, b>, where a is the block of the weight and b that of the counterpart; f->ln
 * is NAN if the factor is not positive. `before` is ||a - b|| / ||b|| over all blocks. `after` is the same error
 * with each b multiplied by its factor: in a block the squared error is then ||a||^2 - factor <a, b>, and the
 * squared norm of the multiplied b is factor <a, b>. Returns false if no block has a factor or an error is not
 * finite. */
static bool find_factors(autopsy_against_factors *f)
{
    double off = 0, other = 0, left = 0, scaled = 0;
    size_t used = 0;
    for (size_t k = 0; k < against_count_of(f); k++) {
        const organ_block_sums *const s = &f->blocks->sums[k];
        const double factor = s->other > 0 ? s->product / s->other : 0;
        off += s->own - 2 * s->product + s->other;
        other += s->other;
        left += s->own - factor * s->product;
        scaled += factor * s->product;
        f->ln[k] = factor > 0 ? log(factor) : (double)NAN;
        if (factor > 0)
            f->scratch[used++] = f->ln[k];
    }
    f->before = sqrt(off / other);
    f->after = sqrt(left / scaled);
    f->middle = used ? organ_autopsy_median(f->scratch, used) : (double)NAN;
    return used > 0 && isfinite(f->before) && isfinite(f->after);
}

static size_t count_differing_blocks(const autopsy_against_factors *f, double about)
{
    size_t off = 0;
    for (size_t k = 0; k < against_count_of(f); k++)
        off += !(fabs(f->ln[k] - about) <= OFF);
    return off;
}

/* ---- explanations of the factors ---- */

/* At least 95 percent of the blocks must have about the same factor, and this factor must not be 1. Without `scaled`
 * (the weight has no scales) the text says "values". */
static bool name_factor(const autopsy_against_factors *f, bool scaled, char *value, size_t size)
{
    if (fabs(f->middle) <= OFF || 20 * count_differing_blocks(f, f->middle) > against_count_of(f))
        return false;
    organ_snprintf(value, size, "all its %s are %.3g times their correct values", scaled ? "scales" : "values",
                   exp(f->middle));
    return true;
}

/* Returns the root mean square of the ln factors that would remain if the wrong order were undone, over the blocks
 * in the range of organ_order_fits; *without becomes that of their present ln factors. Returns INFINITY if the
 * scales were not read or the order does not fit the grid. */
static double spread_after_order(const autopsy_against_factors *f, organ_order order, double *without)
{
    organ_order_range range;
    double left = 0, all = 0;
    size_t n = 0;
    if (!f->blocks->scales || !organ_order_fits(f->blocks, order, &range))
        return INFINITY;
    for (size_t r = range.row; r < range.row_end; r++)
        for (size_t c = range.col; c < range.col_end; c++) {
            const size_t k = r * f->blocks->cols + c;
            /* ln of the stored scale over the correct one: the factor that this order would cause */
            const double expected = log((double)f->blocks->scales[k]) -
                                    log((double)f->blocks->scales[organ_order_index(f->blocks, order, r, c)]);
            if (!isfinite(f->ln[k]))
                continue;
            left += (f->ln[k] - expected) * (f->ln[k] - expected);
            all += f->ln[k] * f->ln[k];
            n++;
        }
    *without = n ? sqrt(all / (double)n) : 0;
    return n ? sqrt(left / (double)n) : INFINITY;
}

/* Undoing the order must reduce the root mean square of the ln factors to less than EXPLAINED times its value.
 * `value` names the order that leaves the smallest. */
static bool name_order(const autopsy_against_factors *f, char *value, size_t size)
{
    organ_order best = ORGAN_ORDER_COUNT;
    double least = INFINITY, without = 0, all = 0;
    for (organ_order order = 0; order < ORGAN_ORDER_COUNT; order++) {
        const double left = spread_after_order(f, order, &without);
        if (left < EXPLAINED * without && left < least) {
            best = order;
            least = left;
            all = without;
        }
    }
    if (best == ORGAN_ORDER_COUNT)
        return false;
    organ_snprintf(
        value, size,
        "%s: the factor between both varies by %.3g percent from block to block, and by %.2g percent after this "
        "is undone",
        organ_order_text(best), 100 * all, 100 * least);
    return true;
}

/* Returns the median ln factor of a row of blocks or, if `row` is false, a column. A block without a factor counts
 * as 0. Returns NAN if more than a quarter of these blocks differ from the median by more than OFF. */
static double line_factor(const autopsy_against_factors *f, bool row, size_t line)
{
    const size_t count = row ? f->blocks->cols : f->blocks->rows, step = row ? 1 : f->blocks->cols;
    const double *const first = f->ln + (row ? line * f->blocks->cols : line);
    size_t off = 0;
    for (size_t k = 0; k < count; k++)
        f->scratch[k] = isfinite(first[k * step]) ? first[k * step] : 0;
    const double middle = organ_autopsy_median(f->scratch, count);
    for (size_t k = 0; k < count; k++)
        off += !(fabs(first[k * step] - middle) <= OFF);
    return 4 * off <= count ? middle : (double)NAN;
}

/* Names at most MAX_LINES rows of blocks (columns if `row` is false). They explain the factors if they are at most
 * half of all rows, and if the number of blocks whose factor is not 1 is at most 1.1 times the number of their
 * blocks. */
static bool name_lines(const autopsy_against_factors *f, bool row, char *value, size_t size)
{
    const size_t lines = row ? f->blocks->rows : f->blocks->cols, each = row ? f->blocks->cols : f->blocks->rows;
    const uint64_t width = row ? f->blocks->height : f->blocks->width;
    size_t found = 0, explained = 0, used = 0;
    for (size_t line = 0; line < lines; line++) {
        const double ln = line_factor(f, row, line);
        if (!(fabs(ln) > OFF))
            continue;
        explained += each;
        if (found++ < MAX_LINES && used < size)
            used += (size_t)organ_snprintf(value + used, size - used,
                                           "%s%s %zu of blocks (from %s %llu on): scales %.3g times",
                                           found > 1 ? "; " : "", row ? "row" : "column", line, row ? "row" : "column",
                                           (unsigned long long)(line * width), exp(ln));
    }
    if (found > MAX_LINES && used < size)
        snprintf(value + used, size - used, "; and %zu more", found - MAX_LINES);
    return found > 0 && 2 * found <= lines && 10 * count_differing_blocks(f, 0) <= 11 * explained;
}

static void report_some_blocks(const autopsy_against_factors *f, char *value, size_t size)
{
    double least = INFINITY, max = -INFINITY;
    for (size_t k = 0; k < against_count_of(f); k++)
        if (fabs(f->ln[k]) > OFF) {
            least = fmin(least, f->ln[k]);
            max = fmax(max, f->ln[k]);
        }
    organ_snprintf(value, size, "the scales of %zu of %zu blocks are %.3g to %.3g times their correct values",
                   count_differing_blocks(f, 0), against_count_of(f), exp(least), exp(max));
}

/* ---- the verdict ---- */

static void report_scales(organ_autopsy_job *job, const organ_weight_stats *v, const autopsy_against_factors *f)
{
    static const organ_verdict verdicts[] = {
        {"scale_factor", "scales wrong by one factor", "factors of 1 between both, in each block",
         "A global scale that was left out or applied twice, the scales of another tensor, or scales multiplied after "
         "they were computed.",
         true},
        {"scale_order", "scales in the wrong order", "factors of 1 between both, in each block",
         "Each block has the scale of another one: the grid was written in another order than it is read, or a row or "
         "column of it was "
         "inserted, dropped or padded.",
         true},
        {"scale_row", "some rows or columns of blocks have wrong scales", "factors of 1 between both, in each block",
         "These scales were overwritten or converted separately from the others.", true},
        {"scales", "some blocks have wrong scales", "factors of 1 between both, in each block",
         "Codes are right and scales are not: scales of other blocks, of another tensor, or of another block size.",
         true}};
    char value[256];
    const organ_verdict *verdict = &verdicts[3];
    if (name_factor(f, v->weight->scale != NULL, value, sizeof value))
        verdict = &verdicts[0];
    else if (name_order(f, value, sizeof value))
        verdict = &verdicts[1];
    else if (name_lines(f, /*row=*/true, value, sizeof value) || name_lines(f, /*row=*/false, value, sizeof value))
        verdict = &verdicts[2];
    if (verdict == &verdicts[3])
        report_some_blocks(f, value, sizeof value);
    organ_autopsy_report(
        job, /*finding=*/true, v->weight, verdict,
        "%s; relative error %.3g percent, %.3g percent with each block of the original multiplied by its factor", value,
        100 * f->before, 100 * f->after);
}

/* Adds a finding only if the relative error that remains, with each block of the counterpart multiplied by its
 * factor (find_factors), is less than half of the error before and at most ABOUT times the largest usual one. A
 * weight with values that are not finite or only zeros is left out. */
organ_status organ_autopsy_judge_against(organ_autopsy_job *job, const organ_weight_stats *v, bool *named,
                                         organ_error *error)
{
    organ_blocks blocks = {0};
    autopsy_against_factors f = {.blocks = &blocks};
    if (!v->other || v->unread || v->moments.nan + v->moments.inf > 0 || v->distance.skipped > 0 ||
        v->moments.zero == v->moments.n)
        return ORGAN_OK;
    const organ_usual_error usual = organ_usual_error_between(v->weight, v->other);
    const double max = usual.max;
    if (!(organ_distance_view_of(&v->distance).relative > max) ||
        organ_blocks_read(job, v, /*compare=*/true, &blocks, error) != ORGAN_OK || blocks.rows == 0) {
        organ_blocks_release(&blocks);
        return error->status;
    }
    f.ln = calloc(3 * against_count_of(&f), sizeof *f.ln); /* ln, then scratch */
    f.scratch = f.ln ? f.ln + against_count_of(&f) : NULL;
    if (!f.ln)
        organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    else if (find_factors(&f) && f.before > max && f.after <= ABOUT * max && 2 * f.after < f.before) {
        report_scales(job, v, &f);
        *named = true;
    }
    free(f.ln);
    organ_blocks_release(&blocks);
    return error->status;
}
