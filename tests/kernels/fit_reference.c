/* SPDX-License-Identifier: MIT */
#include "tests/kernels/fit_reference.h"
#include "tests/kernels/fit_group.h"

const fit_type fit_types[FIT_TYPES] = {
    {"Q4_0", 2, 32, 18},    {"Q4_1", 3, 32, 20},     {"Q5_0", 6, 32, 22},      {"Q5_1", 7, 32, 24},
    {"Q8_0", 8, 32, 34},    {"Q4_K", 12, 256, 144},  {"Q5_K", 13, 256, 176},   {"Q6_K", 14, 256, 210},
    {"Q2_K", 10, 256, 84},  {"Q3_K", 11, 256, 110},  {"IQ4_NL", 20, 32, 18},   {"IQ4_XS", 23, 256, 136},
    {"MXFP4", 39, 32, 17},  {"NVFP4", 40, 64, 36},   {"IQ3_XXS", 18, 256, 98}, {"IQ3_S", 21, 256, 110},
    {"IQ2_S", 22, 256, 82}, {"IQ2_XS", 17, 256, 74}, {"IQ2_XXS", 16, 256, 66}, {"TQ1_0", 34, 256, 54},
    {"TQ2_0", 35, 256, 66}, {"Q1_0", 41, 128, 18},   {"Q2_0", 42, 64, 18},     {"IQ1_S", 19, 256, 50},
    {"IQ1_M", 29, 256, 56}};

typedef struct range {
    float low, high;
    int tries;
    float becomes[16];
} range;

static const line_tries ten = {10, -2.0f, 0.3f};
static const range eight = {-8, 7, 10, {-8, -6.9f, -7.2f, -7.5f, -7.75f, -8.3f, -8.6f, -9, 7, 7.4f}};
static const range sixteen = {
    -16, 15, 13, {-16, -13, -13.5f, -14, -14.5f, -15, -15.5f, -16.5f, 13.5f, 14, 14.5f, 15, 15.5f}};
static const range thirty_two = {
    -32, 31, 11, {-32, -28, -28.8f, -29.6f, -30.4f, -31.2f, -32.5f, 28.5f, 29.3f, 30.1f, 30.9f}};
static const range byte = {
    -127, 127, 12, {127, 126.1f, 125.2f, 124.3f, 123.4f, 122.5f, 121.6f, 120.7f, 119.8f, 118.9f, 118, 117.1f}};

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

/* ---- blocks ---- */

static void mean_around(const group *g, const range *r, float s, float *meant)
{
    for (int k = 0; k < g->n; k++)
        meant[k] = s * code_at(g->x[k] * inverse_of(s), r->low, r->high);
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
    c->d = d > 0 ? half_of(d) : c->d;
    c->dmin = dmin > 0 ? half_of(dmin) : c->dmin;
}

static void fit_of_8(const float *values, const float *weights, float high, float *meant)
{
    group groups[8];
    line lines[8];
    float s = 0, depth = 0;
    for (int j = 0; j < 8; j++) {
        groups[j] = group_of(values + 32 * j, weights + 32 * j, 32);
        lines[j] = line_of(&groups[j], high, &ten, 1);
        s = lines[j].s > s ? lines[j].s : s;
        depth = -lines[j].m > depth ? -lines[j].m : depth;
    }
    codes c = {.d = half_of(s / 63), .dmin = half_of(depth / 63)};
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
    return over[0] + over[1] > 0 ? half_of((x[0] + x[1]) / (over[0] + over[1])) : d;
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
    float d = half_of(far / -128);
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

const float reference_ones[256] = {[0 ... 255] = 1};

void reference_fit(const fit_type *type, const float *values, const float *given, float *meant)
{
    const range *const ranges[] = {[2] = &eight, [6] = &sixteen, [8] = &byte};
    const float *const weights = given ? given : reference_ones;
    if (reference_fit_levels(type, values, given, meant) || reference_fit_grid(type, values, weights, meant) ||
        reference_fit_few(type, values, weights, meant) || reference_fit_shift(type, values, weights, meant))
        return;
    if (type->number == 14) {
        fit_of_16(values, weights, meant);
    } else if (type->elements == 256) {
        fit_of_8(values, weights, type->number == 12 ? 15 : 31, meant);
    } else {
        const group g = group_of(values, weights, 32);
        if (type->number == 3 || type->number == 7) {
            const float high = type->number == 3 ? 15 : 31;
            const line l = line_of(&g, high, &ten, 0);
            mean_line(&g, (line){half_of(l.s), half_of(l.m)}, high, meant);
        } else {
            mean_around(&g, ranges[type->number], half_of(scale_of(&g, ranges[type->number])), meant);
        }
    }
}
