/* SPDX-License-Identifier: MIT
 * organ serve: the verbs, the models below one directory and a page, over HTTP. */
#ifndef ORGAN_SERVE_H
#define ORGAN_SERVE_H

#include "formats/base/status.h"
#include "orchestrator/serve/http/http.h"

/* All areas (parts of the interface) of the server, in the order in which they start. The list ends with NULL. */
extern const organ_area *const organ_areas[];

/* Runs the HTTP server until options->stop is set, finishes the replies in progress and returns ORGAN_OK. Writes its
 * address and the log of requests to stderr.
 * Returns ORGAN_USAGE if the options are contradictory, ORGAN_BAD_INPUT if the file of tokens or the certificate is
 * malformed, and ORGAN_IO if the root, the address or the threads cannot be opened. */
organ_status organ_serve(const organ_serve_options *options, organ_error *error);

#endif
