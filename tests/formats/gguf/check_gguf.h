/* SPDX-License-Identifier: MIT
 * The suites of the program build/tests/gguf. */
#ifndef ORGAN_TEST_CHECK_GGUF_H
#define ORGAN_TEST_CHECK_GGUF_H

#include <check.h>

Suite *gguf_malformed_suite(void);
Suite *gguf_suite(void);

#endif
