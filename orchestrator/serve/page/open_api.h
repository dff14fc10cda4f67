/* SPDX-License-Identifier: MIT
 * The interface described by itself: OpenAPI 3.1, made of the routes that answer and the verbs that run. */
#ifndef ORGAN_OPEN_API_H
#define ORGAN_OPEN_API_H

#include "formats/base/status.h"
#include "orchestrator/serve/http/exchange.h"

#include <jansson.h>

/* `areas` ends with NULL. A new document; NULL and ORGAN_BAD_INPUT if a schema in a table is not JSON (the message names it), ORGAN_IO
 * without memory. */
json_t *organ_open_api(const organ_area *const *areas, const organ_verb *const *verbs, size_t count, organ_error *error);

#endif
