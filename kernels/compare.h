/* SPDX-License-Identifier: MIT
 * Kernels that count zeros and compare a copy with its donor. Lanes past the end are loaded as zeros on both sides
 * and subtracted from the counts. */

/* Returns a mask of the lanes that are +0 or -0. */
INLINE m16x16 zeros_of_16(u16x16 a) { return u16_eq(u16_and(a, u16_set1(0x7fff)), u16_set1(0)); }
/* Returns a mask of the lanes that are +0 or -0. */
INLINE m32x16 zeros_of_32(u32x16 a) { return u32_eq(u32_and(a, u32_set1(MAGNITUDE)), u32_set1(0)); }

/* Counts the zeros (+0 and -0) of n BF16 or F16. */
static uint64_t zeros_16(const uint16_t *values, size_t n)
{
    uint64_t zeros = 0;
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        zeros += m16_count(zeros_of_16(u16_load(values + at)));
    if (at < n)
        zeros += m16_count(zeros_of_16(u16_load_part(values + at, n - at))) - (16 - (n - at));
    return zeros;
}

/* Counts the zeros (+0 and -0) of n FP32. */
static uint64_t zeros_32(const float *values, size_t n)
{
    uint64_t zeros = 0;
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        zeros += m32_count(zeros_of_32(f32_bits(f32_load(values + at))));
    if (at < n)
        zeros += m32_count(zeros_of_32(f32_bits(f32_load_part(values + at, n - at)))) - (16 - (n - at));
    return zeros;
}

/* Adds 16 pairs to the counts: zero in both, zero only in the copy (killed), unchanged and not zero (kept). */
INLINE void audit_words_16(u16x16 donor, u16x16 copy, organ_audit_counts *counts)
{
    const m16x16 was_zero = zeros_of_16(donor), is_zero = zeros_of_16(copy);
    counts->zero_before += m16_count(m16_and(was_zero, is_zero));
    counts->killed += m16_count(m16_without(is_zero, was_zero));
    counts->kept += m16_count(m16_without(u16_eq(donor, copy), was_zero));
}

/* Sets *counts for n elements of BF16 or F16. An element that audit_words_16 does not count is `changed`. */
static void audit_16(const uint16_t *donor, const uint16_t *copy, size_t n, organ_audit_counts *counts)
{
    organ_audit_counts found = {0};
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        audit_words_16(u16_load(donor + at), u16_load(copy + at), &found);
    if (at < n) {
        audit_words_16(u16_load_part(donor + at, n - at), u16_load_part(copy + at, n - at), &found);
        found.zero_before -= 16 - (n - at);
    }
    found.changed = n - found.zero_before - found.killed - found.kept;
    *counts = found;
}

/* Adds 16 pairs of FP32 to the counts like audit_words_16. */
INLINE void audit_words_32(u32x16 donor, u32x16 copy, organ_audit_counts *counts)
{
    const m32x16 was_zero = zeros_of_32(donor), is_zero = zeros_of_32(copy);
    counts->zero_before += m32_count(m32_and(was_zero, is_zero));
    counts->killed += m32_count(m32_without(is_zero, was_zero));
    counts->kept += m32_count(m32_without(u32_eq(donor, copy), was_zero));
}

/* Sets *counts for n elements of FP32. An element that audit_words_32 does not count is `changed`. */
static void audit_32(const float *donor, const float *copy, size_t n, organ_audit_counts *counts)
{
    organ_audit_counts found = {0};
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        audit_words_32(f32_bits(f32_load(donor + at)), f32_bits(f32_load(copy + at)), &found);
    if (at < n) {
        audit_words_32(f32_bits(f32_load_part(donor + at, n - at)), f32_bits(f32_load_part(copy + at, n - at)), &found);
        found.zero_before -= 16 - (n - at);
    }
    found.changed = n - found.zero_before - found.killed - found.kept;
    *counts = found;
}
