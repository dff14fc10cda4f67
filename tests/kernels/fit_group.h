/* SPDX-License-Identifier: MIT
 * Parts of the second implementation of the search for scales that several types share: one group of a block. */
#ifndef ORGAN_TESTS_FIT_GROUP_H
#define ORGAN_TESTS_FIT_GROUP_H
#include "tests/kernels/kernel_reference.h"
#include <math.h>
#include <string.h>

/* A group of a block, within the limits. */
typedef struct group {
    float x[32], w[32];
    int n;
} group;

static inline __attribute__((unused)) float bounded(float x)
{
    const float below = x >= 0x1p30f ? 0x1p30f : x;
    return below > -0x1p30f ? below : -0x1p30f;
}

static inline __attribute__((unused)) float inverse_of(float s) { return fabsf(s) > 0x1p-60f ? 1 / s : 0; }

static inline __attribute__((unused)) float clamped(float x, float low, float high)
{
    const float below = x > high ? high : x;
    return below < low ? low : below;
}

static inline __attribute__((unused)) float code_at(float a, float low, float high)
{
    return rintf(clamped(a, low, high));
}

static inline __attribute__((unused)) float half_of(float value)
{
    const float within = clamped(value, -65504, 65504);
    uint32_t bits;
    float back;
    memcpy(&bits, &within, sizeof bits);
    bits = reference_widen(reference_f16, reference_narrow(reference_f16, bits));
    memcpy(&back, &bits, sizeof back);
    return back;
}

static inline __attribute__((unused)) group group_of(const float *values, const float *weights, int n)
{
    group g = {.n = n};
    for (int k = 0; k < n; k++) {
        g.x[k] = bounded(values[k]);
        g.w[k] = weights[k];
    }
    return g;
}

/* ---- types with a minimum ---- */

typedef struct line {
    float s, m;
} line;

typedef struct moments {
    float w, x, q, qq, qx;
} moments;

static inline __attribute__((unused)) void moments_of(const group *g, line l, float high, moments *sums)
{
    const float inverse = inverse_of(l.s), shift = -l.m * inverse;
    *sums = (moments){0};
    for (int k = 0; k < g->n; k++) {
        const float q = code_at(fmaf(g->x[k], inverse, shift), 0, high), wq = g->w[k] * q;
        sums->w += g->w[k];
        sums->x = fmaf(g->w[k], g->x[k], sums->x);
        sums->q += wq;
        sums->qq = fmaf(wq, q, sums->qq);
        sums->qx = fmaf(wq, g->x[k], sums->qx);
    }
}

/* Computes the moments for a given inverse. */
static inline __attribute__((unused)) void moments_at(const group *g, float inverse, float from, float high,
                                                      moments *sums)
{
    const float shift = -from * inverse;
    sums->q = sums->qq = sums->qx = 0;
    for (int k = 0; k < g->n; k++) {
        const float q = code_at(fmaf(g->x[k], inverse, shift), 0, high), wq = g->w[k] * q;
        sums->q += wq;
        sums->qq = fmaf(wq, q, sums->qq);
        sums->qx = fmaf(wq, g->x[k], sums->qx);
    }
}

static inline __attribute__((unused)) float gain_of(const moments *a, float s, float m)
{
    const float of_s = (a->qx + a->qx) - fmaf(s, a->qq, (m + m) * a->q);
    return fmaf(s, of_s, m * fmaf(-m, a->w, a->x + a->x));
}

/* The scales to try: the one of try t has high + shorter + t step steps in the range of the values. */
typedef struct line_tries {
    int count;
    float shorter, step;
} line_tries;

static inline __attribute__((unused)) line line_of(const group *g, float high, const line_tries *tries, int below)
{
    float least = g->x[0], max = g->x[0];
    moments a;
    moments_of(g, (line){0, 0}, high, &a);
    line best = {0, a.x / a.w};
    for (int k = 1; k < g->n; k++) {
        max = g->x[k] > max ? g->x[k] : max;
        least = g->x[k] < least ? g->x[k] : least;
    }
    if (below) {
        best.m = best.m > 0 ? 0 : best.m;
        least = least > 0 ? 0 : least;
    }
    float gain = gain_of(&(moments){.w = a.w, .x = a.x}, 0, best.m);
    for (int t = 0; t <= tries->count; t++) {
        const float span = max - least, becomes = high + (tries->shorter + (float)t * tries->step);
        const float requested = span > 0x1p-26f ? becomes / span : 0,
                    inverse = t == tries->count ? inverse_of(best.s) : requested;
        moments_at(g, inverse, t == tries->count ? best.m : least, high, &a);
        const float apart = a.w * a.qq - a.q * a.q;
        if (!(apart > 0))
            continue;
        line l = {(a.w * a.qx - a.x * a.q) / apart, (a.qq * a.x - a.q * a.qx) / apart};
        if (below && l.m > 0)
            l = (line){a.qx / a.qq, 0};
        const float this = gain_of(&a, l.s, l.m);
        if (l.s > 0 && this > gain) {
            best = l;
            gain = this;
        }
    }
    return best;
}

static inline __attribute__((unused)) void mean_line(const group *g, line l, float high, float *meant)
{
    const float inverse = inverse_of(l.s), shift = -l.m * inverse;
    for (int k = 0; k < g->n; k++)
        meant[k] = l.s * code_at(fmaf(g->x[k], inverse, shift), 0, high) + l.m;
}

static inline __attribute__((unused)) float line_loss(const group *g, line l, float high)
{
    const float inverse = inverse_of(l.s), shift = -l.m * inverse;
    float sum = 0;
    for (int k = 0; k < g->n; k++) {
        const float lost = fmaf(-l.s, code_at(fmaf(g->x[k], inverse, shift), 0, high), g->x[k] - l.m);
        sum = fmaf(g->w[k] * lost, lost, sum);
    }
    return sum;
}

#endif
