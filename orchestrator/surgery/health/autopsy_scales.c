/* SPDX-License-Identifier: MIT
 * Scales in the wrong order, and scales that are wrong by one factor throughout: neither makes a single value impossible, so that blocks
 * and layers are held against their neighbours.
 *
 * The scale of a block is its largest value over the largest code, and the largest of many values scatters more from block to block than
 * their spread does. With its own scales a weight has blocks of nearly the same spread, once what whole rows and columns of blocks differ
 * by is taken off; with the scales of other blocks it has not, and it would have with the grid read in the other order. */
#include "orchestrator/surgery/health/autopsy_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/weight_reader.h"
#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FEW_BLOCKS   256
#define SAMPLED_ROWS 2 /* of each row of blocks; of few blocks each has to say more */
#define MORE_ROWS    16
#define FEWEST       9 /* blocks */
#define MOST         ((size_t)1 << 20)

#define NEIGHBOURS   2 /* layers on either side */
#define FEWEST_PEERS 3
#define WRONG        3.5 /* times the neighbours' spread, or a part of it */
#define WRONG_AT_END 8   /* the same of the first two layers and of the last two, which may differ from the rest */
#define BEYOND       6   /* times what layers of the role usually differ by */

/* The blocks of one weight. */
typedef struct grid {
    size_t rows, cols; /* of blocks */
    double *spread;    /* ln rms of each */
    double *swapped;   /* the same with the scales in the other order */
    float *scales;     /* as they are stored */
} grid;

/* Mean square of what is left of a table without the means of its rows and of its columns. */
static double residue(double *table, size_t rows, size_t cols)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++) {
        double mean = 0;
        for (size_t c = 0; c < cols; c++)
            mean += table[r * cols + c] / (double)cols;
        for (size_t c = 0; c < cols; c++)
            table[r * cols + c] -= mean;
    }
    for (size_t c = 0; c < cols; c++) {
        double mean = 0;
        for (size_t r = 0; r < rows; r++)
            mean += table[r * cols + c] / (double)rows;
        for (size_t r = 0; r < rows; r++)
            sum += (table[r * cols + c] - mean) * (table[r * cols + c] - mean);
    }
    return sum / (double)(rows * cols);
}

static void add_row(const organ_weight *weight, const float *values, size_t cols, double *squares)
{
    for (size_t c = 0; c < cols; c++)
        squares[c / weight->block_cols] += (double)values[c] * (double)values[c];
}

static organ_status sample(const organ_autopsy_job *job, const organ_weight *weight, grid *g, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(weight);
    organ_weight_reader *reader = NULL;
    char note[256];
    if (organ_weight_reader_open(job->model, weight, job->engine->kernels, note, &reader, error) != ORGAN_OK)
        return error->status;
    const size_t bytes = organ_to_line(m.cols * sizeof(float));
    char *const room = aligned_alloc(64, bytes + organ_weight_reader_scratch(reader, 1));
    if (!room)
        organ_fail_errno(error, ENOMEM, "tensor '%s'", weight->name);
    const size_t sampled = g->rows * g->cols < FEW_BLOCKS ? MORE_ROWS : SAMPLED_ROWS;
    for (size_t r = 0; r < g->rows * sampled && !error->status; r++) {
        const uint64_t first = r / sampled * weight->block_rows;
        const uint64_t height = organ_lesser(weight->block_rows, m.rows - first);
        const uint64_t row = first + height * (r % sampled) / sampled;
        if (organ_weight_read(reader, row, 1, ORGAN_F32, room, room + bytes, error) == ORGAN_OK)
            add_row(weight, (const float *)(const void *)room, m.cols, g->spread + r / sampled * g->cols);
    }
    free(room);
    organ_weight_reader_close(reader);
    return error->status;
}

static organ_status read_scales(const organ_autopsy_job *job, const organ_weight *weight, const grid *g, organ_error *error)
{
    const organ_tensor *const scale = weight->scale;
    void *const bytes = malloc(scale->bytes);
    if (!bytes)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", scale->name);
    if (organ_model_read(job->model, scale->file, bytes, scale->bytes, scale->offset, error) == ORGAN_OK)
        organ_widen(job->engine->kernels, scale->dtype, bytes, g->scales, g->rows * g->cols);
    free(bytes);
    return error->status;
}

/* Logarithms of both tables. false where a block or a scale is zero or not finite: then something else is wrong. */
static bool compare_orders(const grid *g)
{
    const size_t count = g->rows * g->cols;
    for (size_t k = 0; k < count; k++) {
        const double other = (double)g->scales[k % g->cols * g->rows + k / g->cols], own = (double)g->scales[k];
        g->spread[k] = log(g->spread[k]) / 2;
        g->swapped[k] = g->spread[k] - log(own) + log(other);
        if (!isfinite(g->spread[k]) || !isfinite(g->swapped[k]))
            return false;
    }
    return true;
}

/* How many times less blocks differ with the scales in the other order; what chance does with few blocks is allowed for. 0: they do not. */
static organ_status order_of(const organ_autopsy_job *job, const organ_weight *weight, grid *g, double *times, organ_error *error)
{
    const size_t count = g->rows * g->cols;
    if (sample(job, weight, g, error) || read_scales(job, weight, g, error) || !compare_orders(g))
        return error->status;
    const double own = residue(g->spread, g->rows, g->cols), other = residue(g->swapped, g->rows, g->cols);
    *times = own > (1 + 9 / sqrt((double)count)) * other && other > 0 ? sqrt(own / other) : 0;
    return ORGAN_OK;
}

static bool has_grid(const organ_weight *weight, const organ_matrices *m, grid *g)
{
    if (!weight->scale || weight->g_idx || weight->block_rows < 2 || weight->block_cols < 2 || m->count != 1)
        return false;
    g->rows = (m->rows + weight->block_rows - 1) / weight->block_rows;
    g->cols = (m->cols + weight->block_cols - 1) / weight->block_cols;
    return g->rows > 1 && g->cols > 1 && g->rows * g->cols >= FEWEST && g->rows * g->cols <= MOST &&
           organ_can_widen(weight->scale->dtype) && weight->scale->elements == g->rows * g->cols;
}

organ_status organ_autopsy_judge_order(organ_autopsy_job *job, const organ_vitals *v, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(v->weight);
    grid g = {0};
    double times = 0;
    if (v->unread || v->moments.nan + v->moments.inf > 0 || !has_grid(v->weight, &m, &g))
        return ORGAN_OK;
    g.spread = calloc(2 * g.rows * g.cols, sizeof *g.spread);
    g.scales = calloc(g.rows * g.cols, sizeof *g.scales);
    g.swapped = g.spread ? g.spread + g.rows * g.cols : NULL;
    if (!g.spread || !g.scales)
        organ_fail_errno(error, ENOMEM, "tensor '%s'", v->weight->name);
    else if (order_of(job, v->weight, &g, &times, error) == ORGAN_OK && times > 0) {
        const organ_verdict verdict = {"scale_order", "scales in the wrong order", "blocks that differ less than with another order",
                                       "The grid of scales is transposed: written column by column and read row by row, or the reverse. "
                                       "Transpose it in the file, or convert the original again.",
                                       true};
        organ_autopsy_tell(job, true, v->weight, &verdict,
                           "with the grid of %zu x %zu scales transposed, the spreads of its blocks would differ %.1f times less", g.rows,
                           g.cols, times);
    }
    free(g.spread);
    free(g.scales);
    return error->status;
}

/* ---- layers beside each other ---- */

/* A weight of a role, with what it is compared by. */
typedef struct peer {
    const organ_vitals *vitals;
    long layer;
    double ln_std;
    double off; /* from its neighbours */
} peer;

static int by_place(const void *a, const void *b)
{
    const peer *const x = a, *const y = b;
    const organ_anatomy *const p = &x->vitals->weight->anatomy, *const q = &y->vitals->weight->anatomy;
    return p->role != q->role       ? (p->role < q->role ? -1 : 1)
           : p->expert != q->expert ? (p->expert < q->expert ? -1 : 1)
                                    : (x->layer > y->layer) - (x->layer < y->layer);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* The median of up to two layers on either side; at an end of the model the nearest on the other side take the place of those missing. */
static double neighbours_of(const peer *peers, size_t count, size_t k)
{
    double values[2 * NEIGHBOURS];
    size_t from = k < NEIGHBOURS ? 0 : k - NEIGHBOURS, used = 0;
    if (from + 2 * NEIGHBOURS + 1 > count)
        from = count > 2 * NEIGHBOURS + 1 ? count - 2 * NEIGHBOURS - 1 : 0;
    for (size_t j = from; j < count && j <= from + 2 * NEIGHBOURS; j++)
        if (j != k)
            values[used++] = peers[j].ln_std;
    return median(values, used);
}

static void tell_factor(organ_autopsy_job *job, const peer *p)
{
    const organ_verdict verdict = {"scale_factor", "scales wrong by one factor", "a spread like that of the layers beside it",
                                   "All its scales are too large or too small by the same factor: those of another tensor, a global scale "
                                   "that was left out, applied twice or inverted.",
                                   true};
    organ_autopsy_tell(job, true, p->vitals->weight, &verdict, "std %.4g, %.3g times that of the same role in the layers beside it",
                       organ_vitals_std(p->vitals), exp(p->off));
}

/* The layers of one role. `room` has a place for each. */
static void judge_role(organ_autopsy_job *job, peer *peers, size_t count, double *room)
{
    if (count <= FEWEST_PEERS)
        return;
    for (size_t k = 0; k < count; k++) {
        peers[k].off = peers[k].ln_std - neighbours_of(peers, count, k);
        room[k] = fabs(peers[k].off);
    }
    const double usual = median(room, count);
    for (size_t k = 0; k < count; k++) {
        const bool end = count > 2 * NEIGHBOURS + 1 && (k < NEIGHBOURS || k + NEIGHBOURS >= count);
        if (fabs(peers[k].off) > log(end ? WRONG_AT_END : WRONG) && fabs(peers[k].off) > BEYOND * usual)
            tell_factor(job, &peers[k]);
    }
}

static bool is_scaled(const organ_vitals *v)
{
    return !v->unread && v->weight->scale && v->weight->anatomy.layer >= 0 && v->moments.nan + v->moments.inf == 0 &&
           organ_role_describe(v->weight->anatomy.role)->projection && organ_vitals_std(v) > 0;
}

organ_status organ_autopsy_judge_factors(organ_autopsy_job *job, organ_error *error)
{
    peer *const peers = calloc(job->count + 1, sizeof *peers);
    double *const room = calloc(job->count + 1, sizeof *room);
    size_t count = 0;
    if (!peers || !room)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->count && !error->status; k++)
        if (is_scaled(&job->vitals[k]))
            peers[count++] = (peer){
                .vitals = &job->vitals[k], .layer = job->vitals[k].weight->anatomy.layer, .ln_std = log(organ_vitals_std(&job->vitals[k]))};
    if (count)
        qsort(peers, count, sizeof *peers, by_place);
    for (size_t from = 0, to; from < count; from = to) {
        const organ_anatomy *const first = &peers[from].vitals->weight->anatomy;
        for (to = from + 1; to < count && peers[to].vitals->weight->anatomy.role == first->role &&
                            peers[to].vitals->weight->anatomy.expert == first->expert;)
            to++;
        judge_role(job, peers + from, to - from, room);
    }
    free(peers);
    free(room);
    return error->status;
}
