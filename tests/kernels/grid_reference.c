/* SPDX-License-Identifier: MIT
 * A second implementation of the search of "Points of codebooks" in docs/definitions/gguf.md: it tries all points for
 * each run, one run at a time. */
#include "kernels/ggml_grids.h"
#include "tests/kernels/fit_group.h"
#include "tests/kernels/fit_reference.h"

enum { TRIES = 6, BOOKS = 5 };

typedef struct book {
    int number;
    const uint16_t *entries;
    int points, run, width, size; /* size: values of a group */
    int even, rounds;
    float unit, level[8], peaks[TRIES];
} book;

#define IQ2                                                                                                            \
    0.125f, {8, 25, 43}, { 34.4f, 39.5f, 45.4f, 52.1f, 59.9f, 68.8f }
static const book books[BOOKS] = {
    {18,
     iq3_xxs_grid,
     256,
     4,
     3,
     32,
     1,
     1,
     0.25f,
     {4, 12, 20, 28, 36, 44, 52, 62},
     {49.6f, 55.5f, 62, 69.4f, 77.6f, 86.8f}},
    {21, iq3_s_grid, 512, 4, 3, 32, 0, 1, 1, {1, 3, 5, 7, 9, 11, 13, 15}, {12, 13.4f, 15, 16.8f, 18.8f, 21}},
    {22, iq2_s_grid, 1024, 8, 2, 16, 0, 1, IQ2},
    {17, iq2_xs_grid, 512, 8, 2, 16, 1, 8, IQ2},
    {16, iq2_xxs_grid, 256, 8, 2, 32, 1, 8, IQ2},
};

/* A group: magnitudes, their weights, signs, and the levels chosen, negative if the sign is wrong. */
typedef struct grid_group {
    float a[32], w[32], level[32];
    int negative[32];
} grid_group;

typedef struct found {
    float error;
    int point;
} found;

static float level_at(const book *b, int point, int i)
{
    return b->level[b->entries[point] >> i * b->width & ((1 << b->width) - 1)];
}

/* The error of half a run: the values `from` to from + run / 2 - 1 of the run at a. */
static float half_loss(const book *b, const float *a, const float *w, float s, int point, int from)
{
    float e[4];
    for (int i = 0; i < b->run / 2; i++) {
        const float lost = fmaf(-s, level_at(b, point, from + i), a[from + i]);
        e[i] = w[from + i] * lost * lost;
    }
    return b->run == 4 ? e[0] + e[1] : e[0] + e[1] + (e[2] + e[3]);
}

/* Returns the increase of the error if one value of half a run gets the wrong sign: the one that costs least. */
static float added(const book *b, const float *a, const float *w, float s, int point, int from)
{
    float least = INFINITY;
    for (int i = from; i < from + b->run / 2; i++)
        least = fminf(least, 4 * s * w[i] * a[i] * level_at(b, point, i));
    return least;
}

static void take(found *best, float error, int point)
{
    if (error < best->error)
        *best = (found){error, point};
}

/* Points with the same upper half follow each other. */
static void find(const book *b, const float *a, const float *w, float s, found *right, found *wrong)
{
    const int bits = b->run / 2 * b->width;
    *right = *wrong = (found){0x1p126f, 0};
    for (int p = 0, next; p < b->points; p = next) {
        found low = {0x1p126f, 0}, low_wrong = low;
        for (next = p; next < b->points && b->entries[next] >> bits == b->entries[p] >> bits; next++) {
            const float error = half_loss(b, a, w, s, next, 0);
            take(&low, error, next);
            if (b->even)
                take(&low_wrong, error + added(b, a, w, s, next, 0), next);
        }
        const float upper = half_loss(b, a, w, s, p, b->run / 2);
        take(right, upper + low.error, low.point);
        if (b->even) {
            take(wrong, upper + low_wrong.error, low_wrong.point);
            take(wrong, upper + added(b, a, w, s, p, b->run / 2) + low.error, low.point);
        }
    }
}

static void put(const book *b, grid_group *g, int k, const found *best, int wrong)
{
    int cheapest = k;
    float least = 0x1p126f;
    for (int i = 0; i < b->run; i++)
        g->level[k + i] = level_at(b, best->point, i);
    for (int i = 0; i < b->run && wrong; i++) {
        const float cost = g->w[k + i] * g->a[k + i] * g->level[k + i];
        cheapest = cost < least ? k + i : cheapest;
        least = cost < least ? cost : least;
    }
    if (wrong)
        g->level[cheapest] = -g->level[cheapest];
}

/* Chooses the levels of a group for the scale s, and returns the error. */
static float choose(const book *b, grid_group *g, float s)
{
    float sum = 0;
    for (int k = 0; k < b->size; k += 8) {
        found right[2], wrong[2];
        int negative = 0;
        for (int i = 0; i < 8; i++)
            negative += g->negative[k + i];
        for (int part = 0; part < 8 / b->run; part++)
            find(b, g->a + k + part * b->run, g->w + k + part * b->run, s, &right[part], &wrong[part]);
        const int odd = b->even && negative % 2;
        if (b->run == 8) {
            put(b, g, k, odd ? &wrong[0] : &right[0], odd);
            sum += odd ? wrong[0].error : right[0].error;
            continue;
        }
        const float first = wrong[0].error + right[1].error, second = right[0].error + wrong[1].error;
        const int in_second = odd && first > second, in_first = odd && !in_second;
        put(b, g, k, in_first ? &wrong[0] : &right[0], in_first);
        put(b, g, k + 4, in_second ? &wrong[1] : &right[1], in_second);
        sum += odd ? fminf(first, second) : right[0].error + right[1].error;
    }
    return sum;
}

static void sums_of(const book *b, const grid_group *g, float *px, float *pp)
{
    *px = *pp = 0;
    for (int k = 0; k < b->size; k++) {
        *px = fmaf(g->w[k] * g->level[k], g->a[k], *px);
        *pp = fmaf(g->w[k] * g->level[k], g->level[k], *pp);
    }
}

static float odd_near(float x) { return 2 * code_at((x - 1) * 0.5f, 0, 15) + 1; }

static float best_of_tries(const book *b, grid_group *g)
{
    float peak = 0, least = 0x1p126f, best = 0;
    for (int k = 0; k < b->size; k++)
        peak = g->a[k] > peak ? g->a[k] : peak;
    for (int t = 0; t < TRIES; t++) {
        const float s = peak > 0x1p-26f ? peak / b->peaks[t] : 0, error = choose(b, g, s);
        best = error < least ? s : best;
        least = error < least ? error : least;
    }
    return best;
}

static float unit_of(const book *b, float unit) { return half_of(unit / b->unit) * b->unit; }

static float first_unit(const book *b, const float *scales, const float *pp, int groups)
{
    float top = 0, least = 0x1p126f, best = 0;
    for (int j = 0; j < groups; j++)
        top = scales[j] > top ? scales[j] : top;
    for (int t = 0; t < 40; t++) {
        const float unit = unit_of(b, top / (32.5f - 0.5f * (float)t));
        float sum = 0;
        for (int j = 0; j < groups; j++) {
            const float off = scales[j] - unit * odd_near(scales[j] * inverse_of(unit));
            sum += pp[j] * off * off;
        }
        best = sum < least ? unit : best;
        least = sum < least ? sum : least;
    }
    return best;
}

static float nearby_odd(const book *b, grid_group *g, float unit, float odd)
{
    float least = 0x1p126f, best = odd;
    for (int step = -2; step <= 2; step += 2) {
        const float next = clamped(odd + (float)step, 1, 31), error = choose(b, g, unit * next);
        best = error < least ? next : best;
        least = error < least ? error : least;
    }
    return best;
}

/* Improves the multiples of the groups, then the unit. Returns whether one of them has changed. */
static int improve(const book *b, grid_group *all, int groups, float *unit, float *odd)
{
    const float before = *unit;
    float px, pp, over = 0, under = 0;
    int changed = 0;
    for (int j = 0; j < groups; j++) {
        const float next = nearby_odd(b, &all[j], *unit, odd[j]);
        changed |= next != odd[j];
        odd[j] = next;
        choose(b, &all[j], *unit * odd[j]);
        sums_of(b, &all[j], &px, &pp);
        over += odd[j] * px;
        under += odd[j] * odd[j] * pp;
    }
    if (over > 0 && under > 0)
        *unit = unit_of(b, over / under);
    return changed || *unit != before;
}

/* Fits the scales, and sets *unit and odd[], with which the levels of each group of the block are chosen. */
static void solve(const book *b, grid_group *all, int groups, float *unit, float *odd)
{
    float scales[16], px[16], pp[16];
    for (int j = 0; j < groups; j++) {
        choose(b, &all[j], best_of_tries(b, &all[j]));
        sums_of(b, &all[j], &px[j], &pp[j]);
        scales[j] = px[j] > 0 ? px[j] / pp[j] : 0;
    }
    *unit = first_unit(b, scales, pp, groups);
    for (int j = 0; j < groups; j++)
        odd[j] = odd_near(scales[j] * inverse_of(*unit));
    for (int round = 0, changed = 1; round < b->rounds && changed; round++)
        changed = improve(b, all, groups, unit, odd);
}

/* Gives the decoded values the sum of squares of the values. */
static void unshrink(const book *b, grid_group *all, int groups, float *unit, const float *odd)
{
    float over = 0, under = 0, px, pp;
    for (int j = 0; j < groups; j++) {
        float squares = 0;
        choose(b, &all[j], *unit * odd[j]);
        sums_of(b, &all[j], &px, &pp);
        for (int k = 0; k < b->size; k++)
            squares = fmaf(all[j].w[k] * all[j].a[k], all[j].a[k], squares);
        over += squares;
        under += odd[j] * odd[j] * pp;
    }
    if (over > 0 && under > 0)
        *unit = unit_of(b, sqrtf(over / under));
}

int reference_fit_grid(const fit_type *type, const float *values, const float *weights, float *meant)
{
    const book *b = books;
    while (b < books + BOOKS && b->number != type->number)
        b++;
    if (b == books + BOOKS)
        return 0;
    const int groups = 256 / b->size;
    grid_group all[16];
    float unit, odd[16];
    for (int j = 0; j < groups; j++)
        for (int k = 0; k < b->size; k++) {
            const float x = bounded(values[j * b->size + k]);
            all[j].a[k] = fabsf(x);
            all[j].negative[k] = signbit(x) != 0;
            all[j].w[k] = weights[j * b->size + k];
        }
    solve(b, all, groups, &unit, odd);
    unshrink(b, all, groups, &unit, odd);
    for (int j = 0; j < groups; j++)
        for (int k = 0; k < b->size; k++)
            meant[j * b->size + k] = (all[j].negative[k] ? -unit : unit) * odd[j] * all[j].level[k];
    return 1;
}
