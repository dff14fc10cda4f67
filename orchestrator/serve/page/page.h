/* SPDX-License-Identifier: MIT
 * The page at /, whose files (site/) are inside the program, and the description of the interface: open_api.json, which
 * says what every route takes and answers, with a schema for the job of each verb. */
#ifndef ORGAN_PAGE_H
#define ORGAN_PAGE_H

#include "orchestrator/serve/http/http.h"

extern const organ_area organ_area_page; /* /, /page/..., /api/v1/openapi.json */

#endif
