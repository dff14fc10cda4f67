/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_TEST_SCHEMA_CASES_H
#define ORGAN_TEST_SCHEMA_CASES_H

#include <check.h>

/* Returns tests of the texts from which schemas are made, for the suite `report`. */
TCase *schema_cases(void);

#endif
