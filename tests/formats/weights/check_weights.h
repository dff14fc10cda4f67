/* SPDX-License-Identifier: MIT
 * The suites of the program build/tests/weights. */
#ifndef ORGAN_TEST_CHECK_WEIGHTS_H
#define ORGAN_TEST_CHECK_WEIGHTS_H

#include <check.h>

Suite *weights_refused_suite(void);
Suite *inputs_suite(void);

#endif
