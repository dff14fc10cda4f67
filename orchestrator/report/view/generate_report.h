/* SPDX-License-Identifier: MIT
 * A document organ.generate/1 for people. The text is for the caller to free. */
#ifndef ORGAN_GENERATE_REPORT_H
#define ORGAN_GENERATE_REPORT_H

#include "formats/base/status.h"

#include <jansson.h>

organ_status organ_generate_report_html(const json_t *report, char **html, organ_error *error);

#endif
