/* SPDX-License-Identifier: MIT
 * Loads 16 elements of one of three storage types as lanes of FP32, and rounds lanes to BF16. The type is a
 * compile-time constant in every call, so that one body compiles to one loop for each type. */
#include <string.h>

enum element_type { BF16, F16, F32 };

#define MAGNITUDE 0x7fffffffu /* all bits of an FP32 but the sign */
#define INFINITE  0x7f800000u /* bits of the FP32 infinity; magnitudes above it are NaN */

INLINE size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

INLINE size_t element_size(const enum element_type type) { return type == F32 ? sizeof(float) : sizeof(uint16_t); }

/* Makes every NaN quiet and keeps all other bits. `bits` are FP32, or 16-bit floats shifted to the upper half. */
INLINE u32x16 quiet_nans(u32x16 bits)
{
    const m32x16 nan = u32_gt(u32_and(bits, u32_set1(MAGNITUDE)), u32_set1(INFINITE));
    return u32_or(bits, u32_keep(nan, u32_set1(0x00400000)));
}

/* Replaces every NaN by 0x7fc00000, because the NaN that an operation returns differs between ISAs. */
INLINE f32x16 one_nan(f32x16 a) { return f32_of_bits(u32_select(f32_nan(a), u32_set1(0x7fc00000), f32_bits(a))); }

/* A NaN becomes quiet. */
INLINE f32x16 bf16_widen(u16x16 a) { return f32_of_bits(quiet_nans(u32_sll(u16_widen(a), 16))); }

/* Rounds to BF16 in the upper half of each lane, to nearest even, by integer arithmetic: up if the lower half is
 * above 0x8000, or equals 0x8000 and the last kept bit is 1. A NaN lane becomes `nan`. */
INLINE u32x16 bf16_rounded(f32x16 a, u32x16 nan)
{
    const u32x16 bits = f32_bits(a), odd = u32_and(u32_srl(bits, 16), u32_set1(1));
    return u32_select(f32_nan(a), nan, u32_add(u32_add(bits, u32_set1(0x7fff)), odd));
}

/* Rounds to BF16 in the upper half of each lane; a NaN is truncated and made quiet. */
INLINE u32x16 bf16_tops(f32x16 a) { return bf16_rounded(a, u32_or(f32_bits(a), u32_set1(0x00400000))); }
/* Rounds to nearest even; a NaN is truncated and made quiet. */
INLINE u16x16 bf16_narrow(f32x16 a) { return u32_tops(bf16_tops(a)); }

/* Widens 16 BF16 or F16 to FP32, exactly. A NaN may stay signalling, so this is for kernels that do not store the
 * values. */
INLINE f32x16 element_values(u16x16 words, const enum element_type type)
{
    return type == BF16 ? f32_of_bits(u32_sll(u16_widen(words), 16)) : f16_widen(words);
}

INLINE f32x16 load_elements(const void *base, size_t at, const enum element_type type)
{
    if (type == F32)
        return f32_load((const float *)base + at);
    return element_values(u16_load((const uint16_t *)base + at), type);
}

/* The other lanes are 0. */
INLINE f32x16 load_elements_part(const void *base, size_t at, size_t n, const enum element_type type)
{
    if (type == F32)
        return f32_load_part((const float *)base + at, n);
    return element_values(u16_load_part((const uint16_t *)base + at, n), type);
}

/* Transposes a 16 x 16 square: in each of four steps, rows l and l + 8 are interleaved to rows 2 l and 2 l + 1. */
INLINE void transpose_square(f32x16 rows[16])
{
    UNROLL for (int round = 0; round < 4; round++)
    {
        f32x16 next[16];
        UNROLL for (int l = 0; l < 8; l++)
        {
            next[2 * l] = f32_zip_low(rows[l], rows[l + 8]);
            next[2 * l + 1] = f32_zip_high(rows[l], rows[l + 8]);
        }
        UNROLL for (int l = 0; l < 16; l++) rows[l] = next[l];
    }
}

INLINE void u32_put(uint32_t *to, u32x16 a) { f32_store((float *)(void *)to, f32_of_bits(a)); }
INLINE u32x16 u32_get(const uint32_t *from) { return f32_bits(f32_load((const float *)(const void *)from)); }

/* Loads min(n, 16) floats; the other lanes are 0. */
INLINE f32x16 f32_load_first(const float *p, size_t n) { return n < 16 ? f32_load_part(p, n) : f32_load(p); }

/* Stores the first min(n, 16) lanes. */
INLINE void f32_store_first(float *p, f32x16 a, size_t n)
{
    if (n < 16)
        f32_store_part(p, a, n);
    else
        f32_store(p, a);
}

/* The integers have the order of the magnitudes; a NaN gives 0. */
INLINE u32x16 magnitude_bits(f32x16 a)
{
    const u32x16 bits = u32_and(f32_bits(a), u32_set1(MAGNITUDE));
    return u32_select(u32_gt(bits, u32_set1(INFINITE)), u32_set1(0), bits);
}

/* ---- large outputs ---- */
/* A destination larger than this does not fit into the caches, so it is written with non-temporal stores, which do not
 * read the lines first. */
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
