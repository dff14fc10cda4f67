/* SPDX-License-Identifier: MIT
 * Checks of kernels that read arrays and count (moments, zeros, audit) for all lengths, alignments and bounds. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BF16, F16, F32, TYPES };
static const char *const type_names[] = {"bf16", "f16", "f32"};
static const size_t type_sizes[] = {2, 2, 4};

/* Values that occur in models and may break a kernel. */
static const uint32_t specials[] = {0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffa00001,
                                    0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff,
                                    0x3f800000, 0xbf800000, 0x00010000, 0x33000001};

/* Fills with random values, one special value in `one_in` (0: none). */
static void fill(samples *random, float *values, size_t n, unsigned one_in)
{
    samples_fill(random, (enum sample_shape)(samples_bits(random) % SAMPLE_SHAPES), values, n);
    for (size_t j = 0; j < n && one_in > 0; j++)
        if (samples_bits(random) % one_in == 0)
            memcpy(&values[j], &specials[samples_bits(random) % (sizeof specials / sizeof *specials)], sizeof *values);
}

/* Stores values as elements of the type at `to`, and in `values` as these elements are read back. */
static void store(int type, float *values, void *to, size_t n)
{
    const organ_kernels *k = organ_kernels_scalar;
    uint16_t *words = malloc(2 * n + 2);
    if (!words)
        abort();
    if (type == F32)
        memcpy(to, values, n * sizeof *values);
    else if (type == BF16)
        k->f32_to_bf16(values, words, n), k->bf16_to_f32(words, values, n), memcpy(to, words, 2 * n);
    else
        k->f32_to_f16(values, words, n), k->f16_to_f32(words, values, n), memcpy(to, words, 2 * n);
    free(words);
}

static void run_moments(const organ_kernels *k, int type, const void *values, size_t n, organ_moments *m)
{
    memset(m, 0x5a, sizeof *m);
    if (type == BF16)
        k->moments_bf16(values, n, m);
    else if (type == F16)
        k->moments_f16(values, n, m);
    else
        k->moments_f32(values, n, m);
}

static int near(double a, double b, double tolerance) { return fabs(a - b) <= tolerance; }

static int moments_plausible(const organ_moments *m, const organ_moments *r)
{
    const double max = fmax(fabs((double)r->min), fabs((double)r->max)), scale = r->n > 0 ? max : 0, n = (double)r->n;
    return m->n == r->n && m->zero == r->zero && m->nan == r->nan && m->inf == r->inf && m->min == r->min &&
           m->max == r->max && near(m->mean, r->mean, 1e-13 * scale) &&
           near(m->m2, r->m2, 1e-11 * r->m2 + 1e-24 * n * scale * scale) && near(m->m3, r->m3, 1e-11 * scale * r->m2) &&
           near(m->m4, r->m4, 1e-11 * r->m4);
}

static const char *check_moments_of(const organ_kernels *k, int type, size_t n, enum guarded_side side, unsigned one_in,
                                    uint64_t seed)
{
    samples random = {seed};
    guarded array = guarded_create(n * type_sizes[type], side, 3);
    float *values = malloc((n + 1) * sizeof *values);
    organ_moments m, scalar, reference;
    const char *fault = NULL;
    if (!values)
        abort();
    fill(&random, values, n, one_in);
    store(type, values, array.data, n);
    run_moments(k, type, array.data, n, &m);
    run_moments(organ_kernels_scalar, type, array.data, n, &scalar);
    reference_moments(values, n, &reference);
    if (memcmp(&m, &scalar, sizeof m) != 0)
        fault = kernel_fault("moments_%s: %zu values, seed %llu: not the bits of scalar", type_names[type], n,
                             (unsigned long long)seed);
    else if (!moments_plausible(&m, &reference))
        fault = kernel_fault("moments_%s: %zu values, seed %llu: far from the reference", type_names[type], n,
                             (unsigned long long)seed);
    free(values);
    guarded_destroy(&array);
    return fault;
}

const char *check_moments(const organ_kernels *k)
{
    static const unsigned one_in[] = {0, 7, 1};
    const char *fault = NULL;
    uint64_t seed = 1;
    for (int type = 0; type < TYPES; type++)
        for (size_t l = 0; l < kernel_length_count; l++)
            for (size_t s = 0; s < sizeof one_in / sizeof *one_in; s++)
                for (int side = 0; side < 2 && !fault; side++)
                    fault = check_moments_of(k, type, kernel_lengths[l], (enum guarded_side)side, one_in[s], seed++);
    return fault;
}

static const char *check_zeros_of(const organ_kernels *k, int type, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    guarded array = guarded_create(n * type_sizes[type], side, 4);
    uint64_t expected = 0, found;
    for (size_t j = 0; j < n; j++) {
        uint32_t bits = samples_bits(&random) % 3 == 0 ? (uint32_t)samples_bits(&random) & 0x80008000
                                                       : (uint32_t)samples_bits(&random);
        bits = samples_bits(&random) % 5 == 0 ? (bits & 0x80000000) | 1 : bits; /* the smallest subnormal is not zero */
        if (type != F32)
            bits = bits >> (bits & 1 ? 0 : 16) & 0xffff;
        else if ((bits & 0x7fff7fff) == 0)
            bits &= 0x80000000;
        expected += (bits & (type == F32 ? 0x7fffffff : 0x7fff)) == 0;
        memcpy(array.data + j * type_sizes[type], &bits, type_sizes[type]);
    }
    found = type == F32 ? k->zeros_32((const float *)(void *)array.data, n)
                        : k->zeros_16((const uint16_t *)(void *)array.data, n);
    guarded_destroy(&array);
    if (found == expected)
        return NULL;
    return kernel_fault("zeros_%s: %zu values, seed %llu: %llu instead of %llu", type == F32 ? "32" : "16", n,
                        (unsigned long long)seed, (unsigned long long)found, (unsigned long long)expected);
}

const char *check_zeros(const organ_kernels *k)
{
    const char *fault = NULL;
    uint64_t seed = 1;
    for (int type = F16; type < TYPES; type++)
        for (size_t l = 0; l < kernel_length_count; l++)
            for (int side = 0; side < 2 && !fault; side++)
                fault = check_zeros_of(k, type, kernel_lengths[l], (enum guarded_side)side, seed++);
    return fault;
}

/* Makes one pair of elements and counts it in its class. */
static void audit_pair(samples *random, int type, uint32_t *donor, uint32_t *copy, organ_audit_counts *expected)
{
    const uint32_t sign = type == F32 ? 0x80000000 : 0x8000, rest = sign - 1, bits = (uint32_t)samples_bits(random);
    const uint32_t something = (bits & rest) > 0 ? bits & (sign | rest) : 1, zero = bits >> 8 & 1 ? sign : 0,
                   other = bits >> 9 & 1 ? sign : 0;
    switch (samples_bits(random) % 5) {
    case 0:
        *donor = zero, *copy = other, expected->zero_before++;
        break;
    case 1:
        *donor = something, *copy = zero, expected->killed++;
        break;
    case 2:
        *donor = *copy = something, expected->kept++;
        break;
    case 3:
        *donor = something, *copy = something ^ sign, expected->changed++;
        break;
    default:
        *donor = zero, *copy = something, expected->changed++;
        break;
    }
}

static const char *check_audit_of(const organ_kernels *k, int type, size_t n, enum guarded_side side, uint64_t seed)
{
    samples random = {seed};
    const size_t size = type_sizes[type];
    guarded donor = guarded_create(n * size, side, 5), copy = guarded_create(n * size, side, 6);
    organ_audit_counts expected = {0}, found;
    memset(&found, 0x5a, sizeof found);
    for (size_t j = 0; j < n; j++) {
        uint32_t a, b;
        audit_pair(&random, type, &a, &b, &expected);
        memcpy(donor.data + j * size, &a, size);
        memcpy(copy.data + j * size, &b, size);
    }
    if (type == F32)
        k->audit_32((const float *)(void *)donor.data, (const float *)(void *)copy.data, n, &found);
    else
        k->audit_16((const uint16_t *)(void *)donor.data, (const uint16_t *)(void *)copy.data, n, &found);
    guarded_destroy(&donor);
    guarded_destroy(&copy);
    if (memcmp(&found, &expected, sizeof found) == 0)
        return NULL;
    return kernel_fault("audit_%s: %zu pairs, seed %llu: wrong counts", type == F32 ? "32" : "16", n,
                        (unsigned long long)seed);
}

const char *check_audit(const organ_kernels *k)
{
    const char *fault = NULL;
    uint64_t seed = 1;
    for (int type = F16; type < TYPES; type++)
        for (size_t l = 0; l < kernel_length_count; l++)
            for (int side = 0; side < 2 && !fault; side++)
                fault = check_audit_of(k, type, kernel_lengths[l], (enum guarded_side)side, seed++);
    return fault;
}
