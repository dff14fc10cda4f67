/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/read_rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define MAX_BLOCKS ((size_t)1 << 16) /* blocks that are read of a weight */
/* Values that are read of a weight, unless FEW_LINES rows of values in each row of blocks are more. */
#define MAX_VALUES ((uint64_t)1 << 20)
#define FEW_LINES  4
#define MAX_SCALES ((uint64_t)1 << 24) /* bytes of a tensor of scales that is read whole */
#define EDGE       128                 /* height and width of the blocks of a weight without scales */
#define AT_ONCE    16                  /* rows of values that are read together */

double organ_autopsy_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, organ_order_numbers);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double organ_block_ln_rms(const organ_block_sums *sums) { return log(sums->own / (double)sums->n) / 2; }

/* ---- selection of rows and blocks ---- */

/* A large weight is read only in part: at most MAX_BLOCKS blocks and, if blocks are one row high, at most about
 * MAX_VALUES values. *lines becomes the number of rows of values that are read in each row of blocks. Returns false
 * if the weight has no grid: a stack of matrices, an empty matrix, a vector, GPTQ groups in any order (g_idx),
 * scales without a size of blocks, or more than MAX_BLOCKS blocks in a row. */
static bool plan_blocks(const organ_weight *weight, const organ_matrices *m, organ_blocks *b, uint64_t *lines)
{
    const bool scaled = weight->scale != NULL;
    if (m->count != 1 || m->rows == 0 || m->cols == 0 || weight->rank < 2 || weight->g_idx ||
        (scaled && (weight->block_rows == 0 || weight->block_cols == 0)))
        return false;
    b->height = organ_min(scaled ? weight->block_rows : EDGE, m->rows);
    b->width = organ_min(scaled ? weight->block_cols : EDGE, m->cols);
    const size_t all = organ_pieces_of(m->rows, b->height);
    b->cols = organ_pieces_of(m->cols, b->width);
    if (b->cols > MAX_BLOCKS)
        return false;
    b->rows = organ_min(all, MAX_BLOCKS / b->cols);
    *lines = MAX_VALUES / (b->rows * m->cols);
    if (b->height == 1) {
        b->rows = organ_min(b->rows, organ_max(MAX_VALUES / m->cols, AT_ONCE));
        *lines = 1;
    }
    *lines = organ_min(organ_max(*lines, FEW_LINES), b->height);
    b->complete = b->rows == all;
    return true;
}

/* ---- values ---- */

/* `b` is the row of the counterpart or NULL; `width` is the width of a block in columns. Returns ln rms of `a`. */
static double add_line(const float *a, const float *b, size_t cols, uint64_t width, organ_block_sums *sums)
{
    double whole = 0;
    for (size_t from = 0, to; from < cols; from = to, sums++) {
        double own = 0, other = 0, product = 0;
        to = organ_min(from + width, cols);
        for (size_t c = from; c < to; c++) {
            own += (double)a[c] * (double)a[c];
            other += b ? (double)b[c] * (double)b[c] : 0;
            product += b ? (double)a[c] * (double)b[c] : 0;
        }
        sums->own += own;
        sums->other += other;
        sums->product += product;
        sums->n += to - from;
        whole += own;
    }
    return log(whole / (double)cols) / 2;
}

/* sides[0] is the weight, sides[1] its counterpart if open. `spreads` gets ln rms of each row of the weight. `count`
 * is at most AT_ONCE. */
static organ_status add_lines(organ_row_buffer sides[2], uint64_t first, size_t count, size_t cols,
                              organ_blocks *blocks, double *spreads, organ_error *error)
{
    const float *const a = sides[0].values, *const b = sides[1].values;
    if (organ_row_buffer_read(&sides[0], first, count, error) ||
        (b && organ_row_buffer_read(&sides[1], first, count, error)))
        return error->status;
    for (size_t r = 0; r < count; r++)
        spreads[r] = add_line(a + r * cols, b ? b + r * cols : NULL, cols, blocks->width,
                              blocks->sums + (first + r) / blocks->height * blocks->cols);
    return ORGAN_OK;
}

/* b->lines[r] becomes the median ln rms of the first `lines` rows of values in row r of blocks. `spreads` is scratch
 * memory for `lines` values. */
static organ_status add_high_blocks(organ_row_buffer sides[2], const organ_matrices *m, uint64_t lines, organ_blocks *b,
                                    double *spreads, organ_error *error)
{
    for (size_t r = 0; r < b->rows && !error->status; r++) {
        const uint64_t first = r * b->height;
        const size_t requested = organ_min(lines, m->rows - first);
        for (size_t done = 0, n; done < requested && !error->status; done += n) {
            n = organ_min(AT_ONCE, requested - done);
            add_lines(sides, first + done, n, m->cols, b, spreads + done, error);
        }
        b->lines[r] = error->status ? 0 : organ_autopsy_median(spreads, requested);
    }
    return error->status;
}

/* The blocks are one row high, so that b->lines[r] becomes ln rms of row r. */
static organ_status add_flat_blocks(organ_row_buffer sides[2], const organ_matrices *m, organ_blocks *b,
                                    organ_error *error)
{
    for (size_t r = 0, n; r < b->rows && !error->status; r += n) {
        n = organ_min(AT_ONCE, b->rows - r);
        add_lines(sides, r, n, m->cols, b, b->lines + r, error);
    }
    return error->status;
}

static organ_status sum_blocks(const organ_autopsy_job *job, const organ_weight_stats *v, bool compare, uint64_t lines,
                               organ_blocks *b, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(v->weight);
    const organ_kernels *const kernels = job->engine->kernels;
    organ_row_buffer sides[2] = {{0}};
    ORGAN_OWNED double *const spreads = calloc(lines, sizeof *spreads);
    if (!spreads)
        organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    else if (organ_row_buffer_open(&sides[0], job->model, v->weight, kernels, AT_ONCE, /*whole_steps=*/false, error) ==
                 ORGAN_OK &&
             (!compare || organ_row_buffer_open(&sides[1], job->other, v->other, kernels, AT_ONCE,
                                                /*whole_steps=*/false, error) == ORGAN_OK))
        b->height == 1 ? add_flat_blocks(sides, &m, b, error) : add_high_blocks(sides, &m, lines, b, spreads, error);
    organ_row_buffer_close(&sides[0]);
    organ_row_buffer_close(&sides[1]);
    return error->status;
}

/* ---- scales ---- */

static bool has_scales(const organ_weight *weight, const organ_matrices *m, const organ_blocks *b)
{
    const organ_tensor *const scale = weight->scale;
    return scale && (scale->dtype == ORGAN_F32 || scale->dtype == ORGAN_F16 || scale->dtype == ORGAN_BF16) &&
           scale->bytes <= MAX_SCALES && scale->elements == organ_pieces_of(m->rows, b->height) * b->cols;
}

/* If weight->transposed (GPTQ and AWQ), the file stores the scales column by column. b->scales becomes NULL if a
 * scale is 0 or not finite, and after an error. */
static organ_status read_scales(const organ_autopsy_job *job, const organ_weight *weight, organ_blocks *b,
                                organ_error *error)
{
    const organ_tensor *const scale = weight->scale;
    const size_t all = (size_t)scale->elements / b->cols, used = b->rows * b->cols;
    ORGAN_OWNED void *const bytes = malloc(scale->bytes);
    ORGAN_OWNED float *const values = calloc((size_t)scale->elements, sizeof *values);
    b->scales = calloc(used, sizeof *b->scales);
    bool right = true;
    if (!bytes || !values || !b->scales)
        organ_fail_errno(error, ENOMEM, "tensor '%s'", scale->name);
    else if (organ_model_read(job->model, scale->file, bytes, scale->bytes, scale->offset, error) == ORGAN_OK) {
        organ_widen(job->engine->kernels, scale->dtype, bytes, values, (size_t)scale->elements);
        for (size_t k = 0; k < used; k++) {
            b->scales[k] = fabsf(weight->transposed ? values[k % b->cols * all + k / b->cols] : values[k]);
            right = right && isfinite(b->scales[k]) && b->scales[k] > 0;
        }
    }
    if (!right || error->status) {
        organ_clear(&b->scales);
    }
    return error->status;
}

organ_status organ_blocks_read(const organ_autopsy_job *job, const organ_weight_stats *v, bool compare,
                               organ_blocks *blocks, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(v->weight);
    uint64_t lines = 0;
    *blocks = (organ_blocks){0};
    if (!plan_blocks(v->weight, &m, blocks, &lines)) {
        *blocks = (organ_blocks){0};
        return ORGAN_OK;
    }
    blocks->sums = calloc(blocks->rows * blocks->cols, sizeof *blocks->sums);
    blocks->lines = calloc(blocks->rows, sizeof *blocks->lines);
    if (!blocks->sums || !blocks->lines)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    if (has_scales(v->weight, &m, blocks) && read_scales(job, v->weight, blocks, error))
        return error->status;
    return sum_blocks(job, v, compare, lines, blocks, error);
}

void organ_blocks_release(organ_blocks *blocks)
{
    ORGAN_FREE_ARRAYS(blocks->sums, blocks->scales, blocks->lines);
    *blocks = (organ_blocks){0};
}

/* ---- wrong orders of scales ---- */

const char *organ_order_text(organ_order order)
{
    static const char *const texts[ORGAN_ORDER_COUNT] = {
        "the grid of scales is transposed", "the scales are shifted down by one row of blocks",
        "the scales are shifted up by one row of blocks", "the scales are shifted right by one column of blocks",
        "the scales are shifted left by one column of blocks"};
    return texts[order];
}

bool organ_order_fits(const organ_blocks *b, organ_order order, organ_order_range *range)
{
    *range = (organ_order_range){0, b->rows, 0, b->cols};
    if (order == ORGAN_ORDER_TRANSPOSED)
        return b->complete && b->rows > 1 && b->cols > 1;
    range->row += order == ORGAN_ORDER_UP;
    range->row_end -= order == ORGAN_ORDER_DOWN;
    range->col += order == ORGAN_ORDER_LEFT;
    range->col_end -= order == ORGAN_ORDER_RIGHT;
    return range->row_end > range->row && range->col_end > range->col;
}

size_t organ_order_index(const organ_blocks *b, organ_order order, size_t row, size_t col)
{
    switch (order) {
    case ORGAN_ORDER_DOWN:
        return (row + 1) * b->cols + col;
    case ORGAN_ORDER_UP:
        return (row - 1) * b->cols + col;
    case ORGAN_ORDER_RIGHT:
        return row * b->cols + col + 1;
    case ORGAN_ORDER_LEFT:
        return row * b->cols + col - 1;
    default:
        return col * b->rows + row;
    }
}

/* ---- single rows with wrong scales ---- */

/* Finds single rows with wrong scales in weights whose blocks are one row high: a scale for each row, or for each group
 * of columns of a row. The scales of all rows are read, but values only of the few rows that stand out. */

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
    return ORGAN_ORDERS(ORGAN_ORDER(x->ln, y->ln), ORGAN_ORDER(x->row, y->row));
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
    ORGAN_FREE_ARRAYS(bytes, values, row);
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
    if (organ_row_buffer_open(&sides[0], job->model, v->weight, job->engine->kernels, 1, /*whole_steps=*/false,
                              error) == ORGAN_OK &&
        organ_row_buffer_open(&sides[1], job->other, v->other, job->engine->kernels, 1, /*whole_steps=*/false, error) ==
            ORGAN_OK &&
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
    organ_autopsy_report(job, /*finding=*/true, v->weight, &line_verdict, "%s", value);
    return ORGAN_OK;
}

/* Appends the row with the largest scale to pool->tops. */
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
    ORGAN_OWNED scaled_line *lines = NULL;
    if (!has_lines(v->weight, &groups) || read_scale_lines(job, v->weight, groups, &lines, error) != ORGAN_OK || !lines)
        return error->status;
    const size_t rows = (size_t)v->weight->scale->elements / groups;
    if (v->other && v->distance.skipped == 0)
        check_lines(job, v, lines, rows, error);
    else if (groups == 1)
        note_line(job->pool, v->weight, lines, rows, error);
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
        organ_autopsy_report(job, /*finding=*/true, t->weight, &line_verdict,
                             "row %zu: scales %.3g times the median of all rows and %.3g times those of the next row",
                             t->row, exp(t->off), exp(t->gap));
    }
}
