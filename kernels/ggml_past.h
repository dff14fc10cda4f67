/* SPDX-License-Identifier: MIT
 * Blocks to more values than the caches hold: some at a time into an array that L1 holds, and from there past the caches. */
enum { PAST_SOME = 2048 };

INLINE void copy_past(const float *from, float *to, size_t n)
{
    size_t at = elements_to_line(to, sizeof *to, n);
    memcpy(to, from, at * sizeof *to);
    for (; at + 16 <= n; at += 16)
        f32_stream(to + at, f32_load(from + at));
    memcpy(to + at, from + at, (n - at) * sizeof *to);
}

INLINE void dequantize_past(organ_dequantize *dequantize, const uint8_t *blocks, size_t bytes, size_t elements, float *values, size_t n)
{
    if (n * elements * sizeof *values < STREAM_BYTES) {
        dequantize(blocks, values, n);
        return;
    }
    while (n > 0) {
        _Alignas(64) float some[PAST_SOME];
        const size_t most = PAST_SOME / elements, now = n < most ? n : most;
        dequantize(blocks, some, now);
        copy_past(some, values, now * elements);
        blocks += now * bytes;
        values += now * elements;
        n -= now;
    }
    stream_end();
}

#define PAST(type, block, elements)                                                                                                        \
    static void dequantize_##type##_past(const void *blocks, float *values, size_t n)                                                      \
    {                                                                                                                                      \
        dequantize_past(dequantize_##type, blocks, sizeof(block), elements, values, n);                                                    \
    }
PAST(q8_0, block_q8_0, QK)
PAST(q4_0, block_q4_0, QK)
PAST(q4_1, block_q4_1, QK)
PAST(q5_0, block_q5_0, QK)
PAST(q5_1, block_q5_1, QK)
PAST(iq4_nl, block_q4_0, QK)
PAST(mxfp4, block_mxfp4, QK)
PAST(nvfp4, block_nvfp4, 64)
PAST(q1_0, block_q1_0, 128)
PAST(q2_0, block_q2_0, 64)
PAST(q2_k, block_q2_k, QK_K)
PAST(q3_k, block_q3_k, QK_K)
PAST(q4_k, block_q4_k, QK_K)
PAST(q5_k, block_q5_k, QK_K)
PAST(q6_k, block_q6_k, QK_K)
PAST(iq4_xs, block_iq4_xs, QK_K)
PAST(tq1_0, block_tq1_0, QK_K)
PAST(tq2_0, block_tq2_0, QK_K)
PAST(iq2_xxs, block_iq2_xxs, QK_K)
PAST(iq2_xs, block_iq2_xs, QK_K)
PAST(iq2_s, block_iq2_s, QK_K)
PAST(iq3_xxs, block_iq3_xxs, QK_K)
PAST(iq3_s, block_iq3_s, QK_K)
PAST(iq1_s, block_iq1_s, QK_K)
PAST(iq1_m, block_iq1_m, QK_K)
