/* SPDX-License-Identifier: MIT
 * Jumps between columns are measured in two of four rows (3 and 4, 7 and 8, ...), which are a large enough sample;
 * jumps between rows in the two rows at each multiple of 16 (15 and 16, 31 and 32, ...). */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <string.h>

#define SEGMENT      128  /* values whose rms is compared, of a row or of a column */
#define STEP         16   /* distance of the lines that are examined */
#define BINS_PER_ONE 64.0 /* bins of a histogram for a change of ln rms by 1 */
#define FEW          16   /* smallest number of rows for the rms of a column */
#define ENOUGH       4    /* smallest number of segments for the mean change of a row */

void organ_jumps_add(organ_jumps *sum, const organ_jumps *more)
{
    for (size_t c = 0; c < ORGAN_JUMP_CLASSES; c++)
        for (size_t b = 0; b < ORGAN_JUMP_BINS; b++) {
            sum->rows[c][b] += more->rows[c][b];
            sum->columns[c][b] += more->columns[c][b];
            sum->whole_rows[c][b] += more->whole_rows[c][b];
            sum->whole_columns[c][b] += more->whole_columns[c][b];
        }
}

/* Lines are multiples of 16. Class 2 has multiples of 128, class 1 odd multiples of 64, class 0 all others. */
static unsigned class_of(uint64_t line) { return (line % 128 == 0) + (line % 64 == 0); }

/* The last bin counts all larger changes. A change that is not finite is not counted. */
static void count_jump(organ_jump_counts counts, uint64_t line, double change)
{
    const double place = fabs(change) * BINS_PER_ONE;
    if (isfinite(place))
        counts[class_of(line)][place < ORGAN_JUMP_BINS - 1 ? (size_t)place : ORGAN_JUMP_BINS - 1]++;
}

/* jumps->whole_rows counts the change itself; jumps->rows counts the change minus the mean of the changes in this
 * row, if at least ENOUGH of these are finite. */
static void pair_rows(organ_jumps *jumps, uint64_t row, const organ_row_profile *above, const organ_row_profile *here)
{
    double sum = 0, n = 0;
    for (size_t s = 0; s < ORGAN_JUMP_SEGMENTS; s++) {
        const double change = (double)here->ln[s] - (double)above->ln[s];
        count_jump(jumps->whole_rows, row, change);
        sum += isfinite(change) ? change : 0;
        n += isfinite(change) ? 1 : 0;
    }
    const double mean = n > 0 ? sum / n : 0;
    for (size_t s = 0; s < ORGAN_JUMP_SEGMENTS; s++)
        if (n >= ENOUGH)
            count_jump(jumps->rows, row, (double)here->ln[s] - (double)above->ln[s] - mean);
}

/* A change between two columns that is the same in all rows is in both profiles, so their difference cancels it. The
 * difference of two independent changes scatters sqrt(2) times as much as one change, so it is divided by sqrt(2). */
static void pair_columns(organ_jumps *jumps, const organ_column_profile *above, const organ_column_profile *here)
{
    for (size_t line = 1; line < ORGAN_JUMP_LINES; line++)
        count_jump(jumps->columns, line * STEP, ((double)here->change[line] - (double)above->change[line]) / M_SQRT2);
}

/* Row profiles are compared only if `row` is a multiple of STEP. */
void organ_jumps_join(organ_jumps *jumps, uint64_t row, const organ_jump_edges *above, const organ_jump_edges *below)
{
    if (row % STEP == 0)
        pair_rows(jumps, row, &above->last_row, &below->first_row);
    pair_columns(jumps, &above->last_columns, &below->first_columns);
}

/* `sum` is the sum of the squares. Returns NaN if it is 0 or not finite. */
static double ln_rms(double sum, size_t n) { return sum > 0 && isfinite(sum) ? log(sum / (double)n) / 2 : (double)NAN; }

/* Returns a pointer into `values` if they are F32, otherwise `scratch`, into which they are converted. `n` is at
 * most SEGMENT. */
static const float *widen_segment(const organ_kernels *kernels, organ_dtype as, const void *values, size_t at, size_t n,
                                  float scratch[SEGMENT])
{
    if (as == ORGAN_F32)
        return (const float *)values + at;
    if (as == ORGAN_BF16)
        kernels->bf16_to_f32((const uint16_t *)values + at, scratch, n);
    else
        kernels->f16_to_f32((const uint16_t *)values + at, scratch, n);
    return scratch;
}

static double square_f64(float x) { return (double)x * (double)x; }

/* Leaves out the last n mod 4 values. Four independent sums hide the latency of the addition. */
static double jumps_squares_of(const float *x, size_t n)
{
    double sum[4] = {0};
    for (size_t k = 0; k + 4 <= n; k += 4)
        for (size_t l = 0; l < 4; l++)
            sum[l] += square_f64(x[k + l]);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

typedef struct autopsy_jumps_walk {
    organ_jumps *jumps;
    const organ_kernels *kernels;
    organ_dtype as;
    const void *values;
    size_t cols, segments; /* columns, and whole segments in a row */
    organ_jump_scratch *scratch;
    organ_jump_edges *edges;
    size_t rows_in; /* number of rows whose squares are in scratch->squares */
    size_t groups;  /* column profiles made so far */
} autopsy_jumps_walk;

/* Segments after the last whole one are NaN. */
static void make_profile(const autopsy_jumps_walk *w, size_t row, organ_row_profile *profile)
{
    float scratch[SEGMENT];
    for (size_t s = 0; s < ORGAN_JUMP_SEGMENTS; s++)
        profile->ln[s] = NAN;
    for (size_t s = 0; s < w->segments; s++)
        profile->ln[s] = (float)ln_rms(
            jumps_squares_of(widen_segment(w->kernels, w->as, w->values, row * w->cols + s * SEGMENT, SEGMENT, scratch),
                             SEGMENT),
            SEGMENT);
}

/* Each column whose index is a multiple of 16, except column 0, has two squares: of the value in the column on its
 * left, and of the value in the column itself. */
static void add_columns(autopsy_jumps_walk *w, size_t row)
{
    const size_t lines = (w->cols - 1) / STEP;
    float last = 0, room[SEGMENT];
    for (size_t at = 0; at < w->cols && at / STEP < ORGAN_JUMP_LINES; at += SEGMENT) {
        const size_t n = organ_min(w->cols - at, SEGMENT);
        const float *const x = widen_segment(w->kernels, w->as, w->values, row * w->cols + at, n, room);
        for (size_t k = 0; k < n; k += STEP) {
            const size_t line = (at + k) / STEP;
            if (line > 0 && line <= lines) {
                w->scratch->squares[2 * line] += square_f64(k > 0 ? x[k - 1] : last);
                w->scratch->squares[2 * line + 1] += square_f64(x[k]);
            }
        }
        last = x[n - 1];
    }
    w->rows_in++;
}

/* The first profile of a strip is stored in edges->first_columns, because the rows above belong to another strip.
 * Fewer than FEW rows make no profile. */
static void flush_columns(autopsy_jumps_walk *w)
{
    organ_column_profile *const here = w->groups == 0 ? &w->edges->first_columns : &w->scratch->columns;
    if (w->rows_in < FEW) {
        memset(w->scratch->squares, 0, sizeof w->scratch->squares);
        w->rows_in = 0;
        return;
    }
    for (size_t line = 0; line < ORGAN_JUMP_LINES; line++)
        here->change[line] = line > 0 && line * STEP < w->cols
                                 ? (float)(ln_rms(w->scratch->squares[2 * line + 1], w->rows_in) -
                                           ln_rms(w->scratch->squares[2 * line], w->rows_in))
                                 : NAN;
    for (size_t line = 1; line < ORGAN_JUMP_LINES; line++)
        count_jump(w->jumps->whole_columns, line * STEP, (double)here->change[line]);
    if (w->groups++ > 0)
        pair_columns(w->jumps, &w->edges->last_columns, here);
    w->edges->last_columns = *here;
    memset(w->scratch->squares, 0, sizeof w->scratch->squares);
    w->rows_in = 0;
}

static void clear_edges(organ_jump_edges *edges)
{
    for (size_t s = 0; s < ORGAN_JUMP_SEGMENTS; s++)
        edges->first_row.ln[s] = edges->last_row.ln[s] = NAN;
    for (size_t line = 0; line < ORGAN_JUMP_LINES; line++)
        edges->first_columns.change[line] = edges->last_columns.change[line] = NAN;
}

/* Each multiple of STEP has profiles of two rows, and each SEGMENT rows have one column profile. */
void organ_jumps_strip(organ_jumps *jumps, const organ_kernels *kernels, organ_dtype as, const void *values,
                       uint64_t first, size_t rows, size_t cols, organ_jump_scratch *scratch, organ_jump_edges *edges)
{
    const size_t segments = cols / SEGMENT < ORGAN_JUMP_SEGMENTS ? cols / SEGMENT : ORGAN_JUMP_SEGMENTS;
    autopsy_jumps_walk w = {jumps, kernels, as, values, cols, segments, scratch, edges, 0, 0};
    clear_edges(edges);
    flush_columns(&w); /* no rows yet: clears scratch->squares */
    for (size_t r = 0; r < rows; r++) {
        const uint64_t row = first + r;
        if (row % SEGMENT == 0)
            flush_columns(&w);
        if (row % 4 == 0 || row % 4 == 3)
            add_columns(&w, r);
        if (row % STEP == 0) {
            make_profile(&w, r, &scratch->here);
            if (r > 0)
                pair_rows(jumps, row, &scratch->above, &scratch->here);
            else
                edges->first_row = scratch->here;
        }
        if (row % STEP == STEP - 1)
            make_profile(&w, r, &scratch->above);
    }
    flush_columns(&w);
    make_profile(&w, rows - 1, &edges->last_row);
}

/* The median is interpolated within its bin; NaN if the histogram is empty. */
static double histogram_median(const uint32_t counts[ORGAN_JUMP_BINS])
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

/* Returns the smaller period of 64 and 128 at which the spread jumps, or 0 if there are no jumps. An eighth of the
 * `lines` lines are odd multiples of 64, and an eighth are multiples of 128; if an eighth is less than `fewest`,
 * returns 0. The median change across these lines must exceed the median across the other lines by half, and by the
 * share `allowed` / sqrt(lines / 8). Jumps with a standard deviation below 0.15 in ln rms do not count. The median
 * of few lines varies: for independent, normal changes its relative error is about 1.17 / sqrt(lines). Lines are not
 * independent, because the spread of a channel is similar in all rows, especially without subtraction of the change
 * of whole lines. Therefore `allowed` is several times that error. */
static unsigned period_of(organ_jump_counts counts, uint64_t lines, uint64_t fewest, double allowed, double *factor)
{
    static const unsigned periods[ORGAN_JUMP_CLASSES] = {0, 64, 128};
    const uint64_t across = lines / 8; /* odd multiples of 64, and multiples of 128 */
    const double inside = histogram_median(counts[0]), least = fmax(1.5, 1 + allowed / sqrt((double)across));
    for (size_t c = 1; c < ORGAN_JUMP_CLASSES && across >= fewest; c++) {
        const double jump = histogram_median(counts[c]);
        if (!(inside >= 0) || !(jump > least * inside))
            continue;
        /* standard deviation of the jumps alone; 0.6745 is the median of |x| for a normal x of deviation 1 */
        const double beyond = sqrt(jump * jump - inside * inside) / 0.6745;
        if (beyond < 0.15)
            continue;
        *factor = exp(beyond);
        return periods[c];
    }
    return 0;
}

/* `less` is judged first, because these changes scatter less; `whole` has a higher bound. */
unsigned organ_jumps_period(organ_jump_counts less, organ_jump_counts whole, uint64_t lines, double *factor)
{
    *factor = 1;
    const unsigned period = period_of(less, lines, /*fewest=*/8, /*allowed=*/6, factor);
    return period ? period : period_of(whole, lines, /*fewest=*/16, /*allowed=*/8, factor);
}

#define SLOT_BITS 13 /* bits of the index of a slot of organ_level_set */
#define SLOTS     ((uint32_t)1 << SLOT_BITS)
#define EMPTY     0xffffffffu /* the bits of a NaN, which does not count as a level */
_Static_assert(SLOTS == 2 * ORGAN_AUTOPSY_LEVELS, "at most half of the slots are taken");
#define PAGE 256 /* words that are united together: most pages are empty */

static void clear_levels(organ_level_set *set)
{
    memset(set->slots, 0xff, sizeof set->slots);
    set->count = 0;
}

/* The slot is the upper bits of the product of the value and 2^32 / golden ratio, which depend on all bits of the
 * value. */
static inline uint32_t slot_of(uint32_t bits) { return (bits * 0x9e3779b1u) >> (32 - SLOT_BITS); }

/* If the set already has ORGAN_AUTOPSY_LEVELS values, a new one only raises `count` above the limit, and after that
 * nothing is added. At most half of the slots are used, so the search ends. */
static void add_level(organ_level_set *set, uint32_t bits)
{
    if (set->count > ORGAN_AUTOPSY_LEVELS)
        return;
    uint32_t at = slot_of(bits);
    while (set->slots[at] != bits && set->slots[at] != EMPTY)
        at = (at + 1) & (SLOTS - 1);
    if (set->slots[at] == bits)
        return;
    if (++set->count <= ORGAN_AUTOPSY_LEVELS)
        set->slots[at] = bits;
}

static bool is_level(uint32_t bits) { return (bits & 0x7fffffff) < 0x7f800000; }

void organ_level_union_begin(organ_level_union *all)
{
    clear_levels(&all->set);
    all->over = false;
    pthread_mutex_init(&all->lock, NULL);
}

void organ_level_union_end(organ_level_union *all) { pthread_mutex_destroy(&all->lock); }

static bool is_over(const organ_level_union *all) { return __atomic_load_n(&all->over, __ATOMIC_RELAXED); }

void organ_levels_begin(organ_level_scratch *scratch, const organ_level_union *all)
{
    if (is_over(all))
        return;
    memset(scratch->seen, 0, sizeof scratch->seen);
    clear_levels(&scratch->other);
}

/* A value whose lower 16 bits are zero is marked by its upper 16 bits in scratch->seen, because a weight that was
 * BF16 before it became FP32 consists of such values. Most of the others are found at their first slot, which is
 * tested here without a call. */
static void add_floats(organ_level_scratch *scratch, const float *values, size_t n)
{
    const uint32_t *const slots = scratch->other.slots;
    if (scratch->other.count > ORGAN_AUTOPSY_LEVELS)
        return;
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, &values[k], sizeof bits);
        if ((bits & 0xffff) == 0)
            scratch->seen[bits >> 16] = 1;
        else if (slots[slot_of(bits)] != bits && is_level(bits)) {
            add_level(&scratch->other, bits);
            if (scratch->other.count > ORGAN_AUTOPSY_LEVELS)
                return;
        }
    }
}

void organ_levels_add(organ_level_scratch *scratch, const organ_level_union *all, organ_dtype as, const void *values,
                      size_t n)
{
    if (is_over(all))
        return;
    if (as == ORGAN_F32) {
        add_floats(scratch, values, n);
        return;
    }
    const uint16_t *const words = values;
    for (size_t k = 0; k < n; k++)
        scratch->seen[words[k]] = 1;
}

/* Word first + k occurs if seen[k] is 1. Infinity and NaN are left out; -0 counts as 0. `as`: ORGAN_F16, or another
 * type for words of BF16. */
static void unite_page(const unsigned char *seen, uint32_t first, organ_level_set *set, organ_dtype as,
                       const organ_kernels *kernels)
{
    uint16_t words[PAGE];
    float values[PAGE];
    if (!memchr(seen, 1, PAGE))
        return;
    for (uint32_t k = 0; k < PAGE; k++)
        words[k] = (uint16_t)(first + k);
    if (as == ORGAN_F16)
        kernels->f16_to_f32(words, values, PAGE);
    else
        kernels->bf16_to_f32(words, values, PAGE);
    for (uint32_t k = 0; k < PAGE; k++) {
        uint32_t bits;
        memcpy(&bits, &values[k], sizeof bits);
        if (seen[k] && is_level(bits))
            add_level(set, bits == 0x80000000u ? 0 : bits);
    }
}

/* all->lock protects all->set. all->over is set if it then has more than ORGAN_AUTOPSY_LEVELS values. */
void organ_levels_unite(organ_level_scratch *scratch, organ_level_union *all, organ_dtype as,
                        const organ_kernels *kernels)
{
    if (is_over(all))
        return;
    ORGAN_LOCKED(&all->lock);
    for (uint32_t first = 0; first < sizeof scratch->seen; first += PAGE)
        unite_page(scratch->seen + first, first, &all->set, as, kernels);
    for (uint32_t k = 0; k < SLOTS && scratch->other.count <= ORGAN_AUTOPSY_LEVELS; k++)
        if (scratch->other.slots[k] != EMPTY)
            add_level(&all->set, scratch->other.slots[k]);
    if (scratch->other.count > ORGAN_AUTOPSY_LEVELS)
        all->set.count = ORGAN_AUTOPSY_LEVELS + 1;
    __atomic_store_n(&all->over, all->set.count > ORGAN_AUTOPSY_LEVELS, __ATOMIC_RELAXED);
}

/* FP4 E2M1 has the values 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. `value` must be a multiple of 0.5. */
static bool is_fp4(float value)
{
    const float twice = fabsf(value) * 2;
    return twice <= 4 || twice == 6 || twice == 8 || twice == 12;
}

/* An empty set and one over its limit are neither integers nor FP4. */
organ_level_kind organ_level_kind_of(const organ_level_set *set)
{
    const bool known = set->count > 0 && set->count <= ORGAN_AUTOPSY_LEVELS;
    organ_level_kind kind = {known, known};
    for (uint32_t k = 0; k < SLOTS && known; k++) {
        float value;
        if (set->slots[k] == EMPTY)
            continue;
        memcpy(&value, &set->slots[k], sizeof value);
        kind.integers = kind.integers && value == truncf(value);
        kind.fp4 = kind.fp4 && 2 * value == truncf(2 * value) && is_fp4(value);
    }
    return kind;
}
