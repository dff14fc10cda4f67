/* SPDX-License-Identifier: MIT
 * A second implementation of the search for IQ1_S and IQ1_M in docs/definitions/gguf.md: it tries all points and both
 * shifts for each run, one run at a time. */
#include "kernels/ggml_grids.h"
#include "tests/kernels/fit_group.h"
#include "tests/kernels/fit_reference.h"

enum { POINTS = 2048, TRIES = 12, ROUNDS = 8 };

/* A group: values, weights and levels; `size` values, in runs of 8. */
typedef struct shift_group {
    float x[32], w[32], level[32];
    int size;
} shift_group;

static float level_at(int point, int i, float shift) { return (float)(iq1_grid[point] >> 2 * i & 3) - 1 + shift; }

/* The error of 4 values from value i of the run on. */
static float half_loss(const float *x, const float *w, float s, float shift, int point, int i)
{
    float e[4];
    for (int k = 0; k < 4; k++) {
        const float lost = fmaf(-s, level_at(point, i + k, shift), x[i + k]);
        e[k] = w[i + k] * lost * lost;
    }
    return e[0] + e[1] + (e[2] + e[3]);
}

/* Points with the same upper half follow each other: the best of them is chosen by its lower half. */
static float find(const float *x, const float *w, float s, float shift, int *point)
{
    float best = 0x1p126f;
    *point = 0;
    for (int p = 0, next; p < POINTS; p = next) {
        float low = 0x1p126f;
        int lowest = p;
        for (next = p; next < POINTS && iq1_grid[next] >> 8 == iq1_grid[p] >> 8; next++) {
            const float loss = half_loss(x, w, s, shift, next, 0);
            lowest = loss < low ? next : lowest;
            low = loss < low ? loss : low;
        }
        const float loss = half_loss(x, w, s, shift, p, 4) + low;
        *point = loss < best ? lowest : *point;
        best = loss < best ? loss : best;
    }
    return best;
}

/* Chooses the levels of a group for the scale s, and returns the error. */
static float choose(shift_group *g, float s)
{
    float up = 0, down = 0, either = 0, up_of[4], down_of[4];
    int points[4][2];
    for (int r = 0; r < g->size / 8; r++) {
        up += up_of[r] = find(g->x + 8 * r, g->w + 8 * r, s, 0.125f, &points[r][0]);
        down += down_of[r] = find(g->x + 8 * r, g->w + 8 * r, s, -0.125f, &points[r][1]);
        either += fminf(up_of[r], down_of[r]);
    }
    for (int r = 0; r < g->size / 8; r++) {
        const int is_down = g->size == 32 ? up > down : up_of[r] > down_of[r];
        for (int i = 0; i < 8; i++)
            g->level[8 * r + i] = level_at(points[r][is_down], i, is_down ? -0.125f : 0.125f);
    }
    return g->size == 32 ? fminf(up, down) : either;
}

static void sums_of(const shift_group *g, float *px, float *pp)
{
    *px = *pp = 0;
    for (int k = 0; k < g->size; k++) {
        *px = fmaf(g->w[k] * g->level[k], g->x[k], *px);
        *pp = fmaf(g->w[k] * g->level[k], g->level[k], *pp);
    }
}

static float squares_of(const shift_group *g)
{
    float squares = 0;
    for (int k = 0; k < g->size; k++)
        squares = fmaf(g->w[k] * g->x[k], g->x[k], squares);
    return squares;
}

/* The error with the nearest level for each value. */
static float free_loss(const shift_group *g, float s)
{
    float sums[2] = {0, 0};
    for (int k = 0; k < g->size; k++)
        for (int down = 0; down < 2; down++) {
            const float at = g->x[k] * inverse_of(s) - (down ? -0.125f : 0.125f), lost = at - code_at(at, -1, 1);
            sums[down] = fmaf(g->w[k] * lost, lost, sums[down]);
        }
    return s * s * fminf(sums[0], sums[1]);
}

static float first_scale(const shift_group *g)
{
    static const float multiples[TRIES] = {0.8f, 0.9f, 1, 1.1f, 1.2f, 1.3f, 1.4f, 1.5f, 1.6f, 1.8f, 2, 2.2f};
    float weights = 0, best = 0, least = 0x1p126f;
    for (int k = 0; k < g->size; k++)
        weights += g->w[k];
    for (int t = 0; t < TRIES; t++) {
        const float s = sqrtf(squares_of(g) / weights) * multiples[t], loss = free_loss(g, s);
        best = loss < least ? s : best;
        least = loss < least ? loss : least;
    }
    return best;
}

static float odd_near(float x) { return 2 * code_at((x - 1) * 0.5f, 0, 7) + 1; }

static float first_unit(const float *scales, const float *pp, int groups)
{
    float top = 0, least = 0x1p126f, best = 0;
    for (int j = 0; j < groups; j++)
        top = scales[j] > top ? scales[j] : top;
    for (int t = 0; t < 20; t++) {
        const float unit = half_of(top / (16.5f - 0.5f * (float)t));
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

/* One round for a block: each group tries one neighbour of its odd number, then the unit is refitted. */
static int improve(shift_group *all, int groups, float *unit, float *odd)
{
    float over = 0, under = 0;
    int changes = 0;
    for (int j = 0; j < groups; j++) {
        shift_group next = all[j];
        float px, pp;
        const float loss = choose(&all[j], *unit * odd[j]);
        sums_of(&all[j], &px, &pp);
        const float other = clamped(odd[j] + (px / pp > *unit * odd[j] ? 2 : -2), 1, 15);
        if (choose(&next, *unit * other) < loss) {
            changes |= odd[j] != other;
            odd[j] = other;
            sums_of(&next, &px, &pp);
        }
        over += odd[j] * px;
        under += odd[j] * odd[j] * pp;
    }
    const float before = *unit;
    if (over > 0 && under > 0)
        *unit = half_of(over / under);
    return changes || *unit != before;
}

static void solve(shift_group *all, int groups, float *unit, float *odd)
{
    float scales[16], px[16], pp[16], over = 0, under = 0;
    for (int j = 0; j < groups; j++) {
        choose(&all[j], first_scale(&all[j]));
        sums_of(&all[j], &px[j], &pp[j]);
        scales[j] = px[j] > 0 ? px[j] / pp[j] : 0;
    }
    *unit = first_unit(scales, pp, groups);
    for (int j = 0; j < groups; j++)
        odd[j] = odd_near(scales[j] * inverse_of(*unit));
    for (int round = 0; round < ROUNDS && improve(all, groups, unit, odd); round++)
        continue;
    for (int j = 0; j < groups; j++) {
        choose(&all[j], *unit * odd[j]);
        sums_of(&all[j], &px[j], &pp[j]);
        over += squares_of(&all[j]);
        under += odd[j] * odd[j] * pp[j];
    }
    if (over > 0 && under > 0)
        *unit = half_of(sqrtf(over / under));
}

int reference_fit_shift(const fit_type *type, const float *values, const float *weights, float *meant)
{
    if (type->number != 19 && type->number != 29)
        return 0;
    const int size = type->number == 19 ? 32 : 16, groups = 256 / size;
    shift_group all[16];
    float unit, odd[16];
    for (int j = 0; j < groups; j++) {
        all[j].size = size;
        for (int k = 0; k < size; k++) {
            all[j].x[k] = bounded(values[j * size + k]);
            all[j].w[k] = weights[j * size + k];
        }
    }
    solve(all, groups, &unit, odd);
    for (int k = 0; k < 256; k++)
        meant[k] = unit * odd[k / size] * all[k / size].level[k % size];
    return 1;
}
