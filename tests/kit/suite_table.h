/* SPDX-License-Identifier: MIT
 * Makes a Check suite from a table of its cases. */
#ifndef ORGAN_TEST_SUITE_TABLE_H
#define ORGAN_TEST_SUITE_TABLE_H

#include <check.h>
#include <stddef.h>

#define SUITE_TESTS 12

typedef struct suite_case {
    const char *name;
    const TTest *tests[SUITE_TESTS]; /* up to the first NULL */
} suite_case;

/* Runs each test of each case between setup and teardown, for at most a minute. */
Suite *suite_of(const char *name, const suite_case *cases, size_t count, void (*setup)(void), void (*teardown)(void));

/* Runs the suites, up to the first NULL, and returns the exit code of the program. */
int run_suites(Suite *const *suites);

#endif
