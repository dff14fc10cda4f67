/* SPDX-License-Identifier: MIT
 * Tests of the "run" of a report (orchestrator/surgery/output/output.h): its seconds count from the begin of the run,
 * not of the output. */
#include "orchestrator/surgery/output/output.h"

#include <check.h>

START_TEST(seconds_count_from_the_begin_of_the_run)
{
    const organ_output output = {.path = "out", .started = 10, .seconds = 2};
    ck_assert_double_eq(organ_output_seconds(&output, &(organ_engine){.began = 3}), 9);
    ck_assert_double_eq(organ_output_seconds(&output, &(organ_engine){.began = 0}), 2);
}
END_TEST

START_TEST(a_dry_run_takes_no_seconds)
{
    const organ_output output = {.path = "out"};
    ck_assert_double_eq(organ_output_seconds(&output, &(organ_engine){.began = 3}), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("output_run");
    TCase *run = tcase_create("run");
    tcase_add_test(run, seconds_count_from_the_begin_of_the_run);
    tcase_add_test(run, a_dry_run_takes_no_seconds);
    suite_add_tcase(suite, run);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
