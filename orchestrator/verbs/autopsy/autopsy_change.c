/* SPDX-License-Identifier: MIT
 * Statistics of a sample of the difference E = A - B between a weight A and its original B. Training and adapters add
 * products of few vectors, so the largest singular value of E is far above that of a random matrix of the same norm
 * (sqrt(m) + sqrt(n) for independent entries of deviation 1: the edge of the Marchenko-Pastur law). Rounding makes A
 * take few values or keeps E within half a step, pruning makes zeros, a projection makes E orthogonal to A. A window is
 * a group of at most WINDOW adjacent values of a row. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/read_rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define MAX_ROWS       256            /* largest number of rows of the sample */
#define MAX_COLS       ((size_t)2048) /* largest number of columns of the sample */
#define AT_ONCE        16             /* rows that are read together */
#define WINDOW         32             /* values that share a scale in all types of groups and blocks */
#define SAME_NORM      1e-9  /* largest relative difference of two sums of the same squares in different orders */
#define FLIPPED        -0.5  /* a cosine below means that signs were lost, which is reported as another fault */
#define LINE_BEYOND    4     /* a line differs if its error is this multiple of that of the median line */
#define MAX_LINES      0.5   /* largest share of lines for ORGAN_CHANGE_LINES */
#define FLAT_KURTOSIS  2.3   /* kurtosis in a window of errors: 1.8 if they are uniform, 2.8 if normal */
#define NEAR_SHARE     0.97  /* share of values with an error of at most half a step of a float with 2 mantissa bits */
#define NEAR_STEP      7.9   /* value over its largest such error: 8, minus a tolerance */
#define COARSE_LEVELS  16    /* distinct values in a window: codes of 4 bits */
#define MIN_ZEROS      0.05  /* share of values that became 0, from which on a weight is called pruned */
#define MIN_CODE_ZEROS 0.3   /* the same for codes of at most 4 bits, which round small values to zero */
#define PART_COSINE    -0.2  /* largest cosine of E with B if a part of B was removed */
#define PART_OVERLAP   0.05  /* largest cosine of E with A in that case */
#define KEPT_COSINE    0.5   /* smallest cosine of the values that pruning kept with the original ones */
#define MIN_SIDE       64    /* smallest side of a matrix whose singular values are compared with those of noise */
#define RANK_SHARE     0.125 /* largest rank of ORGAN_CHANGE_LOW_RANK, as a share of the shorter side */
#define STRUCTURE      1.5   /* organ_change.top from which on the difference is structured */
#define NOISE          1.2   /* organ_change.top up to which it is noise */
#define SHIFTED        0.5   /* |mean| of E over its root mean square, from which on E is a shift */
#define SPARSE         0.5   /* share of unchanged values, from which on E is not called noise */

typedef struct change_sample {
    size_t rows, cols;
    float *difference;                /* E = A - B, rows x cols */
    double *row_error, *row_other;    /* squared norms of each row of E and of B */
    double *col_error, *col_other;    /* squared norms of each column of E and of B */
    double own, other, product, kept; /* sums of a^2, b^2, a b, and of b^2 where a is not 0 */
    double kurtosis;                  /* sum of the kurtosis of E over `windows` windows */
    double sum;                       /* sum of a - b */
    size_t windows;                   /* full windows in which A and B differ */
    size_t values;                    /* values of the sample */
    size_t zeroed;                    /* values with a = 0 and b not 0 */
    size_t near;                      /* values with |a - b| NEAR_STEP <= |b| */
    size_t same;                      /* values with a = b */
    unsigned levels;                  /* largest number of distinct values of A in a full window */
} change_sample;

/* ---- reading ---- */

static organ_status allocate_sample(change_sample *s, const organ_weight *weight, organ_error *error)
{
    const size_t lines = s->rows + s->cols;
    s->difference = calloc(s->rows * s->cols, sizeof *s->difference);
    s->row_error = calloc(2 * lines, sizeof *s->row_error);
    if (!s->difference || !s->row_error)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", weight->name);
    s->row_other = s->row_error + s->rows;
    s->col_error = s->row_other + s->rows;
    s->col_other = s->col_error + s->cols;
    return ORGAN_OK;
}

static void free_sample(change_sample *s)
{
    free(s->difference);
    free(s->row_error);
}

static unsigned count_levels(const float *values, size_t n)
{
    unsigned levels = 0;
    for (size_t k = 0; k < n; k++) {
        size_t earlier = 0;
        while (earlier < k && values[earlier] != values[k])
            earlier++;
        levels += earlier == k;
    }
    return levels;
}

/* The `n` adjacent values begin at column `col` of row `row` of the sample. Only a full window of WINDOW values
 * counts in `levels` and, if A and B differ in it, in `kurtosis` and `windows`. */
static void add_window(change_sample *s, const float *a, const float *b, size_t row, size_t col, size_t n)
{
    float *const difference = s->difference + row * s->cols + col;
    double square = 0, fourth = 0;
    for (size_t k = 0; k < n; k++) {
        const double x = (double)a[k], y = (double)b[k], off = x - y;
        difference[k] = (float)off;
        s->row_error[row] += off * off;
        s->row_other[row] += y * y;
        s->col_error[col + k] += off * off;
        s->col_other[col + k] += y * y;
        s->own += x * x;
        s->other += y * y;
        s->product += x * y;
        s->kept += a[k] != 0 ? y * y : 0;
        s->sum += off;
        s->same += off == 0;
        s->zeroed += a[k] == 0 && b[k] != 0;
        s->near += fabs(off) * NEAR_STEP <= fabs(y);
        square += off * off;
        fourth += off * off * off * off;
    }
    s->values += n;
    if (n < WINDOW)
        return;
    const unsigned levels = count_levels(a, n);
    s->levels = levels > s->levels ? levels : s->levels;
    if (square > 0) {
        s->kurtosis += (double)n * fourth / (square * square);
        s->windows++;
    }
}

/* If `cols` exceeds the columns of the sample, only windows at equal distances are added. */
static void add_row(change_sample *s, const float *a, const float *b, size_t row, size_t cols)
{
    const size_t windows = organ_pieces_of(s->cols, WINDOW), all = organ_pieces_of(cols, WINDOW);
    for (size_t w = 0; w < windows; w++) {
        const size_t from = w * all / windows * WINDOW, n = organ_min(WINDOW, s->cols - w * WINDOW);
        add_window(s, a + from, b + from, row, w * WINDOW, organ_min(n, cols - from));
    }
}

/* Groups of AT_ONCE rows are read at equal distances. `all` is the number of rows of the weight. */
static organ_status read_sample(const organ_autopsy_job *job, const organ_weight_stats *v, uint64_t all, size_t cols,
                                change_sample *s, organ_error *error)
{
    const organ_kernels *const kernels = job->engine->kernels;
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer own = {0}, other = {0};
    if (organ_row_buffer_open(&own, job->model, v->weight, kernels, AT_ONCE, /*whole_steps=*/false, error) ==
            ORGAN_OK &&
        organ_row_buffer_open(&other, job->other, v->other, kernels, AT_ONCE, /*whole_steps=*/false, error) == ORGAN_OK)
        for (size_t row = 0; row < s->rows && !error->status; row += AT_ONCE) {
            const size_t n = organ_min(AT_ONCE, s->rows - row);
            const uint64_t first = s->rows == all ? row : row / AT_ONCE * (all - AT_ONCE) / (s->rows / AT_ONCE - 1);
            if (organ_row_buffer_read(&own, first, n, error) || organ_row_buffer_read(&other, first, n, error))
                break;
            for (size_t r = 0; r < n; r++)
                add_row(s, own.values + r * cols, other.values + r * cols, row + r, cols);
        }
    return error->status;
}

/* ---- classes ---- */

/* A line counts if its relative error exceeds LINE_BEYOND times the larger of two relative errors: the median over
 * all lines, and `usual`. errors[k] and others[k] are the squared norms of line k of E and of B; `scratch` has one
 * value per line. Returns 0 unless these lines have nearly all of the squared difference and are at most MAX_LINES
 * of all lines. */
static size_t count_lines(const double *errors, const double *others, size_t count, double usual, double *scratch)
{
    double all = 0, far = 0;
    size_t lines = 0;
    for (size_t k = 0; k < count; k++) {
        scratch[k] = others[k] > 0 ? sqrt(errors[k] / others[k]) : 0;
        all += errors[k];
    }
    qsort(scratch, count, sizeof *scratch, organ_order_numbers);
    const double limit = LINE_BEYOND * fmax(scratch[count / 2], usual);
    for (size_t k = 0; k < count; k++)
        if (errors[k] > limit * limit * others[k]) {
            far += errors[k];
            lines++;
        }
    return far >= ORGAN_CHANGE_MOST * all && (double)lines <= MAX_LINES * (double)count ? lines : 0;
}

/* If the relative error of the sample is below 1 / LINE_BEYOND of that of the whole weight, the difference is
 * confined to rows or columns outside the sample. */
static bool is_elsewhere(const change_sample *s, double relative)
{
    const double limit = relative / LINE_BEYOND;
    return s->own - 2 * s->product + s->other < limit * limit * s->other;
}

/* `usual` is the largest usual relative error; `scratch` has one value per row or column. */
static bool is_lines(const change_sample *s, double usual, organ_change *change, double *scratch)
{
    change->rows = true;
    change->line_count = s->rows;
    if ((change->lines = count_lines(s->row_error, s->row_other, s->rows, usual, scratch)) > 0)
        return true;
    change->rows = false;
    change->line_count = s->cols;
    change->lines = count_lines(s->col_error, s->col_other, s->cols, usual, scratch);
    return change->lines > 0;
}

/* Errors of rounding to a step are uniformly distributed in windows that share the step, or small relative to each
 * value as for a float of few bits. */
static bool is_within_steps(const change_sample *s)
{
    const double kurtosis = s->windows ? s->kurtosis / (double)s->windows : INFINITY;
    return kurtosis <= FLAT_KURTOSIS || (double)s->near >= NEAR_SHARE * (double)s->values;
}

/* No window of A may have more than COARSE_LEVELS distinct values, and the error must not be unusual for codes of as
 * many bits as these values need. This includes codes that were adjusted after rounding. */
static bool is_coded(const change_sample *s, double relative)
{
    unsigned bits = 1;
    while (1u << bits < s->levels)
        bits++;
    return s->levels > 1 && s->levels <= COARSE_LEVELS &&
           relative <= ORGAN_CHANGE_UNUSUAL * organ_usual_error_of_bits(bits).max;
}

/* If nearly the same number was added to all values, |sum of differences| is close to its maximum, sqrt(n x sum of
 * their squares). */
static bool is_shifted(const change_sample *s)
{
    double all = 0;
    for (size_t r = 0; r < s->rows; r++)
        all += s->row_error[r];
    return fabs(s->sum) >= SHIFTED * sqrt((double)s->values * all);
}

/* Many values must have become 0, and the cosine of the other values with the original ones must be at least
 * KEPT_COSINE. Codes of few levels have zeros without pruning, so more zeros are required for them. */
static bool is_pruned(const change_sample *s)
{
    const double least = s->levels <= COARSE_LEVELS ? MIN_CODE_ZEROS : MIN_ZEROS;
    return (double)s->zeroed >= least * (double)s->values && s->product >= KEPT_COSINE * sqrt(s->own * s->kept);
}

/* If a part of the original, or a multiple of a part, was subtracted, E is opposite to B and orthogonal to A. */
static bool is_part(const change_sample *s)
{
    const double error = s->own - 2 * s->product + s->other;
    return s->product - s->other <= PART_COSINE * sqrt(error * s->other) &&
           s->own - s->product <= PART_OVERLAP * sqrt(error * s->own);
}

/* Each row of E is divided by its norm, and then each column. Without this, errors that are larger in some rows than
 * in others would look like structure. */
static void equalise(change_sample *s)
{
    for (size_t c = 0; c < s->cols; c++)
        s->col_error[c] = 0;
    for (size_t r = 0; r < s->rows; r++)
        for (size_t c = 0; c < s->cols; c++) {
            float *const value = s->difference + r * s->cols + c;
            *value = s->row_error[r] > 0 ? (float)((double)*value / sqrt(s->row_error[r])) : 0;
            s->col_error[c] += (double)*value * (double)*value;
        }
    for (size_t r = 0; r < s->rows; r++)
        for (size_t c = 0; c < s->cols; c++)
            if (s->col_error[c] > 0)
                s->difference[r * s->cols + c] /= (float)sqrt(s->col_error[c]);
}

/* Fills only the lower half of `gram`, [n][n]. It has the inner products of the columns if there are fewer columns
 * than rows; `turned` is scratch memory for the transposed E. */
static void multiply_sides(const change_sample *s, size_t n, double *gram, float *turned)
{
    const size_t length = n == s->rows ? s->cols : s->rows;
    const float *vectors = s->difference;
    if (n != s->rows) {
        for (size_t r = 0; r < s->rows; r++)
            for (size_t c = 0; c < s->cols; c++)
                turned[c * s->rows + r] = s->difference[r * s->cols + c];
        vectors = turned;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            gram[i * n + j] = organ_dot(vectors + i * length, vectors + j * length, length);
}

/* The eigenvalues of the Gram matrix of the equalised E are its squared singular values. `rank` is the number of
 * largest eigenvalues that have the share ORGAN_CHANGE_MOST of their sum. `top` is the largest eigenvalue divided by
 * that of noise: an m x n matrix of noise with the same norm has the largest eigenvalue norm^2 (sqrt(m) + sqrt(n))^2
 * / (m n). */
static organ_status find_directions(const organ_autopsy_job *job, change_sample *s, organ_change *change,
                                    organ_error *error)
{
    const size_t n = organ_min(s->rows, s->cols), length = s->rows + s->cols - n;
    /* the Gram matrix, its eigenvalues, and the scratch memory of organ_symmetric_eigen */
    double *const gram = calloc(n * (n + 1 + ORGAN_EIGEN_ROOM), sizeof *gram), all = 0, held = 0;
    ORGAN_OWNED float *const turned = n == s->rows ? NULL : organ_floats(s->cols, s->rows);
    if (!gram || (n != s->rows && !turned))
        organ_fail_errno(error, ENOMEM, "the difference of two weights");
    else {
        double *const values = gram + n * n;
        equalise(s);
        multiply_sides(s, n, gram, turned);
        if (organ_symmetric_eigen(job->engine->kernels, gram, n, /*requested=*/0, values, NULL, values + n)) {
            for (size_t k = 0; k < n; k++)
                all += fmax(values[k], 0);
            for (change->rank = 0; change->rank < n && held < ORGAN_CHANGE_MOST * all; change->rank++)
                held += values[change->rank];
            const double edge = sqrt((double)n) + sqrt((double)length);
            change->top = all > 0 ? values[0] / all * (double)n * (double)length / (edge * edge) : 0;
        } else {
            change->rank = n; /* unknown: not a low rank */
        }
    }
    free(gram);
    return error->status;
}

/* For a matrix whose shorter side is below MIN_SIDE only rounding and OTHER are possible. */
static organ_change_kind kind_of_directions(const change_sample *s, const organ_change *change)
{
    const size_t side = organ_min(s->rows, s->cols);
    if (side >= MIN_SIDE && (double)change->rank <= RANK_SHARE * (double)side)
        return ORGAN_CHANGE_LOW_RANK;
    if (side >= MIN_SIDE && change->top >= STRUCTURE)
        return ORGAN_CHANGE_STRUCTURED;
    if (is_within_steps(s))
        return ORGAN_CHANGE_ROUNDED;
    return side >= MIN_SIDE && change->top > 0 && change->top <= NOISE && s->levels > COARSE_LEVELS &&
                   (double)s->same < SPARSE * (double)s->values
               ? ORGAN_CHANGE_NOISE
               : ORGAN_CHANGE_OTHER;
}

/* Tests for single lines and for a shift come first, because such differences would also pass later tests. The
 * eigenvalues come last because they take longest. */
static organ_status classify_sample(const organ_autopsy_job *job, change_sample *s, double usual, organ_change *change,
                                    organ_error *error)
{
    ORGAN_OWNED double *const scratch = calloc(organ_max(s->rows, s->cols), sizeof *scratch);
    if (!scratch)
        return organ_fail_errno(error, ENOMEM, "the difference of two weights");
    if (s->rows > 1 && (is_elsewhere(s, change->relative) || is_lines(s, usual, change, scratch)))
        change->kind = ORGAN_CHANGE_LINES;
    else if (is_shifted(s))
        change->kind = ORGAN_CHANGE_SHIFT;
    else if (is_coded(s, change->relative))
        change->kind = ORGAN_CHANGE_ROUNDED;
    else if (is_pruned(s))
        change->kind = ORGAN_CHANGE_PRUNED;
    else if (is_part(s))
        change->kind = ORGAN_CHANGE_PART;
    else if (find_directions(job, s, change, error) == ORGAN_OK)
        change->kind = kind_of_directions(s, change);
    return error->status;
}

/* The sums over the whole weight decide if possible. The class is NONE without a counterpart or if the relative
 * error is usual or not finite; ORDER if a plain weight has the norm of its counterpart, unless their cosine is
 * below FLIPPED; OTHER for vectors, single columns and weights with values that are not finite. */
organ_status organ_change_read(const organ_autopsy_job *job, const organ_weight_stats *v, organ_change *change,
                               organ_error *error)
{
    *change = (organ_change){.kind = ORGAN_CHANGE_NONE};
    if (!v->other || v->unread || v->distance.pairs == 0)
        return ORGAN_OK;
    const organ_matrices m = organ_weight_matrices(v->weight);
    const double usual = organ_usual_error_between(v->weight, v->other).max;
    const organ_distance *const d = &v->distance;
    change->relative = organ_distance_view_of(d).relative;
    if (!(change->relative > ORGAN_CHANGE_UNUSUAL * usual) || !isfinite(change->relative))
        return ORGAN_OK;
    change->kind = ORGAN_CHANGE_OTHER;
    if (fabs(d->own - d->other) <= SAME_NORM * d->other && d->product > FLIPPED * d->own &&
        v->weight->scheme == ORGAN_SCHEME_PLAIN) {
        change->kind = ORGAN_CHANGE_ORDER;
        return ORGAN_OK;
    }
    if (v->weight->rank < 2 || v->moments.nan + v->moments.inf + d->skipped > 0 || m.cols < 2)
        return ORGAN_OK;
    const uint64_t all = m.count * m.rows;
    change->line_count = organ_min(all, MAX_ROWS);
    change->rows = true;
    change_sample s = {.rows = change->line_count, .cols = organ_min(m.cols, MAX_COLS)};
    if (allocate_sample(&s, v->weight, error) == ORGAN_OK && read_sample(job, v, all, m.cols, &s, error) == ORGAN_OK)
        classify_sample(job, &s, usual, change, error);
    free_sample(&s);
    return error->status;
}
