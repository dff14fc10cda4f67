/* SPDX-License-Identifier: MIT
 * organ.perplexity/1, organ.evaluate/1 and organ.generate/1 for people. */
#ifndef ORGAN_PERPLEXITY_REPORT_H
#define ORGAN_PERPLEXITY_REPORT_H

#include "orchestrator/report/text.h"

#include <jansson.h>

/* Of perplexity and evaluate. *text is to be freed, NULL on error. */
organ_status organ_perplexity_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_perplexity_report_markdown(const json_t *report, char **markdown, organ_error *error);

#endif
