/* SPDX-License-Identifier: MIT
 * Tests of low-rank approximation: accuracy against full decompositions, bit identity, errors. */
#include "tests/solve/low_rank_rig.h"
#include "tests/kit/suite_table.h"

int main(void)
{
    Suite *const suites[] = {low_rank_random_suite(),
                             low_rank_factored_suite(),
                             low_rank_whole_suite(),
                             decompositions_suite(),
                             ridge_suite(),
                             correction_suite(),
                             NULL};
    return run_suites(suites);
}
