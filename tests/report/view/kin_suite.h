/* SPDX-License-Identifier: MIT
 * Suite of relations between models, and of values by layer and role. */
#ifndef ORGAN_TEST_KIN_SUITE_H
#define ORGAN_TEST_KIN_SUITE_H

#include <check.h>

Suite *kin_suite(void);

#endif
