/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/health/autopsy_blocks.h"

#include "formats/base/order.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/rows.h"
#include "orchestrator/stream/widen.h"

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
    double *const spreads = calloc(lines, sizeof *spreads);
    if (!spreads)
        organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    else if (organ_row_buffer_open(&sides[0], job->model, v->weight, kernels, AT_ONCE, false, error) == ORGAN_OK &&
             (!compare ||
              organ_row_buffer_open(&sides[1], job->other, v->other, kernels, AT_ONCE, false, error) == ORGAN_OK))
        b->height == 1 ? add_flat_blocks(sides, &m, b, error) : add_high_blocks(sides, &m, lines, b, spreads, error);
    organ_row_buffer_close(&sides[0]);
    organ_row_buffer_close(&sides[1]);
    free(spreads);
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
    void *const bytes = malloc(scale->bytes);
    float *const values = calloc((size_t)scale->elements, sizeof *values);
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
    free(bytes);
    free(values);
    if (!right || error->status) {
        free(b->scales);
        b->scales = NULL;
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
    free(blocks->sums);
    free(blocks->scales);
    free(blocks->lines);
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
