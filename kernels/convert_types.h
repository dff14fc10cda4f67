/* SPDX-License-Identifier: MIT
 * Conversions between 16-bit and 32-bit floats. The elements before the first 64-byte boundary of the destination are
 * converted separately, so that the stores of whole vectors after them are aligned. A destination larger than
 * STREAM_BYTES does not fit into the caches, so it is written with non-temporal stores, which do not read the lines
 * first. */
#define STREAM_BYTES ((size_t)8 << 20)

/* Returns the number of elements of `size` bytes from p to the next 64-byte boundary, rounded down; at most n. */
INLINE size_t elements_to_line(const void *p, size_t size, size_t n)
{
    const size_t head = (64 - (uintptr_t)p % 64) % 64 / size;
    return head < n ? head : n;
}

/* Copies bytes from a buffer in the cache: whole cache lines of the destination with non-temporal stores. */
SHARED void stream_copy(const void *from, void *to, size_t bytes)
{
    size_t at = elements_to_line(to, 1, bytes);
    memcpy(to, from, at);
    for (; at + 64 <= bytes; at += 64) {
        const uint16_t *const line = (const void *)((const uint8_t *)from + at);
        u16_stream((void *)((uint8_t *)to + at), u16_load(line), u16_load(line + 16));
    }
    memcpy((uint8_t *)to + at, (const uint8_t *)from + at, bytes - at);
}

/* Converts BF16 or F16 (`type`) to FP32. A NaN becomes quiet. */
INLINE f32x16 widen_vector(u16x16 a, const enum element_type type)
{
    return type == BF16 ? bf16_widen(a) : f16_widen(a);
}

/* Converts n <= 15 elements to FP32. */
INLINE void widen_part(const uint16_t *src, float *dst, size_t n, const enum element_type type)
{
    f32_store_part(dst, widen_vector(u16_load_part(src, n), type), n);
}

/* Converts n BF16 or F16 (`type`) to FP32; large outputs are written with non-temporal stores. */
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

/* Rounds to BF16 or F16 (`type`), to nearest even. A NaN becomes quiet. */
INLINE u16x16 narrow_vector(f32x16 a, const enum element_type type)
{
    return type == BF16 ? bf16_narrow(a) : f16_narrow(a);
}

/* Rounds 32 FP32 to BF16 or F16 (`type`). With `streams`, uses non-temporal stores, for which dst must be 64-byte
 * aligned. */
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

/* Rounds n <= 31 elements to BF16 or F16. */
INLINE void narrow_part(const float *src, uint16_t *dst, size_t n, const enum element_type type)
{
    if (n >= 16) {
        u16_store(dst, narrow_vector(f32_load(src), type));
        src += 16, dst += 16, n -= 16;
    }
    if (n > 0)
        u16_store_part(dst, narrow_vector(f32_load_part(src, n), type), n);
}

/* Rounds n FP32 to BF16 or F16 (`type`); large outputs are written with non-temporal stores. */
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

/* The conversions of organ_kernels. */
static void bf16_to_f32(const uint16_t *src, float *dst, size_t n) { widen_elements(src, dst, n, BF16); }
static void f16_to_f32(const uint16_t *src, float *dst, size_t n) { widen_elements(src, dst, n, F16); }
static void f32_to_bf16(const float *src, uint16_t *dst, size_t n) { narrow_elements(src, dst, n, BF16); }
static void f32_to_f16(const float *src, uint16_t *dst, size_t n) { narrow_elements(src, dst, n, F16); }
