/* SPDX-License-Identifier: MIT
 * The page at /, whose files (site/) are compiled into the program, and the description of the interface:
 * open_api.json lists the requests and replies of every route, with a schema for the job of each verb. */
#ifndef ORGAN_SERVE_PAGE_SERVE_PAGE_H
#define ORGAN_SERVE_PAGE_SERVE_PAGE_H

#include "orchestrator/command/option_tables.h"
#include "orchestrator/serve/http/http.h"

#include <jansson.h>
#include <organ/base.h>

extern const organ_area organ_area_page; /* /, /page/..., /api/v1/openapi.json */

/* ---- the OpenAPI 3.1 document, made from open_api.json and the verbs that can be jobs ---- */

/* Creates the document, for the caller to release. It is open_api.json, which describes the routes, with two additions:
 * the version of the program, and a schema for the job of every verb in verbs[0 .. count) that can be a job. Returns
 * NULL with ORGAN_IO if memory runs out. */
json_t *organ_open_api(const organ_verb *const *verbs, size_t count, organ_error *error);

#endif
