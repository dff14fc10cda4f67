/* SPDX-License-Identifier: MIT
 * Documents organ.extract/1, organ.assemble/1 and organ.graft/1 for people; the text is for the caller to free. */
#ifndef ORGAN_ORGANS_REPORT_H
#define ORGAN_ORGANS_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

organ_status organ_extract_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_assemble_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_graft_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* The same as pages: what went where, as a picture of the model, and what proves it. */
organ_status organ_extract_report_html(const json_t *report, char **html, organ_error *error);
organ_status organ_assemble_report_html(const json_t *report, char **html, organ_error *error);
organ_status organ_graft_report_html(const json_t *report, char **html, organ_error *error);

/* Tables that both are made of. */
organ_table *organ_extract_folders_table(const json_t *report);
organ_table *organ_graft_groups_table(const json_t *report);

#endif
