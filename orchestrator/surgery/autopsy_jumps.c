/* SPDX-License-Identifier: MIT
 * Every fourth pair of rows (15 and 16, 19 and 20, ...) is looked at: enough for columns; for rows those at multiples of 16 are. */
#include "orchestrator/surgery/autopsy_jumps.h"

#include <math.h>
#include <string.h>

#define SEGMENT      128
#define STEP         16
#define BINS_PER_ONE 64.0
#define FEW          16 /* rows in the rms of a column, below which it says nothing */

void organ_jumps_add(organ_jumps *sum, const organ_jumps *more)
{
    for (size_t c = 0; c < ORGAN_JUMP_CLASSES; c++)
        for (size_t b = 0; b < ORGAN_JUMP_BINS; b++) {
            sum->rows[c][b] += more->rows[c][b];
            sum->columns[c][b] += more->columns[c][b];
        }
}

static unsigned class_of(uint64_t line) { return line % 128 == 0 ? 3 : line % 64 == 0 ? 2 : line % 32 == 0 ? 1 : 0; }

static void count(uint32_t counts[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS], uint64_t line, double a, double b)
{
    const double place = fabs(a - b) * BINS_PER_ONE;
    if (isfinite(place))
        counts[class_of(line)][place < ORGAN_JUMP_BINS - 1 ? (size_t)place : ORGAN_JUMP_BINS - 1]++;
}

void organ_jumps_pair(organ_jumps *jumps, uint64_t row, const organ_row_profile *above, const organ_row_profile *here)
{
    for (size_t s = 0; s < ORGAN_JUMP_SEGMENTS; s++)
        count(jumps->rows, row, (double)above->ln[s], (double)here->ln[s]);
}

/* ln of the root of the mean of squares; NaN of zeros and of what is not finite. */
static double ln_rms(double sum, size_t n) { return sum > 0 && isfinite(sum) ? log(sum / (double)n) / 2 : (double)NAN; }

/* n <= SEGMENT values as FP32. */
static const float *widen(const organ_kernels *kernels, organ_dtype as, const void *values, size_t at, size_t n, float room[SEGMENT])
{
    if (as == ORGAN_F32)
        return (const float *)values + at;
    if (as == ORGAN_BF16)
        kernels->bf16_to_f32((const uint16_t *)values + at, room, n);
    else
        kernels->f16_to_f32((const uint16_t *)values + at, room, n);
    return room;
}

static double square(float x) { return (double)x * (double)x; }

/* Four sums that do not wait for each other. */
static double squares_of(const float *x, size_t n)
{
    double sum[4] = {0};
    for (size_t k = 0; k + 4 <= n; k += 4)
        for (size_t l = 0; l < 4; l++)
            sum[l] += square(x[k + l]);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* What a strip's rows are walked with. */
typedef struct walk {
    organ_jumps *jumps;
    const organ_kernels *kernels;
    organ_dtype as;
    const void *values;
    size_t cols, segments; /* whole ones */
    organ_jump_scratch *scratch;
    size_t rows_in; /* that are in scratch->squares */
} walk;

static void make_profile(const walk *w, size_t row, organ_row_profile *profile)
{
    float room[SEGMENT];
    for (size_t s = 0; s < ORGAN_JUMP_SEGMENTS; s++)
        profile->ln[s] = NAN;
    for (size_t s = 0; s < w->segments; s++)
        profile->ln[s] =
            (float)ln_rms(squares_of(widen(w->kernels, w->as, w->values, row * w->cols + s * SEGMENT, SEGMENT, room), SEGMENT), SEGMENT);
}

/* The squares of the row at both sides of each multiple of 16. */
static void add_columns(walk *w, size_t row)
{
    const size_t lines = (w->cols - 1) / STEP;
    float last = 0, room[SEGMENT];
    for (size_t at = 0; at < w->cols && at / STEP < 8 * ORGAN_JUMP_SEGMENTS; at += SEGMENT) {
        const size_t n = w->cols - at < SEGMENT ? w->cols - at : SEGMENT;
        const float *const x = widen(w->kernels, w->as, w->values, row * w->cols + at, n, room);
        for (size_t k = 0; k < n; k += STEP) {
            const size_t line = (at + k) / STEP;
            if (line > 0 && line <= lines) {
                w->scratch->squares[2 * line] += square(k > 0 ? x[k - 1] : last);
                w->scratch->squares[2 * line + 1] += square(x[k]);
            }
        }
        last = x[n - 1];
    }
    w->rows_in++;
}

static void flush_columns(walk *w)
{
    for (size_t line = 1; line * STEP < w->cols && line < 8 * ORGAN_JUMP_SEGMENTS && w->rows_in >= FEW; line++)
        count(w->jumps->columns, line * STEP, ln_rms(w->scratch->squares[2 * line], w->rows_in),
              ln_rms(w->scratch->squares[2 * line + 1], w->rows_in));
    memset(w->scratch->squares, 0, sizeof w->scratch->squares);
    w->rows_in = 0;
}

void organ_jumps_strip(organ_jumps *jumps, const organ_kernels *kernels, organ_dtype as, const void *values, uint64_t first, size_t rows,
                       size_t cols, organ_jump_scratch *scratch, organ_row_profile *first_row, organ_row_profile *last_row)
{
    const size_t segments = cols / SEGMENT < ORGAN_JUMP_SEGMENTS ? cols / SEGMENT : ORGAN_JUMP_SEGMENTS;
    walk w = {jumps, kernels, as, values, cols, segments, scratch, 0};
    flush_columns(&w);
    for (size_t r = 0; r < rows; r++) {
        const uint64_t row = first + r;
        if (row % SEGMENT == 0)
            flush_columns(&w);
        if (row % 4 == 0 || row % 4 == 3)
            add_columns(&w, r);
        if (row % STEP == 0) {
            make_profile(&w, r, &scratch->here);
            if (r > 0)
                organ_jumps_pair(jumps, row, &scratch->above, &scratch->here);
            else
                *first_row = scratch->here;
        }
        if (row % STEP == STEP - 1)
            make_profile(&w, r, &scratch->above);
    }
    flush_columns(&w);
    make_profile(&w, rows - 1, last_row);
}

/* NaN where nothing was counted. */
static double median(const uint32_t counts[ORGAN_JUMP_BINS])
{
    uint64_t all = 0, below = 0;
    for (size_t b = 0; b < ORGAN_JUMP_BINS; b++)
        all += counts[b];
    for (size_t b = 0; b < ORGAN_JUMP_BINS && all > 0; b++) {
        if (2 * (below + counts[b]) >= all)
            return ((double)b + ((double)all / 2 - (double)below) / (double)counts[b]) / BINS_PER_ONE;
        below += counts[b];
    }
    return (double)NAN;
}

/* The medians of few lines scatter: by about 1.16 / sqrt(lines) of themselves, of which four to five are allowed. */
unsigned organ_jumps_period(const uint32_t counts[ORGAN_JUMP_CLASSES][ORGAN_JUMP_BINS], uint64_t lines, double *factor)
{
    static const unsigned periods[ORGAN_JUMP_CLASSES] = {16, 32, 64, 128}, shares[ORGAN_JUMP_CLASSES] = {2, 4, 8, 8};
    const double inside = median(counts[0]);
    *factor = 1;
    for (size_t c = 1; c < ORGAN_JUMP_CLASSES; c++) {
        const uint64_t across = lines / shares[c];
        const double jump = median(counts[c]), least = fmax(1.5, 1 + 5 / sqrt((double)across));
        if (across < 4 || !(inside >= 0) || !(jump > least * inside))
            continue;
        const double beyond = sqrt(jump * jump - inside * inside) / 0.6745; /* standard deviation of the jumps alone */
        if (beyond < 0.15)
            continue;
        *factor = exp(beyond);
        return periods[c];
    }
    return 0;
}
