/* SPDX-License-Identifier: MIT
 * organ.audit/1 as a page. */
#include "orchestrator/report/audit_report.h"
#include "orchestrator/report/document.h"
#include "orchestrator/report/html_page.h"
#include "orchestrator/report/sparsity_html.h"

organ_status organ_audit_report_html(const json_t *report, char **html, organ_error *error)
{
    organ_html *const page = organ_html_create("Audit", organ_json_text(report, "donor.name"), NULL);
    organ_sparsity_merits(page, report);
    organ_sparsity_sections(page, report);
    organ_html_section(page, "Checks");
    organ_html_checks(page, organ_json_at(report, "checks"));
    organ_html_ending(page, organ_json_at(report, "definitions"), organ_json_at(report, "run"));
    return organ_html_finish(page, html, error);
}
