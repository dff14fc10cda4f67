/* SPDX-License-Identifier: MIT
 * The selective scan (organ_selective_scan): a linear recurrence whose decay differs by channel, state and token.
 * The states of 16 channels are processed at a time; the caller bounds the channels of a call so that their states
 * stay in the cache closest to the core. */

/* Processes one token of n <= 16 channels from channel `from` on by the recurrence of Mamba (Gu and Dao 2023). For
 * each state i of a channel: h_i = exp(A_i dt) h_i + B_i dt x. Then y = sum of C_i h_i + D x, which replaces x. In
 * the structure, A is `rates`, dt `steps`, B `writes`, C `reads` and D `skip`. */
INLINE void scan_channels(const organ_selective_scan *s, size_t t, size_t from, const size_t n)
{
    float *const at = s->values + t * s->value_stride + from;
    const float *const writes = s->writes + t * s->write_stride, *const reads = s->reads + t * s->read_stride;
    const f32x16 value = f32_load_first(at, n), step = f32_load_first(s->steps + t * s->step_stride + from, n);
    const f32x16 written = f32_mul(step, value);
    f32x16 sum = f32_set1(0);
    for (size_t i = 0; i < s->states; i++) {
        float *const row = s->state + i * s->state_stride + from;
        const f32x16 decay = f32_exp(f32_mul(f32_load_first(s->rates + i * s->rate_stride + from, n), step));
        const f32x16 state = f32_fma(f32_set1(writes[i]), written, f32_mul(decay, f32_load_first(row, n)));
        f32_store_first(row, state, n);
        sum = f32_fma(f32_set1(reads[i]), state, sum);
    }
    f32_store_first(at, f32_fma(f32_load_first(s->skip + from, n), value, sum), n);
}

/* Processes all tokens in order, 16 channels at a time. */
static void selective_scan(const organ_selective_scan *s)
{
    for (size_t t = 0; t < s->tokens; t++) {
        size_t from = 0;
        for (; from + 16 <= s->channels; from += 16)
            scan_channels(s, t, from, 16);
        if (from < s->channels)
            scan_channels(s, t, from, s->channels - from);
    }
}
