/* SPDX-License-Identifier: MIT
 * A document organ.tokenize/1 for people: a summary, or the ids, one a line, where it has them. The text is for the caller to free. */
#ifndef ORGAN_TOKENIZE_REPORT_H
#define ORGAN_TOKENIZE_REPORT_H

#include "orchestrator/report/text.h"

#include <jansson.h>

organ_status organ_tokenize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

#endif
