/* SPDX-License-Identifier: MIT
 * The tries of the search for a scale (organ_scale_search): their scales, and the errors of values with them. A lane of
 * the vectors `scales`, `inverses` and `errors` stands for a try. */
enum { SEARCH_TRIES = 16 };
#define SEARCH_ROUNDING 0x1.8p23f /* adding it rounds to whole numbers, ties to even */

typedef struct scale_tries {
    float scales[SEARCH_TRIES], inverses[SEARCH_TRIES];
    float farthest; /* magnitude of the value of largest magnitude */
    float ends[2];  /* the greatest value and the least one, for search_whole.h */
} scale_tries;

typedef float tried_errors[SEARCH_TRIES];

/* Steps of the tries from try 0, in numbers of the stored type: E8M0 has a step for each power of 2, and scales twice
 * or half as large as those tried are never better. */
static const union {
    uint32_t words[SEARCH_TRIES];
    float floats[SEARCH_TRIES]; /* the same bits, to load them */
} search_steps[2] = {{{0, -1u, 1}}, {{0, -1u, 1, -2u, 2, -3u, 3, -4u, 4, -5u, 5, -6u, 6, -7u, 7, 8}}};

/* Returns the bits of the stored number of try 0 for the greatest magnitude in each lane. */
INLINE u32x16 first_tries(const organ_scale_search *search, f32x16 farthest)
{
    const u32x16 least = f32_bits(f32_set1(search->least)), greatest = f32_bits(f32_set1(search->greatest)),
                 all = u32_set1(~0u << (23 - search->fraction));
    const f32x16 exact = f32_div(farthest, f32_set1(search->peaks[0]));
    const uint32_t carry = (1u << (23 - search->fraction)) - search->up;
    const u32x16 first = u32_and(u32_add(u32_min(f32_bits(exact), greatest), u32_set1(carry)), all);
    return u32_max(u32_min(first, greatest), least);
}

/* Returns the bits of the stored numbers of the tries. Bits of positive numbers have the order of the numbers. */
INLINE u32x16 stepped_tries(const organ_scale_search *search, float farthest)
{
    const u32x16 least = f32_bits(f32_set1(search->least)), greatest = f32_bits(f32_set1(search->greatest));
    const u32x16 steps = f32_bits(f32_load(search_steps[search->fraction > 0].floats));
    const u32x16 moved = search->fraction ? u32_sll(steps, 20) : u32_sll(steps, 23);
    const u32x16 first = first_tries(search, f32_set1(__builtin_fabsf(farthest)));
    return u32_min(u32_max(u32_add(first, moved), least), greatest);
}

/* E4M3 numbers count from the subnormal ones on: number c below 8 is c 2^-9. */
INLINE float e4m3_number(int c)
{
    const uint32_t bits = ((uint32_t)(c > 8 ? c : 8) << 20) + (120u << 23);
    float normal;
    memcpy(&normal, &bits, sizeof normal);
    return c < 8 ? (float)c * 0x1p-9f : normal;
}

INLINE int min_int(int a, int b) { return a < b ? a : b; }

INLINE void subnormal_tries(float exact, float *scales)
{
    uint32_t bits;
    const float small = exact * 512 + SEARCH_ROUNDING - SEARCH_ROUNDING, within = exact < 448 ? exact : 448;
    memcpy(&bits, &within, sizeof bits);
    const int first = exact < 0x1p-6f ? (int)small : (int)((bits + (1u << 19) - (120u << 23)) >> 20);
    for (int k = 0; k < SEARCH_TRIES; k++) {
        const int c = first + (int)search_steps[1].words[k];
        scales[k] = e4m3_number(min_int(c < 1 ? 1 : c, 126));
    }
}

INLINE void begin_tries(const organ_scale_search *search, float farthest, scale_tries *t)
{
    t->farthest = __builtin_fabsf(farthest);
    if (search->stepped) {
        f32_store(t->scales, f32_of_bits(stepped_tries(search, farthest)));
        if (search->subnormal)
            subnormal_tries(__builtin_fabsf(farthest) / search->peaks[0], t->scales);
        const f32x16 scales = f32_load(t->scales);
        f32_store(t->inverses, f32_div(f32_set1(1), scales));
        t->scales[0] = farthest != 0 ? t->scales[0] : search->of_zeros;
        return;
    }
    const f32x16 magnitude = f32_set1(__builtin_fabsf(farthest)), peaks = f32_load(search->peaks);
    const m32x16 after = u32_gt(u32_lanes(), u32_set1(0));
    const f32x16 by = search->signs ? f32_select(after, f32_set1(farthest), magnitude) : magnitude;
    f32x16 scales = f32_div(by, peaks);
    if (search->bf16)
        scales = f32_of_bits(u32_and(bf16_rounded(scales, u32_set1(0x7fc00000)), u32_set1(0xffff0000)));
    f32_store(t->scales, scales);
    f32_store(t->inverses, f32_div(f32_set1(1), scales));
    if (!(t->scales[0] > 0))
        t->scales[0] = search->of_zeros;
}

/* Returns x minus the nearest whole code in low .. high times the scale. `low` and `high` are the bits of these codes
 * with SEARCH_ROUNDING added. `moved` is positive, so its bits have the order of the numbers; they are limited as
 * integers because some CPUs compare floats in the units that multiply, which have most to do here. */
INLINE f32x16 lost_by_integer(f32x16 x, f32x16 inverse, f32x16 scale, u32x16 low, u32x16 high)
{
    const f32x16 rounds = f32_set1(SEARCH_ROUNDING), moved = f32_fma(x, inverse, rounds);
    const u32x16 code = u32_max(u32_min(f32_bits(moved), high), low);
    return f32_fnma(f32_sub(f32_of_bits(code), rounds), scale, x);
}

/* Codes of a search; the value of a constant parameter `codes`. */
enum { SEARCH_INTEGERS, SEARCH_E4M3, SEARCH_E2M1 };

INLINE int search_codes(const organ_scale_search *search)
{
    const int floats = search->e4m3 ? SEARCH_E4M3 : SEARCH_E2M1;
    return search->e4m3 || search->e2m1 ? floats : SEARCH_INTEGERS;
}

/* float_codes explains the rounding. x >= 0. */
INLINE f32x16 lost_by_float(f32x16 x, f32x16 inverse, f32x16 scale, const int fraction, const int least,
                            const float greatest)
{
    const u32x16 moved = u32_min(f32_bits(f32_mul(x, inverse)), f32_bits(f32_set1(greatest)));
    const u32x16 exponent = u32_max(u32_and(moved, u32_set1(INFINITE)), u32_set1((uint32_t)(127 + least) << 23));
    const f32x16 rounds = f32_of_bits(u32_add(exponent, u32_set1((uint32_t)(23 - fraction) << 23)));
    return f32_fnma(f32_sub(f32_add(f32_of_bits(moved), rounds), rounds), scale, x);
}

INLINE f32x16 lost_by(const int codes, f32x16 x, f32x16 inverse, f32x16 scale, u32x16 low, u32x16 high)
{
    if (codes == SEARCH_INTEGERS)
        return lost_by_integer(x, inverse, scale, low, high);
    return codes == SEARCH_E4M3 ? lost_by_float(x, inverse, scale, 3, -6, 448)
                                : lost_by_float(x, inverse, scale, 1, 0, 6);
}

/* Adds to sums[k] the errors of 16 values of each of `count` vectors, 1 or 2, with try k < `together`. With `weighted`
 * multiplies the errors by the weights of the columns. */
INLINE void add_lost(const organ_scale_search *search, const f32x16 *x, const f32x16 *weights, const int count,
                     const float *inverses, const float *scales, f32x16 *sums, const int together, const int codes,
                     const int weighted)
{
    const u32x16 low = f32_bits(f32_set1(search->low + SEARCH_ROUNDING)),
                 high = f32_bits(f32_set1(search->high + SEARCH_ROUNDING));
    UNROLL for (int k = 0; k < together; k++)
    {
        const f32x16 inverse = f32_set1(inverses[k]), scale = f32_set1(scales[k]);
        UNROLL for (int v = 0; v < count; v++)
        {
            const f32x16 lost = lost_by(codes, x[v], inverse, scale, low, high);
            sums[k] = f32_fma(weighted ? f32_mul(lost, weights[v]) : lost, lost, sums[k]);
        }
    }
}

INLINE f32x16 load_tried(const float *values, size_t n, const int codes)
{
    const f32x16 x = n < 16 ? f32_load_part(values, n) : f32_load(values);
    return codes != SEARCH_INTEGERS ? f32_of_bits(u32_and(f32_bits(x), u32_set1(MAGNITUDE))) : x;
}

/* Sets sums[k] to the errors of try k < `together`, by column. `weights` are those of the columns, if `weighted`. */
INLINE void sum_tries(const organ_scale_search *search, const float *values, const float *weights, size_t stride,
                      size_t rows, size_t n, const float *inverses, const float *scales, f32x16 *sums,
                      const int together, const int codes, const int weighted)
{
    f32x16 x[2], by[2];
    UNROLL for (int k = 0; k < together; k++) sums[k] = f32_set1(0);
    for (size_t r = 0; r < rows; r++) {
        const float *const row = values + r * stride;
        size_t at = 0;
        for (; n - at >= 32; at += 32) {
            x[0] = load_tried(row + at, 16, codes);
            x[1] = load_tried(row + at + 16, 16, codes);
            by[0] = weighted ? f32_load(weights + at) : x[0];
            by[1] = weighted ? f32_load(weights + at + 16) : x[1];
            add_lost(search, x, by, 2, inverses, scales, sums, together, codes, weighted);
        }
        for (; at < n; at += 16) {
            x[0] = load_tried(row + at, n - at < 16 ? n - at : 16, codes);
            by[0] = weighted ? load_tried(weights + at, n - at < 16 ? n - at : 16, SEARCH_INTEGERS) : x[0];
            add_lost(search, x, by, 1, inverses, scales, sums, together, codes, weighted);
        }
    }
}

/* Each lane has a try. */
INLINE f32x16 sum_errors(const organ_scale_search *search, const float *values, const float *weights, size_t stride,
                         size_t rows, size_t n, const scale_tries *t, const int codes, const int weighted)
{
    _Alignas(64) float by_lane[SEARCH_TRIES][16];
    for (int first = 0; first < SEARCH_TRIES; first += SEARCH_TOGETHER) {
        f32x16 sums[SEARCH_TOGETHER];
        sum_tries(search, values, weights, stride, rows, n, t->inverses + first, t->scales + first, sums,
                  SEARCH_TOGETHER, codes, weighted);
        UNROLL for (int k = 0; k < SEARCH_TOGETHER; k++) f32_store(by_lane[first + k], sums[k]);
    }
    return f32_fold_rows(by_lane[0]);
}
