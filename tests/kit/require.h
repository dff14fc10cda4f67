/* SPDX-License-Identifier: MIT
 * Assertions for loops over elements. Check writes each assertion that holds into a file, with one system call each;
 * these do so only when they fail. */
#ifndef ORGAN_TESTS_REQUIRE_H
#define ORGAN_TESTS_REQUIRE_H
#include <check.h>

#define REQUIRE_MSG(condition, ...)                                                                                    \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)
#define REQUIRE(condition) REQUIRE_MSG(condition, "%s", #condition)

#endif
