/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_TEST_MOMENTS_SUITE_H
#define ORGAN_TEST_MOMENTS_SUITE_H

#include <check.h>

Suite *moments_fit_suite(void);

#endif
