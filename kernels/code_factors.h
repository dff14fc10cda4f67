/* SPDX-License-Identifier: MIT
 * Codes in pairs of vectors, 32 elements: one cache line of 16-bit values, or 16 bytes of 4-bit codes. */
enum { PAIR = 32 }; /* elements of two vectors */

/* ---- scales and zero points by element ---- */
typedef struct code_factors {
    const float *scales, *zeros; /* of the current group and those after it; zeros may be NULL */
    size_t group, group_left;    /* elements of a group; elements of the current group from the position on */
} code_factors;

typedef struct factor_pair {
    f32x16 scale[2], zero[2];
} factor_pair;

/* The position moves past n <= group_left elements; after the last element of a group it moves to the next group. */
INLINE void pass_factors(code_factors *f, size_t n)
{
    f->group_left -= n;
    if (f->group_left == 0) {
        f->group_left = f->group;
        f->scales++;
        f->zeros = f->zeros ? f->zeros + 1 : NULL;
    }
}

/* The next n <= 16 elements may belong to several groups. Further lanes have no meaning. Reads no factor after that
 * of the last element. */
INLINE void next_factors(code_factors *f, size_t n, f32x16 *scale, f32x16 *zero)
{
    if (n > 0 && f->group_left >= n) {
        *scale = f32_set1(*f->scales);
        *zero = f32_set1(f->zeros ? *f->zeros : 0.0f);
        pass_factors(f, n);
        return;
    }
    float scales[16] = {0}, zeros[16] = {0};
    for (size_t l = 0; l < n; l++) {
        scales[l] = *f->scales;
        zeros[l] = f->zeros ? *f->zeros : 0.0f;
        pass_factors(f, 1);
    }
    *scale = f32_load(scales);
    *zero = f32_load(zeros);
}

SHARED void factors_by_element(code_factors *f, size_t n, factor_pair *pair)
{
    const size_t first = min_size(n, 16);
    next_factors(f, first, &pair->scale[0], &pair->zero[0]);
    next_factors(f, n - first, &pair->scale[1], &pair->zero[1]);
}

/* factors_by_element for the next 32 elements, which usually are in one group. Passes copies to the other function,
 * so that *f and *pair stay in registers. */
INLINE void next_factor_pair(code_factors *f, factor_pair *pair)
{
    if (f->group_left < PAIR) {
        code_factors after = *f;
        factor_pair some;
        factors_by_element(&after, PAIR, &some);
        *f = after;
        *pair = some;
        return;
    }
    pair->scale[0] = pair->scale[1] = f32_set1(*f->scales);
    pair->zero[0] = pair->zero[1] = f32_set1(f->zeros ? *f->zeros : 0.0f);
    pass_factors(f, PAIR);
}

/* ---- bytes of codes ---- */
INLINE int is_nibble(const organ_code code) { return code == ORGAN_CODE_E2M1 || code == ORGAN_CODE_U4; }
INLINE size_t code_bytes(size_t n, const organ_code code) { return is_nibble(code) ? n / 2 + n % 2 : n; }
