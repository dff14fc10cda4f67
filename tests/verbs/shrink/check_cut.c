/* SPDX-License-Identifier: MIT
 * Tests of cut models: kept tensors keep their bytes, and the configuration describes the output. */
#include "tests/verbs/shrink/cut_rig.h"

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
