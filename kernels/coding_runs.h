/* SPDX-License-Identifier: MIT
 * Chooses the levels of 8 columns together, for types in which only some combinations of levels exist (organ_runs).
 * With the targets t of the columns, levels v lose the sum of (y(j) - v(j))^2 / U(j,j)^2, where U is upper triangular
 * and y(j) = t(j) minus the sum of (y(i) - v(i)) U(i,j) / U(i,i) over the columns i before j: GPTQ's own compensation.
 * Each lane is a row of the matrix; targets are in units of its scale. */
#include <float.h>

enum { RUN = 8 }; /* columns whose levels are chosen together */

/* U of a block of columns, its inverse R, and what a search needs of them, row by row. */
typedef struct run_factor {
    float u[RUN][RUN], r[RUN][RUN];
    float shares[RUN][RUN]; /* U(i,j) / U(i,i) */
    float squares[RUN];     /* 1 / U(j,j)^2 */
} run_factor;

/* Sets `to` to the inverse of `triangle`. Both are upper triangular. */
INLINE void run_invert(float triangle[RUN][RUN], float to[RUN][RUN])
{
    for (int j = 0; j < RUN; j++)
        for (int i = RUN - 1; i >= 0; i--) {
            float sum = i == j ? 1 : 0;
            for (int k = i + 1; k <= j; k++)
                sum -= triangle[i][k] * to[k][j];
            to[i][j] = i <= j ? sum / triangle[i][i] : 0;
        }
}

/* Sets r to the upper triangular R with R R^T = `square`, from the last column on. A pivot that rounding makes too
 * small is replaced by 2^-10 of its diagonal element. */
INLINE void run_factorise(const float *square, size_t stride, float r[RUN][RUN])
{
    for (int j = RUN - 1; j >= 0; j--)
        for (int i = j; i >= 0; i--) {
            float left = square[(size_t)i * stride + (size_t)j];
            for (int k = j + 1; k < RUN; k++)
                left -= r[i][k] * r[j][k];
            const float least = square[(size_t)j * (stride + 1)] * 0x1p-10f;
            r[j][i] = 0;
            r[i][j] = i == j ? __builtin_sqrtf(left > least ? left : least) : left / r[j][j];
        }
}

/* Without descent `square` contains U itself, with descent R R^T. */
INLINE void run_set_factor(const organ_coding *c, size_t first, run_factor *f)
{
    const float *const square = c->square + first * (c->square_stride + 1);
    if (c->descent) {
        run_factorise(square, c->square_stride, f->r);
        run_invert(f->r, f->u);
    } else {
        for (size_t i = 0; i < RUN; i++)
            for (size_t j = 0; j < RUN; j++)
                f->u[i][j] = i <= j ? square[i * c->square_stride + j] : 0;
        run_invert(f->u, f->r);
    }
    for (int i = 0; i < RUN; i++) {
        for (int j = 0; j < RUN; j++)
            f->shares[i][j] = f->u[i][j] / f->u[i][i];
        f->squares[i] = f->r[i][i] * f->r[i][i];
    }
}

/* Returns `a` with the sign of `of`; `a` is not negative. */
INLINE f32x16 run_signed(f32x16 a, f32x16 of)
{
    return f32_of_bits(u32_or(f32_bits(a), u32_and(f32_bits(of), u32_set1(~MAGNITUDE))));
}

/* Returns -a in lanes in which `of` is negative, else a. */
INLINE f32x16 run_negated(f32x16 a, f32x16 of)
{
    return f32_of_bits(u32_xor(f32_bits(a), u32_and(f32_bits(of), u32_set1(~MAGNITUDE))));
}

/* The best point that was found, by lane. */
typedef struct run_best {
    f32x16 loss, point; /* `point`: number of the point */
    f32x16 flipped;     /* column whose sign is not that of y; -1: none */
} run_best;

INLINE void run_keep(run_best *best, f32x16 loss, float point, f32x16 flipped)
{
    const m32x16 better = f32_gt(best->loss, loss);
    best->loss = f32_select(better, loss, best->loss);
    best->point = f32_select(better, f32_set1(point), best->point);
    best->flipped = f32_select(better, flipped, best->flipped);
}

/* The columns of a point, from the first one on: t, y, y - v, and the loss of the columns before. */
typedef struct run_path {
    f32x16 targets[RUN], wanted[RUN], lost[RUN], losses[RUN + 1];
} run_path;

/* Returns y(j). Columns count from `from` on. */
INLINE f32x16 run_wanted(const run_path *p, const run_factor *f, int from, int j)
{
    f32x16 y = p->targets[j];
    for (int i = 0; i < j; i++)
        y = f32_fnma(p->lost[i], f32_set1(f->shares[from + i][from + j]), y);
    return y;
}

/* Offers a point of `length` columns to best[0] and best[1], the best ones with an even and with an odd number of
 * negative levels. With the signs of y the point is one of them; for the other one, the sign is changed that adds least
 * to the loss. If v(j) changes by -c, the loss grows by c (2 g + c s): s is the square of row j of R, g its product
 * with the errors (y(k) - v(k)) / U(k,k). */
INLINE void run_offer_both(run_best best[2], const run_path *p, const run_factor *f, int from, const int length,
                           const float *point, float number)
{
    const f32x16 none = f32_set1(-1);
    f32x16 errors[RUN], least = f32_set1(FLT_MAX), flipped = none;
    u32x16 odd = u32_set1(0);
    UNROLL for (int j = 0; j < length; j++)
    {
        errors[j] = f32_mul(p->lost[j], f32_set1(f->r[from + j][from + j]));
        odd = u32_add(odd, u32_and(f32_bits(p->wanted[j]), u32_set1(~MAGNITUDE)));
    }
    UNROLL for (int j = 0; j < length; j++)
    {
        const float *const row = &f->r[from + j][from];
        f32x16 gradient = f32_set1(0);
        float own = 0;
        for (int k = j; k < length; k++) {
            gradient = f32_fma(errors[k], f32_set1(row[k]), gradient);
            own += row[k] * row[k];
        }
        const f32x16 change = run_signed(f32_set1(2 * point[j]), p->wanted[j]),
                     more = f32_mul(change, f32_fma(change, f32_set1(own), f32_add(gradient, gradient)));
        const m32x16 better = f32_gt(least, more);
        least = f32_select(better, more, least);
        flipped = f32_select(better, f32_set1((float)j), flipped);
    }
    const m32x16 is_even = u32_eq(odd, u32_set1(0));
    const f32x16 loss = p->losses[length], other = f32_add(loss, least);
    run_keep(&best[0], f32_select(is_even, loss, other), number, f32_select(is_even, none, flipped));
    run_keep(&best[1], f32_select(is_even, other, loss), number, f32_select(is_even, flipped, none));
}

/* Where run_search takes the signs of levels from. FREE, BOTH: from y; BOTH compares points by run_offer_both. FIXED:
 * from the point, whose numbers are the levels. */
enum run_signs { RUN_FREE, RUN_BOTH, RUN_FIXED };

/* Finds the point with the least loss for `length` columns from column `from` on. Points are sorted, so what a point
 * shares with the one before it is not computed again. */
INLINE void run_search(const organ_runs *runs, const run_factor *f, int from, const f32x16 *targets, const int length,
                       const enum run_signs signs, run_best best[2])
{
    run_path p;
    best[0] = best[1] = (run_best){f32_set1(FLT_MAX), f32_set1(0), f32_set1(-1)};
    for (int j = 0; j < length; j++)
        p.targets[j] = targets[from + j];
    p.losses[0] = f32_set1(0);
    p.wanted[0] = p.targets[0];
    for (unsigned n = 0; n < runs->count; n++) {
        const float *const point = runs->points + (size_t)n * (size_t)length;
        int j = runs->shared[n];
        f32x16 y = p.wanted[j], loss = p.losses[j];
        for (;;) {
            const f32x16 number = f32_set1(point[j]);
            const f32x16 lost = f32_sub(y, signs == RUN_FIXED ? number : run_signed(number, y));
            loss = f32_fma(f32_mul(lost, f32_set1(f->squares[from + j])), lost, loss);
            p.losses[j + 1] = loss;
            p.lost[j] = lost;
            if (++j == length)
                break;
            p.wanted[j] = y = run_wanted(&p, f, from, j);
        }
        if (signs == RUN_BOTH)
            run_offer_both(best, &p, f, from, length, point, (float)n);
        else
            run_keep(&best[0], loss, (float)n, best[0].flipped);
    }
}

SHARED void run_search_8(const organ_runs *runs, const run_factor *f, int from, const f32x16 *targets, run_best *best)
{
    run_search(runs, f, from, targets, 8, RUN_FREE, best);
}

SHARED void run_search_fixed(const organ_runs *runs, const run_factor *f, int from, const f32x16 *targets,
                             run_best *best)
{
    run_search(runs, f, from, targets, 8, RUN_FIXED, best);
}

SHARED void run_search_8_both(const organ_runs *runs, const run_factor *f, int from, const f32x16 *targets,
                              run_best *best)
{
    run_search(runs, f, from, targets, 8, RUN_BOTH, best);
}

SHARED void run_search_4(const organ_runs *runs, const run_factor *f, int from, const f32x16 *targets, run_best *best)
{
    run_search(runs, f, from, targets, 4, RUN_FREE, best);
}

SHARED void run_search_4_both(const organ_runs *runs, const run_factor *f, int from, const f32x16 *targets,
                              run_best *best)
{
    run_search(runs, f, from, targets, 4, RUN_BOTH, best);
}

/* Sets `levels` of the columns from `from` on to those of the best point, and compensates the targets of later columns
 * for their errors. */
INLINE void run_take(const organ_runs *runs, const run_factor *f, int from, f32x16 *targets, const run_best *best,
                     f32x16 *levels)
{
    const int length = (int)runs->length;
    float points[16], sizes[RUN][16];
    run_path p;
    f32_store(points, best->point);
    for (int l = 0; l < 16; l++)
        for (int j = 0; j < length; j++)
            sizes[j][l] = runs->points[(size_t)points[l] * (size_t)length + (size_t)j];
    for (int j = 0; j < length; j++)
        p.targets[j] = targets[from + j];
    for (int j = 0; j < length; j++) {
        const f32x16 y = run_wanted(&p, f, from, j);
        levels[from + j] = runs->fixed ? f32_load(sizes[j]) : run_signed(f32_load(sizes[j]), y);
        p.lost[j] = f32_sub(y, levels[from + j]);
    }
    for (int j = 0; j < length; j++) {
        const m32x16 flips = u32_eq(f32_bits(best->flipped), f32_bits(f32_set1((float)j)));
        levels[from + j] = f32_select(flips, f32_sub(f32_set1(0), levels[from + j]), levels[from + j]);
        p.lost[j] = f32_sub(run_wanted(&p, f, from, j), levels[from + j]);
    }
    for (int k = from + length; k < RUN; k++)
        for (int j = 0; j < length; j++)
            targets[k] = f32_fnma(p.lost[j], f32_set1(f->shares[from + j][k]), targets[k]);
}

/* The 8 columns have two points. If their number of negative levels must be even, each kind of first point is tried
 * with the second point that makes it so. Changes `targets`. */
INLINE void run_choose_two(const organ_runs *runs, const run_factor *f, f32x16 *targets, f32x16 *levels)
{
    run_best first[2], second[2];
    if (!runs->even) {
        run_search_4(runs, f, 0, targets, first);
        run_take(runs, f, 0, targets, &first[0], levels);
        run_search_4(runs, f, 4, targets, second);
        run_take(runs, f, 4, targets, &second[0], levels);
        return;
    }
    f32x16 least = f32_set1(FLT_MAX);
    run_search_4_both(runs, f, 0, targets, first);
    for (int odd = 0; odd < 2; odd++) {
        f32x16 rest[RUN], these[RUN];
        memcpy(rest, targets, sizeof rest);
        run_take(runs, f, 0, rest, &first[odd], these);
        run_search_4_both(runs, f, 4, rest, second);
        run_take(runs, f, 4, rest, &second[odd], these);
        const f32x16 loss = f32_add(first[odd].loss, second[odd].loss);
        const m32x16 better = odd ? f32_gt(least, loss) : u32_eq(u32_set1(0), u32_set1(0));
        for (int j = 0; j < RUN; j++)
            levels[j] = f32_select(better, these[j], odd ? levels[j] : these[j]);
        least = loss;
    }
}

/* Replaces targets by their quotients with the scales, from which the shift is subtracted; those of negative scales are
 * negated. 0 in lanes of scale 0. */
INLINE void run_scale_targets(const organ_runs *runs, f32x16 scale, f32x16 targets[RUN])
{
    const f32x16 zero = f32_set1(0);
    const m32x16 some = u32_gt(u32_and(f32_bits(scale), u32_set1(MAGNITUDE)), u32_set1(0));
    const f32x16 by = f32_select(some, scale, f32_set1(1)), shift = f32_set1(runs->shift);
    for (int j = 0; j < RUN; j++) {
        const f32x16 quotient = f32_select(some, f32_div(targets[j], by), zero);
        targets[j] = runs->shift != 0 ? run_negated(f32_sub(quotient, shift), scale) : quotient;
    }
}

/* Sets the values of the 8 columns from `first` on. `field`: what code_columns has for them, less the changes of the
 * columns before. */
INLINE void run_code(const organ_coding *c, size_t first, const f32x16 *field)
{
    const f32x16 scale = f32_load(c->scales + (size_t)c->groups[first] * c->stride);
    const organ_runs *const runs = c->runs;
    f32x16 targets[RUN], levels[RUN];
    run_factor f;
    run_best best[2];
    run_set_factor(c, first, &f);
    for (int j = 0; j < RUN; j++)
        targets[j] = c->descent ? f32_load(c->values + 16 * (first + (size_t)j)) : field[j];
    /* the values with the least loss are the present ones plus U^T U field */
    for (int k = 0; k < RUN && c->descent; k++) {
        f32x16 z = f32_set1(0);
        for (int j = k; j < RUN; j++)
            z = f32_fma(field[j], f32_set1(f.u[k][j]), z);
        for (int j = k; j < RUN; j++)
            targets[j] = f32_fma(z, f32_set1(f.u[k][j]), targets[j]);
    }
    run_scale_targets(runs, scale, targets);
    if (runs->length == RUN) {
        if (runs->fixed)
            run_search_fixed(runs, &f, 0, targets, best);
        else
            (runs->even ? run_search_8_both : run_search_8)(runs, &f, 0, targets, best);
        run_take(runs, &f, 0, targets, &best[0], levels);
    } else
        run_choose_two(runs, &f, targets, levels);
    for (int j = 0; j < RUN; j++) {
        if (runs->shift != 0)
            levels[j] = f32_add(run_negated(levels[j], scale), f32_set1(runs->shift));
        f32_store(c->values + 16 * (first + (size_t)j), f32_mul(levels[j], scale));
    }
}
