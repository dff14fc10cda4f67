/* SPDX-License-Identifier: MIT
 * Tests of calibrated runs with several ranks. */
#include "tests/kit/suite_table.h"
#include "tests/surgery/calibration/calibration_suites.h"

int main(void)
{
    Suite *const suites[] = {moments_ranks_suite(), walk_ranks_suite(), NULL};
    return run_suites(suites);
}
