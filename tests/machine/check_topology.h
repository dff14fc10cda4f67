/* SPDX-License-Identifier: MIT
 * Suite of recorded machines, for the program that tests orchestrator/machine. */
#ifndef ORGAN_TEST_CHECK_TOPOLOGY_H
#define ORGAN_TEST_CHECK_TOPOLOGY_H

#include <check.h>

TCase *topology_tests(void);

#endif
