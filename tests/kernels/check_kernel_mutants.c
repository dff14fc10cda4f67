/* SPDX-License-Identifier: MIT
 * The checker of kernels rejects each broken kernel, also one that runs into a guard page. */
#include "tests/kernels/kernel_mutants.h"
#include "tests/kernels/search_bounds.h"
#include <check.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>

static sigjmp_buf out_of_fault;

static void leave_fault(int number)
{
    (void)number;
    siglongjmp(out_of_fault, 1);
}

static int rejected(const kernel_mutant *mutant)
{
    static const int faults[] = {SIGSEGV, SIGBUS};
    const struct sigaction leave = {.sa_handler = leave_fault};
    struct sigaction before[2];
    organ_kernels broken = *organ_kernels_scalar;
    volatile int is_rejected = 1;
    mutant->break_table(&broken);
    for (int k = 0; k < 2; k++)
        ck_assert_int_eq(sigaction(faults[k], &leave, &before[k]), 0);
    if (sigsetjmp(out_of_fault, 1) == 0)
        is_rejected = mutant->rejected_by(&broken) != NULL;
    for (int k = 0; k < 2; k++)
        ck_assert_int_eq(sigaction(faults[k], &before[k], NULL), 0);
    return is_rejected;
}

START_TEST(checker_rejects_mutant)
{
    ck_assert_msg(rejected(&kernel_mutants[_i]), "not rejected: %s", kernel_mutants[_i].defect);
}
END_TEST

START_TEST(checker_rejects_product)
{
    ck_assert_msg(rejected(&product_mutants[_i]), "not rejected: %s", product_mutants[_i].defect);
}
END_TEST

START_TEST(checker_rejects_fit)
{
    ck_assert_msg(rejected(&fit_mutants[_i]), "not rejected: %s", fit_mutants[_i].defect);
}
END_TEST

START_TEST(checker_rejects_inputs)
{
    ck_assert_msg(rejected(&input_mutants[_i]), "not rejected: %s", input_mutants[_i].defect);
}
END_TEST

START_TEST(checker_rejects_selection)
{
    ck_assert_msg(rejected(&selection_mutants[_i]), "not rejected: %s", selection_mutants[_i].defect);
}
END_TEST

static void higher_bounds(search_bounds *right, const organ_scale_search *search, const float *values, size_t n,
                          float bounds[16], float by)
{
    right(search, values, n, bounds);
    for (int k = 0; k < 16; k++)
        bounds[k] *= by;
}
static void slightly_high(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    higher_bounds(whole_bounds, search, values, n, bounds, 1.004f);
}
static void a_tenth_low(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    higher_bounds(whole_bounds, search, values, n, bounds, 0.9f);
}
static void lanes_high(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    higher_bounds(lane_bounds, search, values, n, bounds, 1.004f);
}
static void lanes_low(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    higher_bounds(lane_bounds, search, values, n, bounds, 0.9f);
}
static void bounds_of_fewer(search_bounds *right, const organ_scale_search *search, const float *values, size_t n,
                            float bounds[16])
{
    float less[128] = {0};
    for (size_t k = 0; k + 1 < n; k++)
        less[k] = values[k];
    right(search, less, n, bounds);
}
static void of_fewer_values(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    bounds_of_fewer(whole_bounds, search, values, n, bounds);
}
static void lanes_of_fewer(const organ_scale_search *search, const float *values, size_t n, float bounds[16])
{
    bounds_of_fewer(lane_bounds, search, values, n, bounds);
}

START_TEST(bounds_hold)
{
    const char *const fault = check_bounds_of(whole_bounds), *const of_lanes = check_lane_bounds_of(lane_bounds);
    ck_assert_msg(!fault, "%s", fault);
    ck_assert_msg(!of_lanes, "%s", of_lanes);
}
END_TEST

START_TEST(checker_rejects_bounds)
{
    static search_bounds *const broken[] = {slightly_high, a_tenth_low, of_fewer_values}, *const of_lanes[] = {
                                                                                              lanes_high, lanes_low,
                                                                                              lanes_of_fewer};
    ck_assert_msg(check_bounds_of(broken[_i]) != NULL, "broken bounds %d are not rejected", _i);
    ck_assert_msg(check_lane_bounds_of(of_lanes[_i]) != NULL, "broken bounds %d of lanes are not rejected", _i);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("kernel_mutants");
    TCase *const mutants = tcase_create("mutants");
    tcase_add_loop_test(mutants, checker_rejects_mutant, 0, (int)kernel_mutant_count);
    tcase_add_loop_test(mutants, checker_rejects_product, 0, (int)product_mutant_count);
    tcase_add_loop_test(mutants, checker_rejects_fit, 0, (int)fit_mutant_count);
    tcase_add_loop_test(mutants, checker_rejects_inputs, 0, (int)input_mutant_count);
    tcase_add_loop_test(mutants, checker_rejects_selection, 0, (int)selection_mutant_count);
    tcase_add_test(mutants, bounds_hold);
    tcase_add_loop_test(mutants, checker_rejects_bounds, 0, 3);
    suite_add_tcase(suite, mutants);
    SRunner *const runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* fork can hang in user-mode emulators */
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
