/* SPDX-License-Identifier: MIT */
#include "tests/kit/suite_table.h"

Suite *suite_of(const char *name, const suite_case *cases, size_t count, void (*setup)(void), void (*teardown)(void))
{
    Suite *suite = suite_create(name);
    for (size_t k = 0; k < count; k++) {
        TCase *one = tcase_create(cases[k].name);
        tcase_add_checked_fixture(one, setup, teardown);
        tcase_set_timeout(one, 60);
        for (size_t t = 0; t < SUITE_TESTS && cases[k].tests[t]; t++)
            tcase_add_test(one, cases[k].tests[t]);
        suite_add_tcase(suite, one);
    }
    return suite;
}

int run_suites(Suite *const *suites)
{
    SRunner *runner = srunner_create(suites[0]);
    for (size_t k = 1; suites[k]; k++)
        srunner_add_suite(runner, suites[k]);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

void __real__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line);

/* Check calls _mark_point for each assertion that holds, which writes its place into a file, for the message about a
 * test that a signal ends. In a loop over elements this costs more than the test. This version forwards a place only if
 * it is not among the last ones. */
void __wrap__mark_point(const char *file, int line)
{
    enum { PLACES = 64 };
    static _Thread_local struct {
        const char *file;
        int line;
    } places[PLACES];
    const size_t k = (size_t)line % PLACES;
    if (places[k].file == file && places[k].line == line)
        return;
    places[k].file = file;
    places[k].line = line;
    __real__mark_point(file, line);
}
