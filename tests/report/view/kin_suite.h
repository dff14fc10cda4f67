/* SPDX-License-Identifier: MIT
 * Which models are made of which, and values laid out by layer and role. */
#ifndef ORGAN_TEST_KIN_SUITE_H
#define ORGAN_TEST_KIN_SUITE_H

#include <check.h>

Suite *kin_suite(void);

#endif
