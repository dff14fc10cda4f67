/* SPDX-License-Identifier: MIT
 * The view of organ.audit/1, the report of `organ audit` of a pruned model. */
#include "orchestrator/report/view/view_sparsity.h"
#include "orchestrator/report/view/views.h"

/* Condition: kept weights may differ from the donor. */
#define COMPENSATED "definition=compensated-pruning/1"
#define VERDICT(changed)                                                                                               \
    "{problems?FAILED: {problems:size} problem{problems:s}.|{" COMPENSATED                                             \
    "?Passed: the copy equals the donor except for its target weights, of which " changed                              \
    ".|Passed: the copy equals the donor except for the killed weights, which are zero.}}"
#define NOT_TARGETS                                                                                                    \
    "Not targets: {untouched.tensors:count} tensors, {untouched.identical:count} of them identical byte for byte."

static const organ_item highlights[] = {SPARSITY_HIGHLIGHTS};

static const organ_block blocks[] = {
    LINES(NULL, "Audit of {run.pruned}\nagainst  {donor:model}\n\n"),
    HIGHLIGHTS(NULL, highlights),
    PROJECTIONS(ON_TERMINAL, NULL),
    TOTALS(ON_TERMINAL, NULL),
    ERRATA(ON_ALL, "errata"),
    EACH(ON_TERMINAL, "checks",
         BLOCKS(SAY_AFTER(ON_TERMINAL, "ok", "  ok      ", "{check}: {detail}"),
                SAY_AFTER(ON_TERMINAL, "!ok", "  FAILED  ", "{check}: {detail}"))),
    SECTION(ON_PAGE, NULL, "Checks"),
    SAY(ON_PAGE, NULL, "Both models were read and compared weight by weight; no report or log was used."),
    CAUTIONS(ON_PAGE, NULL, "problems", "Failed checks"),
    CHECKS(ON_PAGE, NULL, "checks"),
    SAY(ON_PAGE, NULL, "Donor: {donor:model}."),
    SAY(ON_PAGE, NULL, "Zero before: {zero_before:count} target weights, not counted as killed. " NOT_TARGETS),
    SAY(ON_TERMINAL, NULL,
        "Coverage: {coverage.processed_elements:count} of {coverage.target_elements:count} target weights "
        "({coverage.percent:percent}) compared."),
    MATRICES(""),
    SAY(ON_TERMINAL, NULL, "Zero before: {zero_before:count}, not counted as killed."),
    SAY(ON_TERMINAL, COMPENSATED, "Changed: {compensated:count} (compensated), counted among the kept."),
    SAY(ON_TERMINAL, NULL, NOT_TARGETS),
    GAP(NULL),
    EACH(ON_TERMINAL, "problems", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  PROBLEM  ", "{.}"))),
    SAY_AFTER(ON_TERMINAL, NULL, "", VERDICT("counts of zero and of changed weights")),
    SPARSITY(NULL),
    SPARSE_TENSORS(NULL),
    PAGE_ENDING,
    SAY(ON_PAGE, NULL, "To repeat the audit:"),
    COMMAND(ON_PAGE, NULL, AUDIT_COMMAND("pruned", COMPENSATED)),
};

const organ_view organ_audit_view = {.schema = "organ.audit/1",
                                     .kind = "Audit of a pruning",
                                     .title = "{donor.name}",
                                     .lead = VERDICT("some are zero and {compensated:count} were changed"),
                                     .make = organ_sparsity_fold,
                                     BLOCKS_OF(blocks)};
