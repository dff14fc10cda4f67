/* SPDX-License-Identifier: MIT
 * Quantisers to iq1_s and iq1_m (organ_fit_blocks). A value decodes to s (g + t), with the scale s of its group, a
 * number g of -1, 0 and 1, and the shift t, 1/8 or -1/8. 8 values, a run, share a point of a codebook of 2048, which
 * has a g for each. The scale is the block's d times an odd number from 1 to 15. In iq1_s a group has 32 values and one
 * shift, in iq1_m 16 values and a shift for each run. For given scales, the search finds the point and the shift with
 * the least weighted squared error among all. Lanes are groups, as in fit.h. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/fit_units.h"
#include "kernels/ggml_grids.h"
#include "kernels/half_floats.h"

enum { POINTS = 2048, HALVES = 81, SHIFTS = 2, RUNS = 4, STEP = 4 };

/* The levels g + t: of fields 0, 1 and 2 with the shift upwards, then, from 4 on, with that downwards. */
static const float shift_level[16] = {-0.875f, 0.125f, 1.125f, 0, -1.125f, -0.125f, 0.875f};

/* The points in ascending order. Halves of 4 fields are numbered like numbers of 4 ternary digits, the first field the
 * lowest. rows[p]: place in half_errors of the lower half of point p. ends[u]: the point behind those with upper half
 * u.
 */
typedef struct point_list {
    uint16_t rows[POINTS + HALVES * STEP], ends[HALVES], firsts[HALVES + 1];
} point_list;

/* The weighted errors of 4 values with each half of a point, for both shifts. */
typedef struct half_errors {
    float of[HALVES][SHIFTS][16];
} half_errors;

/* The least error of a run over all points, and the upper half of the first such point. */
typedef struct best_point {
    f32x16 error;
    u32x16 upper;
} best_point;

/* The points chosen for 16 groups. For each run and lane: the number of the point, and 1 if the shift is downwards. */
typedef struct shift_choice {
    uint32_t points[RUNS][16], down[RUNS][16];
    float levels[FIT_MAX][16];
} shift_choice;

INLINE unsigned half_number(unsigned fields)
{
    return (fields & 3) + 3 * (fields >> 2 & 3) + 9 * (fields >> 4 & 3) + 27 * (fields >> 6 & 3);
}

INLINE void list_points(point_list *list)
{
    uint16_t *row = list->rows;
    for (int p = 0, upper = 0; upper < HALVES; upper++) {
        list->firsts[upper] = (uint16_t)p;
        for (; p < POINTS && half_number(iq1_grid[p] >> 8) == (unsigned)upper; p++)
            *row++ = (uint16_t)(half_number(iq1_grid[p] & 255) * SHIFTS * 16);
        for (; (row - list->rows) % STEP; row++)
            *row = row[-1];
        list->ends[upper] = (uint16_t)(row - list->rows);
    }
    list->firsts[HALVES] = POINTS;
}

/* Sets errors[f + 3 h] to the error of value k in field f plus that of value k + 1 in field h. */
INLINE void pair_errors(const fit_groups *g, int k, f32x16 scale, const float *level, f32x16 errors[9])
{
    f32x16 each[2][3];
    UNROLL for (int i = 0; i < 2; i++)
    {
        const f32x16 x = f32_load(g->values[k + i]), w = f32_load(g->weights[k + i]);
        UNROLL for (int l = 0; l < 3; l++)
        {
            const f32x16 lost = f32_fnma(scale, f32_set1(level[l]), x);
            each[i][l] = f32_mul(f32_mul(w, lost), lost);
        }
    }
    UNROLL for (int j = 0; j < 9; j++) errors[j] = f32_add(each[0][j % 3], each[1][j / 3]);
}

/* The half of a run from value k on. */
INLINE void fill_half(const fit_groups *g, int k, f32x16 scale, half_errors *to)
{
    UNROLL for (int shift = 0; shift < SHIFTS; shift++)
    {
        f32x16 first[9], second[9];
        pair_errors(g, k, scale, shift_level + 4 * shift, first);
        pair_errors(g, k + 2, scale, shift_level + 4 * shift, second);
        for (int h = 0; h < 9; h++)
            UNROLL for (int f = 0; f < 9; f++) f32_store(to->of[f + 9 * h][shift], f32_add(first[f], second[h]));
    }
}

INLINE void take_better(best_point *best, f32x16 error, uint32_t upper)
{
    best->upper = u32_select(f32_gt(best->error, error), u32_set1(upper), best->upper);
    best->error = f32_min(best->error, error);
}

/* Finds for each shift the best point of the run of values from k on. */
SHARED void search_run(const point_list *list, const fit_groups *g, int k, f32x16 scale, half_errors *low,
                       best_point best[SHIFTS])
{
    const f32x16 most = f32_set1(FIT_MAX_ERROR);
    const uint16_t *row = list->rows;
    half_errors high;
    fill_half(g, k, scale, low);
    fill_half(g, k + 4, scale, &high);
    best_point up = {most, u32_set1(0)}, down = up;
    for (uint32_t upper = 0; upper < HALVES; upper++) {
        f32x16 lower = most, lower_down = most;
        for (const uint16_t *const end = list->rows + list->ends[upper]; row < end; row += STEP) {
            UNROLL for (int i = 0; i < STEP; i++)
            {
                const float *const errors = low->of[0][0] + row[i];
                lower = f32_min(lower, f32_load(errors));
                lower_down = f32_min(lower_down, f32_load(errors + 16));
            }
        }
        take_better(&up, f32_add(f32_load(high.of[upper][0]), lower), upper);
        take_better(&down, f32_add(f32_load(high.of[upper][1]), lower_down), upper);
    }
    best[0] = up;
    best[1] = down;
}

/* Sets points[l] to the number of the best point in lane l, of equal ones the first, and returns the entries of these
 * points. Errors are not negative, so their bits have their order; the compiler selects integers without a jump. */
INLINE u32x16 locate_points(const point_list *list, const half_errors *low, u32x16 uppers, const uint32_t *down,
                            uint32_t points[16])
{
    uint32_t upper[16], found[16];
    u32_put(upper, uppers);
    for (int l = 0; l < 16; l++) {
        const float *const errors = low->of[0][down[l]] + l;
        uint32_t least = UINT32_MAX;
        int best = 0;
        const uint16_t *const rows = list->rows + (upper[l] ? list->ends[upper[l] - 1] : 0);
        const int first = list->firsts[upper[l]], count = list->firsts[upper[l] + 1] - first;
        for (int p = 0; p < count; p++) {
            uint32_t error;
            memcpy(&error, errors + rows[p], sizeof error);
            best = error < least ? first + p : best;
            least = error < least ? error : least;
        }
        points[l] = (uint32_t)best;
        found[l] = iq1_grid[best];
    }
    return u32_get(found);
}

/* Chooses for each run the nearest point, and the shift of each run or group. */
SHARED f32x16 choose_points(const point_list *list, const fit_groups *g, f32x16 scale, shift_choice *to)
{
    const f32x16 levels = f32_load(shift_level);
    half_errors low[RUNS];
    best_point best[RUNS][SHIFTS];
    f32x16 up = f32_set1(0), down = up, either = up;
    for (int r = 0; r < g->size / 8; r++) {
        search_run(list, g, 8 * r, scale, &low[r], best[r]);
        up = f32_add(up, best[r][0].error);
        down = f32_add(down, best[r][1].error);
        either = f32_add(either, f32_min(best[r][0].error, best[r][1].error));
    }
    for (int r = 0; r < g->size / 8; r++) {
        const m32x16 is_down = g->size == FIT_MAX ? f32_gt(up, down) : f32_gt(best[r][0].error, best[r][1].error);
        const u32x16 direction = u32_keep(is_down, u32_set1(1));
        u32_put(to->down[r], direction);
        const u32x16 entries = locate_points(list, &low[r], u32_select(is_down, best[r][1].upper, best[r][0].upper),
                                             to->down[r], to->points[r]);
        for (int i = 0; i < 8; i++)
            f32_store(to->levels[8 * r + i], f32_lookup(levels, u32_add(u32_and(u32_srl(entries, 2 * i), u32_set1(3)),
                                                                        u32_sll(direction, 2))));
    }
    return g->size == FIT_MAX ? f32_min(up, down) : either;
}

enum { TRIES = 12, ROUNDS = 8 };
static const fit_units of_iq1 = {1, 15, 20};

/* Returns the error of each group with this scale, if each value had the nearest level, whatever the codebook has. */
INLINE f32x16 free_error(const fit_groups *g, f32x16 scale)
{
    const f32x16 inverse = fit_inverse(scale);
    f32x16 sums[SHIFTS] = {f32_set1(0), f32_set1(0)};
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_mul(f32_load(g->values[k]), inverse), w = f32_load(g->weights[k]);
        UNROLL for (int shift = 0; shift < SHIFTS; shift++)
        {
            const f32x16 shifted = f32_sub(x, f32_set1(shift_level[4 * shift + 1]));
            const f32x16 lost = f32_sub(shifted, fit_code(shifted, -1, 1));
            sums[shift] = f32_fma(f32_mul(w, lost), lost, sums[shift]);
        }
    }
    return f32_mul(f32_mul(scale, scale), f32_min(sums[0], sums[1]));
}

/* Returns for each group the best of the scales that are tried, multiples of the root of the mean square. */
INLINE f32x16 best_scale(const fit_groups *g)
{
    static const float multiples[TRIES] = {0.8f, 0.9f, 1, 1.1f, 1.2f, 1.3f, 1.4f, 1.5f, 1.6f, 1.8f, 2, 2.2f};
    f32x16 weights = f32_set1(0), best = weights, least = f32_set1(FIT_MAX_ERROR);
    for (int k = 0; k < g->size; k++)
        weights = f32_add(weights, f32_load(g->weights[k]));
    const f32x16 root = f32_sqrt(f32_div(fit_sum_of_squares(g), weights));
    for (int t = 0; t < TRIES; t++) {
        const f32x16 s = f32_mul(root, f32_set1(multiples[t])), error = free_error(g, s);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        best = f32_select(better, s, best);
    }
    return best;
}

/* ---- units and multiples ---- */

typedef struct shift_fit {
    float units[16], multiples[16];
    shift_choice points;
} shift_fit;

/* Chooses points for the present multiples and, to compare, for the next ones in the direction of the scale that
 * suits the present points best. Then refits the units. Returns whether units or multiples changed. */
SHARED int improve(const point_list *list, const fit_groups *g, shift_fit *f)
{
    const int span = 256 / g->size;
    float units[16], multiples[16];
    memcpy(units, f->units, sizeof units);
    memcpy(multiples, f->multiples, sizeof multiples);
    const f32x16 unit = f32_load(f->units), multiple = f32_load(f->multiples), scale = f32_mul(unit, multiple);
    f32x16 px, pp, next_px, next_pp;
    shift_choice other;
    const f32x16 error = choose_points(list, g, scale, &f->points);
    fit_chosen_sums(g, f->points.levels, &px, &pp);
    const f32x16 step = f32_select(f32_gt(f32_div(px, pp), scale), f32_set1(2), f32_set1(-2));
    const f32x16 next = f32_max(f32_min(f32_add(multiple, step), f32_set1(of_iq1.greatest)), f32_set1(1));
    const m32x16 better = f32_gt(error, choose_points(list, g, f32_mul(unit, next), &other));
    fit_chosen_sums(g, other.levels, &next_px, &next_pp);
    const f32x16 taken = f32_select(better, next, multiple);
    f32_store(f->multiples, taken);
    px = f32_select(better, next_px, px);
    pp = f32_select(better, next_pp, pp);
    fit_quotient_units(f32_mul(taken, px), f32_mul(f32_mul(taken, taken), pp), /*root=*/0, span, &of_iq1, f->units);
    return memcmp(units, f->units, sizeof units) != 0 || memcmp(multiples, f->multiples, sizeof multiples) != 0;
}

/* Fits 16 groups: points for the first scale of each group, a unit for each block, multiples of it near these scales,
 * then all of them again until none changes. */
SHARED void fit_16(const point_list *list, const fit_groups *g, shift_fit *f)
{
    const int span = 256 / g->size;
    f32x16 px, pp;
    choose_points(list, g, best_scale(g), &f->points);
    fit_chosen_sums(g, f->points.levels, &px, &pp);
    const f32x16 scales = f32_select(f32_gt(px, f32_set1(0)), f32_div(px, pp), f32_set1(0));
    fit_first_units(scales, pp, span, &of_iq1, f->units);
    f32_store(f->multiples, fit_odd_number(f32_mul(scales, fit_inverse(f32_load(f->units))), &of_iq1));
    int changes = 1;
    for (int round = 0; round < ROUNDS && changes; round++)
        changes = improve(list, g, f);
    const f32x16 multiples = f32_load(f->multiples);
    if (changes)
        choose_points(list, g, f32_mul(f32_load(f->units), multiples), &f->points);
    fit_chosen_sums(g, f->points.levels, &px, &pp);
    /* The decoded values of each block get the weighted sum of squares of the values, as in grid_encoders.c. */
    fit_quotient_units(fit_sum_of_squares(g), f32_mul(f32_mul(multiples, multiples), pp), /*root=*/1, span, &of_iq1,
                       f->units);
}

INLINE unsigned code_of(const shift_fit *f, int lane) { return (unsigned)f->multiples[lane] / 2; }

/* ---- blocks ---- */

/* The lanes from `lane` on are the groups of the block. */
INLINE void store_iq1_s(const shift_fit *f, int lane, block_iq1_s *b)
{
    half_put(b->d, f->units[lane]);
    for (int j = 0; j < 8; j++) {
        unsigned all = code_of(f, lane + j) << 12 | f->points.down[0][lane + j] << 15;
        for (int r = 0; r < 4; r++) {
            const unsigned point = f->points.points[r][lane + j];
            b->indices[4 * j + r] = (uint8_t)point;
            all |= (point >> 8) << 3 * r;
        }
        b->high[2 * j] = (uint8_t)all;
        b->high[2 * j + 1] = (uint8_t)(all >> 8);
    }
}

/* The F16 scale of the block is spread over the top nibbles of `scales`. */
INLINE void store_iq1_m(const shift_fit *f, block_iq1_m *b)
{
    uint8_t d[2];
    half_put(d, f->units[0]);
    for (int j = 0; j < 16; j++) {
        unsigned high = 0;
        for (int r = 0; r < 2; r++) {
            const unsigned point = f->points.points[r][j];
            b->indices[2 * j + r] = (uint8_t)point;
            high |= (point >> 8 | f->points.down[r][j] << 3) << 4 * r;
        }
        b->high[j] = (uint8_t)high;
    }
    for (int j = 0; j < 4; j++) {
        unsigned all = (unsigned)(d[j / 2] >> j % 2 * 4 & 15) << 12;
        for (int k = 0; k < 4; k++)
            all |= code_of(f, 4 * j + k) << 3 * k;
        b->scales[2 * j] = (uint8_t)all;
        b->scales[2 * j + 1] = (uint8_t)(all >> 8);
    }
}

void KERNEL(fit_iq1_s)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_groups g = {.size = 32};
    point_list list;
    shift_fit f;
    list_points(&list);
    for (size_t at = 0; at < n; at += 2) {
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);
        fit_16(&list, &g, &f);
        for (size_t b = 0; b < 2 && at + b < n; b++)
            store_iq1_s(&f, 8 * (int)b, (block_iq1_s *)blocks + at + b);
    }
}

void KERNEL(fit_iq1_m)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_iq1_m *to = blocks;
    fit_groups g = {.size = 16};
    point_list list;
    shift_fit f;
    list_points(&list);
    for (size_t at = 0; at < n; at++) {
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, 16);
        fit_16(&list, &g, &f);
        store_iq1_m(&f, to + at);
    }
}

#endif
