/* SPDX-License-Identifier: MIT
 * Compares packaging/sleef.c, which is compiled with the prefix own_, with libsleef, bit by bit: check_sleef STEP [SET]
 * compares every STEP-th of the 2^32 FP32 of each function of one number (1: all), and as many pairs and FP64. Sets for
 * which the CPU lacks instructions are skipped. Ends with the line "N passed, N failed". */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 4096 };

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* A set of functions, each over `lanes` numbers. */
#define BOTH_ONE(family, name, suffix, type)                                                                           \
    type Sleef_##family##_##name##1##suffix(type), own_Sleef_##family##_##name##1##suffix(type);                       \
    static void name##suffix(const type *a, type *theirs, type *own, size_t n)                                         \
    {                                                                                                                  \
        for (size_t k = 0; k < n; k++) {                                                                               \
            theirs[k] = Sleef_##family##_##name##1##suffix(a[k]);                                                      \
            own[k] = own_Sleef_##family##_##name##1##suffix(a[k]);                                                     \
        }                                                                                                              \
    }
#define BOTH_MANY(name, lanes, suffix, type, vector, flags)                                                            \
    vector Sleef_finz_##name##lanes##suffix(vector), own_Sleef_finz_##name##lanes##suffix(vector);                     \
    flags static void name##suffix(const type *a, type *theirs, type *own, size_t n)                                   \
    {                                                                                                                  \
        for (size_t k = 0; k < n; k += lanes) {                                                                        \
            vector x, y, z;                                                                                            \
            memcpy(&x, a + k, sizeof x);                                                                               \
            y = Sleef_finz_##name##lanes##suffix(x);                                                                   \
            z = own_Sleef_finz_##name##lanes##suffix(x);                                                               \
            memcpy(theirs + k, &y, sizeof y);                                                                          \
            memcpy(own + k, &z, sizeof z);                                                                             \
        }                                                                                                              \
    }
#define POW_ONE(family, suffix)                                                                                        \
    float Sleef_##family##_powf1##suffix(float, float), own_Sleef_##family##_powf1##suffix(float, float);              \
    static void powf##suffix(const float *a, const float *b, float *theirs, float *own, size_t n)                      \
    {                                                                                                                  \
        for (size_t k = 0; k < n; k++) {                                                                               \
            theirs[k] = Sleef_##family##_powf1##suffix(a[k], b[k]);                                                    \
            own[k] = own_Sleef_##family##_powf1##suffix(a[k], b[k]);                                                   \
        }                                                                                                              \
    }
#define POW_MANY(lanes, suffix, vector, flags)                                                                         \
    vector Sleef_finz_powf##lanes##suffix(vector, vector), own_Sleef_finz_powf##lanes##suffix(vector, vector);         \
    flags static void powf##suffix(const float *a, const float *b, float *theirs, float *own, size_t n)                \
    {                                                                                                                  \
        for (size_t k = 0; k < n; k += lanes) {                                                                        \
            vector x, e, y, z;                                                                                         \
            memcpy(&x, a + k, sizeof x);                                                                               \
            memcpy(&e, b + k, sizeof e);                                                                               \
            y = Sleef_finz_powf##lanes##suffix(x, e);                                                                  \
            z = own_Sleef_finz_powf##lanes##suffix(x, e);                                                              \
            memcpy(theirs + k, &y, sizeof y);                                                                          \
            memcpy(own + k, &z, sizeof z);                                                                             \
        }                                                                                                              \
    }
#define SET_OF_ONE(family, suffix)                                                                                     \
    BOTH_ONE(family, expf, suffix, float)                                                                              \
    BOTH_ONE(family, tanhf, suffix, float)                                                                             \
    BOTH_ONE(family, erff, suffix, float)                                                                              \
    BOTH_ONE(family, log1pf, suffix, float)                                                                            \
    BOTH_ONE(family, expd, suffix, double)                                                                             \
    BOTH_ONE(family, log2d, suffix, double)                                                                            \
    POW_ONE(family, suffix)
#define SET_OF_MANY(floats, doubles, suffix, vector, wide, flags)                                                      \
    BOTH_MANY(expf, floats, suffix, float, vector, flags)                                                              \
    BOTH_MANY(tanhf, floats, suffix, float, vector, flags)                                                             \
    BOTH_MANY(erff, floats, suffix, float, vector, flags)                                                              \
    BOTH_MANY(log1pf, floats, suffix, float, vector, flags)                                                            \
    BOTH_MANY(expd, doubles, suffix, double, wide, flags)                                                              \
    BOTH_MANY(log2d, doubles, suffix, double, wide, flags)                                                             \
    POW_MANY(floats, suffix, vector, flags)
#define ROW(suffix, usable)                                                                                            \
    {                                                                                                                  \
#suffix, usable,                                                                                               \
            {expf##suffix, tanhf##suffix, erff##suffix, log1pf##suffix }, {expd##suffix, log2d##suffix }, powf##suffix \
    }

#if defined(__x86_64__)
SET_OF_ONE(cinz, _u10purec)
SET_OF_ONE(finz, _u10purecfma)
SET_OF_MANY(8, 4, _u10avx2, __m256, __m256d, __attribute__((target("avx2,fma"))))
SET_OF_MANY(16, 8, _u10avx512f, __m512, __m512d, __attribute__((target("avx512f"))))
#else
#include <arm_neon.h>
SET_OF_ONE(finz, _u10purecfma)
SET_OF_MANY(4, 2, _u10advsimd, float32x4_t, float64x2_t, )
#endif

typedef struct set {
    const char *name;
    bool usable;
    void (*one[4])(const float *, float *, float *, size_t);
    void (*wide[2])(const double *, double *, double *, size_t);
    void (*pow)(const float *, const float *, float *, float *, size_t);
} set;

static unsigned passed, failed;

/* Two NaN count as equal: kernels do not depend on their bits. */
static bool differ(double a, double b, bool same_bits) { return !same_bits && !(isnan(a) && isnan(b)); }

static void judge(const set *s, const char *function, uint64_t compared, uint64_t different, double at, double with)
{
    *(different ? &failed : &passed) += 1;
    if (different)
        printf("FAILED %s%s: %llu of %llu differ, the first at %a (%a)\n", function, s->name,
               (unsigned long long)different, (unsigned long long)compared, at, with);
}

static uint64_t mixed(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void compare_floats(const set *s, uint64_t step)
{
    static const char *const names[] = {"expf", "tanhf", "erff", "log1pf"};
    static float a[BATCH], theirs[BATCH], own[BATCH];
    for (size_t f = 0; f < 4; f++) {
        uint64_t different = 0, compared = 0;
        double at = 0;
        for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += BATCH * step) {
            for (size_t k = 0; k < BATCH; k++) {
                const uint32_t u = (uint32_t)(bits + k * step + (step > 1 ? bits / BATCH % step : 0));
                memcpy(a + k, &u, sizeof u);
            }
            s->one[f](a, theirs, own, BATCH);
            for (size_t k = 0; k < BATCH; k++)
                if (differ(theirs[k], own[k], memcmp(theirs + k, own + k, sizeof *own) == 0) && different++ == 0)
                    at = a[k];
            compared += BATCH;
        }
        judge(s, names[f], compared, different, at, 0);
    }
}

/* Half of the pairs have bits at random, the others a base and an exponent whose power is finite and not 0. */
static void compare_pow(const set *s, uint64_t step)
{
    static const float special[] = {0,   -0.0f,  1,     -1,       0.5f,      2,        3,
                                    -3,  1e9f,   -1e9f, 16777216, 16777217,  INFINITY, -INFINITY,
                                    NAN, 1e-45f, 0.1f,  -0.1f,    0x1p-126f, 0x1p127f};
    enum { SPECIAL = sizeof special / sizeof *special };
    static float a[BATCH], b[BATCH], theirs[BATCH], own[BATCH];
    uint64_t different = 0, compared = 0, state = 1;
    double at = 0, with = 0;
    for (uint64_t done = 0; done < ((uint64_t)1 << 32) / step; done += BATCH) {
        for (size_t k = 0; k < BATCH; k++) {
            const uint64_t z = mixed(&state);
            const uint32_t u = (uint32_t)z, v = (uint32_t)(z >> 32);
            memcpy(a + k, &u, sizeof u);
            memcpy(b + k, &v, sizeof v);
            if (k % 2)
                a[k] = ldexpf((float)(u >> 8), (int)(u & 63) - 56), b[k] = (float)(int32_t)v * 0x1p-29f;
            if (done == 0 && k < SPECIAL * SPECIAL)
                a[k] = special[k / SPECIAL], b[k] = special[k % SPECIAL];
        }
        s->pow(a, b, theirs, own, BATCH);
        for (size_t k = 0; k < BATCH; k++)
            if (differ(theirs[k], own[k], memcmp(theirs + k, own + k, sizeof *own) == 0) && different++ == 0)
                at = a[k], with = b[k];
        compared += BATCH;
    }
    judge(s, "powf", compared, different, at, with);
}

/* exp: numbers from -800 to 800, then any bits; log2: any bits. */
static void compare_doubles(const set *s, uint64_t step)
{
    static const char *const names[] = {"expd", "log2d"};
    static double a[BATCH], theirs[BATCH], own[BATCH];
    for (size_t f = 0; f < 2; f++) {
        uint64_t different = 0, compared = 0, state = 2;
        double at = 0;
        for (uint64_t done = 0; done < ((uint64_t)1 << 32) / step; done += BATCH) {
            for (size_t k = 0; k < BATCH; k++) {
                const uint64_t z = mixed(&state);
                memcpy(a + k, &z, sizeof z);
                if (f == 0 && k % 8)
                    a[k] = (double)(int64_t)z * (800 * 0x1p-63);
            }
            s->wide[f](a, theirs, own, BATCH);
            for (size_t k = 0; k < BATCH; k++)
                if (differ(theirs[k], own[k], memcmp(theirs + k, own + k, sizeof *own) == 0) && different++ == 0)
                    at = a[k];
            compared += BATCH;
        }
        judge(s, names[f], compared, different, at, 0);
    }
}

int main(int argc, char **argv)
{
    const uint64_t step = argc > 1 ? strtoull(argv[1], NULL, 10) : 1009;
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const set sets[] = {ROW(_u10purec, true), ROW(_u10purecfma, avx2), ROW(_u10avx2, avx2),
                        ROW(_u10avx512f, avx2 && __builtin_cpu_supports("avx512f") &&
                                             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))};
#else
    const set sets[] = {ROW(_u10purecfma, true), ROW(_u10advsimd, true)};
#endif
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
        if (argc > 2 && strcmp(argv[2], sets[k].name + sizeof "_u10" - 1) != 0)
            continue;
        if (!sets[k].usable) {
            printf("%s: skipped, the CPU lacks its instructions\n", sets[k].name);
            continue;
        }
        compare_floats(&sets[k], step);
        compare_pow(&sets[k], step);
        compare_doubles(&sets[k], step);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
