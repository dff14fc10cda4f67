/* SPDX-License-Identifier: MIT
 * Kernels that select values by their magnitude or at random: histograms, positions and masks of magnitudes, Philox
 * numbers, and sums of absolute values and of squares. */
#include "kernels/simd/isa.h"
#ifdef ISA

INLINE f32x16 load_some(const float *from, size_t n) { return n < 16 ? f32_load_part(from, n) : f32_load(from); }

#define CODES     1024 /* codes that are counted at once */
#define CODE_BITS 16   /* leading bits of a magnitude of 31 bits */

/* All codes of a chunk are stored before they are counted: a load from words that were stored just before would stall.
 * Zeros are counted apart, in 16 counters, because increments of one counter wait for each other. */
void KERNEL(count_magnitudes)(const float *values, size_t n, uint64_t *counters)
{
    const u32x16 zero_codes = u32_add(u32_lanes(), u32_set1(ORGAN_ZERO_CODES));
    uint16_t codes[CODES];
    size_t found = 0;
    for (size_t at = 0; at < n; at += 16) {
        const size_t some = n - at < 16 ? n - at : 16;
        const u32x16 magnitudes = u32_and(f32_bits(load_some(values + at, some)), u32_set1(MAGNITUDE));
        const m32x16 zero = u32_eq(magnitudes, u32_set1(0));
        if (m32_count(zero) == 16) {
            counters[ORGAN_ZERO_CODES] += some;
            continue;
        }
        u16_store(codes + found, u32_narrow(u32_select(zero, zero_codes, u32_srl(magnitudes, 31 - CODE_BITS))));
        found += some;
        if (found > CODES - 16) {
            KERNEL(count_codes)(codes, found, counters);
            found = 0;
        }
    }
    KERNEL(count_codes)(codes, found, counters);
}

/* Appends the positions of the bits that are set, and returns the new number of positions. Four are stored at a time,
 * because the end of a loop over single bits is hard to predict: up to three stores are in vain. */
INLINE size_t append(uint64_t bits, size_t at, uint32_t *positions, size_t found)
{
    const size_t end = found + (size_t)__builtin_popcountll(bits);
    for (size_t i = found; i < end; i += 4)
        for (size_t k = i; k < i + 4; k++, bits &= bits - 1)
            positions[k] = (uint32_t)at + (uint32_t)__builtin_ctzll(bits | (uint64_t)1 << 63);
    return end;
}

/* Appends those of fewer than 16 lanes, without stores in vain. */
INLINE size_t append_few(unsigned bits, size_t at, uint32_t *positions, size_t found)
{
    for (; bits; bits &= bits - 1)
        positions[found++] = (uint32_t)at + (uint32_t)__builtin_ctz(bits);
    return found;
}

INLINE m32x16 between(u32x16 magnitudes, u32x16 least, u32x16 most)
{
    return u32_eq(u32_min(u32_max(magnitudes, least), most), magnitudes);
}

INLINE u32x16 magnitudes_at(const float *values) { return u32_and(f32_bits(f32_load(values)), u32_set1(MAGNITUDE)); }

size_t KERNEL(find_magnitudes)(const float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions)
{
    const u32x16 from = u32_set1(least), to = u32_set1(most);
    size_t found = 0, at = 0;
    for (; at + 64 <= n; at += 64) {
        uint64_t bits = 0;
        UNROLL for (size_t k = 0; k < 64; k += 16) bits |=
            (uint64_t)m32_bits(between(magnitudes_at(values + at + k), from, to)) << k;
        found = append(bits, at, positions, found);
    }
    for (; at < n; at += 16) {
        const size_t some = n - at < 16 ? n - at : 16;
        const u32x16 magnitudes = u32_and(f32_bits(load_some(values + at, some)), u32_set1(MAGNITUDE));
        const unsigned there = (1U << some) - 1;
        found = append_few(m32_bits(between(magnitudes, from, to)) & there, at, positions, found);
    }
    return found;
}

/* A kernel keeps the magnitudes from `least` to `most`, and reports the positions of those that equal an edge. An edge
 * of 0 is replaced by a value with the sign bit, which no magnitude equals. */
typedef struct kept_range {
    u32x16 least, most, first_edge, last_edge;
} kept_range;

/* Returns the lanes that are kept, and sets *edges to those that are reported. */
INLINE m32x16 kept_in(const kept_range *r, f32x16 values, unsigned *edges)
{
    const u32x16 magnitudes = u32_and(f32_bits(values), u32_set1(MAGNITUDE));
    const m32x16 kept = between(magnitudes, r->least, r->most);
    *edges = m32_bits(u32_eq(magnitudes, r->first_edge)) | m32_bits(u32_eq(magnitudes, r->last_edge));
    *edges &= m32_bits(kept);
    return kept;
}

size_t KERNEL(keep_magnitudes)(float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions)
{
    const kept_range range = {u32_set1(least), u32_set1(most), u32_set1(least ? least : ~MAGNITUDE),
                              u32_set1(most ? most : ~MAGNITUDE)};
    size_t found = 0, at = 0;
    for (; at + 64 <= n; at += 64) {
        uint64_t bits = 0;
        UNROLL for (size_t k = 0; k < 64; k += 16)
        {
            const f32x16 v = f32_load(values + at + k);
            unsigned edges;
            f32_store(values + at + k, f32_of_bits(u32_keep(kept_in(&range, v, &edges), f32_bits(v))));
            bits |= (uint64_t)edges << k;
        }
        found = append(bits, at, positions, found);
    }
    for (; at < n; at += 16) {
        const size_t some = n - at < 16 ? n - at : 16;
        const f32x16 v = load_some(values + at, some);
        unsigned edges;
        const f32x16 result = f32_of_bits(u32_keep(kept_in(&range, v, &edges), f32_bits(v)));
        some < 16 ? f32_store_part(values + at, result, some) : f32_store(values + at, result);
        found = append_few(edges & ((1U << some) - 1), at, positions, found);
    }
    return found;
}

/* ---- Philox4x32-10 (Salmon et al. 2011) ---- */

/* One round for a word pair: returns the high product xor the other words, and sets *low to the low product. */
INLINE u32x16 philox_half(u32x16 word, uint32_t factor, u32x16 other, uint32_t key, u32x16 *low)
{
    const u32x16 high = u32_multiply(word, factor, low);
    return u32_xor(u32_xor(high, other), u32_set1(key));
}

/* Maps the upper 24 bits of each word to a multiple of 2^-23 from -1 on; each step is exact. */
INLINE f32x16 philox_numbers(u32x16 words)
{
    return f32_mul(f32_sub(f32_of_u32(u32_srl(words, 8)), f32_set1(0x1p23f)), f32_set1(0x1p-23f));
}

/* Writes the 64 numbers of 16 blocks from `block` on. */
INLINE void philox_blocks(uint64_t seed, uint64_t stream, uint64_t block, float *values)
{
    const uint32_t low = (uint32_t)block, before = UINT32_MAX - low; /* blocks before the low word is 0 again */
    const m32x16 carry = u32_gt(u32_lanes(), u32_set1(before < 16 ? before : 16));
    u32x16 c0 = u32_add(u32_lanes(), u32_set1(low)),
           c1 = u32_add(u32_set1((uint32_t)(block >> 32)), u32_keep(carry, u32_set1(1))),
           c2 = u32_set1((uint32_t)stream), c3 = u32_set1((uint32_t)(stream >> 32));
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        u32x16 a_low, b_low;
        const u32x16 b = philox_half(c2, 0xCD9E8D57u, c1, k0, &b_low), a = philox_half(c0, 0xD2511F53u, c3, k1, &a_low);
        c0 = b, c1 = b_low, c2 = a, c3 = a_low;
    }
    const f32x16 w0 = philox_numbers(c0), w1 = philox_numbers(c1), w2 = philox_numbers(c2), w3 = philox_numbers(c3);
    const f32x16 even = f32_zip_low(w0, w2), odd = f32_zip_low(w1, w3);
    f32_store(values, f32_zip_low(even, odd));
    f32_store(values + 16, f32_zip_high(even, odd));
    const f32x16 even_high = f32_zip_high(w0, w2), odd_high = f32_zip_high(w1, w3);
    f32_store(values + 32, f32_zip_low(even_high, odd_high));
    f32_store(values + 48, f32_zip_high(even_high, odd_high));
}

void KERNEL(philox_uniform)(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n)
{
    size_t done = 0;
    while (done < n) {
        const uint64_t at = first + done;
        const size_t skipped = (size_t)(at % 4), some = n - done < 64 - skipped ? n - done : 64 - skipped;
        if (some == 64) {
            philox_blocks(seed, stream, at / 4, values + done);
        } else {
            float numbers[64];
            philox_blocks(seed, stream, at / 4, numbers);
            __builtin_memcpy(values + done, numbers + skipped, some * sizeof *values);
        }
        done += some;
    }
}

/* ---- sums ---- */

/* Lanes 0 to 7 are the sums of `first`, the others those of `second`: both are one chain of additions. */
void KERNEL(absolute_sums)(const float *first, const float *second, size_t n, double *sums)
{
    f64x16 total = f64_load(sums);
    size_t at = 0;
    for (; at + 8 <= n; at += 8) {
        const f32x16 both = f32_load_halves(first + at, second + at);
        const f32x16 sizes = f32_of_bits(u32_and(f32_bits(both), u32_set1(MAGNITUDE)));
        total = f64_add(total, f64_of_f32(sizes));
    }
    f64_store(sums, total);
    for (size_t lane = 0; at + lane < n; lane++) {
        sums[lane] += (double)__builtin_fabsf(first[at + lane]);
        sums[8 + lane] += (double)__builtin_fabsf(second[at + lane]);
    }
}

/* A square, which is below 2^60, is divided into four parts. Adding and subtracting addends[p], which is 1.5 x 2^52
 * units of part p, rounds a number to whole units. The fourth part is the remainder, cut to whole units of 2^-112. */
#define PARTS 4
static const double addends[PARTS - 1] = {0x1.8p69, 0x1.8p26, 0x1.8p-17};

INLINE void add_squares(f32x16 values, f64x16 sums[PARTS])
{
    const f64x16 wide = f64_of_f32(values);
    f64x16 rest = f64_mul(wide, wide);
    UNROLL for (int p = 0; p < PARTS - 1; p++)
    {
        const f64x16 addend = f64_set1(addends[p]), part = f64_sub(f64_add(rest, addend), addend);
        sums[p] = f64_add(sums[p], part);
        rest = f64_sub(rest, part);
    }
    sums[PARTS - 1] = f64_add(sums[PARTS - 1], f64_floor(f64_mul(rest, f64_set1(0x1p112))));
}

bool KERNEL(square_sums)(const float *values, size_t stride, size_t rows, size_t n, double *sums)
{
    const u32x16 most = u32_set1(0x4e800000); /* 2^30 */
    u32x16 greatest = u32_set1(0);
    double parts[PARTS][16];
    for (size_t c = 0; c < n; c += 16) {
        const size_t some = n - c < 16 ? n - c : 16;
        f64x16 total[PARTS];
        UNROLL for (int p = 0; p < PARTS; p++) total[p] = f64_set1(0);
        for (size_t r = 0; r < rows; r++) {
            const f32x16 row = load_some(values + r * stride + c, some);
            greatest = u32_max(greatest, u32_and(f32_bits(row), u32_set1(MAGNITUDE)));
            add_squares(row, total);
        }
        total[PARTS - 1] = f64_mul(total[PARTS - 1], f64_set1(0x1p-112));
        UNROLL for (int p = 0; p < PARTS; p++) f64_store(parts[p], total[p]);
        for (size_t p = 0; p < PARTS; p++)
            for (size_t lane = 0; lane < some; lane++)
                sums[p * n + c + lane] += parts[p][lane];
    }
    return m32_count(u32_eq(u32_min(greatest, most), greatest)) == 16;
}

#endif
