/* SPDX-License-Identifier: MIT
 * Smaller models: what stays keeps its bytes, and what tells of it is true. */
#include "tests/surgery/cut/cut_rig.h"

#include "tests/kit/suite_table.h"

int main(void)
{
    Suite *const suites[] = {cut_experts_suite(),
                             cut_blocks_suite(),
                             cut_widths_suite(),
                             cut_expert_widths_suite(),
                             cut_faults_suite(),
                             cut_audit_suite(),
                             NULL};
    return run_suites(suites);
}
