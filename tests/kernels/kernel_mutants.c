/* SPDX-License-Identifier: MIT
 * Each broken kernel calls the scalar one and changes little, the least that a checker has to find. */
#include "tests/kernels/kernel_mutants.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RIGHT organ_kernels_scalar

/* ---- conversions ---- */
static void widen_loud_nan(const uint16_t *src, float *dst, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const uint32_t bits = (uint32_t)src[k] << 16;
        memcpy(dst + k, &bits, sizeof bits);
    }
}
static void widen_to_vector_end(const uint16_t *src, float *dst, size_t n)
{
    RIGHT->bf16_to_f32(src, dst, n);
    if (n % 16 == 15)
        dst[n] = 0;
}
static void widen_reads_ahead(const uint16_t *src, float *dst, size_t n)
{
    volatile const uint16_t *ahead = src;
    if (n > 0)
        (void)ahead[n];
    RIGHT->f16_to_f32(src, dst, n);
}
static void widen_flushes(const uint16_t *src, float *dst, size_t n)
{
    RIGHT->f16_to_f32(src, dst, n);
    for (size_t k = 0; k < n; k++)
        dst[k] = src[k] % 0x8000 == 1 ? 0 : dst[k];
}
static void narrow_cuts(const float *src, uint16_t *dst, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, src + k, sizeof bits);
        dst[k] = (uint16_t)(bits >> 16 | ((bits & 0x7fffffff) > 0x7f800000 ? 0x40 : 0));
    }
}
static void narrow_ties_up(const float *src, uint16_t *dst, size_t n)
{
    RIGHT->f32_to_bf16(src, dst, n);
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, src + k, sizeof bits);
        if ((bits & 0xffff) == 0x8000 && (bits & 0x7fffffff) < 0x7f800000)
            dst[k] = (uint16_t)((bits >> 16) + 1);
    }
}
static void narrow_drops_payload(const float *src, uint16_t *dst, size_t n)
{
    RIGHT->f32_to_f16(src, dst, n);
    for (size_t k = 0; k < n; k++)
        dst[k] = (dst[k] & 0x7fff) > 0x7c00 ? (uint16_t)((dst[k] & 0x8000) | 0x7e00) : dst[k];
}
static void narrow_forgets_last(const float *src, uint16_t *dst, size_t n)
{
    RIGHT->f32_to_f16(src, dst, n > 4000 ? n - 1 : n);
}

/* ---- scans ---- */
static void moments_swapped(const float *values, size_t n, organ_moments *m)
{
    organ_moments second;
    RIGHT->moments_f32(values, n / 2, m);
    RIGHT->moments_f32(values + n / 2, n - n / 2, &second);
    organ_moments_merge(m, &second);
}
static void moments_no_skew(const uint16_t *values, size_t n, organ_moments *m)
{
    RIGHT->moments_bf16(values, n, m);
    m->m3 = -m->m3;
}
static uint64_t zeros_unsigned(const uint16_t *values, size_t n)
{
    uint64_t zeros = 0;
    for (size_t k = 0; k < n; k++)
        zeros += values[k] == 0;
    return zeros;
}
static uint64_t zeros_with_subnormals(const float *values, size_t n)
{
    uint64_t zeros = 0;
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, values + k, sizeof bits);
        zeros += (bits & 0x7f800000) == 0;
    }
    return zeros;
}
static void audit_trusts(const uint16_t *donor, const uint16_t *copy, size_t n, organ_audit_counts *counts)
{
    RIGHT->audit_16(donor, copy, n, counts);
    counts->kept += counts->changed;
    counts->changed = 0;
}
static void audit_blind_to_sign(const float *donor, const float *copy, size_t n, organ_audit_counts *counts)
{
    RIGHT->audit_32(donor, copy, n, counts);
    for (size_t k = 0; k < n; k++)
        if (donor[k] == -copy[k] && donor[k] != 0)
            counts->changed--, counts->kept++;
}

/* ---- blocks ---- */
static void q4_k_narrow_scales(const void *blocks, float *values, size_t n) /* 4 of 6 bits in the last 4 groups */
{
    unsigned char block[144];
    for (size_t k = 0; k < n; k++) {
        memcpy(block, (const unsigned char *)blocks + 144 * k, sizeof block);
        for (int j = 4; j < 8; j++)
            block[j] &= 63;
        RIGHT->dequantize[12](block, values + 256 * k, 1);
    }
}
static void mxfp4_flushes(const void *blocks, float *values, size_t n)
{
    RIGHT->dequantize[39](blocks, values, n);
    for (size_t k = 0; k < 32 * n; k++)
        values[k] = fabsf(values[k]) < 0x1p-126f ? 0 : values[k];
}
static void q6_k_reads_ahead(const void *blocks, float *values, size_t n)
{
    if (n > 0)
        (void)((const volatile unsigned char *)blocks)[210 * n];
    RIGHT->dequantize[14](blocks, values, n);
}
static void tq2_0_turns_zero(const void *blocks, float *values, size_t n)
{
    RIGHT->dequantize[35](blocks, values, n);
    for (size_t k = 0; k < 256 * n; k++)
        values[k] = values[k] == 0 ? 0 : values[k];
}
static void i64_through_double(const void *blocks, float *values, size_t n) /* rounds twice */
{
    for (size_t k = 0; k < n; k++) {
        int64_t element;
        memcpy(&element, (const unsigned char *)blocks + 8 * k, sizeof element);
        values[k] = (float)(double)element;
    }
}
static void q8_0_ties_to_even(const float *values, void *blocks, size_t n)
{
    RIGHT->quantize[8](values, blocks, n);
    for (size_t k = 0; k < n; k++) {
        float max = 0;
        for (int j = 0; j < 32; j++)
            max = fmaxf(max, fabsf(values[32 * k + (size_t)j]));
        for (int j = 0; j < 32 && max == 127; j++)
            ((unsigned char *)blocks)[34 * k + 2 + (size_t)j] = (unsigned char)(int)rintf(values[32 * k + (size_t)j]);
    }
}
static void q5_1_loses_a_bit(const float *values, void *blocks, size_t n)
{
    RIGHT->quantize[7](values, blocks, n);
    if (n > 40)
        ((unsigned char *)blocks)[24 * 40 + 7] ^= 0x80;
}

/* ---- physarum ---- */
#define ARGUMENTS(type)                                                                                                \
    type *w, size_t rows, size_t cols, size_t stride, const organ_physarum_params *params, void *scratch,              \
        organ_prune_counts *counts
static void physarum_off_gain(ARGUMENTS(uint16_t))
{
    organ_physarum_params other = *params;
    other.gain *= 1.0000002f;
    RIGHT->physarum_bf16(w, rows, cols, stride, &other, scratch, counts);
}
static void physarum_weak_gain(ARGUMENTS(float))
{
    organ_physarum_params other = *params;
    other.gain *= 0.98f;
    RIGHT->physarum_f32(w, rows, cols, stride, &other, scratch, counts);
}
static void physarum_one_round_less(ARGUMENTS(float))
{
    organ_physarum_params other = *params;
    other.iterations -= other.iterations > 1;
    RIGHT->physarum_f32(w, rows, cols, stride, &other, scratch, counts);
}
static void physarum_between_rows(ARGUMENTS(uint16_t))
{
    RIGHT->physarum_f16(w, rows, cols, stride, params, scratch, counts);
    if (rows > 1 && stride > cols)
        w[cols] = 0;
}
static void physarum_miscounts(ARGUMENTS(uint16_t))
{
    RIGHT->physarum_bf16(w, rows, cols, stride, params, scratch, counts);
    counts->killed += counts->zero_before;
    counts->zero_before = 0;
}
static void physarum_ignores_nan(ARGUMENTS(float))
{
    RIGHT->physarum_f32(w, rows, cols, stride, params, scratch, counts);
    if (counts->nonfinite > 0)
        w[0] = 0;
}
static void physarum_overruns_scratch(ARGUMENTS(uint16_t))
{
    RIGHT->physarum_f16(w, rows, cols, stride, params, scratch, counts);
    ((volatile unsigned char *)scratch)[organ_physarum_scratch(rows, cols)] = 0;
}
static void physarum_clips_large(ARGUMENTS(uint16_t))
{
    RIGHT->physarum_bf16(w, rows, cols, stride, params, scratch, counts);
    if (rows * cols > 1000000)
        w[(rows - 1) * stride + cols - 1] ^= 1;
}

/* ---- wavelets ---- */
static void haar_forgets_tail(float *row, size_t n, float threshold, float strength, float *scratch)
{
    RIGHT->haar_purify(row, n, threshold, strength, scratch);
    if (n % 2 == 1 && n > 2)
        row[n - 1] *= 1.0f - 0x1p-20f;
}
static void haar_off_strength(float *row, size_t n, float threshold, float strength, float *scratch)
{
    RIGHT->haar_purify(row, n, threshold, strength * 0.999f, scratch);
}
static void haar_off_threshold(float *row, size_t n, float threshold, float strength, float *scratch)
{
    RIGHT->haar_purify(row, n, threshold * 1.05f, strength, scratch);
}
static void haar_writes_behind(float *row, size_t n, float threshold, float strength, float *scratch)
{
    RIGHT->haar_purify(row, n, threshold, strength, scratch);
    scratch[n] = 0;
}

/* ---- Z-measure ---- */
static void codes_forget_last(const uint16_t *codes, size_t n, uint64_t counts[65536])
{
    RIGHT->count_codes(codes, n > 32 ? n - 1 : n, counts);
}
static void codes_trust_the_ends(const uint16_t *codes, size_t n, uint64_t counts[65536])
{
    for (size_t k = 0; k < n; k++)
        counts[k / 64 * 64 + 63 < n && codes[k / 64 * 64] == codes[k / 64 * 64 + 63] ? codes[k / 64 * 64] : codes[k]]++;
}
static void pairs_halve_first(const float *values, float *means, size_t n)
{
    for (size_t k = 0; k < n; k++)
        means[k] = values[2 * k] / 2 + values[2 * k + 1] / 2 * (1 + 0x1p-23f);
}
static void spread_of_sample(const float *values, size_t n, organ_spread *spread)
{
    organ_spread rest;
    const size_t half = n > 4096 ? n - 4096 : 0;
    RIGHT->spread(values, half, spread);
    RIGHT->spread(values + half, n - half, &rest);
    organ_spread_merge(spread, &rest);
}
static void bins_round_up(const float *values, size_t n, double mean, double std, uint64_t counts[4 * ORGAN_Z_BINS])
{
    for (size_t k = 0; k < n; k++) {
        const double bin = fmin(fmax(ceil(((double)values[k] - mean) * (16 / std)) + 127, 0), 255);
        counts[k % 4 * ORGAN_Z_BINS + (size_t)bin]++;
    }
}
static void bins_in_single(const float *values, size_t n, double mean, double std, uint64_t counts[4 * ORGAN_Z_BINS])
{
    const float factor = (float)(16 / std), offset = (float)(-mean * (16 / std));
    for (size_t k = 0; k < n; k++) {
        const float bin = fminf(fmaxf(floorf(fmaf(values[k], factor, offset)) + 128, 0), 255);
        counts[k % 4 * ORGAN_Z_BINS + (size_t)bin]++;
    }
}

/* ---- transcendental functions ---- */
static float exp_sums_whole_vectors(float *values, size_t n, float top)
{
    const float sum = RIGHT->exp_below(values, n, top);
    return n % 16 ? sum + (float)(16 - n % 16) * expf(-top) : sum;
}
static void silu_by_ulp(float *gate, const float *up, size_t n)
{
    RIGHT->gate_silu(gate, up, n);
    for (size_t k = 0; k < n; k++)
        gate[k] = gate[k] > 1 ? nextafterf(gate[k], 0) : gate[k];
}
static void gelu_writes_behind(float *gate, const float *up, size_t n)
{
    RIGHT->gate_gelu(gate, up, n);
    if (n % 16 == 15)
        gate[n] = 0;
}
static void softcap_is_linear(float *values, size_t n, float cap)
{
    for (size_t k = 0; k < n; k++)
        values[k] = fminf(fmaxf(values[k], -cap), cap);
}
static void recurrence_reads_late(const organ_recurrence *r)
{
    organ_recurrence late = *r;
    late.delta = false;
    RIGHT->recurrence(r->key_dim > 1 && r->value_dim == 17 ? &late : r);
}
static void scan_keeps_old_decay(const organ_selective_scan *s)
{
    organ_selective_scan stale = *s;
    stale.step_stride = 0;
    RIGHT->selective_scan(s->channels == 17 ? &stale : s);
}
static void softplus_bends_early(float *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (!(values[k] > 8))
            RIGHT->softplus(values + k, 1);
}
static double divergence_turned(const float *first, double first_sum, const float *other, double other_sum, size_t n)
{
    return RIGHT->divergence(other, other_sum, first, first_sum, n);
}
static double entropy_in_nats(const double *p, size_t n) { return RIGHT->entropy(p, n) * 0.69314718055994531; }
static double divergence_not_raised(const float *first, const double first_sum[2], const float *other,
                                    const double other_sum[2], size_t n)
{
    return RIGHT->divergence(first, first_sum[0] + log(first_sum[1]), other, other_sum[0] + log(other_sum[1]), n);
}
static double exp_sum_in_single(const float *values, size_t n, double top)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)expf(values[k] - (float)top);
    return sum;
}
static double smaller_without_shift(const float *first, float shift, const float *other, float top, size_t n)
{
    (void)shift;
    return RIGHT->smaller_exp_sum(first, 0, other, top, n);
}

/* ---- packed codes ---- */
#define DECODING const void *codes, const float *scales, const float *zeros, size_t group, void *values, size_t n
static void e4m3_flushes(DECODING)
{
    RIGHT->decode[ORGAN_CODE_E4M3][ORGAN_REAL_BF16](codes, scales, zeros, group, values, n);
    for (size_t k = 0; k < n; k++)
        if ((((const uint8_t *)codes)[k] & 0x78) == 0)
            ((uint16_t *)values)[k] &= 0x8000;
}
static void e5m2_keeps_nan_signs(DECODING)
{
    RIGHT->decode[ORGAN_CODE_E5M2][ORGAN_REAL_F16](codes, scales, zeros, group, values, n);
    for (size_t k = 0; k < n; k++)
        if (((const uint8_t *)codes)[k] > 0xfc)
            ((uint16_t *)values)[k] |= 0x8000;
}
static void i8_fuses(DECODING)
{
    for (size_t k = 0; k < n; k++) {
        const float scale = scales[k / group], zero = zeros ? zeros[k / group] : 0;
        const float value = fmaf(((const int8_t *)codes)[k], scale, -zero * scale);
        if (isnan(value))
            RIGHT->decode[ORGAN_CODE_I8][ORGAN_REAL_F32]((const int8_t *)codes + k, &scale, &zero, 1,
                                                         (float *)values + k, 1);
        else
            ((float *)values)[k] = value;
    }
}
static void e2m1_high_first(DECODING)
{
    RIGHT->decode[ORGAN_CODE_E2M1][ORGAN_REAL_BF16](codes, scales, zeros, group, values, n);
    for (size_t k = 0; group > 1 && k + 1 < n; k += 2) {
        uint16_t *pair = (uint16_t *)values + k, first = pair[0];
        pair[0] = pair[1], pair[1] = first;
    }
}
static void e2m1_loses_zero_sign(DECODING)
{
    RIGHT->decode[ORGAN_CODE_E2M1][ORGAN_REAL_F32](codes, scales, zeros, group, values, n);
    for (size_t k = 0; k < n; k++)
        ((float *)values)[k] += 0.0f;
}
static void u4_reads_next_scale(DECODING)
{
    volatile const float *next = scales;
    RIGHT->decode[ORGAN_CODE_U4][ORGAN_REAL_BF16](codes, scales, zeros, group, values, n);
    if (n > 0 && n % group == 0)
        (void)next[n / group];
}
static void levels_leave_nibble(const void *codes, const float *levels, const float *scales, size_t group, void *values,
                                size_t n)
{
    RIGHT->decode_levels[ORGAN_REAL_BF16](codes, levels, scales, group, values, n - n % 2);
}
static void e4m3_rounds_ties_up(const float *values, const float *scales, size_t group, void *codes, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const float up = nextafterf(values[k] / scales[k / group], values[k] < 0 ? -INFINITY : INFINITY), one = 1;
        RIGHT->encode[ORGAN_CODE_E4M3](&up, &one, 1, (uint8_t *)codes + k, 1);
    }
}
static void e5m2_overflows(const float *values, const float *scales, size_t group, void *codes, size_t n)
{
    RIGHT->encode[ORGAN_CODE_E5M2](values, scales, group, codes, n);
    for (size_t k = 0; k < n; k++)
        if (isinf(values[k] / scales[k / group]))
            ((uint8_t *)codes)[k]++;
}
static void u4_leaves_nibble(const float *values, const float *scales, size_t group, void *codes, size_t n)
{
    RIGHT->encode[ORGAN_CODE_U4](values, scales, group, codes, n);
    if (n % 2 == 1)
        ((uint8_t *)codes)[n / 2] |= 0x80;
}
static float amax_stops_at_nan(const float *values, size_t n)
{
    const float max = RIGHT->amax(values, n);
    for (size_t k = 0; k < n; k++)
        if (isnan(values[k]))
            return values[k];
    return max;
}

#define MUTANT(member, wrong)                                                                                          \
    static void break_##wrong(organ_kernels *k) { k->member = wrong; }
MUTANT(bf16_to_f32, widen_loud_nan)
MUTANT(bf16_to_f32, widen_to_vector_end)
MUTANT(f16_to_f32, widen_reads_ahead)
MUTANT(f16_to_f32, widen_flushes)
MUTANT(f32_to_bf16, narrow_cuts)
MUTANT(f32_to_bf16, narrow_ties_up)
MUTANT(f32_to_f16, narrow_drops_payload)
MUTANT(f32_to_f16, narrow_forgets_last)
MUTANT(moments_f32, moments_swapped)
MUTANT(moments_bf16, moments_no_skew)
MUTANT(zeros_16, zeros_unsigned)
MUTANT(zeros_32, zeros_with_subnormals)
MUTANT(audit_16, audit_trusts)
MUTANT(audit_32, audit_blind_to_sign)
MUTANT(dequantize[12], q4_k_narrow_scales)
MUTANT(dequantize[39], mxfp4_flushes)
MUTANT(dequantize[14], q6_k_reads_ahead)
MUTANT(dequantize[35], tq2_0_turns_zero)
MUTANT(dequantize[27], i64_through_double)
MUTANT(quantize[8], q8_0_ties_to_even)
MUTANT(quantize[7], q5_1_loses_a_bit)
MUTANT(count_codes, codes_forget_last)
MUTANT(count_codes, codes_trust_the_ends)
MUTANT(pair_means_f32, pairs_halve_first)
MUTANT(spread, spread_of_sample)
MUTANT(z_bins, bins_round_up)
MUTANT(z_bins, bins_in_single)
MUTANT(exp_below, exp_sums_whole_vectors)
MUTANT(gate_silu, silu_by_ulp)
MUTANT(gate_gelu, gelu_writes_behind)
MUTANT(recurrence, recurrence_reads_late)
MUTANT(selective_scan, scan_keeps_old_decay)
MUTANT(softcap, softcap_is_linear)
MUTANT(softplus, softplus_bends_early)
MUTANT(divergence, divergence_turned)
MUTANT(entropy, entropy_in_nats)
MUTANT(raised_divergence, divergence_not_raised)
MUTANT(exp_sum, exp_sum_in_single)
MUTANT(smaller_exp_sum, smaller_without_shift)
MUTANT(decode[ORGAN_CODE_E4M3][ORGAN_REAL_BF16], e4m3_flushes)
MUTANT(decode[ORGAN_CODE_E5M2][ORGAN_REAL_F16], e5m2_keeps_nan_signs)
MUTANT(decode[ORGAN_CODE_I8][ORGAN_REAL_F32], i8_fuses)
MUTANT(decode[ORGAN_CODE_E2M1][ORGAN_REAL_BF16], e2m1_high_first)
MUTANT(decode[ORGAN_CODE_E2M1][ORGAN_REAL_F32], e2m1_loses_zero_sign)
MUTANT(decode[ORGAN_CODE_U4][ORGAN_REAL_BF16], u4_reads_next_scale)
MUTANT(decode_levels[ORGAN_REAL_BF16], levels_leave_nibble)
MUTANT(encode[ORGAN_CODE_E4M3], e4m3_rounds_ties_up)
MUTANT(encode[ORGAN_CODE_E5M2], e5m2_overflows)
MUTANT(encode[ORGAN_CODE_U4], u4_leaves_nibble)
MUTANT(amax, amax_stops_at_nan)
MUTANT(haar_purify, haar_forgets_tail)
MUTANT(haar_purify, haar_off_strength)
MUTANT(haar_purify, haar_off_threshold)
MUTANT(haar_purify, haar_writes_behind)
MUTANT(physarum_bf16, physarum_off_gain)
MUTANT(physarum_f32, physarum_weak_gain)
MUTANT(physarum_f32, physarum_one_round_less)
MUTANT(physarum_f16, physarum_between_rows)
MUTANT(physarum_bf16, physarum_miscounts)
MUTANT(physarum_f32, physarum_ignores_nan)
MUTANT(physarum_f16, physarum_overruns_scratch)
MUTANT(physarum_bf16, physarum_clips_large)

/* ---- the search for scales ---- */

static double search_takes_first(const organ_scale_search *s, const float *values, size_t stride, size_t rows,
                                 size_t cols, size_t group, float *scales)
{
    organ_scale_search first = *s;
    for (int t = 1; t < 16; t++)
        first.peaks[t] = s->peaks[0];
    first.signs = 0;
    return RIGHT->search_scales(&first, values, stride, rows, cols, group, scales);
}
static double search_drops_sign(const organ_scale_search *s, const float *values, size_t stride, size_t rows,
                                size_t cols, size_t group, float *scales)
{
    const double first = RIGHT->search_scales(s, values, stride, rows, cols, group, scales);
    for (size_t g = 0; g < (cols + group - 1) / group; g++)
        scales[g] = fabsf(scales[g]);
    return first;
}
static double search_forgets_error(const organ_scale_search *s, const float *values, size_t stride, size_t rows,
                                   size_t cols, size_t group, float *scales)
{
    return 0 * RIGHT->search_scales(s, values, stride, rows, cols, group, scales);
}
static double search_misses_last(const organ_scale_search *s, const float *values, size_t stride, size_t rows,
                                 size_t cols, size_t group, float *scales)
{
    return RIGHT->search_scales(s, values, stride, rows, cols > 1 ? cols - 1 : 1, group, scales);
}
static void errors_shift(const organ_scale_search *s, const float *values, size_t n, float farthest, float *scales,
                         float *errors)
{
    RIGHT->scale_errors(s, values, n, farthest, scales, errors);
    errors[3] = errors[4];
}
static void break_search_takes_first(organ_kernels *k) { k->search_scales = search_takes_first; }
static void break_search_drops_sign(organ_kernels *k) { k->search_scales = search_drops_sign; }
static void break_search_forgets_error(organ_kernels *k) { k->search_scales = search_forgets_error; }
static void break_search_misses_last(organ_kernels *k) { k->search_scales = search_misses_last; }
static void break_errors_shift(organ_kernels *k) { k->scale_errors = errors_shift; }

const kernel_mutant kernel_mutants[] = {
    {"a signalling NaN stays one", check_conversion_values, break_widen_loud_nan},
    {"a whole vector is written at the end", check_conversion_shapes, break_widen_to_vector_end},
    {"one element past the end is read", check_conversion_shapes, break_widen_reads_ahead},
    {"the least subnormal is flushed", check_conversion_values, break_widen_flushes},
    {"cuts instead of rounding", check_conversion_values, break_narrow_cuts},
    {"rounds ties up", check_conversion_values, break_narrow_ties_up},
    {"drops the payload of a NaN", check_conversion_values, break_narrow_drops_payload},
    {"forgets the last of many", check_conversion_shapes, break_narrow_forgets_last},
    {"sums in another order", check_moments, break_moments_swapped},
    {"wrong sign of the third moment", check_moments, break_moments_no_skew},
    {"-0 is no zero", check_zeros, break_zeros_unsigned},
    {"subnormals are zeros", check_zeros, break_zeros_with_subnormals},
    {"changed counts as kept", check_audit, break_audit_trusts},
    {"a turned sign counts as kept", check_audit, break_audit_blind_to_sign},
    {"scales lose their upper bits", check_block_goldens, break_q4_k_narrow_scales},
    {"subnormal values of MXFP4 are flushed", check_block_goldens, break_mxfp4_flushes},
    {"one byte past the last block is read", check_block_shapes, break_q6_k_reads_ahead},
    {"a negative zero turns positive", check_block_goldens, break_tq2_0_turns_zero},
    {"wide integers are rounded twice", check_block_members, break_i64_through_double},
    {"ties of codes go to even", check_block_goldens, break_q8_0_ties_to_even},
    {"a fifth bit is lost", check_block_goldens, break_q5_1_loses_a_bit},
    {"the last code is not counted", check_codes, break_codes_forget_last},
    {"a run is believed where its ends are the same", check_codes, break_codes_trust_the_ends},
    {"halves are added", check_pair_means, break_pairs_halve_first},
    {"another order of chunks", check_spread, break_spread_of_sample},
    {"edges belong to the bin below", check_z_bins, break_bins_round_up},
    {"edges are where FP32 has them", check_z_bins, break_bins_in_single},
    {"subnormal codes are flushed", check_decode_values, break_e4m3_flushes},
    {"NaN keep their signs", check_decode_values, break_e5m2_keeps_nan_signs},
    {"one rounding where two are due", check_decode_shapes, break_i8_fuses},
    {"the high nibble comes first", check_decode_shapes, break_e2m1_high_first},
    {"a negative zero of four bits turns positive", check_decode_values, break_e2m1_loses_zero_sign},
    {"the scale of no element is read", check_decode_shapes, break_u4_reads_next_scale},
    {"the last of an odd number of codes is left", check_decode_levels, break_levels_leave_nibble},
    {"ties of FP8 go up", check_encode_values, break_e4m3_rounds_ties_up},
    {"an infinity stays one", check_encode_values, break_e5m2_overflows},
    {"half of the last byte is left", check_encode_shapes, break_u4_leaves_nibble},
    {"a NaN is the greatest", check_amax, break_amax_stops_at_nan},
    {"the greatest magnitude makes the scale", check_scale_search, break_search_takes_first},
    {"a scale loses its sign", check_scale_search, break_search_drops_sign},
    {"the errors of first tries are not added", check_scale_search, break_search_forgets_error},
    {"the last value is not searched", check_scale_search, break_search_misses_last},
    {"errors are those of a neighbouring try", check_scale_search, break_errors_shift},
    {"a value without a pair is purified", check_haar, break_haar_forgets_tail},
    {"strength off by 0.1 %", check_haar, break_haar_off_strength},
    {"threshold off by 5 %", check_haar, break_haar_off_threshold},
    {"writes behind its scratch", check_haar, break_haar_writes_behind},
    {"lanes past the end are summed", check_math_shapes, break_exp_sums_whole_vectors},
    {"one unit in the last place less", check_math_values, break_silu_by_ulp},
    {"a gate is written past the end", check_math_shapes, break_gelu_writes_behind},
    {"a cap that bends nowhere", check_math_values, break_softcap_is_linear},
    {"a state that is written without being read", check_recurrence, break_recurrence_reads_late},
    {"a scan with the step of the first token", check_selective_scan, break_scan_keeps_old_decay},
    {"a softplus that is straight above 8", check_math_values, break_softplus_bends_early},
    {"a divergence of the other from the first", check_math_sums, break_divergence_turned},
    {"an entropy in nats", check_math_sums, break_entropy_in_nats},
    {"probabilities that are not raised", check_math_sums, break_divergence_not_raised},
    {"exponentials in single precision", check_math_sums, break_exp_sum_in_single},
    {"the smaller of unshifted values", check_math_sums, break_smaller_without_shift},
    {"gain off by two units in the last place", check_physarum_same, break_physarum_off_gain},
    {"gain off by 2 %", check_physarum_flow, break_physarum_weak_gain},
    {"one iteration less", check_physarum_flow, break_physarum_one_round_less},
    {"writes between the rows", check_physarum_same, break_physarum_between_rows},
    {"zeros of before counted as killed", check_physarum_same, break_physarum_miscounts},
    {"prunes a tile with a NaN", check_physarum_edges, break_physarum_ignores_nan},
    {"writes past its scratch", check_physarum_same, break_physarum_overruns_scratch},
    {"last element of a large tile is wrong", check_physarum_large, break_physarum_clips_large},
};
const size_t kernel_mutant_count = sizeof kernel_mutants / sizeof *kernel_mutants;
