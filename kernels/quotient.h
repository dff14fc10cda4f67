/* SPDX-License-Identifier: MIT
 * Computes x / (1 + x) in two ways with the same bits: by the divider, and by multiplications for CPUs with a slow
 * divider. */
#define FLOW_SATURATES 0x1p26f /* from 2^25 on, 1 + x rounds to x and the quotient is 1 */

INLINE f32x16 saturating_quotient(f32x16 x) { return f32_div(x, f32_add(f32_set1(1.0f), x)); }

/* Returns x / (1 + x) without a division. One Newton step turns an estimate of the reciprocal of 1 + x, which may be
 * wrong by 2^-14, into a reciprocal that is wrong by at most 2^-23. The quotient from this reciprocal is wrong only
 * in the last bits; its remainder, which FMA computes exactly, corrects them. The result is correctly rounded for
 * every x from 2^-100 on, including infinity: tests/kernels/check_kernels_long.c tries all. */
INLINE f32x16 saturating_quotient_by_estimate(f32x16 x)
{
    const f32x16 one = f32_set1(1.0f), bounded = f32_min(x, f32_set1(FLOW_SATURATES)), divisor = f32_add(one, bounded);
    const f32x16 estimate = f32_reciprocal(divisor);
    const f32x16 reciprocal = f32_fma(f32_fnma(divisor, estimate, one), estimate, estimate);
    const f32x16 quotient = f32_mul(bounded, reciprocal);
    return f32_fma(f32_fnma(quotient, divisor, bounded), reciprocal, quotient);
}
