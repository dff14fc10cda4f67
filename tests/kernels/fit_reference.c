/* SPDX-License-Identifier: MIT */
#include "tests/kernels/fit_reference.h"
#include "tests/kernels/kernel_reference.h"
#include <math.h>
#include <string.h>

const fit_type fit_types[FIT_TYPES] = {{"Q4_0", 2, 32, 18},     {"Q4_1", 3, 32, 20},    {"Q5_0", 6, 32, 22},
                                       {"Q5_1", 7, 32, 24},     {"Q8_0", 8, 32, 34},    {"Q4_K", 12, 256, 144},
                                       {"Q5_K", 13, 256, 176},  {"Q6_K", 14, 256, 210}, {"IQ3_XXS", 18, 256, 98},
                                       {"IQ3_S", 21, 256, 110}, {"IQ2_S", 22, 256, 82}};

/* A group of a block, within the limits. */
typedef struct group {
    float x[32], w[32];
    int n;
} group;

typedef struct range {
    float low, high;
    int tries;
    float becomes[16];
} range;

static const range eight = {-8, 7, 10, {-8, -6.9f, -7.2f, -7.5f, -7.75f, -8.3f, -8.6f, -9, 7, 7.4f}};
static const range sixteen = {
    -16, 15, 13, {-16, -13, -13.5f, -14, -14.5f, -15, -15.5f, -16.5f, 13.5f, 14, 14.5f, 15, 15.5f}};
static const range thirty_two = {
    -32, 31, 11, {-32, -28, -28.8f, -29.6f, -30.4f, -31.2f, -32.5f, 28.5f, 29.3f, 30.1f, 30.9f}};
static const range byte = {
    -127, 127, 12, {127, 126.1f, 125.2f, 124.3f, 123.4f, 122.5f, 121.6f, 120.7f, 119.8f, 118.9f, 118, 117.1f}};

float reference_bounded(float x)
{
    const float below = x >= 0x1p30f ? 0x1p30f : x;
    return below > -0x1p30f ? below : -0x1p30f;
}

static float inverse_of(float s) { return fabsf(s) > 0x1p-60f ? 1 / s : 0; }

static float clamped(float x, float low, float high)
{
    const float below = x > high ? high : x;
    return below < low ? low : below;
}

static float code_at(float a, float low, float high) { return rintf(clamped(a, low, high)); }

float reference_half(float value)
{
    const float within = clamped(value, -65504, 65504);
    uint32_t bits;
    float back;
    memcpy(&bits, &within, sizeof bits);
    bits = reference_widen(reference_f16, reference_narrow(reference_f16, bits));
    memcpy(&back, &bits, sizeof back);
    return back;
}

static group group_of(const float *values, const float *weights, int n)
{
    group g = {.n = n};
    for (int k = 0; k < n; k++) {
        g.x[k] = reference_bounded(values[k]);
        g.w[k] = weights[k];
    }
    return g;
}

/* ---- types without a minimum ---- */

static void sums_around(const group *g, const range *r, float inverse, float *qx, float *qq)
{
    *qx = *qq = 0;
    for (int k = 0; k < g->n; k++) {
        const float q = code_at(g->x[k] * inverse, r->low, r->high), wq = g->w[k] * q;
        *qx = fmaf(wq, g->x[k], *qx);
        *qq = fmaf(wq, q, *qq);
    }
}

static float scale_of(const group *g, const range *r)
{
    float max = g->x[0], least = g->x[0], scale = 0, gain = 0, qx, qq;
    for (int k = 1; k < g->n; k++) {
        max = g->x[k] > max ? g->x[k] : max;
        least = g->x[k] < least ? g->x[k] : least;
    }
    const float far = max > -least ? max : least;
    for (int t = 0; t <= r->tries; t++) {
        const float requested = fabsf(far) > 0x1p-26f ? r->becomes[t] / far : 0;
        const float inverse = t == r->tries ? inverse_of(scale) : requested;
        sums_around(g, r, inverse, &qx, &qq);
        if (qq > 0 && qx / qq * qx > gain) {
            scale = qx / qq;
            gain = scale * qx;
        }
    }
    return scale;
}

/* ---- types with a minimum ---- */

typedef struct line {
    float s, m;
} line;

typedef struct moments {
    float w, x, q, qq, qx;
} moments;

static void moments_of(const group *g, line l, float high, moments *sums)
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
static void moments_at(const group *g, float inverse, float from, float high, moments *sums)
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

static float gain_of(const moments *a, float s, float m)
{
    const float of_s = (a->qx + a->qx) - fmaf(s, a->qq, (m + m) * a->q);
    return fmaf(s, of_s, m * fmaf(-m, a->w, a->x + a->x));
}

static line line_of(const group *g, float high, int below)
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
    for (int t = 0; t <= 10; t++) {
        const float span = max - least, becomes = high + (-2.0f + (float)t * 0.3f);
        const float requested = span > 0x1p-26f ? becomes / span : 0,
                    inverse = t == 10 ? inverse_of(best.s) : requested;
        moments_at(g, inverse, t == 10 ? best.m : least, high, &a);
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

/* ---- blocks ---- */

static void mean_around(const group *g, const range *r, float s, float *meant)
{
    for (int k = 0; k < g->n; k++)
        meant[k] = s * code_at(g->x[k] * inverse_of(s), r->low, r->high);
}

static void mean_line(const group *g, line l, float high, float *meant)
{
    const float inverse = inverse_of(l.s), shift = -l.m * inverse;
    for (int k = 0; k < g->n; k++)
        meant[k] = l.s * code_at(fmaf(g->x[k], inverse, shift), 0, high) + l.m;
}

static float line_loss(const group *g, line l, float high)
{
    const float inverse = inverse_of(l.s), shift = -l.m * inverse;
    float sum = 0;
    for (int k = 0; k < g->n; k++) {
        const float lost = fmaf(-l.s, code_at(fmaf(g->x[k], inverse, shift), 0, high), g->x[k] - l.m);
        sum = fmaf(g->w[k] * lost, lost, sum);
    }
    return sum;
}

/* For a block of 8 groups: d, dmin and the codes of its scales and minima. */
typedef struct codes {
    float d, dmin, s[8], m[8];
} codes;

static line line_at(const codes *c, int j) { return (line){c->d * c->s[j], -(c->dmin * c->m[j])}; }

static void nearby(const group *g, int j, float high, codes *c)
{
    const float s = c->s[j], m = c->m[j];
    float least = 0x1p126f, best[2] = {s, m};
    for (int step = 0; step < 9; step++) {
        c->s[j] = code_at(s + (float)(step / 3 - 1), 0, 63);
        c->m[j] = code_at(m + (float)(step % 3 - 1), 0, 63);
        const float loss = line_loss(g, line_at(c, j), high);
        if (loss < least) {
            least = loss;
            best[0] = c->s[j];
            best[1] = c->m[j];
        }
    }
    c->s[j] = best[0];
    c->m[j] = best[1];
}

static void solve(const group *groups, float high, codes *c)
{
    float dd = 0, dm = 0, mm = 0, dx = 0, mx = 0;
    for (int j = 0; j < 8; j++) {
        moments a;
        moments_of(&groups[j], line_at(c, j), high, &a);
        dd += c->s[j] * c->s[j] * a.qq;
        dm += c->s[j] * -c->m[j] * a.q;
        mm += c->m[j] * c->m[j] * a.w;
        dx += c->s[j] * a.qx;
        mx += -c->m[j] * a.x;
    }
    const float apart = dd * mm - dm * dm;
    const int both = apart > 0x1p-20f * (dd * mm);
    const float alone = dd > 0 ? (dx - dm * c->dmin) / dd : 0, d = both ? (mm * dx - dm * mx) / apart : alone;
    const float dmin = both ? (dd * mx - dm * dx) / apart : 0;
    c->d = d > 0 ? reference_half(d) : c->d;
    c->dmin = dmin > 0 ? reference_half(dmin) : c->dmin;
}

static void fit_of_8(const float *values, const float *weights, float high, float *meant)
{
    group groups[8];
    line lines[8];
    float s = 0, depth = 0;
    for (int j = 0; j < 8; j++) {
        groups[j] = group_of(values + 32 * j, weights + 32 * j, 32);
        lines[j] = line_of(&groups[j], high, 1);
        s = lines[j].s > s ? lines[j].s : s;
        depth = -lines[j].m > depth ? -lines[j].m : depth;
    }
    codes c = {.d = reference_half(s / 63), .dmin = reference_half(depth / 63)};
    for (int j = 0; j < 8; j++) {
        c.s[j] = code_at(lines[j].s * inverse_of(c.d), 0, 63);
        c.m[j] = code_at(-lines[j].m * inverse_of(c.dmin), 0, 63);
    }
    for (int round = 0; round < 2; round++) {
        for (int j = 0; j < 8; j++)
            nearby(&groups[j], j, high, &c);
        solve(groups, high, &c);
    }
    for (int j = 0; j < 8; j++)
        mean_line(&groups[j], line_at(&c, j), high, meant + 32 * j);
}

static float scale_loss(const group *g, float s)
{
    float sum = 0;
    for (int k = 0; k < g->n; k++) {
        const float lost = fmaf(-s, code_at(g->x[k] * inverse_of(s), -32, 31), g->x[k]);
        sum = fmaf(g->w[k] * lost, lost, sum);
    }
    return sum;
}

static float nearby_scale(const group *g, float d, float code)
{
    float least = 0x1p126f, best = code;
    for (int step = -1; step <= 1; step++) {
        const float next = code_at(code + (float)step, -128, 127), loss = scale_loss(g, d * next);
        if (loss < least) {
            least = loss;
            best = next;
        }
    }
    return best;
}

/* Adds the sums of the first 8 groups and of the last 8 separately. */
static float solve_scale(const group *groups, float d, const float *scales)
{
    float x[2] = {0}, over[2] = {0}, qx, qq;
    for (int j = 0; j < 16; j++) {
        sums_around(&groups[j], &thirty_two, inverse_of(d * scales[j]), &qx, &qq);
        x[j / 8] += scales[j] * qx;
        over[j / 8] += scales[j] * scales[j] * qq;
    }
    return over[0] + over[1] > 0 ? reference_half((x[0] + x[1]) / (over[0] + over[1])) : d;
}

static void fit_of_16(const float *values, const float *weights, float *meant)
{
    group groups[16];
    float scales[16], far = 0;
    for (int j = 0; j < 16; j++) {
        groups[j] = group_of(values + 16 * j, weights + 16 * j, 16);
        scales[j] = scale_of(&groups[j], &thirty_two);
        far = fabsf(scales[j]) > fabsf(far) ? scales[j] : far;
    }
    float d = reference_half(far / -128);
    for (int j = 0; j < 16; j++)
        scales[j] = code_at(scales[j] * inverse_of(d), -128, 127);
    for (int round = 0; round < 2; round++) {
        for (int j = 0; j < 16; j++)
            scales[j] = nearby_scale(&groups[j], d, scales[j]);
        d = solve_scale(groups, d, scales);
    }
    for (int j = 0; j < 16; j++)
        mean_around(&groups[j], &thirty_two, d * scales[j], meant + 16 * j);
}

void reference_fit(const fit_type *type, const float *values, const float *weights, float *meant)
{
    const range *const ranges[] = {[2] = &eight, [6] = &sixteen, [8] = &byte};
    if (type->number == 18 || type->number == 21 || type->number == 22) {
        reference_fit_grid(type->number, values, weights, meant);
    } else if (type->number == 14) {
        fit_of_16(values, weights, meant);
    } else if (type->elements == 256) {
        fit_of_8(values, weights, type->number == 12 ? 15 : 31, meant);
    } else {
        const group g = group_of(values, weights, 32);
        if (type->number == 3 || type->number == 7) {
            const float high = type->number == 3 ? 15 : 31;
            const line l = line_of(&g, high, 0);
            mean_line(&g, (line){reference_half(l.s), reference_half(l.m)}, high, meant);
        } else {
            mean_around(&g, ranges[type->number], reference_half(scale_of(&g, ranges[type->number])), meant);
        }
    }
}
