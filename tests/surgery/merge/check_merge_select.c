/* SPDX-License-Identifier: MIT
 * Tests the exact choice of the largest elements: cuts by passes of several workers are those of sorted keys, and
 * ranked choices those of sorted rows, with many equal values and hashes that are not evenly spread. */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/merge/merge_parts.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"

#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3, PART = 7001, MOST = 300000 };

/* Kinds of values; HASHED ones are 0 unless the hash of their number is in the lowest or the highest eighth. */
enum { SPREAD, NEAR, FEW, EQUAL, SPARSE, HASHED, ZERO, KINDS };

static float *values;
static uint64_t *sorted, *counters[WORKERS];

static void setup(void)
{
    values = malloc(MOST * sizeof *values);
    sorted = malloc(MOST * sizeof *sorted);
    for (size_t k = 0; k < WORKERS; k++)
        counters[k] = malloc(organ_merge_cut_counters(MOST) * sizeof **counters);
    REQUIRE(values && sorted);
}

static void teardown(void)
{
    free(values);
    free(sorted);
    for (size_t k = 0; k < WORKERS; k++)
        free(counters[k]);
}

static bool is_at_an_end(uint64_t element)
{
    const uint64_t hash = organ_merge_key(0, element), eighth = ORGAN_MERGE_KEYS / 8;
    return hash < eighth || hash >= 7 * eighth;
}

static void fill(unsigned kind, size_t n, uint64_t first)
{
    organ_philox_uniform(kind, 0, 0, values, n);
    for (size_t k = 0; k < n; k++) {
        const float v = values[k];
        const float of_kind[KINDS] = {[SPREAD] = v,
                                      [NEAR] = 1 + v * 0x1p-12F,
                                      [FEW] = (float)(int)(v * 4),
                                      [EQUAL] = k % 2 ? 3 : -3,
                                      [SPARSE] = v > .4F ? v : 0,
                                      [HASHED] = is_at_an_end(first + k) ? 1.5F : 0,
                                      [ZERO] = k % 2 ? 0.0F : -0.0F};
        values[k] = of_kind[kind];
    }
}

static int descending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Returns the number of passes. */
static unsigned run_cut(organ_merge_cut *cut, size_t n, uint64_t first)
{
    unsigned passes = 0;
    for (; !cut->done; passes++) {
        for (size_t k = 0; k < WORKERS; k++)
            memset(counters[k], 0, organ_merge_cut_counters(n) * sizeof **counters);
        for (size_t from = 0, part = 0; from < n; from += PART, part++)
            organ_merge_cut_count(cut, organ_kernels_scalar, n, values + from, first + from,
                                  n - from < PART ? n - from : PART, counters[part % WORKERS]);
        for (size_t k = 1; k < WORKERS; k++)
            organ_merge_cut_join(cut, n, counters[0], counters[k]);
        organ_merge_cut_narrow(cut, n, counters[0]);
        REQUIRE_MSG(passes < 40, "the cut is not found");
    }
    return passes;
}

static void check_cut(unsigned kind, size_t n, uint64_t first, uint64_t wanted, unsigned most_passes)
{
    organ_merge_cut cut;
    organ_merge_cut_begin(&cut, wanted, n);
    const unsigned passes = run_cut(&cut, n, first);
    ck_assert_msg(passes <= most_passes, "kind %u, %zu elements, %llu wanted: %u passes", kind, n,
                  (unsigned long long)wanted, passes);
    for (size_t k = 0; k < n; k++) {
        const bool above = wanted && organ_merge_key(values[k], first + k) >= sorted[wanted - 1];
        ck_assert_msg(values[k] == 0 || organ_merge_above(&cut, values[k], first + k) == above,
                      "kind %u, %zu elements, %llu wanted: element %zu", kind, n, (unsigned long long)wanted, k);
    }
}

/* Two passes find most cuts, three those among few of the elements that have their leading bits in common. */
START_TEST(cuts_are_those_of_sorted_keys)
{
    static const size_t sizes[] = {1, 2, 777, 16384, 16385, 70001, MOST};
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const size_t n = sizes[s];
            const uint64_t first = s % 2 ? UINT64_C(1) << 32 : 5;
            fill(kind, n, first);
            for (size_t k = 0; k < n; k++)
                sorted[k] = organ_merge_key(values[k], first + k);
            qsort(sorted, n, sizeof *sorted, descending);
            const uint64_t wanted[] = {0, 1, n / 10, n / 4, n / 2, n - n / 8, n - 1, n};
            for (size_t w = 0; w < sizeof wanted / sizeof *wanted; w++)
                check_cut(kind, n, first, wanted[w], kind == HASHED ? 40 : 3);
        }
}
END_TEST

START_TEST(elements_that_vary_are_counted)
{
    for (size_t n = 1000; n < 100000; n *= 50) {
        organ_merge_cut cut = {0};
        fill(SPARSE, n, 0);
        uint64_t expected = 0;
        for (size_t k = 0; k < n; k++)
            expected += values[k] != 0;
        memset(counters[0], 0, organ_merge_cut_counters(n) * sizeof **counters);
        organ_merge_cut_count(&cut, organ_kernels_scalar, n, values, 0, n, counters[0]);
        ck_assert_uint_eq(organ_merge_cut_varying(n, counters[0]), expected);
    }
}
END_TEST

/* ---- choices by ranks ---- */

enum { SEED = 11, STREAM = 12 };

static int ascending(const void *a, const void *b) { return descending(b, a); }

/* Compares a row that starts at element `first` with bounds by the ranks of its sorted keys. */
static void check_row(const float *chosen, size_t cols, uint64_t first, double density, double epsilon)
{
    float uniform[20000];
    organ_philox_uniform(SEED, STREAM, first, uniform, cols);
    for (size_t j = 0; j < cols; j++)
        sorted[j] = organ_merge_key(values[j], first + j);
    qsort(sorted, cols, sizeof *sorted, ascending);
    for (size_t j = 0; j < cols; j++) {
        const uint64_t key = organ_merge_key(values[j], first + j);
        const size_t rank = (size_t)((uint64_t *)bsearch(&key, sorted, cols, sizeof *sorted, ascending) - sorted);
        const double share = cols > 1 ? (double)rank / (double)(cols - 1) : .5;
        const bool kept = uniform[j] < (float)(2 * (density - epsilon + 2 * epsilon * share) - 1);
        ck_assert_msg(chosen[j] == (kept ? values[j] : 0), "column %zu of %zu, rank %zu", j, cols, rank);
    }
}

START_TEST(ranked_choices_are_those_of_sorted_rows)
{
    static const size_t widths[] = {1, 2, 33, 3000, 8192, 20000};
    const double density = .6, epsilon = .3;
    const organ_merge_task task = {.kernels = organ_kernels_scalar, .seed = SEED};
    const organ_merge_odds odds = {density, epsilon, STREAM};
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            const size_t cols = widths[w];
            float *const rows = malloc(2 * cols * sizeof *rows);
            void *const scratch = aligned_alloc(64, organ_merge_ranked_bytes(cols));
            for (size_t row = 0; row < 2; row++) {
                fill(kind, cols, (3 + row) * cols);
                memcpy(rows + row * cols, values, cols * sizeof *rows);
            }
            organ_merge_choose_ranked(&task, &(organ_merge_strip){.first = 3, .rows = 2, .cols = cols}, &odds, rows,
                                      scratch);
            for (size_t row = 0; row < 2; row++) {
                fill(kind, cols, (3 + row) * cols);
                check_row(rows + row * cols, cols, (3 + row) * cols, density, epsilon);
            }
            free(rows);
            free(scratch);
        }
}
END_TEST

static Suite *merge_select_suite(void)
{
    const suite_case cases[] = {{"cuts", {cuts_are_those_of_sorted_keys, elements_that_vary_are_counted}},
                                {"ranks", {ranked_choices_are_those_of_sorted_rows}}};
    return suite_of("merge_select", cases, sizeof cases / sizeof *cases, setup, teardown);
}

int main(void) { return run_suites((Suite *const[]){merge_select_suite(), NULL}); }
