/* SPDX-License-Identifier: MIT
 * Cases of recorded machines and of teams of workers, for the program that tests orchestrator/machine. */
#ifndef ORGAN_TEST_CHECK_TOPOLOGY_H
#define ORGAN_TEST_CHECK_TOPOLOGY_H

#include <check.h>

TCase *topology_tests(void);
TCase *team_tests(void);

#endif
