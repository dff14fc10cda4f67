/* SPDX-License-Identifier: MIT
 * The suites of the program calibration_ranks. */
#ifndef ALONG_SUITES_H
#define ALONG_SUITES_H

#include <check.h>

Suite *moments_ranks_suite(void);
Suite *walk_ranks_suite(void);

#endif
