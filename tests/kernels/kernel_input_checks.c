/* SPDX-License-Identifier: MIT
 * Checks of rounded inputs: results of compressed-tensors bit for bit, and a second implementation, which looks codes
 * up in the list of all codes, for every length, group and rule. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INTEGERS, E4M3, E2M1, CODES };

/* Results of compressed-tensors, which fixtures/make_rounded_inputs.py writes; the values of the first row are the
 * inputs. */
enum { GOLDEN = 64, GOLDENS = 13 };
typedef struct golden {
    char name[32], codes[16], from[16];
    size_t group;
    float low, high, peak;
    int below, asymmetric;
    float scale, zero, factor;
    uint32_t values[GOLDEN];
} golden;

static void round_by(const organ_kernels *kernels, int codes, const organ_rounding *rule, const float *x, float *y,
                     size_t n)
{
    if (codes == INTEGERS)
        kernels->round_integers(rule, x, y, n);
    else if (codes == E4M3)
        kernels->round_e4m3(rule, x, y, n);
    else
        kernels->round_e2m1(rule, x, y, n);
}

/* ---- compressed-tensors ---- */

/* The sign of a zero is not compared: compressed-tensors does not add a zero point that is not stored. */
static const char *compare_golden(const golden *g, const float *values)
{
    for (size_t k = 0; k < GOLDEN; k++) {
        float expected;
        memcpy(&expected, &g->values[k], sizeof expected);
        if (!(values[k] == expected))
            return kernel_fault("%s: value %zu is %a, expected %a", g->name, k, (double)values[k], (double)expected);
    }
    return NULL;
}

/* Returns the place of a word in a list, which must have it. */
static int place_of(const char *word, const char *const *words, int count)
{
    int k = 0;
    while (k < count && strcmp(words[k], word) != 0)
        k++;
    if (k == count)
        abort();
    return k;
}

const char *check_rounded_goldens(const organ_kernels *kernels)
{
    static const sample_column columns[] = {SAMPLE_COLUMN(golden, name),       SAMPLE_COLUMN(golden, codes),
                                            SAMPLE_COLUMN(golden, from),       SAMPLE_COLUMN(golden, group),
                                            SAMPLE_COLUMN(golden, low),        SAMPLE_COLUMN(golden, high),
                                            SAMPLE_COLUMN(golden, peak),       SAMPLE_COLUMN(golden, below),
                                            SAMPLE_COLUMN(golden, asymmetric), SAMPLE_COLUMN(golden, scale),
                                            SAMPLE_COLUMN(golden, zero),       SAMPLE_COLUMN(golden, factor),
                                            SAMPLE_COLUMN(golden, values),     {0}};
    static const char *const codes_names[CODES] = {"integers", "e4m3", "e2m1"};
    static const char *const scale_names[] = {[ORGAN_ROUNDING_STORED] = "stored",
                                              [ORGAN_ROUNDING_REAL] = "real",
                                              [ORGAN_ROUNDING_E8M0] = "e8m0",
                                              [ORGAN_ROUNDING_UE8M0] = "ue8m0",
                                              [ORGAN_ROUNDING_E4M3] = "e4m3"};
    static golden goldens[GOLDENS];
    const char *fault = NULL;
    const size_t count = SAMPLES_READ("tests/kernels/rounded_golden.tsv", columns, goldens);
    for (size_t k = 1; k < count && !fault; k++) {
        const golden *const g = &goldens[k];
        const int codes = place_of(g->codes, codes_names, CODES);
        const organ_rounding rule = {.from =
                                         (organ_rounding_scale)place_of(g->from, scale_names, ORGAN_ROUNDING_E4M3 + 1),
                                     .group = g->group,
                                     .low = g->low,
                                     .high = g->high,
                                     .peak = g->peak,
                                     .scale = g->scale,
                                     .zero = g->zero,
                                     .factor = g->factor,
                                     .below = g->below,
                                     .asymmetric = g->asymmetric};
        float x[GOLDEN], y[GOLDEN];
        memcpy(x, goldens->values, sizeof x);
        round_by(kernels, codes, &rule, x, y, GOLDEN);
        fault = compare_golden(g, y);
        if (!fault && (round_by(kernels, codes, &rule, x, x, GOLDEN), memcmp(x, y, sizeof x) != 0))
            fault = kernel_fault("%s: in place other values than in another array", g->name);
    }
    return fault;
}

/* ---- the second implementation ---- */

/* Magnitude number k of a type of floats with `fraction` bits, from 0 on; the first normal one is `normal`. */
static double float_number(unsigned k, int fraction, double normal)
{
    const unsigned steps = 1u << fraction, exponent = k / steps, mantissa = k % steps;
    if (exponent == 0)
        return normal * mantissa / steps;
    return normal * ldexp(1 + (double)mantissa / steps, (int)exponent - 1);
}

/* Of two equally near numbers the one with the even number is taken. */
static float nearest_float(double v, int fraction, double normal, unsigned count)
{
    unsigned best = 0;
    for (unsigned k = 1; k < count; k++) {
        const double now = fabs(fabs(v) - float_number(k, fraction, normal)),
                     before = fabs(fabs(v) - float_number(best, fraction, normal));
        best = now < before || (now == before && k % 2 == 0) ? k : best;
    }
    return (float)copysign(float_number(best, fraction, normal), v);
}

static float nearest_code(int codes, float v)
{
    if (codes == INTEGERS) {
        const double floored = floor((double)v), above = (double)v - floored;
        const bool up = above > 0.5 || (above == 0.5 && fmod(floored, 2) != 0);
        return (float)(up ? floored + 1 : floored);
    }
    return codes == E4M3 ? nearest_float((double)v, 3, 0x1p-6, 127) : nearest_float((double)v, 1, 1, 8);
}

static float expected_scale(const organ_rounding *r, const float *x, size_t n, float *zero)
{
    float top = 0, least = 0, most = 0;
    int exponent;
    for (size_t k = 0; k < n; k++) {
        top = fmaxf(top, fabsf(x[k]));
        least = fminf(least, x[k]);
        most = fmaxf(most, x[k]);
    }
    if (r->from == ORGAN_ROUNDING_E8M0) {
        const float fraction = frexpf(top, &exponent); /* top = fraction 2^exponent, fraction from 1/2 */
        const int power = exponent - 1 + (fraction >= 0.875f) - r->below;
        return ldexpf(1, top < 0x1p-126f || power < -127 ? -127 : power);
    }
    if (r->limit > 0)
        top = fminf(top, r->limit);
    const float exact = top / r->peak;
    if (r->from == ORGAN_ROUNDING_UE8M0) {
        const float fraction = frexpf(exact, &exponent);
        return exact > 0 ? ldexpf(1, exact <= 0x1p-126f ? -126 : exponent - (fraction == 0.5f)) : 0x1p-23f;
    }
    if (r->from == ORGAN_ROUNDING_E4M3) {
        const float stored = nearest_float((double)fminf(exact * r->factor, 448), 3, 0x1p-6, 127);
        return (stored > 0 ? stored : 0.125f) / r->factor;
    }
    const float scale = r->asymmetric ? (most - least) / (r->high - r->low) : exact;
    if (r->asymmetric && scale > 0)
        *zero = nearest_code(INTEGERS, fminf(fmaxf(r->low - least / scale, r->low), r->high));
    return scale > 0 ? scale : 0x1p-23f;
}

static void expected_group(int codes, const organ_rounding *r, const float *x, float *y, size_t n)
{
    float zero = r->from == ORGAN_ROUNDING_STORED ? r->zero : 0;
    const float scale = r->from == ORGAN_ROUNDING_STORED ? r->scale : expected_scale(r, x, n, &zero);
    bool finite = true;
    for (size_t k = 0; k < n; k++)
        finite = finite && isfinite(x[k]);
    for (size_t k = 0; k < n; k++)
        y[k] = finite ? (nearest_code(codes, fminf(fmaxf(x[k] / scale + zero, r->low), r->high)) - zero) * scale : x[k];
}

/* ---- every rule ---- */

static const struct rule {
    int codes;
    organ_rounding rule;
} rules[] = {
    {INTEGERS, {.from = ORGAN_ROUNDING_REAL, .low = -128, .high = 127, .peak = 127.5f}},
    {INTEGERS, {.from = ORGAN_ROUNDING_REAL, .group = 24, .low = -8, .high = 7, .peak = 7.5f}},
    {INTEGERS, {.from = ORGAN_ROUNDING_REAL, .low = -128, .high = 127, .peak = 127.5f, .asymmetric = 1}},
    {INTEGERS, {.from = ORGAN_ROUNDING_STORED, .low = -128, .high = 127, .scale = 0.017f, .zero = 0}},
    {INTEGERS, {.from = ORGAN_ROUNDING_STORED, .low = -128, .high = 127, .scale = 0.031f, .zero = -40}},
    {E4M3, {.from = ORGAN_ROUNDING_REAL, .low = -448, .high = 448, .peak = 448}},
    {E4M3, {.from = ORGAN_ROUNDING_REAL, .low = -448, .high = 448, .peak = 448, .limit = 1.5f}},
    {E4M3, {.from = ORGAN_ROUNDING_REAL, .group = 128, .low = -448, .high = 448, .peak = 448}},
    {E4M3, {.from = ORGAN_ROUNDING_UE8M0, .group = 128, .low = -448, .high = 448, .peak = 448}},
    {E4M3, {.from = ORGAN_ROUNDING_STORED, .low = -448, .high = 448, .scale = 0.003f}},
    {E4M3, {.from = ORGAN_ROUNDING_E8M0, .group = 32, .low = -448, .high = 448, .peak = 448, .below = 8}},
    {E2M1, {.from = ORGAN_ROUNDING_E8M0, .group = 32, .low = -6, .high = 6, .peak = 6, .below = 2}},
    {E2M1, {.from = ORGAN_ROUNDING_E4M3, .group = 16, .low = -6, .high = 6, .peak = 6, .factor = 37.25f}},
    {E2M1, {.from = ORGAN_ROUNDING_REAL, .low = -6, .high = 6, .peak = 6}},
};

/* Ranges of magnitudes, by number of the test. Group 7: numbers that no scale reaches, and the largest ones. */
static void fill_inputs(uint64_t seed, float *x, size_t n)
{
    static const float sizes[] = {1, 1e-4f, 3e4f, 1e-38f, 0, 1e-42f, 0.1f, 3e37f};
    samples random = {seed};
    samples_fill(&random, NORMAL, x, n);
    for (size_t k = 0; k < n; k++)
        x[k] *= sizes[(seed + k / 48) % 8];
    if (n > 40 && seed % 5 == 0)
        x[n / 2] = seed % 2 ? INFINITY : -NAN;
}

static const char *check_inputs(const organ_kernels *kernels, const struct rule *r, size_t n, enum guarded_side side)
{
    guarded a = guarded_create(n * sizeof(float), side, 1), b = guarded_create(n * sizeof(float), side, 2);
    float *const x = (float *)(void *)a.data, *const y = (float *)(void *)b.data,
                 *const expected = malloc((n + 1) * sizeof *expected);
    const size_t group = r->rule.group ? r->rule.group : n;
    const char *fault = NULL;
    fill_inputs(n + (size_t)(r - rules), x, n);
    for (size_t at = 0; at < n; at += group)
        expected_group(r->codes, &r->rule, x + at, expected + at, n - at < group ? n - at : group);
    round_by(kernels, r->codes, &r->rule, x, y, n);
    for (size_t k = 0; k < n && !fault; k++)
        if (!(y[k] == expected[k] || memcmp(&y[k], &expected[k], sizeof *y) == 0))
            fault = kernel_fault("rule %zu, %zu inputs: %a becomes %a, expected %a", (size_t)(r - rules), n,
                                 (double)x[k], (double)y[k], (double)expected[k]);
    if (!guarded_intact(&a, 1) || !guarded_intact(&b, 2))
        fault = kernel_fault("rule %zu, %zu inputs: touched what is not theirs", (size_t)(r - rules), n);
    free(expected);
    guarded_destroy(&a);
    guarded_destroy(&b);
    return fault;
}

const char *check_rounded_inputs(const organ_kernels *kernels)
{
    const char *fault = NULL;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
        for (size_t k = 0; k < kernel_length_count && !fault; k++) {
            fault = check_inputs(kernels, &rules[r], kernel_lengths[k], GUARD_BEHIND);
            fault = fault ? fault : check_inputs(kernels, &rules[r], kernel_lengths[k], GUARD_BEFORE);
        }
    return fault;
}
