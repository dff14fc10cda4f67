/* SPDX-License-Identifier: MIT
 * The OpenAPI 3.1 document of the interface, made from open_api.json and the verbs that can be jobs. */
#ifndef ORGAN_OPEN_API_H
#define ORGAN_OPEN_API_H

#include <organ/base.h>
#include "orchestrator/command/options.h"

#include <jansson.h>

/* Creates the document, for the caller to release. It is open_api.json, which describes the routes, with two additions:
 * the version of the program, and a schema for the job of every verb in verbs[0 .. count) that can be a job. Returns
 * NULL with ORGAN_IO if memory runs out. */
json_t *organ_open_api(const organ_verb *const *verbs, size_t count, organ_error *error);

#endif
