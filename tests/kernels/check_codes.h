/* SPDX-License-Identifier: MIT
 * Part of the kernels' suite. */
#ifndef ORGAN_TESTS_CHECK_CODES_H
#define ORGAN_TESTS_CHECK_CODES_H
#include <check.h>

TCase *codes_case(void);

#endif
