/* SPDX-License-Identifier: MIT
 * Finds single rows with wrong scales in weights whose blocks are one row high: a scale for each row, or for each group
 * of columns of a row. The scales of all rows are read, but values only of the few rows that stand out. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/health/autopsy_scales.h"

#include "formats/base/order.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/rows.h"
#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define LINE_ROWS     ((size_t)16)        /* fewest rows of a weight that is tested */
#define LINE_SCALES   ((uint64_t)1 << 26) /* bytes of a tensor of scales that is read whole */
#define LINE_CHECKED  ((size_t)8)         /* rows at each end of the sizes that are compared with the original */
#define LINE_OFF      0.4                 /* ln of a factor from the original that is wrong: 1.5 */
#define LINE_GAP      0.55                /* least ln of the factor between the largest row and the next: 1.73 */
#define LINE_BEYOND   2                   /* that ln must be this many times that of other weights */
#define LINE_WEIGHTS  ((size_t)8)         /* fewest weights that are compared with each other */
#define LINE_OUTLIERS ((size_t)32)        /* one of this many weights may have a large gap by nature */

typedef struct scaled_line {
    double ln; /* ln of the median scale of the row */
    size_t row;
} scaled_line;

static int by_scale(const void *a, const void *b)
{
    const scaled_line *const x = a, *const y = b;
    if (x->ln != y->ln)
        return x->ln < y->ln ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static bool has_lines(const organ_weight *w, size_t *groups)
{
    const organ_matrices m = organ_weight_matrices(w);
    const organ_tensor *const scale = w->scale;
    if (!scale || m.count != 1 || m.rows < LINE_ROWS || w->block_rows != 1 || w->block_cols == 0 || w->g_idx ||
        (scale->dtype != ORGAN_F32 && scale->dtype != ORGAN_F16 && scale->dtype != ORGAN_BF16))
        return false;
    *groups = (size_t)organ_pieces_of(m.cols, w->block_cols);
    return scale->bytes <= LINE_SCALES && scale->elements == m.rows * *groups;
}

/* The rows are in ascending order of their median scale; *lines becomes NULL if a scale is not positive and finite.
 * The caller frees *lines. */
static organ_status read_scale_lines(const organ_autopsy_job *job, const organ_weight *w, size_t groups,
                                     scaled_line **lines, organ_error *error)
{
    const organ_tensor *const scale = w->scale;
    const size_t rows = (size_t)scale->elements / groups;
    void *const bytes = malloc(scale->bytes);
    float *const values = calloc((size_t)scale->elements, sizeof *values);
    double *const row = calloc(groups, sizeof *row);
    scaled_line *const list = calloc(rows, sizeof *list);
    bool right = true;
    if (!bytes || !values || !row || !list)
        organ_fail_errno(error, ENOMEM, "tensor '%s'", scale->name);
    else if (organ_model_read(job->model, scale->file, bytes, scale->bytes, scale->offset, error) == ORGAN_OK)
        organ_widen(job->engine->kernels, scale->dtype, bytes, values, (size_t)scale->elements);
    for (size_t r = 0; !error->status && r < rows; r++) {
        for (size_t g = 0; g < groups; g++) {
            const float found = w->transposed ? values[g * rows + r] : values[r * groups + g];
            right = right && isfinite(found) && found != 0;
            row[g] = right ? log(fabs((double)found)) : 0; /* searched scales may be negative */
        }
        list[r] = (scaled_line){organ_autopsy_median(row, groups), r};
    }
    free(bytes);
    free(values);
    free(row);
    *lines = error->status || !right ? NULL : list;
    if (!*lines)
        free(list);
    else
        qsort(list, rows, sizeof *list, by_scale);
    return error->status;
}

/* *ln becomes ln of the factor between the two rows. The factor explains their difference if the error that remains
 * is at most `most`, relative to the multiplied row. */
static bool line_factor_of(organ_row_buffer sides[2], size_t row, double most, double *ln, organ_error *error)
{
    double own = 0, other = 0, product = 0;
    if (organ_row_buffer_read(&sides[0], row, 1, error) || organ_row_buffer_read(&sides[1], row, 1, error))
        return false;
    for (size_t c = 0; c < sides[0].cols; c++) {
        const double a = (double)sides[0].values[c], b = (double)sides[1].values[c];
        own += a * a;
        other += b * b;
        product += a * b;
    }
    if (!(other > 0 && product > 0))
        return false;
    const double scaled = product * product / other;
    *ln = log(product / other);
    return own - scaled <= most * most * scaled;
}

static const organ_verdict line_verdict = {
    "scale_row", "rows have wrong scales", "rows whose scales fit their values",
    "The scales of these rows are too large or too small by one factor: they were overwritten or converted separately "
    "from the others.",
    true};

/* Only the LINE_CHECKED rows with the largest and with the smallest scales are compared. A finding needs some of
 * them to be wrong by a factor, but not the row in the middle. */
static organ_status check_lines(organ_autopsy_job *job, const organ_weight_stats *v, const scaled_line *lines,
                                size_t rows, organ_error *error)
{
    const double most = 1.5 * organ_usual_error_between(v->weight, v->other).max;
    organ_row_buffer sides[2] = {{0}};
    char value[200];
    size_t found = 0, first = 0;
    double ln = 0, wrong = 0;
    if (organ_row_buffer_open(&sides[0], job->model, v->weight, job->engine->kernels, 1, false, error) == ORGAN_OK &&
        organ_row_buffer_open(&sides[1], job->other, v->other, job->engine->kernels, 1, false, error) == ORGAN_OK &&
        line_factor_of(sides, lines[rows / 2].row, most, &ln, error) && fabs(ln) < LINE_OFF / 2)
        for (size_t k = 0; k < 2 * LINE_CHECKED && !error->status; k++) {
            const scaled_line *const l = &lines[k < LINE_CHECKED ? k : rows - 1 - (k - LINE_CHECKED)];
            if (!line_factor_of(sides, l->row, most, &ln, error) || fabs(ln) < LINE_OFF)
                continue;
            first = found++ ? first : l->row;
            wrong = found > 1 ? wrong : ln;
        }
    organ_row_buffer_close(&sides[0]);
    organ_row_buffer_close(&sides[1]);
    if (error->status || found == 0 || found >= LINE_CHECKED)
        return error->status;
    organ_snprintf(value, sizeof value, "row %zu: scales %.3g times their correct values%s", first, exp(wrong),
                   found > 1 ? ", and other rows" : "");
    organ_autopsy_report(job, true, v->weight, &line_verdict, "%s", value);
    return ORGAN_OK;
}

static organ_status note_line(organ_scale_pool *pool, const organ_weight *weight, const scaled_line *lines, size_t rows,
                              organ_error *error)
{
    organ_top_line *const more = realloc(pool->tops, (pool->top_count + 1) * sizeof *more);
    if (!more)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", weight->name);
    pool->tops = more;
    pool->tops[pool->top_count++] = (organ_top_line){
        weight, lines[rows - 1].row, lines[rows - 1].ln - lines[rows - 2].ln, lines[rows - 1].ln - lines[rows / 2].ln};
    return ORGAN_OK;
}

organ_status organ_autopsy_judge_lines(organ_autopsy_job *job, const organ_weight_stats *v, organ_error *error)
{
    size_t groups;
    scaled_line *lines = NULL;
    if (!has_lines(v->weight, &groups) || read_scale_lines(job, v->weight, groups, &lines, error) != ORGAN_OK || !lines)
        return error->status;
    const size_t rows = (size_t)v->weight->scale->elements / groups;
    if (v->other && v->distance.skipped == 0)
        check_lines(job, v, lines, rows, error);
    else if (groups == 1)
        note_line(job->pool, v->weight, lines, rows, error);
    free(lines);
    return error->status;
}

void organ_autopsy_judge_tops(organ_autopsy_job *job, const organ_scale_pool *pool, double *scratch)
{
    for (size_t k = 0; k < pool->top_count; k++)
        scratch[k] = pool->tops[k].gap;
    qsort(scratch, pool->top_count, sizeof *scratch, organ_order_numbers);
    for (size_t k = 0; k < pool->top_count; k++) {
        const organ_top_line *const t = &pool->tops[k];
        /* the gap of other weights: the largest, or a smaller one if there are many */
        const size_t skipped = 1 + pool->top_count / LINE_OUTLIERS;
        if (pool->top_count < LINE_WEIGHTS || t->gap <= LINE_GAP ||
            t->gap <= LINE_BEYOND * scratch[pool->top_count - 1 - skipped])
            continue;
        organ_autopsy_report(job, true, t->weight, &line_verdict,
                             "row %zu: scales %.3g times the median of all rows and %.3g times those of the next row",
                             t->row, exp(t->off), exp(t->gap));
    }
}
