/* SPDX-License-Identifier: MIT
 * Rounds inputs of linear layers to codes and back, as servers do that multiply by quantised activations. Operations
 * and their order are those of compressed-tensors (quantization/utils/helpers.py, lifecycle/forward_helpers.py) in
 * FP32; UE8M0 scales are those of DeepSeek's act_quant. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/half_floats.h"

#include <string.h>

/* Codes of a kernel; the value of a constant parameter `codes`. */
enum { INTEGERS, E4M3, E2M1 };

#define WHOLE_ROUNDING 0x1.8p23f /* adding it rounds to whole numbers, ties to even */

INLINE uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- codes ---- */

/* Rounds to `fraction` bits behind the leading one; magnitudes below `normal` to multiples of the step between the
 * numbers there, which is that of 1.5 x 2^22 times `shift` when this is added. */
INLINE f32x16 round_floats(f32x16 v, const int fraction, const float normal, const float shift)
{
    const uint32_t last = 1u << (23 - fraction);
    const u32x16 bits = f32_bits(v), magnitude = u32_and(bits, u32_set1(MAGNITUDE)),
                 odd = u32_and(u32_srl(magnitude, 23 - fraction), u32_set1(1)),
                 up = u32_add(magnitude, u32_add(u32_set1(last / 2 - 1), odd)),
                 kept = u32_and(up, u32_set1(~(last - 1)));
    const f32x16 size = f32_of_bits(magnitude), small = f32_sub(f32_add(size, f32_set1(shift)), f32_set1(shift)),
                 rounded = f32_select(f32_ge(size, f32_set1(normal)), f32_of_bits(kept), small);
    return f32_of_bits(u32_or(f32_bits(rounded), u32_and(bits, u32_set1(~MAGNITUDE))));
}

/* v is finite and within the codes. E4M3: 3 bits, from 2^-6 on, below it steps of 2^-9. E2M1: 1 bit, from 1 on, below
 * it steps of 1/2. */
INLINE f32x16 nearest_codes(f32x16 v, const int codes)
{
    if (codes == INTEGERS)
        return f32_sub(f32_add(v, f32_set1(WHOLE_ROUNDING)), f32_set1(WHOLE_ROUNDING));
    return codes == E4M3 ? round_floats(v, 3, 0x1p-6f, 0x1.8p14f) : round_floats(v, 1, 1, 0x1.8p22f);
}

/* ---- scales ---- */

typedef struct extremes {
    u32x16 magnitude; /* bits of the largest magnitude; above those of FLT_MAX: a value is not finite */
    f32x16 least, most;
} extremes;

INLINE extremes find_extremes(const float *x, size_t n, const int signs)
{
    extremes e = {u32_set1(0), f32_set1(0), f32_set1(0)};
    for (size_t at = 0; at < n; at += 16) {
        const f32x16 v = n - at < 16 ? f32_load_part(x + at, n - at) : f32_load(x + at);
        e.magnitude = u32_max(e.magnitude, u32_and(f32_bits(v), u32_set1(MAGNITUDE)));
        if (signs) {
            e.least = f32_min(v, e.least);
            e.most = f32_max(v, e.most);
        }
    }
    return e;
}

/* A power of two with this exponent byte; byte 0 is 2^-127, which is no normal number. */
INLINE float power_of(uint32_t byte) { return byte ? float_of_bits(byte << 23) : 0x1p-127f; }

INLINE float scale_e8m0(uint32_t top, int below)
{
    const uint32_t byte = (top + (1u << 21)) >> 23, least = byte < 255 ? byte : 254;
    return power_of(least > (uint32_t)below ? least - (uint32_t)below : 0);
}

/* Numbers up to 2^-126 become 2^-126. */
INLINE float scale_ue8m0(float exact)
{
    const uint32_t byte = (bits_of(exact) + 0x7fffff) >> 23;
    return exact > 0 ? power_of(byte ? byte : 1) : 0;
}

INLINE float scale_e4m3(float exact, float factor)
{
    const float scaled = factor * exact, within = scaled < 448 ? scaled : 448;
    const float stored = f32_reduce_max(nearest_codes(f32_set1(within), E4M3));
    return (stored > 0 ? stored : 0.125f) / factor;
}

INLINE float scale_of(const organ_rounding *r, uint32_t top)
{
    const float magnitude = float_of_bits(top), counted = r->limit > 0 && magnitude > r->limit ? r->limit : magnitude;
    if (r->from == ORGAN_ROUNDING_E8M0)
        return scale_e8m0(top, r->below);
    const float exact = counted / r->peak;
    if (r->from == ORGAN_ROUNDING_UE8M0)
        return scale_ue8m0(exact);
    return r->from == ORGAN_ROUNDING_E4M3 ? scale_e4m3(exact, r->factor) : exact;
}

/* Sets *zero, and returns the scale of values between `least` <= 0 and `most` >= 0. */
INLINE float asymmetric_scale(const organ_rounding *r, float least, float most, float *zero)
{
    const float scale = (most - least) / (r->high - r->low);
    if (!(scale > 0))
        return scale;
    const float exact = r->low - least / scale, above = exact > r->low ? exact : r->low;
    *zero = f32_reduce_max(nearest_codes(f32_set1(above < r->high ? above : r->high), INTEGERS));
    return scale;
}

/* ---- kernels ---- */

INLINE f32x16 round_vector(const organ_rounding *r, f32x16 x, f32x16 scale, f32x16 zero, const int codes)
{
    const f32x16 v = f32_add(f32_div(x, scale), zero);
    const f32x16 within = f32_min(f32_max(v, f32_set1(r->low)), f32_set1(r->high));
    return f32_mul(f32_sub(nearest_codes(within, codes), zero), scale);
}

INLINE void round_group(const organ_rounding *r, const float *x, float *y, size_t n, const int codes)
{
    const int signs = codes == INTEGERS && r->asymmetric && r->from == ORGAN_ROUNDING_REAL;
    const extremes e = signs ? find_extremes(x, n, 1) : find_extremes(x, n, 0);
    const uint32_t top = u32_top(e.magnitude);
    float scale = r->scale, zero = r->zero;
    if (r->from != ORGAN_ROUNDING_STORED && top < INFINITE) {
        zero = 0;
        scale = signs ? asymmetric_scale(r, f32_reduce_min(e.least), f32_reduce_max(e.most), &zero) : scale_of(r, top);
        scale = scale > 0 ? scale : 0x1p-23f;
    }
    if (top >= INFINITE || !(scale < __builtin_inff())) {
        memmove(y, x, n * sizeof *y);
        return;
    }
    const f32x16 scales = f32_set1(scale), zeros = f32_set1(zero);
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        f32_store(y + at, round_vector(r, f32_load(x + at), scales, zeros, codes));
    if (at < n)
        f32_store_part(y + at, round_vector(r, f32_load_part(x + at, n - at), scales, zeros, codes), n - at);
}

INLINE void round_groups(const organ_rounding *r, const float *x, float *y, size_t n, const int codes)
{
    const size_t group = r->group ? r->group : n;
    for (size_t at = 0; at < n; at += group)
        round_group(r, x + at, y + at, group < n - at ? group : n - at, codes);
}

void KERNEL(round_integers)(const organ_rounding *rounding, const float *x, float *y, size_t n)
{
    round_groups(rounding, x, y, n, INTEGERS);
}
void KERNEL(round_e4m3)(const organ_rounding *rounding, const float *x, float *y, size_t n)
{
    round_groups(rounding, x, y, n, E4M3);
}
void KERNEL(round_e2m1)(const organ_rounding *rounding, const float *x, float *y, size_t n)
{
    round_groups(rounding, x, y, n, E2M1);
}

#endif
