/* SPDX-License-Identifier: MIT
 * SparseGPT (Frantar & Alistarh 2023, arXiv:2301.00774). Killing weight j of a row raises the row's squared output
 * error by w_j^2 / [H^-1]_jj, with H the second moments of the inputs, if the other weights change by -w_j / [H^-1]_jj
 * times row j of H^-1. Each row would need the inverse for its own kept weights. SparseGPT therefore fixes columns from
 * left to right: the inverse for the columns from j on is then the same for all rows, and with H^-1 = U^T U, U upper
 * triangular, its first row is u_jj (u_jj, u_j,j+1, ...). So the score of a weight is (w_j / u_jj)^2, and killing it
 * subtracts (w_j / u_jj) u_jk from every w_k to its right. */
#include "orchestrator/surgery/prune/prune_matrix_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/prune/score_edge.h"
#include "orchestrator/surgery/calibration/expand_moments.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define COLUMNS ((size_t)128) /* columns of a pass; the authors' block size */
#define STRIP   ((size_t)128) /* rows of the work of one task of organ_share */
#define DAMPING 0.01          /* added to H's diagonal, times the mean of the diagonal */

typedef struct sparsegpt_sweep {
    const organ_matrix_job *job;
    float *factor;          /* first H, then U with H^-1 = U^T U on and above the diagonal; in diagonal blocks like H */
    float *scores;          /* scores of the pass, rows x n, n at most COLUMNS */
    uint8_t *kept;          /* mask of the pass by these scores, rows x n; not used with a pattern */
    float *errors;          /* per worker: sweep_row's errors, STRIP x n */
    unsigned char *scratch; /* scratch of the product kernel, ORGAN_PRODUCT_SCRATCH bytes per worker */
    size_t first, n;        /* the pass has columns [first, first + n) */
    organ_edge_search search; /* of the mask `kept` */
    size_t start, width;      /* the pass is in the diagonal block of H with columns [start, start + width) */
    const float *u;           /* U of this block from element (first, first) on; rows are `width` values apart */
} sparsegpt_sweep;

/* enter_block has selected the block `h` of H. An input that is always 0 would make H singular, so its diagonal
 * entry becomes the mean of the diagonal. All other entries of this input's row and column of H are 0, so its
 * weights affect no other weights. Returns ORGAN_BAD_INPUT if the block is not positive definite, ORGAN_IO if memory
 * cannot be allocated. */
static organ_status sparsegpt_factorise(const sparsegpt_sweep *s, float *h, organ_error *error)
{
    const float mean = (float)s->job->moments->mean_diagonal;
    bool definite = false;
    for (size_t j = 0; j < s->width; j++) {
        float *const own = &h[j * (s->width + 1)];
        *own = (*own == 0 ? mean : *own) + (float)DAMPING * mean;
    }
    if (!organ_inverse_factor(s->job->engine, h, s->width, &definite))
        return organ_fail_memory(error, s->job->options->name);
    if (!definite)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: the second moments of inputs %zu to %zu cannot be inverted (mean square %g)",
                          s->job->options->name, s->start, s->start + s->width - 1, s->job->moments->mean_diagonal);
    return ORGAN_OK;
}

static float own_factor(const sparsegpt_sweep *s, size_t column)
{
    const size_t block = s->job->moments->block, start = column / block * block,
                 width = organ_min(block, s->job->cols - start);
    return s->factor[start * block + (column - start) * (width + 1)];
}

/* The weights of greatest score (w_j / u_jj)^2 stay. The first weight of the group is weights[0] in column `column`.
 * The group may extend into the next block of H. */
static void keep_group(const sparsegpt_sweep *s, const float *weights, size_t column, uint8_t *keep)
{
    const organ_pattern *const pattern = &s->job->options->pattern;
    float scores[ORGAN_PATTERN_MAX];
    for (size_t k = 0; k < pattern->of; k++) {
        const float x = weights[k] / own_factor(s, column + k);
        scores[k] = x * x;
    }
    organ_pattern_group(pattern, scores, keep);
}

/* The score of a weight is (w_j / u_jj)^2; it is counted for the search of the mask. */
static void score_rows(void *context, size_t index, size_t worker)
{
    sparsegpt_sweep *const s = context;
    const size_t cols = s->job->cols, first = index * STRIP, end = organ_min(first + STRIP, s->job->rows);
    for (size_t i = first; i < end; i++)
        for (size_t j = 0; j < s->n; j++) {
            const float x = s->job->weights[i * cols + s->first + j] / s->u[j * (s->width + 1)];
            s->scores[i * s->n + j] = x * x;
        }
    organ_edge_search_count(&s->search, first * s->n, (end - first) * s->n, worker);
}

static void mask_pass(sparsegpt_sweep *s)
{
    const size_t all = s->job->rows * s->n;
    s->search.strip = STRIP * s->n;
    organ_edge_search_begin(&s->search, s->scores, all, (size_t)llround(s->job->options->sparsity / 100 * (double)all),
                            s->kept);
    organ_share(s->job->engine, NULL, organ_pieces_of(s->job->rows, STRIP), score_rows, s);
    organ_edge_search_finish(&s->search);
}

/* Each killed weight j becomes 0, and its error times row j of U is subtracted from the later columns of the pass.
 * errors[j] becomes this error, w_j / u_jj, or 0 for a kept weight. With these errors the caller updates the columns
 * after the pass, for many rows in one product. */
static void sweep_row(const sparsegpt_sweep *s, size_t row, float *errors)
{
    const organ_pattern *const pattern = &s->job->options->pattern;
    float *const w = s->job->weights + row * s->job->cols + s->first;
    uint8_t *const keep = s->job->keep + row * s->job->cols + s->first;
    for (size_t j = 0; j < s->n; j++) {
        const float *const u = s->u + j * s->width;
        if (!pattern->of)
            keep[j] = s->kept[row * s->n + j];
        else if ((s->first + j) % pattern->of == 0)
            keep_group(s, w + j, s->first + j, keep + j);
        errors[j] = keep[j] ? 0.0f : w[j] / u[j];
        if (keep[j])
            continue;
        for (size_t k = j; k < s->n; k++)
            w[k] -= errors[j] * u[k];
        w[j] = 0;
    }
}

/* The errors times the rows of U are subtracted from all later columns of the block (`rest`), in one product. */
static void sweep_rows(void *context, size_t index, size_t worker)
{
    const sparsegpt_sweep *const s = context;
    const size_t cols = s->job->cols, row = index * STRIP, rows = organ_min(STRIP, s->job->rows - row);
    const size_t rest = s->start + s->width - s->first - s->n;
    float *const errors = s->errors + worker * STRIP * COLUMNS;
    for (size_t i = 0; i < rows; i++)
        sweep_row(s, row + i, errors + i * s->n);
    if (rest == 0)
        return;
    const organ_product product = {.m = rows,
                                   .n = rest,
                                   .k = s->n,
                                   .a = organ_by_rows(errors, s->n),
                                   .b = organ_by_columns(s->u + s->n, s->width),
                                   .c = s->job->weights + row * cols + s->first + s->n,
                                   .c_stride = cols,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    s->job->engine->kernels->product(&product, s->scratch + worker * ORGAN_PRODUCT_SCRATCH);
}

static void enter_block(sparsegpt_sweep *s, size_t start)
{
    s->start = start;
    s->width = organ_min(s->job->moments->block, s->job->cols - start);
}

static organ_status factorise_blocks(sparsegpt_sweep *s, organ_error *error)
{
    for (size_t start = 0; start < s->job->cols && !error->status; start += s->job->moments->block) {
        enter_block(s, start);
        sparsegpt_factorise(s, s->factor + start * s->job->moments->block, error);
    }
    return error->status;
}

/* A pass has at most COLUMNS columns. Without a pattern, the mask of a pass is chosen for all rows together just
 * before its columns are processed, from the weights as compensated until then. With a pattern, a pass ends at the
 * end of a group or of the block. */
static organ_status sweep_block(sparsegpt_sweep *s, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const size_t strips = (job->rows + STRIP - 1) / STRIP, of = job->options->pattern.of ? job->options->pattern.of : 1;
    const float *const factor = s->factor + s->start * job->moments->block;
    for (s->first = s->start; s->first < s->start + s->width; s->first += s->n) {
        if (organ_stop_is_requested(job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", job->options->name);
        s->n = organ_min((s->first + COLUMNS) / of * of, s->start + s->width) - s->first;
        s->u = factor + (s->first - s->start) * (s->width + 1);
        if (!job->options->pattern.of)
            mask_pass(s);
        organ_share(job->engine, NULL, strips, sweep_rows, s);
    }
    return ORGAN_OK;
}

organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error)
{
    sparsegpt_sweep s = {.job = job, .factor = organ_expand_moments(job->engine, job->moments, 0, 1, 0)};
    s.search = (organ_edge_search){.engine = job->engine, .strip = STRIP};
    const bool searching = organ_edge_search_open(&s.search, job->rows * COLUMNS);
    s.scores = organ_floats(job->rows, COLUMNS);
    s.kept = malloc(job->rows * COLUMNS);
    s.errors = organ_floats(organ_workers_count(job->engine->workers), STRIP * COLUMNS);
    s.scratch = aligned_alloc(64, organ_products_scratch(job->engine));
    if (!searching || !s.factor || !s.scores || !s.kept || !s.errors || !s.scratch)
        organ_fail_errno(error, ENOMEM, "%s: sparsegpt of %zu x %zu", job->options->name, job->rows, job->cols);
    else if (factorise_blocks(&s, error) == ORGAN_OK) {
        organ_clear_dead_inputs(job);
        for (size_t start = 0; start < job->cols && !error->status; start += job->moments->block) {
            enter_block(&s, start);
            sweep_block(&s, error);
        }
    }
    organ_edge_search_close(&s.search);
    free(s.factor);
    free(s.scores);
    free(s.kept);
    free(s.errors);
    free(s.scratch);
    return error->status;
}
