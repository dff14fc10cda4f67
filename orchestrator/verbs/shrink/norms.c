/* SPDX-License-Identifier: MIT
 * Chooses the channels of an expert without tokens. There are no inputs, so its weights decide: the kept channels have
 * the greatest product of the norms of their gate row, up row and down column. Nothing is refitted. */
#include "orchestrator/verbs/shrink/width_parts.h"

#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/read_rows.h"

#include <stdlib.h>

/* Rows [first, first + count) of a weight. */
typedef struct rows {
    uint64_t first;
    size_t count;
} rows;

/* Multiplies the score of each channel by the square of the norm of its row. */
static organ_status fold_rows(const organ_width_job *job, const organ_weight *w, rows of, double *scores,
                              organ_error *error)
{
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer buffer = {0};
    organ_row_buffer_open(&buffer, job->model, w, job->engine->kernels, /*capacity=*/1, /*whole_steps=*/true, error);
    for (size_t n, r = 0; (n = organ_row_buffer_next(&buffer, of.first + r, of.first + of.count, error)); r += n)
        for (size_t k = 0; k < n; k++) {
            const float *const row = buffer.values + k * buffer.cols;
            scores[r + k] *= organ_dot(row, row, buffer.cols);
        }
    return error->status;
}

/* Adds to squares[c] the sum of squares of column c over the rows `of`. */
static organ_status square_columns(const organ_width_job *job, const organ_weight *w, rows of, double *squares,
                                   organ_error *error)
{
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer buffer = {0};
    organ_row_buffer_open(&buffer, job->model, w, job->engine->kernels, /*capacity=*/1, /*whole_steps=*/true, error);
    for (size_t n, r = 0; (n = organ_row_buffer_next(&buffer, of.first + r, of.first + of.count, error)); r += n)
        for (size_t k = 0; k < n * buffer.cols; k++)
            squares[k % buffer.cols] += (double)buffer.values[k] * (double)buffer.values[k];
    return error->status;
}

/* `w` is a stack, whose matrices are stored as in_features x out_features. In a fused matrix a channel has two columns,
 * for gate and up: neighbours if organ_tensor_has_pairs, else one in each half. */
static organ_status fold_crossed(const organ_width_job *job, const organ_weight *w, uint64_t expert, double *scores,
                                 organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(w);
    const size_t width = job->shares[ORGAN_WIDTH_EXPERTS].total;
    const bool pairs = organ_tensor_has_pairs(job->model, w->codes);
    ORGAN_OWNED double *const squares = calloc((size_t)m.cols, sizeof *squares);
    if (!squares)
        return organ_fail_memory(error, w->name);
    if (square_columns(job, w, (rows){expert * m.rows, (size_t)m.rows}, squares, error) == ORGAN_OK)
        for (size_t c = 0; c < m.cols; c++)
            scores[pairs ? c / 2 : c % width] *= squares[c];
    return error->status;
}

/* Multiplies scores[channel] by the sum of squares of the channel's weights: in a fused weight it has two rows, for
 * gate and up, and each gives a factor. `expert` is the index of the matrix if `w` is a stack. */
static organ_status fold_weight(const organ_width_job *job, const organ_weight *w, uint64_t expert, double *scores,
                                organ_error *error)
{
    const bool transposed = organ_tensor_is_crossed(job->model, w->codes);
    const organ_matrices m = organ_weight_matrices(w);
    const size_t width = job->shares[ORGAN_WIDTH_EXPERTS].total;
    const uint64_t first = w->anatomy.expert < 0 ? expert * m.rows : 0,
                   halves = w->anatomy.role == ORGAN_ROLE_GATE_UP ? 2 : 1;
    if ((transposed ? m.cols : m.rows) != halves * width)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s' does not have the rows of %zu channels of an expert",
                          job->model->path, w->name, width);
    if (transposed)
        return fold_crossed(job, w, expert, scores, error);
    for (uint64_t half = 0; half < halves && !error->status; half++)
        fold_rows(job, w, (rows){first + half * width, width}, scores, error);
    return error->status;
}

/* The search in fold_expert relies on this order. */
static int by_layer_and_expert(const void *a, const void *b)
{
    const organ_width_gate_up *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->layer, y->layer), ORGAN_ORDER(x->expert, y->expert),
                        ORGAN_ORDER(x->weight, y->weight));
}

static bool is_gate_or_up(const organ_anatomy *a)
{
    return a->experts == ORGAN_EXPERTS_ROUTED &&
           (a->role == ORGAN_ROLE_GATE || a->role == ORGAN_ROLE_UP || a->role == ORGAN_ROLE_GATE_UP);
}

/* The list is made once, because a search of all weights for each expert of a large mixture would take minutes. */
static organ_status list_gates_and_ups(organ_width_job *job, organ_error *error)
{
    if (job->gate_ups)
        return ORGAN_OK;
    if (organ_weights_find(job->model, &job->weights, error))
        return error->status;
    if (!(job->gate_ups = organ_rows_take(job->weights->count + 1, sizeof *job->gate_ups)))
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        if (is_gate_or_up(&w->anatomy))
            job->gate_ups[job->gate_up_count++] = (organ_width_gate_up){w->anatomy.layer, w->anatomy.expert, w};
    }
    qsort(job->gate_ups, job->gate_up_count, sizeof *job->gate_ups, by_layer_and_expert);
    return ORGAN_OK;
}

void organ_width_norms_release(organ_width_job *job)
{
    organ_weights_free(job->weights);
    organ_rows_free(job->gate_ups);
}

/* Multiplies scores[channel] by the squared norms of the channel's rows in gate and up. */
static organ_status fold_expert(const organ_width_job *job, const organ_width_part *part, double *scores,
                                organ_error *error)
{
    const organ_width_gate_up sought = {part->tensor->anatomy.layer, part->tensor->anatomy.expert, NULL};
    size_t low = 0, high = job->gate_up_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (by_layer_and_expert(&job->gate_ups[middle], &sought) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t k = low; k < job->gate_up_count && !error->status; k++) {
        if (job->gate_ups[k].layer != sought.layer || job->gate_ups[k].expert != sought.expert)
            break;
        fold_weight(job, job->gate_ups[k].weight, part->matrix, scores, error);
    }
    return error->status;
}

/* Multiplies scores[channel] by the squared norm of the channel's column in the down projection. */
static void fold_columns(const organ_width_part *part, const float *weights, double *scores)
{
    const size_t cols = part->share->total, count = (size_t)organ_width_rows(part);
    for (size_t c = 0; c < cols; c++) {
        double square = 0;
        for (size_t r = 0; r < count; r++)
            square += (double)weights[r * cols + c] * (double)weights[r * cols + c];
        scores[c] *= square;
    }
}

/* Of channels with equal scores the first are removed. */
static void keep_largest_scores(organ_width_part *part, const double *scores, bool *gone)
{
    const size_t cols = part->share->total;
    for (size_t remaining = cols; remaining > part->share->keep; remaining--) {
        size_t least = cols;
        for (size_t c = 0; c < cols; c++)
            if (!gone[c] && (least == cols || scores[c] < scores[least]))
                least = c;
        gone[least] = true;
    }
    for (size_t c = 0, n = 0; c < cols; c++)
        if (!gone[c])
            part->kept[n++] = (uint32_t)c;
}

/* Squares of norms have the same order as norms. */
organ_status organ_width_by_norms(organ_width_job *job, organ_width_part *part, float *weights, organ_error *error)
{
    const size_t cols = part->share->total, all = (size_t)organ_width_rows(part) * cols;
    ORGAN_OWNED double *const scores = calloc(cols, sizeof *scores);
    ORGAN_OWNED bool *const gone = calloc(cols, sizeof *gone);
    if (!scores || !gone)
        organ_fail_memory(error, part->tensor->name);
    for (size_t c = 0; c < cols && scores; c++)
        scores[c] = 1;
    if (!error->status && list_gates_and_ups(job, error) == ORGAN_OK)
        fold_expert(job, part, scores, error);
    if (!error->status) {
        fold_columns(part, weights, scores);
        keep_largest_scores(part, scores, gone);
        for (size_t k = 0; k < all; k++)
            weights[k] = gone[k % cols] ? 0.0f : weights[k];
        part->report = (organ_narrow_report){0};
    }
    return error->status;
}
