/* SPDX-License-Identifier: MIT
 * organ serve: the verbs, the models below one directory and a page, over HTTP. */
#ifndef ORGAN_SERVE_H
#define ORGAN_SERVE_H

#include "formats/base/status.h"
#include "orchestrator/serve/http/http.h"

/* The areas of the server in the order in which they start; ends with NULL. */
extern const organ_area *const organ_areas[];

/* Serves until `stop` is set, finishes the replies in progress and returns ORGAN_OK. Errors: ORGAN_USAGE,
 * ORGAN_BAD_INPUT (the file of tokens), ORGAN_IO (root, address, threads). Reports its address, and rejected
 * requests, on stderr. */
organ_status organ_serve(const organ_serve_options *options, organ_error *error);

#endif
