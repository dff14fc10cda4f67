/* SPDX-License-Identifier: MIT
 * Broken kernels of selections and differences. Each calls the scalar kernel and changes little. */
#include "tests/kernels/kernel_mutants.h"
#include <math.h>

#define RIGHT organ_kernels_scalar

static void counts_zeros_below(const float *values, size_t n, uint64_t *counters)
{
    RIGHT->count_magnitudes(values, n, counters);
    for (size_t c = ORGAN_ZERO_CODES; c < 65536; c++) {
        counters[0] += counters[c];
        counters[c] = 0;
    }
}
static void counts_no_last(const float *values, size_t n, uint64_t *counters)
{
    RIGHT->count_magnitudes(values, n > 4000 ? n - 1 : n, counters);
}
static size_t finds_below(const float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions)
{
    return RIGHT->find_magnitudes(values, n, least, most > least ? most - 1 : most, positions);
}
static size_t finds_in_the_tail(const float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions)
{
    const size_t found = RIGHT->find_magnitudes(values, n, least, most, positions);
    return found && n % 16 && positions[found - 1] == n - 1 ? found - 1 : found;
}
static size_t keeps_negative_zeros(float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions)
{
    const size_t found = RIGHT->keep_magnitudes(values, n, least, most, positions);
    for (size_t k = 0; k < n && least; k++)
        values[k] = values[k] == 0 ? -0.0F : values[k];
    return found;
}
static size_t reports_one_edge(float *values, size_t n, uint32_t least, uint32_t most, uint32_t *positions)
{
    const size_t found = RIGHT->keep_magnitudes(values, n, least, most, positions);
    return least == most ? found : found / 2;
}
static void philox_without_carry(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        RIGHT->philox_uniform(seed, stream, (first + k) & UINT64_C(0x3ffffffff), values + k, 1);
}
static void philox_from_whole_blocks(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n)
{
    RIGHT->philox_uniform(seed, stream, first & ~UINT64_C(3), values, n);
}
static void absolute_sums_by_four(const float *first, const float *second, size_t n, double *sums)
{
    for (size_t k = 0; k < n; k++) {
        sums[k % 4] += (double)fabsf(first[k]);
        sums[8 + k % 4] += (double)fabsf(second[k]);
    }
}
/* Rounds parts below the unit, and forgets the last column. */
static bool squares_without_last(const float *values, size_t stride, size_t rows, size_t n, double *sums)
{
    double parts[4 * 128] = {0};
    const bool all = RIGHT->square_sums(values, stride, rows, n, parts);
    for (size_t p = 0; p < 4; p++)
        for (size_t c = 0; c + 1 < n; c++)
            sums[p * n + c] += parts[p * n + c];
    return all;
}
static bool rounds_small_squares(const float *values, size_t stride, size_t rows, size_t n, double *sums)
{
    const bool all = RIGHT->square_sums(values, stride, rows, n, sums);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < n; c++) {
            const double square = (double)values[r * stride + c] * (double)values[r * stride + c];
            if (square < 0x1p-60)
                sums[3 * n + c] += 0x1p-112 * (rint(square * 0x1p112) - floor(square * 0x1p112));
        }
    return all;
}
static bool infinity_is_small(const float *values, size_t stride, size_t rows, size_t n, double *sums)
{
    return RIGHT->square_sums(values, stride, rows, n, sums) || isinf(values[stride + n - 1]);
}
static bool infinity_is_finite(const float *values, size_t n)
{
    bool any = false;
    for (size_t k = 0; k < n; k++)
        any = any || values[k] != values[k];
    return !any;
}
static bool last_is_finite(const float *values, size_t n) { return RIGHT->all_finite(values, n ? n - 1 : 0); }
static void subtracts_from_base(const float *values, const float *base, size_t n, float *out)
{
    RIGHT->subtract(base, values, n, out);
    for (size_t k = 0; k < n; k++)
        out[k] = -out[k];
}
static void subtracts_vectors(const float *values, const float *base, size_t n, float *out)
{
    RIGHT->subtract(values, base, n, out);
    if (n % 16 == 15)
        out[n] = 0;
}

/* Calls the right kernel with some members changed. */
static void sign_of_zero_is_minus(const organ_differences *d, const float *base, size_t n, float *out)
{
    RIGHT->merge_differences(d, base, n, out);
    for (size_t k = 0; k < n && d->vote && d->count > 1; k++) {
        float all = 0;
        for (size_t m = 0; m < d->count; m++)
            all += d->values[m * d->stride + k] * d->scales[m] * d->weights[m];
        if (all == 0)
            out[k] = base[k];
    }
}
static void divides_by_all_weights(const organ_differences *d, const float *base, size_t n, float *out)
{
    organ_differences plain = *d;
    plain.vote = d->vote && !d->normalize;
    RIGHT->merge_differences(&plain, base, n, out);
}
static void fuses_lambda(const organ_differences *d, const float *base, size_t n, float *out)
{
    organ_differences one = *d;
    one.lambda = 1;
    for (size_t k = 0; k < n; k++) {
        float sum;
        one.values = d->values + k;
        RIGHT->merge_differences(&one, &(float){-0.0F}, 1, &sum);
        out[k] = fmaf(sum, d->lambda, base[k]);
    }
}
static void loses_negative_zero(const organ_differences *d, const float *base, size_t n, float *out)
{
    RIGHT->merge_differences(d, base, n, out);
    for (size_t k = 0; k < n; k++)
        out[k] += 0.0F;
}

#define MUTANT(member, wrong)                                                                                          \
    static void break_##wrong(organ_kernels *k) { k->member = wrong; }
MUTANT(count_magnitudes, counts_zeros_below)
MUTANT(count_magnitudes, counts_no_last)
MUTANT(find_magnitudes, finds_below)
MUTANT(find_magnitudes, finds_in_the_tail)
MUTANT(keep_magnitudes, keeps_negative_zeros)
MUTANT(keep_magnitudes, reports_one_edge)
MUTANT(philox_uniform, philox_without_carry)
MUTANT(philox_uniform, philox_from_whole_blocks)
MUTANT(absolute_sums, absolute_sums_by_four)
MUTANT(square_sums, squares_without_last)
MUTANT(square_sums, rounds_small_squares)
MUTANT(square_sums, infinity_is_small)
MUTANT(all_finite, infinity_is_finite)
MUTANT(all_finite, last_is_finite)
MUTANT(subtract, subtracts_from_base)
MUTANT(subtract, subtracts_vectors)
MUTANT(merge_differences, sign_of_zero_is_minus)
MUTANT(merge_differences, divides_by_all_weights)
MUTANT(merge_differences, fuses_lambda)
MUTANT(merge_differences, loses_negative_zero)

const kernel_mutant selection_mutants[] = {
    {"zeros are counted among the least magnitudes", check_magnitudes, break_counts_zeros_below},
    {"the last of many magnitudes is not counted", check_magnitudes, break_counts_no_last},
    {"the greatest magnitude of a range is not found", check_magnitudes, break_finds_below},
    {"a position at the end is lost", check_magnitudes, break_finds_in_the_tail},
    {"what is left out keeps a sign", check_magnitudes, break_keeps_negative_zeros},
    {"half of the edges are reported", check_magnitudes, break_reports_one_edge},
    {"the counter of Philox stays within a word", check_philox, break_philox_without_carry},
    {"numbers begin with a block", check_philox, break_philox_from_whole_blocks},
    {"four sums instead of eight", check_absolute_sums, break_absolute_sums_by_four},
    {"the last column is left out", check_square_sums, break_squares_without_last},
    {"squares below the unit are rounded", check_square_sums, break_rounds_small_squares},
    {"the square of infinity is taken", check_square_sums, break_infinity_is_small},
    {"infinity is finite", check_all_finite, break_infinity_is_finite},
    {"the last value is not looked at", check_all_finite, break_last_is_finite},
    {"a difference of 0 is negative", check_subtract, break_subtracts_from_base},
    {"a difference is written behind the end", check_subtract, break_subtracts_vectors},
    {"a sum of 0 wins no vote", check_merged_differences, break_sign_of_zero_is_minus},
    {"those that lose the vote are divided by", check_merged_differences, break_divides_by_all_weights},
    {"the product with lambda is not rounded", check_merged_differences, break_fuses_lambda},
    {"a negative zero of the base is lost", check_merged_differences, break_loses_negative_zero},
};
const size_t selection_mutant_count = sizeof selection_mutants / sizeof *selection_mutants;
