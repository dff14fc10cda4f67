/* SPDX-License-Identifier: MIT
 * Checks of the kernels of GPTQ: every table against the scalar one bit for bit, and the scalar one against loops in
 * FP64 or the definition: codes of a block of columns, refitted scales, transposition. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <string.h>

enum { LANES = 16, MOST = 40, STRIDE = 48, GROUPS = MOST / 8 };

/* A block of columns and what the kernels change. */
typedef struct block {
    float square[MOST * STRIDE], scales[GROUPS * LANES], minima[GROUPS * LANES];
    float keep[MOST * LANES], field[MOST * LANES], values[MOST * LANES], changes[MOST * LANES];
    float scratch[3 * MOST * LANES];
    uint32_t groups[MOST];
} block;

static const organ_levels seven = {.count = 7,
                                   .values = {-9, -4, -2.5f, 1, 2, 7, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12},
                                   .middles = {-6.5f, -3.25f, -0.75f, 1.5f, 4.5f, 9.5f, INFINITY, INFINITY, INFINITY,
                                               INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY}};

#define END INFINITY
static const organ_levels six = {.count = 6,
                                 .values = {-5, -3, -1, 1, 3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5},
                                 .middles = {-4, -2, 0, 2, 4, END, END, END, END, END, END, END, END, END, END}};

/* Points of 4 and of 8 columns. */
static const float points[] = {1, 1, 1, 3, 1, 1, 3, 1, 1, 3, 1, 5, 3, 1, 1, 1,
                               3, 3, 3, 3, 3, 5, 5, 1, 5, 1, 1, 1, 5, 3, 1, 1};
static const organ_runs of_4 = {4, 8, 0, points, (const uint8_t[]){0, 2, 1, 0, 1, 1, 0, 1}, 0, 0},
                        even = {4, 8, 1, points, (const uint8_t[]){0, 2, 1, 0, 1, 1, 0, 1}, 0, 0},
                        of_8 = {8, 4, 0, points, (const uint8_t[]){0, 1, 0, 0}, 0, 0},
                        even_8 = {8, 4, 1, points, (const uint8_t[]){0, 1, 0, 0}, 0, 0};

/* Points with signs, and levels that exceed them by a shift. */
static const float signed_points[] = {-1, -1, 0,  1, 0, 0, 1, -1, -1, 0, 1, 1, -1, 0, 0, 1,
                                      0,  0,  -1, 1, 1, 0, 1, 0,  1,  1, 0, 0, -1, 1, 0, 0};
static const organ_levels three = {
    .count = 3,
    .values = {-0.875f, 0.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f, 1.125f,
               1.125f, 1.125f, 1.125f},
    .middles = {-0.375f, 0.625f, END, END, END, END, END, END, END, END, END, END, END, END, END}};
static const organ_runs fixed = {8, 4, 0, signed_points, (const uint8_t[]){0, 1, 0, 0}, 1, 0},
                        shifted = {8, 4, 0, signed_points, (const uint8_t[]){0, 1, 0, 0}, 1, 0.125f};
static const organ_levels wholes = {
    .count = 3,
    .values = {-1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    .middles = {-0.5f, 0.5f, END, END, END, END, END, END, END, END, END, END, END, END, END}};

/* Kinds of codes: plain, affine with F16, E4M3, listed levels with each type of scale, points. `unit` is the least
 * scale; the scales of E8M0 are powers of 2. */
static const struct {
    int e4m3, affine, masked;
    float low, high;
    const organ_levels *levels;
    organ_scale_store stored;
    float unit;
    const organ_runs *runs;
} kinds[] = {{0, 0, 0, -8, 7, NULL, ORGAN_STORE_BF16, 0.125f, NULL},
             {0, 0, 1, -2, 1, NULL, ORGAN_STORE_BF16, 0.125f, NULL},
             {0, 1, 0, 0, 15, NULL, ORGAN_STORE_F16, 0.125f, NULL},
             {1, 0, 1, 0, 0, NULL, ORGAN_STORE_BF16, 0.125f, NULL},
             {0, 0, 0, 0, 0, &seven, ORGAN_STORE_F16, 0.0625f, NULL},
             {0, 0, 0, 0, 0, &seven, ORGAN_STORE_E4M3, 0.0625f, NULL},
             {0, 0, 0, 0, 0, &seven, ORGAN_STORE_E8M0, 0.25f, NULL},
             {0, 0, 0, 0, 0, &seven, ORGAN_STORE_F32, 0.0625f, NULL},
             {0, 0, 0, 0, 0, &six, ORGAN_STORE_F16, 0.125f, &of_4},
             {0, 0, 0, 0, 0, &six, ORGAN_STORE_F16, 0.125f, &even},
             {0, 0, 0, 0, 0, &six, ORGAN_STORE_F16, 0.125f, &of_8},
             {0, 0, 0, 0, 0, &six, ORGAN_STORE_F16, 0.125f, &even_8},
             {0, 0, 0, 0, 0, &wholes, ORGAN_STORE_F16, 0.125f, &fixed},
             {0, 0, 0, 0, 0, &three, ORGAN_STORE_F16, 0.125f, &shifted}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Of listed levels, the value of group 1 in every fourth lane has scale -1 times that of other kinds, if the type of
 * the scales has a sign. */
static float scale_of(size_t kind, size_t g, size_t l)
{
    const bool sign = kinds[kind].stored != ORGAN_STORE_E4M3 && kinds[kind].stored != ORGAN_STORE_E8M0;
    const size_t times = (g + l) % 3;
    const float factor = kinds[kind].stored == ORGAN_STORE_E8M0 ? (float)(1u << times) : (float)(1 + times);
    return kinds[kind].unit * factor * (sign && g == 1 && l % 4 == 3 ? -1 : 1);
}

/* Fills a block of n columns. The square is positive definite; values are codes times scales plus minima. */
static void make_block(block *b, size_t n, size_t kind, uint64_t seed)
{
    static float noise[MOST * STRIDE];
    samples random = {seed};
    memset(b, 0, sizeof *b);
    samples_fill(&random, NORMAL, noise, MOST * STRIDE);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            b->square[i * STRIDE + j] =
                (i == j ? 3.0f : 0.0f) + 0.2f * (noise[i * STRIDE + j] + noise[j * STRIDE + i]) / 2;
    samples_fill(&random, NORMAL, noise, MOST * LANES);
    for (size_t g = 0; g < GROUPS; g++)
        for (size_t l = 0; l < LANES; l++) {
            b->scales[g * LANES + l] = scale_of(kind, g, l);
            b->minima[g * LANES + l] = -0.5f * (float)(l % 3);
        }
    if (!kinds[kind].e4m3 && kinds[kind].stored < ORGAN_STORE_E4M3)
        b->scales[5] = 0; /* all codes of this group are 0 */
    for (size_t j = 0; j < n; j++) {
        b->groups[j] = (uint32_t)(j / 8);
        for (size_t l = 0; l < LANES; l++) {
            const size_t at = j * LANES + l, of = b->groups[j] * LANES + l;
            b->keep[at] = (j + l) % 5 != 0;
            b->field[at] = noise[at];
            const size_t code = (j * 3 + l) % 2;
            const float level = kinds[kind].levels ? kinds[kind].levels->values[3 + code] : (float)code;
            b->values[at] = level * b->scales[of] + (kinds[kind].affine ? b->minima[of] : 0);
            b->values[at] = kinds[kind].masked && !(b->keep[at] > 0) ? 0 : b->values[at];
        }
    }
}

static organ_coding coding_of(block *b, size_t n, size_t kind, int descent)
{
    return (organ_coding){.descent = descent,
                          .e4m3 = kinds[kind].e4m3,
                          .stored = kinds[kind].stored,
                          .levels = kinds[kind].levels,
                          .runs = kinds[kind].runs,
                          .low = kinds[kind].low,
                          .high = kinds[kind].high,
                          .n = n,
                          .square = b->square,
                          .square_stride = STRIDE,
                          .groups = b->groups,
                          .scales = b->scales,
                          .minima = kinds[kind].affine ? b->minima : NULL,
                          .stride = LANES,
                          .keep = kinds[kind].masked ? b->keep : NULL,
                          .field = b->field,
                          .values = b->values,
                          .changes = b->changes};
}

/* Returns the value nearest to x that a code can represent. */
static double nearest_value(size_t kind, double x, double scale, double minimum)
{
    if (scale == 0)
        return minimum;
    const double quotient = (x - minimum) / scale;
    const organ_levels *const levels = kinds[kind].levels;
    double nearest = levels ? (double)levels->values[0] : 0;
    for (unsigned k = 0; levels && k < levels->count; k++)
        if (fabs((double)levels->values[k] - quotient) < fabs(nearest - quotient))
            nearest = (double)levels->values[k];
    if (levels)
        return nearest * scale;
    if (!kinds[kind].e4m3)
        return fmin(fmax(nearbyint(quotient), (double)kinds[kind].low), (double)kinds[kind].high) * scale + minimum;
    int exponent;
    frexp(quotient, &exponent);
    const double step = ldexp(1, (exponent < -5 ? -5 : exponent) - 4);
    return fmin(fmax(nearbyint(quotient / step) * step, -448), 448) * scale;
}

/* Checks one column of a coded block: with the changes of the columns before it, value and change are those of the
 * definition, or x is between two codes within rounding. */
static const char *check_column(const block *before, const block *b, size_t n, size_t kind, int descent, size_t j)
{
    for (size_t l = 0; l < LANES; l++) {
        const size_t at = j * LANES + l, of = b->groups[j] * LANES + l;
        const double pivot = (double)b->square[j * (STRIDE + 1)], scale = (double)b->scales[of];
        double x = (double)before->field[at];
        for (size_t i = 0; i < j; i++)
            x -= (double)b->changes[i * LANES + l] * (double)b->square[i * STRIDE + j];
        const double old = descent ? (double)before->values[at] : 0, wanted = descent ? old + x / pivot : x;
        const double best = kinds[kind].masked && !(b->keep[at] > 0)
                                ? 0
                                : nearest_value(kind, wanted, scale, kinds[kind].affine ? (double)b->minima[of] : 0);
        const double value = (double)b->values[at], change = descent ? value - old : (x - value) / pivot;
        if (fabs(value - best) > 1e-6 &&
            !(fabs(fabs(value - wanted) - fabs(best - wanted)) < 1e-5 * (1 + fabs(wanted))))
            return kernel_fault("code_columns, kind %zu, descent %d: value %zu of %zu is %g, not %g (%g)", kind,
                                descent, j, n, value, best, wanted);
        if (!(fabs((double)b->changes[at] - change) <= 1e-5 * (1 + fabs(change))))
            return kernel_fault("code_columns, kind %zu, descent %d: change %zu of %zu is %g, not %g", kind, descent, j,
                                n, (double)b->changes[at], change);
    }
    return NULL;
}

/* ---- columns with points ---- */

enum { RUN = 8 };

/* Targets, the upper triangular factor U and the levels of 8 columns of a lane, in FP64. */
typedef struct run {
    double targets[RUN], u[RUN][RUN], levels[RUN];
    int fixed; /* the levels are the numbers of points, not these with any signs */
} run;

/* Returns the error of the levels of columns `from` to `to` - 1. With `as`, first chooses the sign of each level: the
 * sign of the column's target, or the opposite sign if bit j of `flips` is set for column j. `odd` becomes the parity
 * of the number of negative levels among these columns. */
static double run_loss(run *r, size_t from, size_t to, const float *as, unsigned flips, int *odd)
{
    double lost[RUN] = {0}, loss = 0;
    *odd = 0;
    for (size_t pass = 0; pass < (as ? 2 : 1); pass++) {
        loss = 0;
        for (size_t j = 0; j < to; j++) {
            double y = r->targets[j];
            for (size_t i = 0; i < j; i++)
                y -= lost[i] * r->u[i][j] / r->u[i][i];
            if (as && j >= from && pass == 0)
                r->levels[j] = r->fixed ? (double)as[j - from] : copysign((double)as[j - from], y);
            lost[j] = y - r->levels[j];
            loss += j < from ? 0 : lost[j] * lost[j] / r->u[j][j] / r->u[j][j];
        }
        for (size_t j = from; as && pass == 0 && j < to; j++)
            r->levels[j] *= flips >> (j - from) & 1 ? -1 : 1;
    }
    for (size_t j = from; j < to; j++)
        *odd ^= r->levels[j] < 0;
    return loss;
}

/* Sets the levels of the columns from `from` on to those of the point that loses least, with that parity of negative
 * levels if `want` is not negative, and returns the loss. */
static double choose_point(run *r, const organ_runs *runs, size_t from, int want)
{
    double least = INFINITY;
    run best = *r;
    for (size_t n = 0; n < runs->count; n++)
        for (unsigned flip = 0; flip <= (want < 0 ? 0 : runs->length); flip++) {
            int odd, natural;
            run_loss(r, from, from + runs->length, runs->points + n * runs->length, 0, &natural);
            const double loss = run_loss(r, from, from + runs->length, runs->points + n * runs->length,
                                         flip ? 1u << (flip - 1) : 0, &odd);
            if (want >= 0 && (odd != want || (flip && natural == want)))
                continue;
            best = loss < least ? *r : best;
            least = loss < least ? loss : least;
        }
    *r = best;
    return least;
}

static double choose_run(run *r, const organ_runs *runs)
{
    if (runs->length == RUN)
        return choose_point(r, runs, 0, runs->even ? 0 : -1);
    if (!runs->even) {
        const double loss = choose_point(r, runs, 0, -1);
        return loss + choose_point(r, runs, 4, -1);
    }
    run odd = *r;
    const double with_even = choose_point(r, runs, 0, 0) + choose_point(r, runs, 4, 0),
                 with_odd = choose_point(&odd, runs, 0, 1) + choose_point(&odd, runs, 4, 1);
    *r = with_odd < with_even ? odd : *r;
    return fmin(with_even, with_odd);
}

/* Sets U of a run of columns: the square itself or, with descent, the factor of its inverse U^T U. Sets `inverse` to
 * the inverse of the square. */
static void factor_run(const block *b, size_t first, int descent, run *r, double inverse[RUN][RUN])
{
    double a[RUN][2 * RUN];
    memset(r->u, 0, sizeof r->u);
    for (size_t i = 0; i < RUN; i++)
        for (size_t j = 0; j < 2 * RUN; j++)
            a[i][j] = j < RUN ? (double)b->square[(first + i) * STRIDE + first + j] : (double)(i == j - RUN);
    for (size_t k = 0; k < RUN; k++) {
        const double pivot = a[k][k];
        for (size_t j = 0; j < 2 * RUN; j++)
            a[k][j] /= pivot;
        for (size_t i = 0; i < RUN; i++) {
            const double by = a[i][k];
            for (size_t j = 0; i != k && j < 2 * RUN; j++)
                a[i][j] -= by * a[k][j];
        }
    }
    for (size_t i = 0; i < RUN; i++)
        for (size_t j = 0; j < RUN; j++)
            inverse[i][j] = a[i][RUN + j];
    for (size_t i = 0; i < RUN; i++)
        for (size_t j = i; j < RUN; j++) {
            double left = inverse[i][j];
            for (size_t k = 0; k < i; k++)
                left -= r->u[k][i] * r->u[k][j];
            r->u[i][j] = i == j ? sqrt(left) : left / r->u[i][i];
            if (!descent)
                r->u[i][j] = (double)b->square[(first + i) * STRIDE + first + j];
        }
}

/* Checks 8 coded columns of a lane: the values are those of a point that loses no more than that of the definition. */
static const char *check_run(const block *before, const block *b, size_t kind, int descent, size_t first, size_t l)
{
    const organ_runs *const runs = kinds[kind].runs;
    const double scale = (double)b->scales[b->groups[first] * LANES + l];
    double inverse[RUN][RUN], x[RUN], left = 0;
    run r, best;
    int odd;
    factor_run(b, first, descent, &r, inverse);
    for (size_t j = 0; j < RUN; j++) {
        x[j] = (double)before->field[(first + j) * LANES + l];
        for (size_t i = 0; i < first; i++)
            x[j] -= (double)b->changes[i * LANES + l] * (double)b->square[i * STRIDE + first + j];
    }
    for (size_t j = 0; j < RUN; j++) {
        double target = descent ? (double)before->values[(first + j) * LANES + l] : x[j];
        for (size_t i = 0; i < RUN; i++)
            target += descent ? inverse[i][j] * x[i] : 0;
        const double sign = runs->shift != 0 && scale < 0 ? -1 : 1;
        r.targets[j] = sign * (target / scale - (double)runs->shift);
        r.levels[j] = sign * ((double)b->values[(first + j) * LANES + l] / scale - (double)runs->shift);
    }
    r.fixed = runs->fixed;
    if (scale == 0)
        return NULL;
    best = r;
    left = run_loss(&r, 0, RUN, NULL, 0, &odd);
    const double least = choose_run(&best, runs);
    for (size_t j = 0; j < RUN; j += runs->length) {
        size_t n = 0, k = 0;
        for (; n < runs->count && k < runs->length; n++)
            for (k = 0; k < runs->length && (r.fixed ? r.levels[j + k] : fabs(r.levels[j + k])) ==
                                                (double)runs->points[n * runs->length + k];)
                k++;
        if (k < runs->length || (runs->even && odd))
            return kernel_fault("code_columns, kind %zu: columns from %zu on are no point", kind, first + j);
    }
    return fabs(left - least) <= 1e-4 * (1 + least)
               ? NULL
               : kernel_fault("code_columns, kind %zu, descent %d: columns %zu on lose %g, not %g", kind, descent,
                              first, left, least);
}

static const char *check_coded(const organ_kernels *k, size_t n, size_t kind, int descent)
{
    static _Alignas(64) block before, b, same;
    const char *fault = NULL;
    make_block(&before, n, kind, 11 + n);
    b = same = before;
    organ_coding ours = coding_of(&b, n, kind, descent), theirs = coding_of(&same, n, kind, descent);
    k->code_columns(&ours);
    organ_kernels_scalar->code_columns(&theirs);
    if (memcmp(&b, &same, sizeof b) != 0)
        return kernel_fault("code_columns, kind %zu, %zu columns: not the bits of scalar", kind, n);
    for (size_t j = 0; j < n && !fault; j += kinds[kind].runs ? RUN : 1)
        for (size_t l = 0; l < (kinds[kind].runs ? LANES : 1) && !fault; l++)
            fault = kinds[kind].runs ? check_run(&before, &b, kind, descent, j, l)
                                     : check_column(&before, &b, n, kind, descent, j);
    return fault;
}

/* Returns by how much the loss falls in a lane if the values change from `before` to `b`: 2 d field - d square d. */
static double gain_of(const block *before, const block *b, size_t n, size_t l)
{
    double gain = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)b->values[i * LANES + l] - (double)before->values[i * LANES + l];
        gain += 2 * d * (double)before->field[i * LANES + l];
        for (size_t j = 0; j < n; j++)
            gain -= d * (double)before->square[i * STRIDE + j] *
                    ((double)b->values[j * LANES + l] - (double)before->values[j * LANES + l]);
    }
    return gain;
}

/* Checks that values are the same codes with the new numbers, that the field is the old one minus the changes times the
 * square, that no lane loses, and that most of them gain. */
static const char *check_refit(const organ_kernels *k, size_t n, size_t kind)
{
    static _Alignas(64) block before, b, same;
    size_t better = 0;
    make_block(&before, n, kind, 5 + n);
    b = same = before;
    organ_coding ours = coding_of(&b, n, kind, 1), theirs = coding_of(&same, n, kind, 1);
    k->refit_scales(&ours, b.scratch);
    organ_kernels_scalar->refit_scales(&theirs, same.scratch);
    if (memcmp(&b, &same, sizeof b) != 0)
        return kernel_fault("refit_scales, kind %zu, %zu columns: not the bits of scalar", kind, n);
    for (size_t l = 0; l < LANES; l++) {
        const double gain = gain_of(&before, &b, n, l);
        better += gain > 0;
        if (!(gain > -1e-5))
            return kernel_fault("refit_scales, kind %zu, %zu columns: lane %zu loses %g", kind, n, l, -gain);
        for (size_t j = 0; j < n; j++) {
            double field = (double)before.field[j * LANES + l];
            for (size_t i = 0; i < n; i++)
                field -= ((double)b.values[i * LANES + l] - (double)before.values[i * LANES + l]) *
                         (double)b.square[i * STRIDE + j];
            if (!(fabs(field - (double)b.field[j * LANES + l]) < 1e-4))
                return kernel_fault("refit_scales, kind %zu: the field of column %zu is %g, not %g", kind, j,
                                    (double)b.field[j * LANES + l], field);
            const size_t of = b.groups[j] * LANES + l;
            const double again = nearest_value(kind, (double)b.values[j * LANES + l], (double)b.scales[of],
                                               kinds[kind].affine ? (double)b.minima[of] : 0);
            if (!(fabs(again - (double)b.values[j * LANES + l]) < 1e-6))
                return kernel_fault("refit_scales, kind %zu: value %zu is no code", kind, j);
            if ((double)b.scales[of] * (double)before.scales[of] < 0)
                return kernel_fault("refit_scales, kind %zu: a scale changes its sign", kind);
        }
    }
    /* a power of 2 is rarely nearer to the best scale than the present one */
    const size_t least = kinds[kind].stored == ORGAN_STORE_E8M0 ? 0 : LANES / 2;
    return n == 0 || better > least ? NULL : kernel_fault("refit_scales, kind %zu: %zu lanes gain", kind, better);
}

static const char *check_transposed(const organ_kernels *k, size_t rows, size_t cols)
{
    static float from[MOST * STRIDE], to[STRIDE * MOST];
    for (size_t at = 0; at < MOST * STRIDE; at++) {
        from[at] = (float)at;
        to[at] = -1;
    }
    k->transpose(from, STRIDE, to, MOST, rows, cols);
    for (size_t i = 0; i < STRIDE; i++)
        for (size_t j = 0; j < MOST; j++)
            if (to[i * MOST + j] != (i < cols && j < rows ? (float)(j * STRIDE + i) : -1))
                return kernel_fault("transpose of %zu x %zu: value (%zu, %zu) is %g", rows, cols, i, j,
                                    (double)to[i * MOST + j]);
    return NULL;
}

const char *check_coding(const organ_kernels *k)
{
    static const size_t lengths[] = {0, 1, 7, 8, 9, 24, 31, MOST};
    const char *fault = NULL;
    for (size_t t = 0; t < sizeof lengths / sizeof *lengths && !fault; t++) {
        for (size_t kind = 0; kind < KINDS && !fault; kind++) {
            if (kinds[kind].runs && lengths[t] % RUN != 0)
                continue;
            fault = check_coded(k, lengths[t], kind, 0);
            fault = fault ? fault : check_coded(k, lengths[t], kind, 1);
            if (!fault && lengths[t] % 8 == 0 && !kinds[kind].e4m3)
                fault = check_refit(k, lengths[t], kind);
        }
        for (size_t other = 0; other < sizeof lengths / sizeof *lengths && !fault; other++)
            fault = check_transposed(k, lengths[t], lengths[other]);
    }
    return fault;
}
