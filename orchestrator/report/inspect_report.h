/* SPDX-License-Identifier: MIT
 * A document organ.inspect/1 for people. */
#ifndef ORGAN_INSPECT_REPORT_H
#define ORGAN_INSPECT_REPORT_H

#include "orchestrator/report/text.h"

#include <jansson.h>

/* For the caller to free. */
organ_status organ_inspect_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

#endif
