/* SPDX-License-Identifier: MIT
 * The page of any report, told by its "schema": one table knows them all. */
#ifndef ORGAN_HTML_REPORT_H
#define ORGAN_HTML_REPORT_H

#include "formats/status.h"

#include <jansson.h>

/* For the caller to free. ORGAN_BAD_INPUT for a document without a schema, or with one that has no page. */
organ_status organ_html_report(const json_t *report, char **html, organ_error *error);

#endif
