/* SPDX-License-Identifier: MIT
 * The second implementation of the search for scales of q2_k, q3_k, iq4_nl, iq4_xs, mxfp4 and nvfp4. Where the kernels
 * stop early because no better scale can follow, this one goes on. */
#include "tests/kernels/fit_group.h"
#include "tests/kernels/fit_reference.h"
#include <stdlib.h>

/* ---- levels ---- */

typedef enum kind { THREE_BITS, IQ4, FP4 } kind;

static const float iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const float fp4[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

/* Of two equally near magnitudes, the one with the even code. */
static float fp4_at(float a)
{
    int best = 0;
    for (int k = 1; k < 8; k++) {
        const float near = fabsf(fabsf(a) - fp4[k]), nearest = fabsf(fabsf(a) - fp4[best]);
        if (near < nearest || (near == nearest && k % 2 == 0))
            best = k;
    }
    return copysignf(fp4[best], a);
}

static float level_at(float a, kind of)
{
    int k = 0;
    if (of == THREE_BITS)
        return code_at(a, -4, 3);
    if (of == FP4)
        return fp4_at(a);
    while (k < 15 && a > (iq4[k] + iq4[k + 1]) / 2)
        k++;
    return iq4[k];
}

static void level_sums(const group *g, float inverse, kind of, float *vx, float *vv)
{
    *vx = *vv = 0;
    for (int k = 0; k < g->n; k++) {
        const float v = level_at(g->x[k] * inverse, of), wv = g->w[k] * v;
        *vx = fmaf(wv, g->x[k], *vx);
        *vv = fmaf(wv, v, *vv);
    }
}

static float level_loss(const group *g, float s, kind of)
{
    float sum = 0;
    for (int k = 0; k < g->n; k++) {
        const float lost = fmaf(-s, level_at(g->x[k] * inverse_of(s), of), g->x[k]);
        sum = fmaf(g->w[k] * lost, lost, sum);
    }
    return sum;
}

static void mean_levels(const group *g, float s, kind of, float *meant)
{
    for (int k = 0; k < g->n; k++)
        meant[k] = s * level_at(g->x[k] * inverse_of(s), of);
}

static float farthest_of(const group *g)
{
    float max = g->x[0], least = g->x[0];
    for (int k = 1; k < g->n; k++) {
        max = g->x[k] > max ? g->x[k] : max;
        least = g->x[k] < least ? g->x[k] : least;
    }
    return max > -least ? max : least;
}

/* Of 3 bits. */
static float level_scale(const group *g)
{
    static const float peaks[6] = {3.5f, -3.75f, -3.9f, -4.05f, -4.2f, -4.35f};
    const float far = farthest_of(g);
    float scale = 0, gain = 0, vx, vv;
    for (int t = 0; t <= 6 && fabsf(far) > 0x1p-26f; t++) {
        level_sums(g, t < 6 ? peaks[t] / far : inverse_of(scale), THREE_BITS, &vx, &vv);
        if (vv > 0 && vx / vv * vx > gain) {
            scale = vx / vv;
            gain = scale * vx;
        }
    }
    return scale;
}

/* ---- the best scale of 32 values with the levels of iq4 ---- */

typedef struct sweep {
    float x[32], sign, px, pp, scale, gain;
} sweep;

/* Returns the level of the value before or behind (1) the breakpoint with this number. */
static float level_beside(const sweep *s, unsigned number, int behind)
{
    const int steps = (int)(number % 8) + behind, up = 8 + steps;
    if (signbit(s->x[number / 8]))
        return iq4[8 - steps];
    return iq4[up > 15 ? 15 : up];
}

static int in_order(const void *one, const void *other)
{
    const uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return a < b ? -1 : a > b;
}

static uint32_t key_of(const sweep *s, unsigned number)
{
    const int too_many = !signbit(s->x[number / 8]) && number % 8 == 7;
    const float between = level_beside(s, number, 0) + level_beside(s, number, 1),
                middle = too_many ? 0x1p100f : fabsf(between) / 2;
    const float at = middle * (1 / fabsf(s->x[number / 8]));
    uint32_t bits;
    memcpy(&bits, &at, sizeof bits);
    return (bits & ~255u) | number;
}

static void take_scale(sweep *s)
{
    const float scale = s->px / s->pp;
    if (s->px > 0 && scale * s->px > s->gain) {
        s->scale = s->sign * scale;
        s->gain = scale * s->px;
    }
}

static void sweep_scales(const group *g, sweep *s)
{
    uint32_t keys[256];
    s->px = s->pp = 0;
    for (int k = 0; k < 32; k++) {
        s->x[k] = s->sign > 0 ? g->x[k] : 0 - g->x[k];
        s->px += g->w[k] * s->x[k];
        s->pp += g->w[k];
    }
    for (unsigned number = 0; number < 256; number++)
        keys[number] = key_of(s, number);
    qsort(keys, 256, sizeof *keys, in_order);
    take_scale(s);
    for (int i = 0; i < 256; i++) {
        const unsigned number = keys[i] & 255;
        const float w = g->w[number / 8], from = level_beside(s, number, 0), to = level_beside(s, number, 1);
        s->px = fmaf(fabsf(w * s->x[number / 8]), fabsf(to - from), s->px);
        s->pp = fmaf(w, to * to - from * from, s->pp);
        take_scale(s);
    }
}

static float iq4_scale(const group *g, float *pp)
{
    sweep s = {.sign = 1};
    float px;
    sweep_scales(g, &s);
    s.sign = -1;
    sweep_scales(g, &s);
    level_sums(g, inverse_of(s.scale), IQ4, &px, pp);
    return fabsf(farthest_of(g)) > 0x1p-26f ? px / *pp : 0;
}

/* ---- scales that are codes of 6 bits times d ---- */

static void best_code(const group *g, float d, kind of, float *code, float from, float to)
{
    float least = 0x1p126f;
    const float start = *code;
    for (float c = from; c <= to; c++) {
        const float next = code_at(start + c, -32, 31), loss = level_loss(g, d * next, of);
        if (loss < least) {
            least = loss;
            *code = next;
        }
    }
}

static void best_of_all_codes(const group *g, float d, float *code)
{
    float least = 0x1p126f;
    for (float m = 32; m > 0; m--)
        for (int sign = m == 32; sign < 2; sign++) {
            const float c = sign ? -m : m, loss = level_loss(g, d * c, THREE_BITS);
            if (loss < least) {
                least = loss;
                *code = c;
            }
        }
}

static float solved(const group *groups, int n, float d, const float *codes, kind of)
{
    float over = 0, under = 0, vx, vv;
    for (int j = 0; j < n; j++) {
        level_sums(&groups[j], inverse_of(d * codes[j]), of, &vx, &vv);
        over += codes[j] * vx;
        under += codes[j] * codes[j] * vv;
    }
    return under > 0 ? half_of(over / under) : d;
}

/* Tries 128 quotients of the farthest scale and d; the loss of a group grows with the square of the distance. */
static float first_d(const float *scales, const float *squares, int n, float far)
{
    float least = 0, best = 0;
    for (int number = 0; number < 128; number++) {
        const float most = 33 - 0.328125f * (float)(number % 64), unit = number < 64 ? -most : most;
        float loss = 0;
        for (int j = 0; j < n; j++) {
            const float share = scales[j] * inverse_of(far), code = code_at(share * unit, -32, 31),
                        off = fmaf(-code, 1 / unit, share);
            loss += squares[j] * off * off;
        }
        if (number == 0 || loss < least) {
            least = loss;
            best = unit;
        }
    }
    return half_of(far / best);
}

static void fit_coded(const float *values, const float *weights, int size, kind of, float *meant)
{
    group groups[16];
    float codes[16], squares[16], far = 0;
    const int n = 256 / size;
    for (int j = 0; j < n; j++) {
        groups[j] = group_of(values + size * j, weights + size * j, size);
        codes[j] = of == IQ4 ? iq4_scale(&groups[j], &squares[j]) : level_scale(&groups[j]);
        far = fabsf(codes[j]) > fabsf(far) ? codes[j] : far;
    }
    float d = of == IQ4 ? first_d(codes, squares, n, far) : half_of(far / -32);
    for (int j = 0; j < n; j++)
        codes[j] = code_at(codes[j] * inverse_of(d), -32, 31);
    for (int round = 0; round < 2; round++) {
        for (int j = 0; j < n; j++)
            if (round == 0 && of == THREE_BITS)
                best_of_all_codes(&groups[j], d, &codes[j]);
            else
                best_code(&groups[j], d, of, &codes[j], -1, 1);
        d = solved(groups, n, d, codes, of);
    }
    for (int j = 0; j < n; j++)
        mean_levels(&groups[j], d * codes[j], of, meant + size * j);
}

/* ---- scales that are powers of 2 or E4M3 numbers ---- */

/* Returns the scale number k of the type, in ascending order. */
static float power_scale(int k) { return ldexpf(1, k - 126); }
static float e4m3_scale(int k) { return ldexpf((float)(8 + k % 8), k / 8 - 9); }

/* Tries 48 scales down from the greatest one whose half is at or below a sixth of the largest magnitude. */
static void fit_float(const float *values, const float *weights, int size, float (*scale)(int), int scales,
                      float *meant)
{
    const group g = group_of(values, weights, size);
    const float far = fabsf(farthest_of(&g));
    float least = 0x1p126f, best = scale(0);
    int top = 0;
    for (int k = 0; k < scales; k++)
        if (scale(k) / 2 <= far * 0x1.555556p-3f)
            top = k;
    for (int k = top; k >= 0 && k > top - 48 && far > 0x1p-26f; k--) {
        const float loss = level_loss(&g, scale(k), FP4);
        if (loss < least) {
            least = loss;
            best = scale(k);
        }
    }
    mean_levels(&g, best, FP4, meant);
}

/* ---- q2_k ---- */

/* Adds in the order of the kernels: element l + 8 to element l, then l + 4, l + 2 and l + 1. */
static float folded(float *a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            a[l] += a[l + half];
    return a[0];
}

typedef struct pairs {
    float d, dmin, s[16], m[16];
} pairs;

static line pair_line(const pairs *p, int j) { return (line){p->d * p->s[j], -(p->dmin * p->m[j])}; }

static void best_pair(const group *g, int j, pairs *p)
{
    const float s = p->s[j], m = p->m[j];
    float least = 0x1p126f, best[2] = {s, m};
    for (int step = 0; step < 9; step++) {
        p->s[j] = code_at(s + (float)(step / 3 - 1), 0, 15);
        p->m[j] = code_at(m + (float)(step % 3 - 1), 0, 15);
        const float loss = line_loss(g, pair_line(p, j), 3);
        if (loss < least) {
            least = loss;
            best[0] = p->s[j];
            best[1] = p->m[j];
        }
    }
    p->s[j] = best[0];
    p->m[j] = best[1];
}

static void solve_pairs(const group *groups, pairs *p)
{
    float sums[5][16];
    for (int j = 0; j < 16; j++) {
        moments a;
        moments_of(&groups[j], pair_line(p, j), 3, &a);
        sums[0][j] = p->s[j] * p->s[j] * a.qq;
        sums[1][j] = p->s[j] * -p->m[j] * a.q;
        sums[2][j] = p->m[j] * p->m[j] * a.w;
        sums[3][j] = p->s[j] * a.qx;
        sums[4][j] = -p->m[j] * a.x;
    }
    const float dd = folded(sums[0]), dm = folded(sums[1]), mm = folded(sums[2]), dx = folded(sums[3]),
                mx = folded(sums[4]), apart = dd * mm - dm * dm;
    const int both = apart > 0x1p-20f * (dd * mm);
    const float alone = dd > 0 ? (dx - dm * p->dmin) / dd : 0, d = both ? (mm * dx - dm * mx) / apart : alone,
                dmin = both ? (dd * mx - dm * dx) / apart : 0;
    p->d = d > 0 ? half_of(d) : p->d;
    p->dmin = dmin > 0 ? half_of(dmin) : p->dmin;
}

/* Sums over the values from the k-th smallest on: of the weights, and of weight x value. */
typedef struct ends {
    float w[17], x[17];
} ends;

/* Equal values stay in their order. */
static ends sorted_ends(const group *g)
{
    ends e = {.w = {0}};
    float x[16], w[16];
    for (int k = 0; k < 16; k++) {
        int at = k;
        for (; at > 0 && x[at - 1] > g->x[k]; at--) {
            x[at] = x[at - 1];
            w[at] = w[at - 1];
        }
        x[at] = g->x[k];
        w[at] = g->w[k];
    }
    for (int k = 15; k >= 0; k--) {
        e.w[k] = e.w[k + 1] + w[k];
        e.x[k] = fmaf(w[k], x[k], e.x[k + 1]);
    }
    return e;
}

/* Codes are 1, 2 and 3 from the sorted values one, two and three on. */
static void take_line(const ends *e, int one, int two, int three, line *best, float *gain)
{
    const float w = e->w[0], x = e->x[0], inverse = 1 / w, q = e->w[one] + e->w[two] + e->w[three],
                qq = fmaf(5, e->w[three], fmaf(3, e->w[two], e->w[one])), qx = e->x[one] + e->x[two] + e->x[three];
    const float over = w * qx - x * q, under = w * qq - q * q;
    line l = {qx / qq, 0};
    float this = l.s * qx;
    if (over > 0 && under > 0 && over * q >= x * under) {
        l.s = over / under;
        l.m = fmaf(-l.s, q, x) * inverse;
        this = fmaf(l.s, over * inverse, x * (x * inverse));
    }
    if (l.s > 0 && this > *gain) {
        *best = l;
        *gain = this;
    }
}

static line best_line(const group *g)
{
    const ends e = sorted_ends(g);
    const float mean = e.x[0] * (1 / e.w[0]);
    line best = {0, mean > 0 ? 0 : mean};
    float gain = best.m * fmaf(-best.m, e.w[0], e.x[0] + e.x[0]);
    for (int one = 0; one < 16; one++)
        for (int two = one; two <= 16; two++)
            for (int three = two; three <= 16; three++)
                take_line(&e, one, two, three, &best, &gain);
    return best;
}

/* The error of a group for any line, in excess of the error of its best line. */
typedef struct bowl {
    line best;
    float slope, curve, w;
} bowl;

static bowl bowl_of(const group *g)
{
    bowl b = {.best = best_line(g)};
    moments a;
    moments_of(g, b.best, 3, &a);
    b.w = a.w;
    b.slope = a.q / a.w;
    b.curve = fmaf(-a.q, b.slope, a.qq);
    return b;
}

/* The best -m for a scale that differs by `off`. */
static float target_of(const bowl *b, float off) { return fmaf(off, b->slope, 0 - b->best.m); }

static float bowl_loss(const bowl *b, float top, float unit, float dmin)
{
    const float share = b->best.s * inverse_of(top), code = code_at(share * unit, 0, 15),
                off = (code * (1 / unit) - share) * top, target = target_of(b, off),
                lost = fmaf(-code_at(target * inverse_of(dmin), 0, 15), dmin, target);
    return fmaf(b->w * lost, lost, b->curve * off * off);
}

static pairs first_pairs(const bowl *bowls)
{
    float top = 0, depth = 0, least = 0;
    pairs p = {.d = 0};
    for (int j = 0; j < 16; j++) {
        top = fmaxf(top, bowls[j].best.s);
        depth = fmaxf(depth, -bowls[j].best.m);
    }
    for (int number = 0; number < 256; number++) {
        const float unit = 15.5f - 0.5f * (float)(number / 16), dmin = depth / (15.5f - 0.5f * (float)(number % 16));
        float losses[16];
        for (int j = 0; j < 16; j++)
            losses[j] = bowl_loss(&bowls[j], top, unit, dmin);
        const float loss = folded(losses);
        if (number == 0 || loss < least) {
            least = loss;
            p.d = half_of(top / unit);
            p.dmin = half_of(dmin);
        }
    }
    for (int j = 0; j < 16; j++) {
        p.s[j] = code_at(bowls[j].best.s * inverse_of(p.d), 0, 15);
        p.m[j] = code_at(target_of(&bowls[j], p.d * p.s[j] - bowls[j].best.s) * inverse_of(p.dmin), 0, 15);
    }
    return p;
}

static void fit_pairs(const float *values, const float *weights, float *meant)
{
    group groups[16];
    bowl bowls[16];
    for (int j = 0; j < 16; j++) {
        groups[j] = group_of(values + 16 * j, weights + 16 * j, 16);
        bowls[j] = bowl_of(&groups[j]);
    }
    pairs p = first_pairs(bowls);
    for (int round = 0; round < 2; round++) {
        for (int j = 0; j < 16; j++)
            best_pair(&groups[j], j, &p);
        solve_pairs(groups, &p);
    }
    for (int j = 0; j < 16; j++)
        mean_line(&groups[j], pair_line(&p, j), 3, meant + 16 * j);
}

/* Multiplies the weights of a block of n values, in groups of `size`, by numbers that grow with the values. */
static void favour_large(const float *values, const float *weights, int n, int size, float *favoured)
{
    float sum = 0;
    for (int j = 0; j < n; j += size) {
        const group g = group_of(values + j, weights + j, size);
        float squares = 0;
        for (int k = 0; k < size; k++)
            squares = fmaf(g.x[k], g.x[k], squares);
        sum += squares;
    }
    const float mean = sum * (2.5f / (float)n) + 0x1p-100f;
    for (int k = 0; k < n; k++)
        favoured[k] = weights[k] * (sqrtf(fmaf(bounded(values[k]), bounded(values[k]), mean)) * (1 / sqrtf(mean)));
}

int reference_fit_levels(const fit_type *type, const float *values, const float *given, float *meant)
{
    float favoured[256];
    const float *weights = given ? given : reference_ones;
    const int iq4_type = type->number == 20 || type->number == 23;
    if (iq4_type || (given && (type->number == 10 || type->number == 11))) {
        favour_large(values, weights, (int)type->elements, type->number < 20 ? 16 : 32, favoured);
        weights = favoured;
    }
    switch (type->number) {
    case 10:
        fit_pairs(values, weights, meant);
        return 1;
    case 11:
        fit_coded(values, weights, 16, THREE_BITS, meant);
        return 1;
    case 20: {
        const group g = group_of(values, weights, 32);
        float pp;
        mean_levels(&g, half_of(iq4_scale(&g, &pp)), IQ4, meant);
        return 1;
    }
    case 23:
        fit_coded(values, weights, 32, IQ4, meant);
        return 1;
    case 39:
        fit_float(values, weights, 32, power_scale, 254, meant);
        return 1;
    case 40:
        for (int j = 0; j < 4; j++)
            fit_float(values + 16 * j, weights + 16 * j, 16, e4m3_scale, 119, meant + 16 * j);
        return 1;
    default:
        return 0;
    }
}
