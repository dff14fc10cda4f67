/* SPDX-License-Identifier: MIT
 * The suites of the program build/tests/stream, and a function that makes one from a table. */
#ifndef ORGAN_TEST_CHECK_STREAM_H
#define ORGAN_TEST_CHECK_STREAM_H

#include <check.h>

Suite *pass_suite(void);
Suite *files_suite(void);
Suite *transfer_suite(void);
Suite *rows_suite(void);
Suite *widen_suite(void);
Suite *recognise_suite(void);

#endif
