/* SPDX-License-Identifier: MIT
 * The page at /, whose files (site/) are compiled into the program, and the description of the interface:
 * open_api.json lists the requests and replies of every route, with a schema for the job of each verb. */
#ifndef ORGAN_SERVE_PAGE_H
#define ORGAN_SERVE_PAGE_H

#include "orchestrator/serve/http/http.h"

extern const organ_area organ_area_page; /* /, /page/..., /api/v1/openapi.json */

#endif
