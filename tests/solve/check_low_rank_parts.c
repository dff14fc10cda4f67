/* SPDX-License-Identifier: MIT
 * Tests of random numbers by position, and of decompositions of products. */
#include "orchestrator/solve/ridge_parts.h"
#include "tests/solve/low_rank_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers ---- */

/* Test vectors published by the authors of Philox. */
START_TEST(words_are_the_published_ones)
{
    static const uint32_t cases[][10] = {{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                         {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
                                          0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (size_t k = 0; k < 3; k++) {
        uint32_t words[4];
        organ_philox4x32(cases[k], cases[k] + 4, words);
        ck_assert_mem_eq(words, cases[k] + 6, sizeof words);
    }
}
END_TEST

START_TEST(numbers_do_not_depend_on_the_cut)
{
    enum { N = 1001 };
    float whole[2][N], part[N];
    organ_philox_uniform(7, 3, 0, whole[0], N);
    organ_philox_normal(7, 3, 0, whole[1], N);
    for (size_t first = 0; first < N; first += 1 + first / 3) {
        organ_philox_uniform(7, 3, first, part, N - first);
        ck_assert_mem_eq(part, whole[0] + first, (N - first) * sizeof *part);
        organ_philox_normal(7, 3, first, part, N - first);
        ck_assert_mem_eq(part, whole[1] + first, (N - first) * sizeof *part);
    }
    organ_philox_uniform(8, 3, 0, part, N);
    ck_assert(memcmp(part, whole[0], sizeof part) != 0);
    organ_philox_uniform(7, 4, 0, part, N);
    ck_assert(memcmp(part, whole[0], sizeof part) != 0);
}
END_TEST

START_TEST(numbers_are_distributed_as_they_should_be)
{
    enum { N = 200000 };
    float *values = malloc(N * sizeof *values);
    for (int normal = 0; normal < 2; normal++) {
        (normal ? organ_philox_normal : organ_philox_uniform)(1, 0, 0, values, N);
        double sum = 0, square = 0, fourth = 0, neighbours = 0;
        for (size_t k = 0; k < N; k++) {
            const double x = (double)values[k];
            sum += x;
            square += x * x;
            fourth += x * x * x * x;
            neighbours += k ? x * (double)values[k - 1] : 0;
            REQUIRE(normal ? fabs(x) < 6.7 : x >= -1 && x < 1);
        }
        const double variance = normal ? 1 : 1.0 / 3;
        ck_assert_double_eq_tol(sum / N, 0, 0.01);
        ck_assert_double_eq_tol(square / N, variance, 0.01);
        ck_assert_double_eq_tol(fourth / N, normal ? 3 : 0.2, 0.05);
        ck_assert_double_eq_tol(neighbours / N, 0, 0.01);
    }
    free(values);
}
END_TEST

/* ---- products ---- */

static float *product(const float *b, const float *a, size_t out, size_t inner, size_t in)
{
    float *w = malloc(out * in * sizeof *w);
    for (size_t i = 0; i < out; i++)
        for (size_t j = 0; j < in; j++) {
            double sum = 0;
            for (size_t k = 0; k < inner; k++)
                sum += (double)b[i * inner + k] * (double)a[k * in + j];
            w[i * in + j] = (float)sum;
        }
    return w;
}

START_TEST(products_are_decomposed_whole)
{
    static const size_t shapes[][3] = {{40, 6, 70}, {70, 6, 40}, {5, 9, 30}, {30, 9, 5},
                                       {4, 50, 4},  {1, 1, 1},   {1, 3, 17}, {33, 1, 2}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const size_t out = shapes[k][0], inner = shapes[k][1], in = shapes[k][2];
        float *b = noise_matrix(k, out, inner), *a = noise_matrix(100 + k, inner, in),
              *w = product(b, a, out, inner, in);
        organ_svd svd;
        organ_error error = {0};
        ck_assert_msg(organ_factored_svd(organ_kernels_scalar, b, a, out, inner, in, &svd, &error) == ORGAN_OK, "%s",
                      error.message);
        const size_t least = out < in ? out : in;
        ck_assert_uint_eq(svd.rank, least < inner ? least : inner);
        ck_assert(svd.rows == out && svd.cols == in);
        ck_assert(worst_angle(svd.u, out, svd.rank) < 1e-5 && worst_angle(svd.vt, in, svd.rank) < 1e-5);
        for (size_t i = 1; i < svd.rank; i++)
            ck_assert(svd.sigma[i] <= svd.sigma[i - 1] && svd.sigma[i] >= 0);
        ck_assert_double_lt(distance(w, &svd), 3e-6 * norm_of(w, out * in));
        organ_svd_release(&svd);
        free(b);
        free(a);
        free(w);
    }
}
END_TEST

START_TEST(products_of_zeros_and_of_lesser_rank)
{
    float b[12 * 4] = {0}, a[4 * 9] = {0};
    organ_svd svd;
    organ_error error = {0};
    ck_assert_int_eq(organ_factored_svd(organ_kernels_scalar, b, a, 12, 4, 9, &svd, &error), ORGAN_OK);
    ck_assert(svd.rank == 4 && norm_of(svd.sigma, 4) == 0 && worst_angle(svd.u, 12, 4) < 1e-5);
    organ_svd_release(&svd);
    b[5] = 2;
    a[10] = 3; /* entry (1, 1) of b and of a */
    ck_assert_int_eq(organ_factored_svd(organ_kernels_scalar, b, a, 12, 4, 9, &svd, &error), ORGAN_OK);
    ck_assert(fabs((double)svd.sigma[0] - 6) < 1e-5 && norm_of(svd.sigma + 1, 3) < 1e-6);
    organ_svd_release(&svd);
    ck_assert_int_eq(organ_factored_svd(organ_kernels_scalar, b, a, 12, 0, 9, &svd, &error), ORGAN_USAGE);
    ck_assert_ptr_null(svd.u);
}
END_TEST

Suite *low_rank_random_suite(void)
{
    const suite_case cases[] = {
        {"random",
         {words_are_the_published_ones, numbers_do_not_depend_on_the_cut, numbers_are_distributed_as_they_should_be}}};
    return suite_of("random", cases, sizeof cases / sizeof *cases, NULL, NULL);
}

Suite *low_rank_factored_suite(void)
{
    const suite_case cases[] = {{"products", {products_are_decomposed_whole, products_of_zeros_and_of_lesser_rank}}};
    return suite_of("factored", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
