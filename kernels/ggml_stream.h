/* SPDX-License-Identifier: MIT
 * Decodes blocks to arrays larger than the caches: decodes pieces into a buffer that fits L1, then copies them with
 * non-temporal stores. */
enum { STREAM_FLOATS = 2048 }; /* values in the buffer */

/* Copies n floats: whole cache lines of the destination with non-temporal stores, the others with memcpy. */
INLINE void stream_store(const float *from, float *to, size_t n)
{
    size_t at = elements_to_line(to, sizeof *to, n);
    memcpy(to, from, at * sizeof *to);
    for (; at + 16 <= n; at += 16)
        f32_stream(to + at, f32_load(from + at));
    memcpy(to + at, from + at, (n - at) * sizeof *to);
}

/* Decodes n blocks of `bytes` bytes and `elements` values with `dequantize`. Large outputs are decoded piece by
 * piece into a buffer in the cache and copied from there with non-temporal stores. */
INLINE void dequantize_to_stream(organ_dequantize_blocks *dequantize, const uint8_t *blocks, size_t bytes,
                                 size_t elements, float *values, size_t n)
{
    if (n * elements * sizeof *values < STREAM_BYTES) {
        dequantize(blocks, values, n);
        return;
    }
    while (n > 0) {
        _Alignas(64) float some[STREAM_FLOATS];
        const size_t max = STREAM_FLOATS / elements, now = n < max ? n : max;
        dequantize(blocks, some, now);
        stream_store(some, values, now * elements);
        blocks += now * bytes;
        values += now * elements;
        n -= now;
    }
    stream_end();
}

/* Defines dequantize_TYPE_stream, the kernel organ_kernels.dequantize of a block type. */
#define STREAM_DEQUANTIZER(name, type, number, block, elements)                                                        \
    static void dequantize_##type##_stream(const void *blocks, float *values, size_t n)                                \
    {                                                                                                                  \
        dequantize_to_stream(dequantize_##type, blocks, sizeof(block), elements, values, n);                           \
    }
GGML_BLOCK_TYPES(STREAM_DEQUANTIZER)
