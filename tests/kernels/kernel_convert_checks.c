/* SPDX-License-Identifier: MIT
 * Checks of conversions: every 16-bit value, every tie and random patterns against the reference; then lengths,
 * alignments and bounds. */
#include "tests/kernels/kernel_checker.h"
#include <stdlib.h>
#include <string.h>

typedef struct converter {
    const char *name;
    small_float type;
    int widens;
} converter;

static const converter converters[] = {
    {"bf16_to_f32", {8, 7}, 1}, {"f16_to_f32", {5, 10}, 1}, {"f32_to_bf16", {8, 7}, 0}, {"f32_to_f16", {5, 10}, 0}};

static void convert(const organ_kernels *k, size_t which, const void *src, void *dst, size_t n)
{
    if (which == 0)
        k->bf16_to_f32(src, dst, n);
    else if (which == 1)
        k->f16_to_f32(src, dst, n);
    else if (which == 2)
        k->f32_to_bf16(src, dst, n);
    else
        k->f32_to_f16(src, dst, n);
}

static const char *check_widening(const organ_kernels *k, size_t which)
{
    static uint16_t codes[1 << 16];
    static uint32_t wide[1 << 16];
    for (uint32_t c = 0; c < 1 << 16; c++)
        codes[c] = (uint16_t)c;
    convert(k, which, codes, wide, 1 << 16);
    for (uint32_t c = 0; c < 1 << 16; c++)
        if (wide[c] != reference_widen(converters[which].type, (uint16_t)c))
            return kernel_fault("%s: %04x gives %08x instead of %08x", converters[which].name, c, wide[c],
                                reference_widen(converters[which].type, (uint16_t)c));
    return NULL;
}

static const char *check_narrowing(const organ_kernels *k, size_t which, const uint32_t *bits, size_t n)
{
    static uint16_t narrow[1 << 16];
    convert(k, which, bits, narrow, n);
    for (size_t j = 0; j < n; j++)
        if (narrow[j] != reference_narrow(converters[which].type, bits[j]))
            return kernel_fault("%s: %08x gives %04x instead of %04x", converters[which].name, bits[j], narrow[j],
                                reference_narrow(converters[which].type, bits[j]));
    return NULL;
}

/* Returns the tie between a code and the next one in FP32, where it is exact (a half step needs one more bit than the
 * type has), with sign. */
static uint32_t tie_above(small_float type, uint32_t code)
{
    const uint32_t magnitude = code & 0x7fff;
    if (magnitude >= reference_infinity(type))
        return reference_widen(type, (uint16_t)code);
    const float tie = (float)((reference_magnitude(type, magnitude) + reference_magnitude(type, magnitude + 1)) / 2);
    uint32_t bits;
    memcpy(&bits, &tie, sizeof bits);
    return bits | (code & 0x8000) << 16;
}

static const char *check_narrowing_all(const organ_kernels *k, size_t which)
{
    static const int32_t steps[] = {0, -1, 1};
    static uint32_t bits[1 << 16];
    samples random = {2026 + which};
    const char *fault = NULL;
    for (size_t s = 0; s < 3 && !fault; s++) { /* every value and its neighbours, then every tie and its neighbours */
        for (uint32_t c = 0; c < 1 << 16; c++)
            bits[c] = reference_widen(converters[which].type, (uint16_t)c) + (uint32_t)steps[s];
        fault = check_narrowing(k, which, bits, 1 << 16);
        for (uint32_t c = 0; c < 1 << 16; c++)
            bits[c] = tie_above(converters[which].type, c) + (uint32_t)steps[s];
        fault = fault ? fault : check_narrowing(k, which, bits, 1 << 16);
    }
    for (uint32_t c = 0; c < 1 << 16; c++) /* every sign and exponent, every upper NaN payload, random lower bits */
        bits[c] = c << 16 | (uint32_t)(samples_bits(&random) & 0xffff);
    fault = fault ? fault : check_narrowing(k, which, bits, 1 << 16);
    for (int round = 0; round < 4 && !fault; round++) {
        for (uint32_t c = 0; c < 1 << 16; c++)
            bits[c] = (uint32_t)samples_bits(&random);
        fault = check_narrowing(k, which, bits, 1 << 16);
    }
    return fault;
}

const char *check_conversion_values(const organ_kernels *k)
{
    const char *fault = NULL;
    for (size_t which = 0; which < 4 && !fault; which++)
        fault = converters[which].widens ? check_widening(k, which) : check_narrowing_all(k, which);
    return fault;
}

/* Converts n elements from the offset-th on between guards: bytes around stay unchanged, and the result is the
 * reference's. */
static const char *check_span(const organ_kernels *k, size_t which, size_t n, size_t offset, enum guarded_side side)
{
    const converter *c = &converters[which];
    const size_t from = c->widens ? 2 : 4, to = c->widens ? 4 : 2;
    guarded src = guarded_create((n + offset) * from, side, 1), dst = guarded_create((n + offset) * to, side, 2);
    guarded before =
        guarded_create(src.bytes + dst.bytes, side, 3); /* not on the heap: a kernel that faults does not return here */
    const char *fault = NULL;
    memcpy(before.data, src.data, src.bytes);
    memcpy(before.data + src.bytes, dst.data, dst.bytes);
    convert(k, which, src.data + offset * from, dst.data + offset * to, n);
    for (size_t j = 0; j < n && !fault; j++) {
        uint32_t in = 0, out = 0;
        memcpy(&in, src.data + (offset + j) * from, from);
        memcpy(&out, dst.data + (offset + j) * to, to);
        if (out != (c->widens ? reference_widen(c->type, (uint16_t)in) : reference_narrow(c->type, in)))
            fault = kernel_fault("%s: element %zu of %zu from offset %zu: %x gives %x", c->name, j, n, offset, in, out);
    }
    if (!fault &&
        (!guarded_intact(&src, 1) || !guarded_intact(&dst, 2) || memcmp(before.data, src.data, src.bytes) != 0 ||
         memcmp(before.data + src.bytes, dst.data, offset * to) != 0))
        fault = kernel_fault("%s: %zu elements from offset %zu: bytes around them were changed", c->name, n, offset);
    guarded_destroy(&before);
    guarded_destroy(&src);
    guarded_destroy(&dst);
    return fault;
}

/* Converts 65536 elements repeatedly into a buffer large enough for non-temporal stores, unaligned, with a partial
 * vector at the end. */
static const char *check_long_span(const organ_kernels *k, size_t which)
{
    enum { PERIOD = 1 << 16 };
    const converter *c = &converters[which];
    const size_t from = c->widens ? 2 : 4, to = c->widens ? 4 : 2, n = ((size_t)10 << 20) / to + 21;
    unsigned char *src = malloc((n + 1) * from), *dst = malloc((n + 2) * to), *once = malloc(PERIOD * to);
    const char *fault = NULL;
    if (!src || !dst || !once)
        abort();
    samples random = {77};
    for (size_t j = 0; j < PERIOD * from; j++)
        src[from + j] = (unsigned char)samples_bits(&random);
    for (size_t at = PERIOD; at < n; at += PERIOD)
        memcpy(src + from + at * from, src + from, (n - at < PERIOD ? n - at : PERIOD) * from);
    memset(dst, 0x5a, (n + 2) * to);
    convert(k, which, src + from, once, PERIOD);
    convert(k, which, src + from, dst + to, n);
    for (size_t at = 0; at < n && !fault; at += PERIOD)
        if (memcmp(dst + to + at * to, once, (n - at < PERIOD ? n - at : PERIOD) * to) != 0)
            fault = kernel_fault("%s: %zu elements: differ after element %zu", c->name, n, at);
    for (size_t j = 0; j < to && !fault; j++)
        if (dst[j] != 0x5a || dst[(n + 1) * to + j] != 0x5a)
            fault = kernel_fault("%s: %zu elements: a neighbour was changed", c->name, n);
    free(src), free(dst), free(once);
    return fault;
}

const char *check_conversion_shapes(const organ_kernels *k)
{
    static const size_t offsets[] = {0, 1, 5, 16, 31};
    const char *fault = NULL;
    for (size_t which = 0; which < 4 && !fault; which++) {
        for (size_t l = 0; l < kernel_length_count; l++)
            for (size_t o = 0; o < sizeof offsets / sizeof *offsets && !fault; o++) {
                fault = check_span(k, which, kernel_lengths[l], offsets[o], GUARD_BEHIND);
                fault = fault ? fault : check_span(k, which, kernel_lengths[l], offsets[o], GUARD_BEFORE);
            }
        fault = fault ? fault : check_long_span(k, which);
    }
    return fault;
}
