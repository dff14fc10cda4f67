/* SPDX-License-Identifier: MIT
 * Checks of packed codes against values computed from their fields in FP64: the product of two FP32 numbers is exact
 * there, and a difference or quotient is rounded to FP32 as if once. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const code_names[] = {"E4M3", "E5M2", "E4M3FNUZ", "E5M2FNUZ", "I8", "U8", "E2M1", "U4"};
static const char *const real_names[] = {"F32", "BF16", "F16"};

static int is_nibble(int code) { return code >= ORGAN_CODE_E2M1; }
static size_t code_bytes(int code, size_t n) { return is_nibble(code) ? (n + 1) / 2 : n; }
static unsigned code_at(int code, const uint8_t *codes, size_t k)
{
    return is_nibble(code) ? codes[k / 2] >> k % 2 * 4 & 15u : codes[k];
}
static size_t real_size(int real) { return real == ORGAN_REAL_F32 ? 4 : 2; }

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float product(double worth, float zero, float scale)
{
    return (float)((double)(float)(worth - (double)zero) * (double)scale);
}

static uint32_t rounded(float value, int real)
{
    static const uint32_t nan[] = {0x7fc00000, 0x7fc0, 0x7e00};
    if (isnan(value))
        return nan[real];
    return real == ORGAN_REAL_F32
               ? bits_of(value)
               : reference_narrow(real == ORGAN_REAL_BF16 ? reference_bf16 : reference_f16, bits_of(value));
}

static uint32_t found_at(const void *values, int real, size_t k)
{
    uint32_t wide = 0;
    memcpy(&wide, (const uint8_t *)values + k * real_size(real), real_size(real));
    return wide;
}

/* ---- every code with scales of all kinds ---- */
enum { ALL = 256 };

static const char *compare_all(const organ_kernels *k, int code, int real, const uint8_t *codes, float scale,
                               const float *zero, const uint32_t *expected)
{
    float values[ALL];
    memset(values, 0x5a, sizeof values);
    k->decode[code][real](codes, &scale, zero, ALL, values, ALL);
    for (size_t j = 0; j < ALL; j++) {
        const unsigned bits = code_at(code, codes, j);
        if (found_at(values, real, j) != expected[bits])
            return kernel_fault("%s to %s: code 0x%02x, scale %a, zero %a: 0x%08x instead of 0x%08x", code_names[code],
                                real_names[real], bits, (double)scale, zero ? (double)*zero : 0,
                                found_at(values, real, j), expected[bits]);
    }
    return NULL;
}

/* Decodes all codes in one array, then only the finite ones, because kernels may treat these separately. */
static const char *check_scale(const organ_kernels *k, int code, float scale, const float *zero)
{
    uint8_t codes[2][ALL];
    uint32_t expected[ALL];
    const char *fault = NULL;
    for (unsigned j = 0; j < ALL; j++) {
        codes[0][j] = (uint8_t)(j * 77);
        codes[1][j] = is_nibble(code) || isfinite(reference_code((organ_code)code, j)) ? (uint8_t)j : 1;
    }
    for (int real = 0; real < ORGAN_REALS && !fault; real++) {
        for (unsigned j = 0; j < (is_nibble(code) ? 16 : ALL); j++)
            expected[j] = rounded(product(reference_code((organ_code)code, j), zero ? *zero : 0, scale), real);
        fault = compare_all(k, code, real, codes[0], scale, zero, expected);
        fault = fault ? fault : compare_all(k, code, real, codes[1], scale, zero, expected);
    }
    return fault;
}

const char *check_decode_values(const organ_kernels *k)
{
    /* zeros, subnormals, limits of the moderate range, overflow, infinities and NaN, negative values */
    static const uint32_t special[] = {0,          0x80000000, 1,          0x00012345, 0x007fffff, 0x00800000,
                                       0x0d7fffff, 0x0d800000, 0x3f800000, 0xbf800000, 0x71ffffff, 0x72000000,
                                       0x7e9a8000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xff812345,
                                       0x38000000, 0x33800001, 0x3c010101, 0xbc7f0f0f};
    const size_t specials = sizeof special / sizeof *special;
    const char *fault = NULL;
    samples random = {71};
    for (int code = 0; code < ORGAN_CODES; code++)
        for (size_t j = 0; j < specials + 30 && !fault; j++) {
            const uint64_t bits = samples_bits(&random);
            const float drawn = j % 2 ? of_bits((uint32_t)bits) : (float)(samples_uniform(&random) * 0.01);
            const float zero = j % 3 == 0 ? of_bits((uint32_t)(bits >> 32)) : (float)(bits >> 40 & 15);
            fault = check_scale(k, code, j < specials ? of_bits(special[j]) : drawn, j % 2 ? &zero : NULL);
        }
    return fault;
}

/* ---- lengths, groups, bounds ---- */
enum { MAX = 600 };
typedef struct bench_of_code { /* buffers that end at, or begin after, an inaccessible page */
    guarded codes, values, scales, zeros;
} bench_of_code;

static uint8_t *place(guarded *g, size_t bytes, int behind) { return behind ? g->data + g->bytes - bytes : g->data; }

/* Returns 1 if the unused bytes of the buffer are still 0xa5. */
static int untouched(const guarded *g, const uint8_t *used, size_t bytes)
{
    for (const uint8_t *p = g->data; p < g->data + g->bytes; p++)
        if ((p < used || p >= used + bytes) && *p != 0xa5)
            return 0;
    return 1;
}

static void draw(samples *random, uint8_t *p, size_t bytes)
{
    for (size_t j = 0; j < bytes; j++)
        p[j] = (uint8_t)samples_bits(random);
}

static void draw_floats(samples *random, float *p, size_t n, int any)
{
    for (size_t j = 0; j < n; j++)
        p[j] = any && samples_bits(random) % 4 == 0 ? of_bits((uint32_t)samples_bits(random))
                                                    : (float)(samples_uniform(random) - 0.3);
}

static const char *check_decode_of(const organ_kernels *k, bench_of_code *b, int code, int real, size_t n, size_t group,
                                   int behind)
{
    samples random = {n * 1000 + group * 8 + (unsigned)code};
    const size_t groups = (n + group - 1) / group, bytes = n * real_size(real), in = code_bytes(code, n);
    uint8_t *codes = place(&b->codes, in, behind), *values = place(&b->values, bytes, behind);
    float *scales = (float *)(void *)place(&b->scales, groups * 4, behind),
          *zeros = (float *)(void *)place(&b->zeros, groups * 4, behind);
    const int with_zeros = samples_bits(&random) % 2 == 0;
    memset(b->values.data, 0xa5, b->values.bytes);
    draw(&random, codes, in);
    draw_floats(&random, scales, groups, n % 3 == 0);
    draw_floats(&random, zeros, groups, n % 5 == 0);
    k->decode[code][real](codes, scales, with_zeros ? zeros : NULL, group, values, n);
    if (!untouched(&b->values, values, bytes))
        return kernel_fault("%s to %s: %zu codes in groups of %zu: a neighbour was changed", code_names[code],
                            real_names[real], n, group);
    for (size_t j = 0; j < n; j++) {
        const double worth = reference_code((organ_code)code, code_at(code, codes, j));
        const float exact = product(worth, with_zeros ? zeros[j / group] : 0, scales[j / group]);
        uint32_t expected = rounded(exact, ORGAN_REAL_F32);
        uint16_t narrow = 0; /* the conversions have their own check; searching each value would take long */
        if (real == ORGAN_REAL_BF16)
            organ_kernels_scalar->f32_to_bf16(&exact, &narrow, 1);
        else if (real == ORGAN_REAL_F16)
            organ_kernels_scalar->f32_to_f16(&exact, &narrow, 1);
        if (real != ORGAN_REAL_F32)
            expected = isnan(exact) ? rounded(exact, real) : narrow;
        if (found_at(values, real, j) != expected)
            return kernel_fault("%s to %s: %zu codes in groups of %zu: element %zu is 0x%08x instead of 0x%08x",
                                code_names[code], real_names[real], n, group, j, found_at(values, real, j), expected);
    }
    return NULL;
}

static const size_t group_lengths[] = {1,  2,  3,  7,  15,  16,  17,  20,  31,
                                       32, 33, 48, 64, 100, 128, 160, MAX, SIZE_MAX / 2};
enum { GROUPS = sizeof group_lengths / sizeof *group_lengths };
static const size_t more_lengths[] = {255, 256, 257, 511, 512,
                                      513, 519, 550, MAX}; /* 16 groups of 16 and of 32, and more */
enum { EVERY = 201, LENGTHS = EVERY + sizeof more_lengths / sizeof *more_lengths };
static size_t length_of(size_t l) { return l < EVERY ? l : more_lengths[l - EVERY]; }

const char *check_decode_shapes(const organ_kernels *k)
{
    bench_of_code b = {guarded_create(MAX, GUARD_BEHIND, 1), guarded_create(MAX * 4, GUARD_BEHIND, 2),
                       guarded_create(MAX * 4, GUARD_BEHIND, 3), guarded_create(MAX * 4, GUARD_BEHIND, 4)};
    const char *fault = NULL;
    size_t turn = 0;
    for (int code = 0; code < ORGAN_CODES; code++)
        for (size_t l = 0; l < LENGTHS; l++)
            for (int real = 0; real < ORGAN_REALS; real++)
                for (int again = 0; again < 4 && !fault;
                     again++, turn++) /* 4 and 18 groups: each length occurs with all of them */
                    fault = check_decode_of(k, &b, code, real, length_of(l),
                                            group_lengths[(turn + turn / GROUPS) % GROUPS], again % 2);
    guarded_destroy(&b.codes), guarded_destroy(&b.values), guarded_destroy(&b.scales), guarded_destroy(&b.zeros);
    return fault;
}

/* Compares an output larger than the caches, for which kernels use non-temporal stores, with the same kernel on pieces,
 * at any alignment. */
static const char *check_decode_span(const organ_kernels *k, int code, int real, size_t group, size_t offset)
{
    const size_t size = real_size(real), n = ((size_t)8 << 20) / size + 101, piece = 12800,
                 groups = group < n ? n / group + 1 : 1;
    guarded to = guarded_create(n * size + 160, GUARD_BEHIND, 5);
    uint8_t *codes = malloc(n), *pieces = malloc(n * size),
            *values = to.data + (64 - (uintptr_t)to.data % 64) % 64 + offset * size;
    float *scales = malloc(groups * sizeof *scales);
    samples random = {group + (unsigned)code};
    if (!codes || !pieces || !scales)
        abort();
    draw(&random, codes, piece);
    draw_floats(&random, scales, groups, 0);
    for (size_t j = piece; j < n; j++) /* FP8 NaN only in the first piece, so that both variants run */
        codes[j] = codes[j - piece] & 0x7b;
    memset(to.data, 0xa5, to.bytes);
    k->decode[code][real](codes, scales, NULL, group, values, n);
    for (size_t j = 0; j < n; j += piece)
        k->decode[code][real](codes + (is_nibble(code) ? j / 2 : j), scales + (group < n ? j / group : 0), NULL, group,
                              pieces + j * size, n - j < piece ? n - j : piece);
    const int same = memcmp(values, pieces, n * size) == 0, kept = untouched(&to, values, n * size);
    free(codes), free(pieces), free(scales);
    guarded_destroy(&to);
    return same && kept ? NULL
                        : kernel_fault("%s to %s: %zu codes in groups of %zu, %zu elements off a line: %s",
                                       code_names[code], real_names[real], n, group, offset,
                                       same ? "a neighbour was changed" : "not like pieces of it");
}

const char *check_decode_large(const organ_kernels *k)
{
    const char *fault = check_decode_span(k, ORGAN_CODE_E4M3, ORGAN_REAL_BF16, 128, 0);
    fault = fault ? fault : check_decode_span(k, ORGAN_CODE_U4, ORGAN_REAL_BF16, SIZE_MAX, 30);
    fault = fault ? fault : check_decode_span(k, ORGAN_CODE_E2M1, ORGAN_REAL_BF16, 32, 3);
    fault = fault ? fault : check_decode_span(k, ORGAN_CODE_E2M1, ORGAN_REAL_BF16, 16, 0);
    fault = fault ? fault : check_decode_span(k, ORGAN_CODE_I8, ORGAN_REAL_F32, 100, 5);
    return fault;
}

/* ---- codes of 16 levels ---- */

/* Levels and scales are numbers of any kind, so that products are subnormal, infinite or NaN, too. */
static const char *check_levels_of(const organ_kernels *k, bench_of_code *b, int real, size_t n, size_t group,
                                   int behind)
{
    samples random = {n * 1000 + group * 8 + (unsigned)real};
    const size_t groups = (n + group - 1) / group, bytes = n * real_size(real), in = (n + 1) / 2;
    uint8_t *codes = place(&b->codes, in, behind), *values = place(&b->values, bytes, behind);
    float *scales = (float *)(void *)place(&b->scales, groups * 4, behind),
          *levels = (float *)(void *)place(&b->zeros, 16 * sizeof(float), behind);
    memset(b->values.data, 0xa5, b->values.bytes);
    draw(&random, codes, in);
    draw_floats(&random, scales, groups, n % 3 == 0);
    draw_floats(&random, levels, 16, n % 5 == 0);
    k->decode_levels[real](codes, levels, scales, group, values, n);
    if (!untouched(&b->values, values, bytes))
        return kernel_fault("levels to %s: %zu codes in groups of %zu: a neighbour was changed", real_names[real], n,
                            group);
    for (size_t j = 0; j < n; j++) {
        const double level = (double)levels[codes[j / 2] >> j % 2 * 4 & 15];
        const uint32_t expected = rounded((float)(level * (double)scales[j / group]), real);
        if (found_at(values, real, j) != expected)
            return kernel_fault("levels to %s: %zu codes in groups of %zu: element %zu is 0x%08x instead of 0x%08x",
                                real_names[real], n, group, j, found_at(values, real, j), expected);
    }
    return NULL;
}

const char *check_decode_levels(const organ_kernels *k)
{
    static const size_t groups[] = {32, 64, 96, 256, 4096}, lengths[] = {1, 2, 31, 32, 33, 63, 64, 65, 100, 257, MAX};
    bench_of_code b = {guarded_create(MAX, GUARD_BEHIND, 1), guarded_create(MAX * 4, GUARD_BEHIND, 2),
                       guarded_create(MAX * 4, GUARD_BEHIND, 3), guarded_create(MAX * 4, GUARD_BEHIND, 4)};
    const char *fault = NULL;
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
            for (int real = 0; real < ORGAN_REALS; real++)
                for (int behind = 0; behind < 2 && !fault; behind++)
                    fault = check_levels_of(k, &b, real, lengths[l], groups[g], behind);
    guarded_destroy(&b.codes), guarded_destroy(&b.values), guarded_destroy(&b.scales), guarded_destroy(&b.zeros);
    return fault;
}

/* ---- encoding ---- */
static const int encoded[] = {ORGAN_CODE_E4M3, ORGAN_CODE_E5M2, ORGAN_CODE_I8,
                              ORGAN_CODE_U8,   ORGAN_CODE_U4,   ORGAN_CODE_E2M1};

/* Finds the nearest code by searching the finite codes in order of magnitude. */
static unsigned nearest_code(int code, float x)
{
    if (code == ORGAN_CODE_I8 || code == ORGAN_CODE_U8 || code == ORGAN_CODE_U4) {
        const double max = code == ORGAN_CODE_U4 ? 7 : 127,
                     clamped = isnan(x) ? 0 : fmin(fmax((double)x, -max - 1), max);
        const double down = floor(clamped), rest = clamped - down, even = fmod(down, 2) == 0 ? down : down + 1;
        const double nearest = rest < 0.5 ? down : down + 1;
        const int whole = (int)(rest == 0.5 ? even : nearest);
        return code == ORGAN_CODE_I8 ? (unsigned)whole & 0xff : (unsigned)(whole + (code == ORGAN_CODE_U4 ? 8 : 128));
    }
    const bool e2m1 = code == ORGAN_CODE_E2M1;
    const unsigned negative = e2m1 ? 8 : 0x80, sign = signbit(x) ? negative : 0,
                   last_byte = code == ORGAN_CODE_E4M3 ? 0x7e : 0x7b, last = e2m1 ? 7 : last_byte;
    unsigned c = 0;
    if (isnan(x))
        return e2m1 ? 7 : 0x7f;
    while (c < last) {
        const double tie = (reference_code((organ_code)code, c) + reference_code((organ_code)code, c + 1)) / 2,
                     size = fabs((double)x);
        if (size < tie || (size == tie && c % 2 == 0))
            break;
        c++;
    }
    return sign | c;
}

/* Compares encode_summed with encode and with the scalar sums for decoded values. */
static const char *check_summed(const organ_kernels *k, int code, const float *values, const float *scales, size_t n,
                                size_t group, const uint8_t *codes)
{
    static float back[4096], zeros[4096];
    uint8_t same[4096] = {0};
    double sums[2], expected[2];
    const int offset = code == ORGAN_CODE_U4 ? 8 : 128;
    for (size_t g = 0; g < (n + group - 1) / group; g++)
        zeros[g] = (float)offset;
    memset(same, 0x5a, sizeof same);
    k->encode_summed[code](values, scales, group, same, n, sums);
    if (memcmp(same, codes, code_bytes(code, n)) != 0 || same[code_bytes(code, n)] != 0x5a)
        return kernel_fault("to %s with sums: %zu values in groups of %zu: other codes", code_names[code], n, group);
    organ_kernels_scalar->decode[code][ORGAN_REAL_F32](
        codes, scales, code == ORGAN_CODE_U4 || code == ORGAN_CODE_U8 ? zeros : NULL, group, back, n);
    organ_kernels_scalar->error_squares(values, back, n, expected);
    for (int j = 0; j < 2; j++)
        if (isfinite(expected[j]) ? memcmp(&sums[j], &expected[j], sizeof *sums) != 0 : isfinite(sums[j]))
            return kernel_fault("to %s: %zu values in groups of %zu: sum %d is %a instead of %a", code_names[code], n,
                                group, j, sums[j], expected[j]);
    return NULL;
}

static const char *check_encode_of(const organ_kernels *k, int code, const float *values, size_t n)
{
    static const float one = 1;
    uint8_t codes[4096];
    k->encode[code](values, &one, n, codes, n);
    for (size_t j = 0; j < n; j++)
        if (code_at(code, codes, j) != nearest_code(code, values[j]))
            return kernel_fault("%a to %s: 0x%02x instead of 0x%02x", (double)values[j], code_names[code],
                                code_at(code, codes, j), nearest_code(code, values[j]));
    return check_summed(k, code, values, &one, n, n, codes);
}

/* Lists each number and each tie with its neighbours, of both signs, values out of range, and random bits. Returns how
 * many. */
static size_t values_to_encode(int code, float *values)
{
    static const float beyond[] = {0,       -0.0f,    INFINITY, -INFINITY, NAN,       -NAN,      448,       449,
                                   464,     465,      480,      57344,     61440,     61441,     65536,     1e30f,
                                   -1e30f,  127.5f,   126.5f,   -128.5f,   -129,      7.5f,      -8.5f,     -7.5f,
                                   0x1p-9f, 0x1p-10f, 0x1p-16f, 0x1p-17f,  0x1p-126f, 0x1p-149f, -0x1p-149f};
    samples random = {5};
    size_t n = sizeof beyond / sizeof *beyond;
    memcpy(values, beyond, sizeof beyond);
    for (unsigned c = 0; c < 255 && !is_nibble(code); c++) {
        const double a = reference_code((organ_code)code, c), tie = (a + reference_code((organ_code)code, c + 1)) / 2;
        const float four[] = {(float)a, (float)tie, nextafterf((float)tie, INFINITY),
                              nextafterf((float)tie, -INFINITY)};
        memcpy(values + n, four, isfinite(tie) ? sizeof four : 0);
        n += isfinite(tie) ? 4 : 0;
    }
    for (int quarter = -80; quarter <= 80; quarter++)
        values[n++] = (float)quarter / 4;
    for (int j = 0; j < 2000; j++)
        values[n++] = j % 2 ? of_bits((uint32_t)samples_bits(&random))
                            : (float)ldexp(samples_uniform(&random) - 0.5, j % 40 - 20);
    return n;
}

const char *check_encode_values(const organ_kernels *k)
{
    static float values[4096];
    const char *fault = NULL;
    for (int code = 0; code < ORGAN_CODES && !fault; code++) {
        const int has = code != ORGAN_CODE_E4M3FNUZ && code != ORGAN_CODE_E5M2FNUZ;
        if ((k->encode[code] != NULL) != has || (k->encode_summed[code] != NULL) != has)
            return kernel_fault("%s: %s", code_names[code], has ? "cannot be encoded" : "should not be encoded");
        fault = has ? check_encode_of(k, code, values, values_to_encode(code, values)) : NULL;
    }
    return fault;
}

static const char *check_encode_shape(const organ_kernels *k, bench_of_code *b, int code, size_t n, size_t group,
                                      int behind)
{
    samples random = {n * 1000 + group * 8 + (unsigned)code};
    const size_t groups = (n + group - 1) / group, out = code_bytes(code, n);
    uint8_t *codes = place(&b->codes, out, behind);
    float *scales = (float *)(void *)place(&b->scales, groups * 4, behind),
          *values = (float *)(void *)place(&b->values, n * 4, behind);
    memset(b->codes.data, 0xa5, b->codes.bytes);
    draw_floats(&random, values, n, n % 4 == 0);
    draw_floats(&random, scales, groups, n % 3 == 0);
    for (size_t j = 0; j < groups; j++)
        scales[j] /= n % 2 ? 300 : 10;
    if (n % 7 == 1)
        scales[groups / 2] = values[n / 2] = 0;
    k->encode[code](values, scales, group, codes, n);
    if (!untouched(&b->codes, codes, out))
        return kernel_fault("to %s: %zu values in groups of %zu: a neighbour was changed", code_names[code], n, group);
    if (is_nibble(code) && n % 2 == 1 && codes[n / 2] >> 4 != 0)
        return kernel_fault("to %s: %zu values: the last high nibble is %d", code_names[code], n, codes[n / 2] >> 4);
    for (size_t j = 0; j < n; j++) {
        const float quotient = (float)((double)values[j] / (double)scales[j / group]);
        if (code_at(code, codes, j) != nearest_code(code, quotient))
            return kernel_fault("to %s: %zu values in groups of %zu: %a / %a at %zu gives 0x%02x", code_names[code], n,
                                group, (double)values[j], (double)scales[j / group], j, code_at(code, codes, j));
    }
    return check_summed(k, code, values, scales, n, group, codes);
}

const char *check_encode_shapes(const organ_kernels *k)
{
    bench_of_code b = {guarded_create(MAX, GUARD_BEHIND, 1), guarded_create(MAX * 4, GUARD_BEHIND, 2),
                       guarded_create(MAX * 4, GUARD_BEHIND, 3), guarded_create(4, GUARD_BEHIND, 4)};
    const char *fault = NULL;
    size_t turn = 0;
    for (size_t c = 0; c < sizeof encoded / sizeof *encoded; c++)
        for (size_t l = 0; l < LENGTHS; l++)
            for (int again = 0; again < 4 && !fault; again++, turn++)
                fault = check_encode_shape(k, &b, encoded[c], length_of(l),
                                           group_lengths[(turn + turn / GROUPS) % GROUPS], again % 2);
    guarded_destroy(&b.codes), guarded_destroy(&b.values), guarded_destroy(&b.scales), guarded_destroy(&b.zeros);
    return fault;
}

/* ---- the largest magnitude ---- */
const char *check_amax(const organ_kernels *k)
{
    samples random = {6};
    for (size_t l = 0; l < kernel_length_count; l++)
        for (int turn = 0; turn < 6; turn++) {
            const size_t n = kernel_lengths[l];
            guarded array = guarded_create(n * 4, turn % 2 ? GUARD_BEHIND : GUARD_BEFORE, 12);
            float *values = (float *)(void *)array.data, expected = 0;
            draw_floats(&random, values, n, 0);
            for (size_t j = 0; j < n && turn > 1; j++) /* some NaN, and an infinity in the last turn */
                if (samples_bits(&random) % 8 == 0)
                    values[j] = turn == 5 && j == n - 1
                                    ? -INFINITY
                                    : of_bits(0x7f800001 + (uint32_t)samples_bits(&random) % 0x7fffff);
            if (n > 0 && turn < 4)
                values[samples_bits(&random) % n] = turn == 3 ? -NAN : -7;
            for (size_t j = 0; j < n; j++)
                expected = fabsf(values[j]) > expected ? fabsf(values[j]) : expected;
            const float found = k->amax(values, n);
            guarded_destroy(&array);
            if (bits_of(found) != bits_of(expected))
                return kernel_fault("amax: %zu values, turn %d: %a instead of %a", n, turn, (double)found,
                                    (double)expected);
        }
    return NULL;
}
