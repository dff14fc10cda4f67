/* SPDX-License-Identifier: MIT
 * Tests of the matrices of composed mixtures: noise and factors of each matrix of a stack, in any strips; the
 * distribution of normal noise, and that every part of a stream is the same. */
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/merge/merge_parts.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MATRICES = 3, ROWS = 40, COLS = 50, EACH = ROWS * COLS, ALL = MATRICES * EACH };

/* Applies the method to zeros plus `value` in strips of `rows` rows. */
static void apply(const double *values, uint64_t seed, float value, size_t rows, float *out)
{
    const organ_merge_task task = {.method = &organ_merge_mixture,
                                   .name = "model.layers.0.block_sparse_moe.input_linear.weight",
                                   .shape = {MATRICES, ROWS, COLS},
                                   .rank = 3,
                                   .inputs = 1,
                                   .seed = seed,
                                   .values = values,
                                   .kernels = organ_kernels_scalar};
    float *const input = malloc(ALL * sizeof *input);
    void *const state = aligned_alloc(64, organ_merge_mixture.state(&task) + 64);
    organ_merge_mixture.begin(&task, state);
    for (size_t k = 0; k < ALL; k++)
        input[k] = value;
    for (size_t first = 0; first < MATRICES * ROWS;) {
        const size_t left = ROWS - first % ROWS, n = left < rows ? left : rows;
        const float *const at = input + first * COLS;
        const organ_merge_strip strip = {.first = first, .rows = n, .cols = COLS, .input = &at};
        organ_merge_mixture.apply(&task, state, &strip, out + first * COLS);
        first += n;
    }
    free(input);
    free(state);
}

/* ---- matrices ---- */

START_TEST(each_matrix_has_its_noise_and_factor)
{
    static const double values[] = {0, 0.5, 2, 1, 1, 0.25};
    static float out[ALL], other[ALL];
    apply(values, 7, 3, ROWS, out);
    for (size_t k = 0; k < EACH; k++)
        REQUIRE_MSG(out[k] == 3, "a matrix without noise has %g", (double)out[k]);
    for (size_t m = 1; m < MATRICES; m++) {
        double sum = 0, square = 0;
        for (size_t k = 0; k < EACH; k++) {
            const double x = (double)out[m * EACH + k] / values[MATRICES + m] - 3;
            sum += x;
            square += x * x;
        }
        const double deviation = sqrt(square / EACH), mean = sum / EACH;
        REQUIRE_MSG(fabs(deviation / values[m] - 1) < 0.06, "matrix %zu: deviation %g", m, deviation);
        REQUIRE_MSG(fabs(mean) < 4 * values[m] / sqrt(EACH), "matrix %zu: mean %g", m, mean);
    }
    apply(values, 7, 3, 7, other);
    REQUIRE(memcmp(out, other, sizeof out) == 0);
    apply(values, 8, 3, 7, other);
    REQUIRE(memcmp(out, other, sizeof out) != 0);
}
END_TEST

START_TEST(a_task_without_noise_needs_no_state)
{
    static const double values[] = {0, 0, 0, 1, 2, 3};
    const organ_merge_task task = {.shape = {MATRICES, ROWS, COLS}, .inputs = 1, .values = values};
    static float out[ALL];
    REQUIRE(organ_merge_mixture.state(&task) == 0);
    apply(values, 1, 2, 9, out);
    REQUIRE(out[0] == 2 && out[EACH] == 4 && out[ALL - 1] == 6);
}
END_TEST

/* ---- the distribution ---- */

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The distance of Kolmogorov and Smirnov from the normal distribution, over the bound that one of 1000 samples
 * exceeds. */
START_TEST(noise_is_normal)
{
    enum { N = 40000 };
    static float values[N], part[N];
    float *const levels = organ_normal_levels();
    const uint64_t stream = organ_merge_stream_of("router");
    REQUIRE(levels);
    for (uint64_t seed = 0; seed < 5; seed++) {
        double most = 0;
        memset(values, 0, sizeof values);
        organ_merge_add_normal(organ_kernels_scalar, seed, stream, 0, 1, levels, values, N);
        memset(part, 0, sizeof part);
        organ_merge_add_normal(organ_kernels_scalar, seed, stream, 1001, 1, levels, part, N - 1001);
        REQUIRE(memcmp(part, values + 1001, (N - 1001) * sizeof *part) == 0);
        qsort(values, N, sizeof *values, ascending);
        for (size_t k = 0; k < N; k++)
            most = fmax(most, fabs((k + 0.5) / N - 0.5 * erfc(-(double)values[k] * M_SQRT1_2)));
        REQUIRE_MSG(most < 1.95 / sqrt(N), "seed %llu: distance %g", (unsigned long long)seed, most);
    }
    free(levels);
}
END_TEST

static Suite *merge_noise_suite(void)
{
    const suite_case cases[] = {
        {"matrices", {each_matrix_has_its_noise_and_factor, a_task_without_noise_needs_no_state}},
        {"distribution", {noise_is_normal}}};
    return suite_of("merge_noise", cases, sizeof cases / sizeof *cases, NULL, NULL);
}

int main(void) { return run_suites((Suite *const[]){merge_noise_suite(), NULL}); }
