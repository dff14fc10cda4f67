/* SPDX-License-Identifier: MIT
 * Writes any report as a page (HTML); its member "schema" selects the view. */
#ifndef ORGAN_HTML_REPORT_H
#define ORGAN_HTML_REPORT_H

#include "formats/base/api.h"
#include "formats/base/status.h"

#include <jansson.h>

ORGAN_API_BEGIN

/* Returns the page in *html, which the caller frees. Returns ORGAN_BAD_INPUT if the report has no "schema", or one that
 * no view is for. */
organ_status organ_html_report(const json_t *report, char **html, organ_error *error);

/* Writes the names of all schemas that have a view, separated by ", ", to out[0 .. size), shortened if they do not
 * fit. */
void organ_html_report_schemas(char *out, size_t size);

/* Writes the page of the report to the file `path`. Returns the errors of organ_html_report, or ORGAN_IO if the file
 * cannot be written (organ_text_write). */
organ_status organ_html_report_write(const char *path, const json_t *report, organ_error *error);

/* Writes the page like organ_html_report_write, to the path of the report's Markdown file with .html in place of
 * .md. */
organ_status organ_html_report_next_to(const char *markdown_path, const json_t *report, organ_error *error);

ORGAN_API_END

#endif
