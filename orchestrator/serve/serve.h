/* SPDX-License-Identifier: MIT
 * organ serve: the verbs, the models below one directory and a page, over HTTP. */
#ifndef ORGAN_SERVE_H
#define ORGAN_SERVE_H

#include "formats/base/status.h"
#include "orchestrator/serve/http/http.h"

/* The parts that the server is made of, in the order in which they start; ends with NULL. */
extern const organ_area *const organ_areas[];

/* Serves until `stop` asks, then finishes what it is sending: ORGAN_OK. Errors: ORGAN_USAGE, ORGAN_BAD_INPUT (the
 * token's file), ORGAN_IO (root, address, threads). Says on stderr where it listens, and what it refuses. */
organ_status organ_serve(const organ_serve_options *options, organ_error *error);

#endif
