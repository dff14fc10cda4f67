/* SPDX-License-Identifier: MIT
 * Checks of transcendental functions: every table against scalar bit for bit, scalar against long double within the
 * rounding of its formula, and a digest of scalar's bits that is the same on every machine with FMA. */
#include "tests/kernels/kernel_checker.h"
#include "tests/kit/effort.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { SILU, GELU_TANH, GELU, CAP, POWER, EXP, SOFTPLUS, ELEMENTWISE };
static const char *const names[] = {"gate_silu", "gate_gelu_tanh", "gate_gelu", "softcap",
                                    "powers_of", "exp_below",      "softplus"};
#define CAPPED 30.0f
#define BASE   10000.0f
#define TOP    1.5f
#define ULP    0x1p-23L

/* The expected value, without rounding, and the allowed error: relative, and relative to intermediate terms of this
 * size. */
typedef struct expectation {
    long double value, relative, of;
} expectation;

static expectation expect(int which, float x_, float up)
{
    const long double x = x_, u = 0.79788456f * (x + (long double)0.044715f * x * x * x);
    switch (which) {
    case SILU:
        return (expectation){x / (1 + expl(-x)) * up, 4 * ULP, 0};
    case GELU_TANH: /* the exponential of 2 u turns an error of u into a relative error */
        return (expectation){x / (1 + expl(-2 * u)) * up, (4 + 8 * fminl(fabsl(u), 100)) * ULP, 0};
    case GELU:
        return (expectation){x * up / 2 * erfcl(-x * (long double)0.70710678f), 4 * ULP, fabsl(x * up)};
    case CAP:
        return (expectation){CAPPED * tanhl(x / (long double)CAPPED), 4 * ULP, 0};
    case POWER:
        return (expectation){powl(BASE, x), 2 * ULP, 0};
    case SOFTPLUS:
        return (expectation){log1pl(expl(x)), 4 * ULP, 0};
    default:
        return (expectation){expl((long double)(x_ - TOP)), 2 * ULP, 0};
    }
}

/* Runs one kernel on n values; `out` gets its n results. Returns the kernel's return value, if it has one. */
static double run(const organ_kernels *k, int which, const float *in, const float *up, float *out, size_t n)
{
    if (which == POWER) {
        k->powers_of(BASE, in, out, n);
        return 0;
    }
    if (n > 0)
        memcpy(out, in, n * sizeof *out);
    if (which == CAP)
        k->softcap(out, n, CAPPED);
    else if (which == SOFTPLUS)
        k->softplus(out, n);
    else if (which == EXP)
        return (double)k->exp_below(out, n, TOP);
    else if (which == SILU)
        k->gate_silu(out, up, n);
    else
        (which == GELU ? k->gate_gelu : k->gate_gelu_tanh)(out, up, n);
    return 0;
}

static int same_number(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

/* 2^16 values of all signs, exponents and fractions, including infinities and NaN; `ups` are about 1. */
enum { SWEEP = 1 << 16 };
static void fill_sweep(float *values, float *ups)
{
    for (uint32_t k = 0; k < SWEEP; k++) {
        const uint32_t bits = k << 16 | (k * 40503u & 0xffff);
        memcpy(&values[k], &bits, sizeof bits);
        ups[k] = 0.5f + (float)(k % 1024) / 512;
    }
    for (uint32_t k = 0; k < SWEEP; k += 2) /* half of them where the functions are not constant */
        values[k] = (float)((double)k / SWEEP - 0.5) * 200.0f;
    values[1] = 0, values[3] = -0.0f, values[5] = INFINITY, values[7] = -INFINITY, values[9] = NAN;
}

/* Compares results with those in long double, in most trees for one value in 13. The digests cover all values and come
 * from machines that compared each. */
static const char *check_against_expectation(int which, const float *in, const float *up, const float *out)
{
    const size_t step = sampled_unless_all(1, 13, 13);
    for (size_t k = 0; k < SWEEP; k += step) {
        const expectation e = expect(which, in[k], up[k]);
        if (isnan(e.value) || isinf(in[k]))
            continue;
        if (fabsl(e.value) > (long double)3.4e38f && (isinf(out[k]) || fabsf(out[k]) > 3.39e38f))
            continue;
        /* e^-x overflows before x / e^-x becomes zero; a quotient by the cap may be subnormal */
        const long double least = which <= GELU_TANH ? 0x1p-119L : 0x1p-144L,
                          room = e.relative * fmaxl(fabsl(e.value), e.of) + least;
        if (!(fabsl((long double)out[k] - e.value) <= room))
            return kernel_fault("%s(%a), up %g: %a, expected %La", names[which], (double)in[k], (double)up[k],
                                (double)out[k], e.value);
    }
    return NULL;
}

static float sweep_in[SWEEP], sweep_up[SWEEP], sweep_out[SWEEP], sweep_scalar[SWEEP];

const char *check_math_tolerance(const organ_kernels *k)
{
    const char *fault = NULL;
    fill_sweep(sweep_in, sweep_up);
    for (int which = 0; which < ELEMENTWISE && !fault; which++) {
        run(k, which, sweep_in, sweep_up, sweep_out, SWEEP);
        fault = check_against_expectation(which, sweep_in, sweep_up, sweep_out);
    }
    return fault;
}

const char *check_math_values(const organ_kernels *k)
{
    const char *fault = NULL;
    fill_sweep(sweep_in, sweep_up);
    for (int which = 0; which < ELEMENTWISE && !fault; which++) {
        run(k, which, sweep_in, sweep_up, sweep_out, SWEEP);
        run(organ_kernels_scalar, which, sweep_in, sweep_up, sweep_scalar, SWEEP);
        for (size_t j = 0; j < SWEEP && !fault; j++)
            if (!same_number(sweep_out[j], sweep_scalar[j]))
                fault = kernel_fault("%s(%a): %a, scalar %a", names[which], (double)sweep_in[j], (double)sweep_out[j],
                                     (double)sweep_scalar[j]);
    }
    /* A table with the bits of scalar is as accurate as scalar, which is checked under its own name. */
    return fault || strcmp(k->isa, "scalar") != 0 ? fault : check_math_tolerance(k);
}

/* The digests are printed by this check; renew them only after check_math_values has passed. */
const char *check_math_digests(const organ_kernels *k)
{
    static const uint64_t golden[ELEMENTWISE] = {0x8e0cd08bb1bec4d1, 0x37fcdcc9b7fe8bad, 0xb18917dab8891fad,
                                                 0x6b151a7016e8b9f7, 0x93b91a7966424703, 0x0e74998a201c239c,
                                                 0xccbcb9980889d242};
    uint64_t digests[ELEMENTWISE];
    char list[ELEMENTWISE * 24 + 1] = "";
    fill_sweep(sweep_in, sweep_up);
    for (int which = 0; which < ELEMENTWISE; which++) {
        run(k, which, sweep_in, sweep_up, sweep_out, SWEEP);
        for (size_t j = 0; j < SWEEP; j++)
            sweep_out[j] = isnan(sweep_out[j]) ? 0.25f : sweep_out[j];
        digests[which] = XXH3_64bits(sweep_out, sizeof sweep_out);
        snprintf(list + strlen(list), sizeof list - strlen(list), " 0x%016llx,", (unsigned long long)digests[which]);
    }
    return memcmp(digests, golden, sizeof golden) == 0 ? NULL : kernel_fault("digests of the results are%s", list);
}

/* ---- lengths and alignment ---- */
static const char *check_shape(const organ_kernels *k, int which, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    guarded in = guarded_create(n * 4, side, 20), up = guarded_create(n * 4, side, 21),
            out = guarded_create(n * 4, side, 22);
    float *scalar = malloc(n * sizeof *scalar + 1);
    if (!scalar)
        abort();
    samples_fill(&random, NORMAL, (float *)(void *)in.data, n);
    samples_fill(&random, UNIFORM, (float *)(void *)up.data, n);
    const float *const x = (const float *)(const void *)in.data, *const y = (const float *)(const void *)up.data;
    const double sum = run(k, which, x, y, (float *)(void *)out.data, n),
                 expected = run(organ_kernels_scalar, which, x, y, scalar, n);
    double naive = 0;
    for (size_t j = 0; which == EXP && j < n; j++)
        naive += (double)scalar[j];
    const int same = (n == 0 || memcmp(out.data, scalar, n * 4) == 0) && memcmp(&sum, &expected, sizeof sum) == 0;
    const int intact = guarded_intact(&in, 20) && guarded_intact(&up, 21) && guarded_intact(&out, 22);
    const int right = fabs(sum - naive) <= 1e-6 * naive;
    guarded_destroy(&in), guarded_destroy(&up), guarded_destroy(&out);
    free(scalar);
    if (same && intact && right)
        return NULL;
    const char *const of_values = same ? "wrong sum" : "not like scalar";
    return kernel_fault("%s: %zu values, seed %llu: %s", names[which], n, (unsigned long long)seed,
                        intact ? of_values : "out of bounds");
}

const char *check_math_shapes(const organ_kernels *k)
{
    const char *fault = NULL;
    uint64_t seed = 1;
    for (int which = 0; which < ELEMENTWISE; which++)
        for (size_t l = 0; l < kernel_length_count; l++)
            for (int side = 0; side < 2 && !fault; side++)
                fault = check_shape(k, which, kernel_lengths[l], (enum guarded_side)side, seed++);
    return fault;
}

/* ---- sums in FP64 ---- */
typedef struct sums {
    double exp_sum, divergence, entropy, raised, smaller;
} sums;

#define SHIFT 0.75f /* of the first values, in smaller_exp_sum */

static sums sums_of(const organ_kernels *k, const float *first, const float *other, const double *p, size_t n)
{
    const double top = 3.0, one = top + log(k->exp_sum(first, n, top) + 1e-30),
                 two = top + log(k->exp_sum(other, n, top) + 1e-30);
    const double first_sum[2] = {top, k->exp_sum(first, n, top)}, other_sum[2] = {top, k->exp_sum(other, n, top)};
    return (sums){k->exp_sum(first, n, top), k->divergence(first, one, other, two, n), k->entropy(p, n),
                  k->raised_divergence(first, first_sum, other, other_sum, n),
                  k->smaller_exp_sum(first, SHIFT, other, (float)top, n)};
}

static sums reference_sums(const float *first, const float *other, const double *p, size_t n)
{
    long double one = 0, two = 0, divergence = 0, entropy = 0, raised = 0, smaller = 0;
    for (size_t j = 0; j < n; j++) {
        one += expl((long double)first[j] - 3);
        two += expl((long double)other[j] - 3);
        smaller += expl(fminl((long double)first[j] + SHIFT, other[j]) - 3);
        entropy -= p[j] > 0 ? p[j] * log2l(p[j]) : 0;
    }
    for (size_t j = 0; j < n; j++) {
        const long double a = first[j] - (3 + logl(one)), b = other[j] - (3 + logl(two));
        divergence += expl(a) * (a - b);
        raised += (expl(a) + 1e-8L) * logl((expl(a) + 1e-8L) / (expl(b) + 1e-8L));
    }
    return (sums){(double)one, (double)divergence, (double)entropy, (double)raised, (double)smaller};
}

static const char *check_sums_of(const organ_kernels *k, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    guarded first = guarded_create(n * 4, side, 23), other = guarded_create(n * 4, side, 24),
            p = guarded_create(n * 8, side, 25);
    float *const a = (float *)(void *)first.data, *const b = (float *)(void *)other.data;
    double *const q = (double *)(void *)p.data;
    samples_fill(&random, NORMAL, a, n);
    samples_fill(&random, STUDENT_T4, b, n);
    for (size_t j = 0; j < n; j++)
        if (j % 7 == 3)
            q[j] = 0;
        else
            q[j] = j % 11 == 5 ? 1e-300 : samples_uniform(&random) / (double)n;
    const sums found = sums_of(k, a, b, q, n), scalar = sums_of(organ_kernels_scalar, a, b, q, n),
               expected = reference_sums(a, b, q, n);
    guarded_destroy(&first), guarded_destroy(&other), guarded_destroy(&p);
    if (memcmp(&found, &scalar, sizeof found) != 0)
        return kernel_fault("sums of %zu, seed %llu: not like scalar", n, (unsigned long long)seed);
    if (!(fabs(found.exp_sum - expected.exp_sum) <= 1e-13 * expected.exp_sum &&
          fabs(found.smaller - expected.smaller) <= 1e-6 * expected.smaller &&
          fabs(found.entropy - expected.entropy) <= 1e-13 * (double)(n + 1) &&
          fabs(found.raised - expected.raised) <= 1e-12 * (1 + expected.raised) &&
          fabs(found.divergence - expected.divergence) <= 1e-12 * (1 + expected.divergence)))
        return kernel_fault(
            "sums of %zu, seed %llu: %.17g %.17g %.17g %.17g %.17g, expected %.17g %.17g %.17g %.17g %.17g", n,
            (unsigned long long)seed, found.exp_sum, found.divergence, found.entropy, found.raised, found.smaller,
            expected.exp_sum, expected.divergence, expected.entropy, expected.raised, expected.smaller);
    return NULL;
}

const char *check_math_sums(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t l = 0; l < kernel_length_count; l++)
        for (int side = 0; side < 2 && !fault; side++)
            fault = check_sums_of(k, kernel_lengths[l], (enum guarded_side)side, 2 * l + (unsigned)side);
    return fault;
}
