/* SPDX-License-Identifier: BSL-1.0
 * Copyright Naoki Shibata and contributors 2010 - 2020; packaging/sleef.LICENSE has the licence.
 *
 * The functions of SLEEF that the kernels call, for programs that are linked statically: Debian packages SLEEF only as
 * a shared library. Follows src/libm/sleefsimdsp.c and sleefsimddp.c of SLEEF 3.5.1 operation by operation, so that
 * results have the bits of libsleef (tests/kernels/check_sleef.c). Compiled once for each set of functions:
 * -DSLEEF_SET_purec without FMA, purecfma, avx2, avx512f or advsimd. A set for which the target of the compiler lacks
 * instructions is empty. */
#include <stddef.h>
#include <stdint.h>

#ifndef SLEEF_PREFIX
#define SLEEF_PREFIX
#endif
#if defined(SLEEF_SET_purec)
#define FUSED 0
#else
#define FUSED 1
#endif

/* ---- bits ---- */

typedef struct {
    float x, y; /* the number is x + y */
} pair;
typedef struct {
    double x, y;
} wide_pair;

#define INLINE static inline __attribute__((always_inline, unused))

INLINE uint32_t bits_of(float a)
{
    uint32_t u;
    __builtin_memcpy(&u, &a, sizeof u);
    return u;
}
INLINE float of_bits(uint32_t u)
{
    float a;
    __builtin_memcpy(&a, &u, sizeof a);
    return a;
}
INLINE uint64_t wide_bits_of(double a)
{
    uint64_t u;
    __builtin_memcpy(&u, &a, sizeof u);
    return u;
}
INLINE double of_wide_bits(uint64_t u)
{
    double a;
    __builtin_memcpy(&a, &u, sizeof a);
    return a;
}
INLINE float with_sign_of(float a, float sign) { return of_bits(bits_of(a) ^ (bits_of(sign) & 0x80000000u)); }
INLINE float absolute(float a) { return of_bits(bits_of(a) & 0x7fffffffu); }
INLINE float all_ones_if(int condition, float a) { return condition ? of_bits(0xffffffffu) : a; }

#define INFINITE (__builtin_inff())

/* ---- rounding and products ---- */

#if FUSED
#define MLA(a, b, c)  __builtin_fmaf(a, b, c)
#define WMLA(a, b, c) __builtin_fma(a, b, c)
INLINE int32_t nearest(float a) { return (int32_t)__builtin_rintf(a); }
INLINE double wide_nearest(double a) { return __builtin_rint(a); }
INLINE float truncated(float a) { return __builtin_truncf(a); }
#else
#define MLA(a, b, c)  ((a) * (b) + (c))
#define WMLA(a, b, c) ((a) * (b) + (c))
/* SLEEF rounds so if the baseline of the CPU has no instruction that rounds. */
INLINE int32_t nearest(float a)
{
    a += a > 0 ? 0.5f : -0.5f;
    return (int32_t)of_bits(bits_of(a) - (1u & (uint32_t)(int32_t)a));
}
INLINE double wide_nearest(double a)
{
    a += a > 0 ? 0.5 : -0.5;
    return (double)(int32_t)of_wide_bits(wide_bits_of(a) - (1u & (uint32_t)(int32_t)a));
}
INLINE float truncated(float a) { return (float)(int64_t)a; }
#endif

/* ---- numbers of two FP32: "2" allows any order of magnitudes ---- */

INLINE pair sum_fast(float a, float b)
{
    const float s = a + b;
    return (pair){s, a - s + b};
}
INLINE pair sum2(float a, float b)
{
    const float s = a + b, v = s - a;
    return (pair){s, a - (s - v) + (b - v)};
}
INLINE pair add_one_fast(pair a, float b)
{
    const float s = a.x + b;
    return (pair){s, a.x - s + b + a.y};
}
INLINE pair one_add_fast(float a, pair b)
{
    const float s = a + b.x;
    return (pair){s, a - s + b.x + b.y};
}
INLINE pair add_one2(pair a, float b)
{
    const float s = a.x + b, v = s - a.x, t = a.x - (s - v) + (b - v);
    return (pair){s, t + a.y};
}
INLINE pair add_fast(pair a, pair b)
{
    const float s = a.x + b.x;
    return (pair){s, a.x - s + b.x + a.y + b.y};
}
INLINE pair add2(pair a, pair b)
{
    const float s = a.x + b.x, v = s - a.x, t = a.x - (s - v) + (b.x - v);
    return (pair){s, t + (a.y + b.y)};
}
INLINE pair normalised(pair a)
{
    const float s = a.x + a.y;
    return (pair){s, a.x - s + a.y};
}
INLINE pair scaled(pair a, float by) { return (pair){a.x * by, a.y * by}; }
INLINE pair negative(pair a) { return (pair){-a.x, -a.y}; }
INLINE pair pair_of(double a)
{
    const float x = (float)a;
    return (pair){x, (float)(a - x)};
}

#if FUSED
INLINE pair product(float a, float b)
{
    const float s = a * b;
    return (pair){s, MLA(a, b, -s)};
}
INLINE pair times_one(pair a, float b)
{
    const float s = a.x * b;
    return (pair){s, MLA(a.y, b, MLA(a.x, b, -s))};
}
INLINE pair times(pair a, pair b)
{
    const float s = a.x * b.x;
    return (pair){s, MLA(a.x, b.y, MLA(a.y, b.x, MLA(a.x, b.x, -s)))};
}
INLINE pair square(pair a)
{
    const float s = a.x * a.x;
    return (pair){s, MLA(a.x + a.x, a.y, MLA(a.x, a.x, -s))};
}
INLINE pair quotient(pair n, pair d)
{
    const float t = 1 / d.x, s = n.x * t;
    const float u = MLA(t, n.x, -s), v = MLA(-d.y, t, MLA(-d.x, t, 1.0f));
    return (pair){s, MLA(s, v, MLA(n.y, t, u))};
}
INLINE pair reciprocal(pair d)
{
    const float s = 1 / d.x;
    return (pair){s, s * MLA(-d.y, s, MLA(-d.x, s, 1.0f))};
}
#else
INLINE float upper(float a) { return of_bits(bits_of(a) & 0xfffff000u); }
/* Returns a b + c, whose terms are the products of the halves. */
INLINE float halves(float a, float b, float c)
{
    const float ah = upper(a), al = a - ah, bh = upper(b), bl = b - bh;
    return al * bl + (ah * bl + (al * bh + (ah * bh + c)));
}
INLINE pair product(float a, float b)
{
    const float s = a * b;
    return (pair){s, halves(a, b, -s)};
}
INLINE pair times_one(pair a, float b)
{
    const float s = a.x * b;
    return (pair){s, a.y * b + halves(a.x, b, -s)};
}
INLINE pair times(pair a, pair b)
{
    const float s = a.x * b.x;
    return (pair){s, a.y * b.x + (a.x * b.y + halves(a.x, b.x, -s))};
}
INLINE pair square(pair a)
{
    const float h = upper(a.x), l = a.x - h, s = a.x * a.x;
    return (pair){s, a.x * (a.y + a.y) + (l * l + ((h + h) * l + (h * h + -s)))};
}
INLINE pair quotient(pair n, pair d)
{
    const float t = 1 / d.x, s = n.x * t;
    const float dh = upper(d.x), dl = d.x - dh, th = upper(t), tl = t - th, nh = upper(n.x), nl = n.x - nh;
    const float w = -(dl * tl + (dl * th + (dh * tl + (dh * th + -1.0f))));
    const float u = s * w + (nl * tl + (nl * th + (nh * tl + (nh * th + -s))));
    return (pair){s, t * (n.y - s * d.y) + u};
}
INLINE pair reciprocal(pair d)
{
    const float t = 1 / d.x, dh = upper(d.x), dl = d.x - dh, th = upper(t), tl = t - th;
    const float u = d.y * t + (dl * tl + (dl * th + (dh * tl + (dh * th + -1.0f))));
    return (pair){t, -t * u};
}
#endif

/* ---- powers of two ---- */

INLINE float two_to(int32_t q) { return of_bits((uint32_t)(q + 127) << 23); }
INLINE float times_power(float a, int32_t q) { return a * two_to(q >> 1) * two_to(q - (q >> 1)); }
INLINE float times_large_power(float a, int32_t q)
{
    int32_t m = q >> 31;
    m = (int32_t)((uint32_t)(((int32_t)((uint32_t)m + (uint32_t)q) >> 6) - m) << 4);
    q = (int32_t)((uint32_t)q - ((uint32_t)m << 2));
    m += 127;
    m = m > 0 ? m : 0;
    m = m > 255 ? 255 : m;
    const float u = of_bits((uint32_t)m << 23);
    return a * u * u * u * u * of_bits((uint32_t)((uint32_t)q + 127u) << 23);
}
INLINE int32_t exponent_of(float a) { return (int32_t)(bits_of(a) >> 23 & 0xff) - 127; }

#define L2U   0.693145751953125f
#define L2L   1.428606765330187045e-06f
#define R_LN2 1.442695040888963407359924681001892137426645954152985934135449406931f
static const pair ln2 = {0.69314718246459960938f, -1.904654323148236017e-09f};

/* ---- FP32 ---- */

INLINE float one_exp(float d)
{
    const int32_t q = nearest(d * R_LN2);
    const float s = MLA((float)q, -L2L, MLA((float)q, -L2U, d));
    float u = 0.000198527617612853646278381f;
    u = MLA(u, s, 0.00139304355252534151077271f);
    u = MLA(u, s, 0.00833336077630519866943359f);
    u = MLA(u, s, 0.0416664853692054748535156f);
    u = MLA(u, s, 0.166666671633720397949219f);
    u = MLA(u, s, 0.5f);
    u = times_power(1.0f + MLA(s * s, u, s), q);
    u = d < -104 ? 0.0f : u;
    return 100 < d ? INFINITE : u;
}

INLINE pair exp_of_pair(pair d)
{
    const int32_t q = nearest((d.x + d.y) * R_LN2);
    const pair s = add_one2(add_one2(d, (float)q * -L2U), (float)q * -L2L);
    float u = +0.1980960224e-3f;
    u = MLA(u, s.x, +0.1394256484e-2f);
    u = MLA(u, s.x, +0.8333456703e-2f);
    u = MLA(u, s.x, +0.4166637361e-1f);
    pair t = add_one2(times_one(s, u), (float)+0.166666659414234244790680580464e+0);
    t = add_one2(times(s, t), 0.5f);
    t = one_add_fast(1, add2(s, times(square(s), t)));
    t = (pair){times_power(t.x, q), times_power(t.y, q)};
    return d.x < -104 ? (pair){0, 0} : t;
}

INLINE float one_tanh(float x)
{
    const pair d = exp_of_pair((pair){absolute(x), 0}), e = reciprocal(d);
    const pair r = quotient(add_fast(d, negative(e)), add_fast(d, e));
    float y = r.x + r.y;
    y = absolute(x) > 8.664339742f || y != y ? 1.0f : y;
    return all_ones_if(x != x, with_sign_of(y, x));
}

INLINE float chosen(int first, int second, float a, float b, float c)
{
    const float rest = second ? b : c;
    return first ? a : rest;
}

INLINE float one_erf(float x)
{
    const float a = absolute(x);
    const int o0 = a < 1.1f, o1 = a < 2.4f;
    const float u = o0 ? a * a : a;
    float t = chosen(o0, o1, +0.7089292194e-4f, -0.1792667899e-4f, -0.9495757695e-5f);
    t = MLA(t, u, chosen(o0, o1, -0.7768311189e-3f, +0.3937633010e-3f, +0.2481465926e-3f));
    t = MLA(t, u, chosen(o0, o1, +0.5159463733e-2f, -0.3949181177e-2f, -0.2918176819e-2f));
    t = MLA(t, u, chosen(o0, o1, -0.2683781274e-1f, +0.2445474640e-1f, +0.2059706673e-1f));
    t = MLA(t, u, chosen(o0, o1, +0.1128318012e+0f, -0.1070996150e+0f, -0.9901899844e-1f));
    const pair third[] = {pair_of(-0.376125876000657465175213237214e+0), pair_of(-0.634588905908410389971210809210e+0),
                          pair_of(-0.643598050547891613081201721633e+0)};
    const pair last[] = {pair_of(+0.112837916021059138255978217023e+1), pair_of(-0.112879855826694507209862753992e+1),
                         pair_of(-0.112461487742845562801052956293e+1)};
    const pair third_one = {chosen(o0, o1, third[0].x, third[1].x, third[2].x),
                            chosen(o0, o1, third[0].y, third[1].y, third[2].y)};
    const pair last_one = {chosen(o0, o1, last[0].x, last[1].x, last[2].x),
                           chosen(o0, o1, last[0].y, last[1].y, last[2].y)};
    pair d = times_one(add2(product(t, u), third_one), u);
    d = times_one(add2(d, last_one), a);
    const pair tail = one_add_fast(1, negative(exp_of_pair(d)));
    d = (pair){o0 ? d.x : tail.x, o0 ? d.y : tail.y};
    const float y = with_sign_of(a < 4.0f ? d.x + d.y : 1.0f, x);
    return x != x ? __builtin_nanf("") : y;
}

INLINE float one_log1p(float d)
{
    float up = d + 1;
    const int small = up < 0x1p-126f;
    up = small ? up * 0x1p64f : up;
    int32_t e = exponent_of(up * (1.0f / 0.75f));
    const float t = of_bits(bits_of(1.0f) + ((uint32_t)-e << 23)), m = MLA(d, t, t - 1);
    e = small ? e - 64 : e;
    pair s = times_one(ln2, (float)e);
    const pair x = quotient((pair){m, 0}, sum_fast(2, m));
    const float x2 = x.x * x.x;
    const float p = MLA(MLA(+0.3027294874e+0f, x2, +0.3996108174e+0f), x2, +0.6666694880e+0f);
    s = add_one_fast(add_fast(s, scaled(x, 2)), x2 * x.x * p);
    float r = s.x + s.y;
    r = d > 1e+38f ? INFINITE : r;
    r = all_ones_if(-1 > d, r);
    r = d == -1 ? -INFINITE : r;
    return bits_of(d) == 0x80000000u ? -0.0f : r;
}

INLINE pair log_of(float d)
{
    const int small = d < 0x1p-126f;
    d = small ? d * 0x1p64f : d;
    int32_t e = exponent_of(d * (1.0f / 0.75f));
    const float m = of_bits(bits_of(d) + ((uint32_t)-e << 23));
    e = small ? e - 64 : e;
    const pair x = quotient(sum2(-1, m), sum2(1, m)), x2 = square(x);
    const float t =
        MLA(MLA(0.240320354700088500976562f, x2.x, 0.285112679004669189453125f), x2.x, 0.400007992982864379882812f);
    const pair c = {0.66666662693023681640625f, 3.69183861259614332084311e-09f};
    const pair s = add_fast(times_one(ln2, (float)e), scaled(x, 2));
    return add_fast(s, times(times(x2, x), add2(times_one(x2, t), c)));
}

INLINE float exp_to_one(pair d)
{
    const int32_t q = nearest((d.x + d.y) * R_LN2);
    const pair s = normalised(add_one2(add_one2(d, (float)q * -L2U), (float)q * -L2L));
    float u = 0.00136324646882712841033936f;
    u = MLA(u, s.x, 0.00836596917361021041870117f);
    u = MLA(u, s.x, 0.0416710823774337768554688f);
    u = MLA(u, s.x, 0.166665524244308471679688f);
    u = MLA(u, s.x, 0.499999850988388061523438f);
    const pair t = one_add_fast(1, add_fast(s, times_one(square(s), u)));
    u = times_large_power(t.x + t.y, q);
    return d.x < -104 ? 0.0f : u;
}

INLINE float one_pow(float x, float y)
{
    const float ax = absolute(x), ay = absolute(y), whole = truncated(y);
    const int large = ay > 16777216.0f, integral = whole == y || large;
    const int odd = integral && ay < 16777216.0f && ((int32_t)(ay < 16777216.0f ? whole : 0) & 1);
    float r = exp_to_one(times_one(log_of(ax), y));
    r = r != r ? INFINITE : r;
    const float sign_of_whole = odd ? -1.0f : 1.0f, sign = integral ? sign_of_whole : __builtin_nanf("");
    r *= x > 0 ? 1.0f : sign;
    const float beyond = with_sign_of(ax - 1, y), at_one = beyond == 0 ? 1.0f : INFINITE,
                limit = beyond < 0 ? 0.0f : at_one;
    r = ay == INFINITE ? limit : r;
    const int zero = x == 0, edge = ax == INFINITE || zero;
    const float unit = odd ? with_sign_of(1.0f, x) : 1.0f, towards = zero ? -y : y,
                size = towards < 0 ? 0.0f : INFINITE;
    r = edge ? unit * size : r;
    r = all_ones_if(x != x || y != y, r);
    return y == 0 || x == 1 ? 1.0f : r;
}

/* ---- FP64 ---- */

INLINE double wide_two_to(int32_t q) { return of_wide_bits((uint64_t)(uint32_t)(q + 1023) << 52); }

INLINE double one_wide_exp(double d)
{
    const double v = wide_nearest(d * 1.442695040888963407359924681001892137426645954152985934135449406931);
    const int32_t q = (int32_t)v;
    const double s = WMLA(v, -.28235290563031577122588448175013436025525412068e-12,
                          WMLA(v, -.69314718055966295651160180568695068359375, d));
    const double s2 = s * s, s4 = s2 * s2, s8 = s4 * s4;
#if FUSED
    const double high = WMLA(s, +0.2081276378237164457e-8, +0.2511210703042288022e-7);
    const double middle = WMLA(s2, WMLA(s, +0.2755762628169491192e-6, +0.2755723402025388239e-5),
                               WMLA(s, +0.2480158687479686264e-4, +0.1984126989855865850e-3));
    const double low = WMLA(s2, WMLA(s, +0.1388888888914497797e-2, +0.8333333333314938210e-2),
                            WMLA(s, +0.4166666666666602598e-1, +0.1666666666666669072e+0));
    double u = WMLA(s8, high, WMLA(s4, middle, low));
    u = WMLA(u, s, 0.5);
    u = WMLA(u, s, 1.0);
    u = WMLA(u, s, 1.0);
#else
    const double high = WMLA(s, 2.08860621107283687536341e-09, 2.51112930892876518610661e-08);
    const double middle = WMLA(s2, WMLA(s, 2.75573911234900471893338e-07, 2.75572362911928827629423e-06),
                               WMLA(s, 2.4801587159235472998791e-05, 0.000198412698960509205564975));
    const double low = WMLA(s2, WMLA(s, 0.00138888888889774492207962, 0.00833333333331652721664984),
                            WMLA(s, 0.0416666666666665047591422, 0.166666666666666851703837));
    double u = WMLA(WMLA(s8, high, WMLA(s4, middle, low)), s, 0.5);
    u = 1 + WMLA(s * s, u, s);
#endif
    u = u * wide_two_to(q >> 1) * wide_two_to(q - (q >> 1));
    u = d > 709.78271114955742909217217426 ? (double)INFINITE : u;
    return d < -1000 ? 0.0 : u;
}

INLINE wide_pair wide_sum2(double a, double b)
{
    const double s = a + b, v = s - a;
    return (wide_pair){s, a - (s - v) + (b - v)};
}

#if FUSED
INLINE wide_pair wide_quotient(wide_pair n, wide_pair d)
{
    const double t = 1 / d.x, s = n.x * t;
    const double u = WMLA(t, n.x, -s), v = WMLA(-d.y, t, WMLA(-d.x, t, 1.0));
    return (wide_pair){s, WMLA(s, v, WMLA(n.y, t, u))};
}
INLINE wide_pair wide_times(wide_pair a, wide_pair b)
{
    const double s = a.x * b.x;
    return (wide_pair){s, WMLA(a.x, b.y, WMLA(a.y, b.x, WMLA(a.x, b.x, -s)))};
}
#else
INLINE double wide_upper(double a) { return of_wide_bits(wide_bits_of(a) & 0xfffffffff8000000u); }
INLINE wide_pair wide_quotient(wide_pair n, wide_pair d)
{
    const double t = 1 / d.x, s = n.x * t;
    const double dh = wide_upper(d.x), dl = d.x - dh, th = wide_upper(t), tl = t - th, nh = wide_upper(n.x),
                 nl = n.x - nh;
    const double w = 1 - dh * th - dh * tl - dl * th - dl * tl;
    const double u = nh * th - s + nh * tl + nl * th + nl * tl + s * w;
    return (wide_pair){s, t * (n.y - s * d.y) + u};
}
INLINE wide_pair wide_times(wide_pair a, wide_pair b)
{
    const double ah = wide_upper(a.x), al = a.x - ah, bh = wide_upper(b.x), bl = b.x - bh, s = a.x * b.x;
    return (wide_pair){s, ah * bh + -s + al * bh + ah * bl + al * bl + a.x * b.y + a.y * b.x};
}
#endif

INLINE double one_wide_log2(double d)
{
    const double given = d;
    const int small = d < 0x1p-1022;
    d = small ? d * 0x1p64 : d;
    int32_t e = (int32_t)(wide_bits_of(d * (1.0 / 0.75)) >> 52 & 0x7ff) - 1023;
    const double m = of_wide_bits(wide_bits_of(d) + ((uint64_t)(int64_t)-e << 52));
    e = small ? e - 64 : e;
    const wide_pair x = wide_quotient(wide_sum2(-1, m), wide_sum2(1, m));
    const double x2 = x.x * x.x, x4 = x2 * x2, x8 = x4 * x4;
    const double high =
        WMLA(x4, +0.2211941750456081490e+0, WMLA(x2, +0.2200768693152277689e+0, +0.2623708057488514656e+0));
    const double low = WMLA(x4, WMLA(x2, +0.3205977477944495502e+0, +0.4121985945485324709e+0),
                            WMLA(x2, +0.5770780162997058982e+0, +0.96179669392608091449));
    const double t = WMLA(x8, high, low);
    const wide_pair p = wide_times(x, (wide_pair){2.885390081777926774, 6.0561604995516736434e-18});
    const double s = (double)e + p.x, v = s - (double)e;
    wide_pair sum = {s, (double)e - (s - v) + (p.x - v) + p.y};
    const double last = x2 * x.x * t, r2 = sum.x + last, w = r2 - sum.x, rest = sum.x - (r2 - w) + (last - w);
    sum = (wide_pair){r2, rest + sum.y};
    double r = sum.x + sum.y;
    r = given == (double)INFINITE ? given : r;
    r = given < 0 || given != given ? __builtin_nan("") : r;
    return given == 0 ? -(double)INFINITE : r;
}

/* ---- the functions of each set ---- */

#define JOIN_(a, b)         a##b
#define JOIN(a, b)          JOIN_(a, b)
#define SLEEF(family, name) JOIN(SLEEF_PREFIX, Sleef_##family##_##name)

#define ONE(family, name, suffix, type, one)                                                                           \
    type SLEEF(family, name##1##suffix)(type a);                                                                       \
    type SLEEF(family, name##1##suffix)(type a) { return one(a); }
#define ALL_ONES(family, suffix)                                                                                       \
    ONE(family, expf, suffix, float, one_exp)                                                                          \
    ONE(family, tanhf, suffix, float, one_tanh)                                                                        \
    ONE(family, erff, suffix, float, one_erf)                                                                          \
    ONE(family, log1pf, suffix, float, one_log1p)                                                                      \
    ONE(family, expd, suffix, double, one_wide_exp)                                                                    \
    ONE(family, log2d, suffix, double, one_wide_log2)                                                                  \
    float SLEEF(family, powf1##suffix)(float a, float b);                                                              \
    float SLEEF(family, powf1##suffix)(float a, float b) { return one_pow(a, b); }

#define MANY(name, lanes, suffix, type, vector, one)                                                                   \
    vector SLEEF(finz, name##lanes##suffix)(vector a);                                                                 \
    vector SLEEF(finz, name##lanes##suffix)(vector a)                                                                  \
    {                                                                                                                  \
        type in[lanes], out[lanes];                                                                                    \
        __builtin_memcpy(in, &a, sizeof in);                                                                           \
        for (int k = 0; k < lanes; k++)                                                                                \
            out[k] = one(in[k]);                                                                                       \
        __builtin_memcpy(&a, out, sizeof a);                                                                           \
        return a;                                                                                                      \
    }
#define ALL_MANY(floats, doubles, suffix)                                                                              \
    typedef float floats_of __attribute__((vector_size(4 * floats)));                                                  \
    typedef double doubles_of __attribute__((vector_size(8 * doubles)));                                               \
    MANY(expf, floats, suffix, float, floats_of, one_exp)                                                              \
    MANY(tanhf, floats, suffix, float, floats_of, one_tanh)                                                            \
    MANY(erff, floats, suffix, float, floats_of, one_erf)                                                              \
    MANY(log1pf, floats, suffix, float, floats_of, one_log1p)                                                          \
    MANY(expd, doubles, suffix, double, doubles_of, one_wide_exp)                                                      \
    MANY(log2d, doubles, suffix, double, doubles_of, one_wide_log2)                                                    \
    floats_of SLEEF(finz, powf##floats##suffix)(floats_of a, floats_of b);                                             \
    floats_of SLEEF(finz, powf##floats##suffix)(floats_of a, floats_of b)                                              \
    {                                                                                                                  \
        float x[floats], y[floats], out[floats];                                                                       \
        __builtin_memcpy(x, &a, sizeof x);                                                                             \
        __builtin_memcpy(y, &b, sizeof y);                                                                             \
        for (int k = 0; k < floats; k++)                                                                               \
            out[k] = one_pow(x[k], y[k]);                                                                              \
        __builtin_memcpy(&a, out, sizeof a);                                                                           \
        return a;                                                                                                      \
    }

#if defined(SLEEF_SET_purec) && defined(__x86_64__)
ALL_ONES(cinz, _u10purec)
#elif defined(SLEEF_SET_purecfma) && (defined(__FMA__) || defined(__aarch64__))
ALL_ONES(finz, _u10purecfma)
#elif defined(SLEEF_SET_avx2) && defined(__AVX2__)
ALL_MANY(8, 4, _u10avx2)
#elif defined(SLEEF_SET_avx512f) && defined(__AVX512F__)
ALL_MANY(16, 8, _u10avx512f)
#elif defined(SLEEF_SET_advsimd) && defined(__aarch64__)
ALL_MANY(4, 2, _u10advsimd)
#endif
