/* SPDX-License-Identifier: MIT
 * Conversions between 16-bit and 32-bit floats. The elements before the first 64-byte boundary of the destination are
 * converted separately, so that the stores of whole vectors after them are aligned. A destination larger than
 * STREAM_BYTES does not fit into the caches, so it is written with non-temporal stores, which do not read the lines
 * first. */
#include "kernels/simd/isa.h"
#ifdef ISA

/* A NaN becomes quiet. */
INLINE f32x16 widen_vector(u16x16 a, const enum element_type type)
{
    return type == BF16 ? bf16_widen(a) : f16_widen(a);
}

INLINE void widen_part(const uint16_t *src, float *dst, size_t n, const enum element_type type)
{
    f32_store_part(dst, widen_vector(u16_load_part(src, n), type), n);
}

INLINE void widen_elements(const uint16_t *src, float *dst, size_t n, const enum element_type type)
{
    size_t at = elements_to_line(dst, sizeof *dst, n);
    if (at > 0)
        widen_part(src, dst, at, type);
    if (n * sizeof *dst >= STREAM_BYTES) {
        for (; at + 16 <= n; at += 16)
            f32_stream(dst + at, widen_vector(u16_load(src + at), type));
        stream_end();
    }
    for (; at + 16 <= n; at += 16)
        f32_store(dst + at, widen_vector(u16_load(src + at), type));
    if (at < n)
        widen_part(src + at, dst + at, n - at, type);
}

/* Rounds to nearest even. A NaN becomes quiet. */
INLINE u16x16 narrow_vector(f32x16 a, const enum element_type type)
{
    return type == BF16 ? bf16_narrow(a) : f16_narrow(a);
}

/* With `streams`, non-temporal stores need a dst that is 64-byte aligned. */
INLINE void narrow_pair(const float *src, uint16_t *dst, const enum element_type type, const int streams)
{
    const f32x16 a = f32_load(src), b = f32_load(src + 16);
    if (type == BF16 && streams)
        u16_stream_tops(dst, bf16_tops(a), bf16_tops(b));
    else if (type == BF16)
        u16_store_tops(dst, bf16_tops(a), bf16_tops(b));
    else if (streams)
        u16_stream(dst, f16_narrow(a), f16_narrow(b));
    else {
        u16_store(dst, f16_narrow(a));
        u16_store(dst + 16, f16_narrow(b));
    }
}

INLINE void narrow_part(const float *src, uint16_t *dst, size_t n, const enum element_type type)
{
    if (n >= 16) {
        u16_store(dst, narrow_vector(f32_load(src), type));
        src += 16, dst += 16, n -= 16;
    }
    if (n > 0)
        u16_store_part(dst, narrow_vector(f32_load_part(src, n), type), n);
}

INLINE void narrow_elements(const float *src, uint16_t *dst, size_t n, const enum element_type type)
{
    size_t at = elements_to_line(dst, sizeof *dst, n);
    narrow_part(src, dst, at, type);
    /* dst + at is no 64-byte boundary if dst, an address in the bytes of a file, is not aligned to its elements */
    if (n * sizeof *dst >= STREAM_BYTES && (uintptr_t)(dst + at) % 64 == 0) {
        for (; at + 32 <= n; at += 32)
            narrow_pair(src + at, dst + at, type, 1);
        stream_end();
    }
    for (; at + 32 <= n; at += 32)
        narrow_pair(src + at, dst + at, type, 0);
    narrow_part(src + at, dst + at, n - at, type);
}

void KERNEL(bf16_to_f32)(const uint16_t *src, float *dst, size_t n) { widen_elements(src, dst, n, BF16); }
void KERNEL(f16_to_f32)(const uint16_t *src, float *dst, size_t n) { widen_elements(src, dst, n, F16); }
void KERNEL(f32_to_bf16)(const float *src, uint16_t *dst, size_t n) { narrow_elements(src, dst, n, BF16); }
void KERNEL(f32_to_f16)(const float *src, uint16_t *dst, size_t n) { narrow_elements(src, dst, n, F16); }

/* ---- zeros, and comparison of a copy with its donor ---- */

/* Lanes past the end are loaded as zeros on both sides and subtracted from the counts. */

INLINE m16x16 zeros_of_16(u16x16 a) { return u16_eq(u16_and(a, u16_set1(0x7fff)), u16_set1(0)); }
INLINE m32x16 zeros_of_32(u32x16 a) { return u32_eq(u32_and(a, u32_set1(MAGNITUDE)), u32_set1(0)); }
INLINE u32x16 u32_load(const float *p) { return f32_bits(f32_load(p)); }
INLINE u32x16 u32_load_part(const float *p, size_t n) { return f32_bits(f32_load_part(p, n)); }

/* Counters for elements `type` of 16 or 32 bits. */
#define ZEROS(bits, type)                                                                                              \
    uint64_t KERNEL(zeros_##bits)(const type *values, size_t n)                                                        \
    {                                                                                                                  \
        uint64_t zeros = 0;                                                                                            \
        size_t at = 0;                                                                                                 \
        for (; at + 16 <= n; at += 16)                                                                                 \
            zeros += m##bits##_count(zeros_of_##bits(u##bits##_load(values + at)));                                    \
        if (at < n)                                                                                                    \
            zeros += m##bits##_count(zeros_of_##bits(u##bits##_load_part(values + at, n - at))) - (16 - (n - at));     \
        return zeros;                                                                                                  \
    }
ZEROS(16, uint16_t)
ZEROS(32, float)

/* The counts are zero in both, zero only in the copy (killed), unchanged and not zero (kept). */
#define AUDIT(bits, type)                                                                                              \
    INLINE void audit_words_##bits(u##bits##x16 donor, u##bits##x16 copy, organ_audit_counts *counts)                  \
    {                                                                                                                  \
        const m##bits##x16 was_zero = zeros_of_##bits(donor), is_zero = zeros_of_##bits(copy);                         \
        counts->zero_before += m##bits##_count(m##bits##_and(was_zero, is_zero));                                      \
        counts->killed += m##bits##_count(m##bits##_without(is_zero, was_zero));                                       \
        counts->kept += m##bits##_count(m##bits##_without(u##bits##_eq(donor, copy), was_zero));                       \
    }                                                                                                                  \
    void KERNEL(audit_##bits)(const type *donor, const type *copy, size_t n, organ_audit_counts *counts)               \
    {                                                                                                                  \
        organ_audit_counts found = {0};                                                                                \
        size_t at = 0;                                                                                                 \
        for (; at + 16 <= n; at += 16)                                                                                 \
            audit_words_##bits(u##bits##_load(donor + at), u##bits##_load(copy + at), &found);                         \
        if (at < n) {                                                                                                  \
            const size_t left = n - at;                                                                                \
            audit_words_##bits(u##bits##_load_part(donor + at, left), u##bits##_load_part(copy + at, left), &found);   \
            found.zero_before -= 16 - left;                                                                            \
        }                                                                                                              \
        found.changed = n - found.zero_before - found.killed - found.kept;                                             \
        *counts = found;                                                                                               \
    }
AUDIT(16, uint16_t)
AUDIT(32, float)

#endif
