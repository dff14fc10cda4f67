/* SPDX-License-Identifier: MIT
 * organ serve: the verbs, the models below one directory and a page, over HTTP. */
#ifndef ORGAN_SERVE_H
#define ORGAN_SERVE_H

#include <organ/base.h>
#include "orchestrator/serve/http/http.h"

/* All areas (parts of the interface) of the server, in the order in which they start. The list ends with NULL. */
extern const organ_area *const organ_areas[];

/* Runs the HTTP server until options->stop is set, sends the replies in progress for at most 10 seconds and returns
 * ORGAN_OK. Writes the server's address and the log of requests to stderr. SIGHUP makes it read tokens and certificate
 * again and reopen the audit log. Returns ORGAN_USAGE if the options are contradictory; ORGAN_BAD_INPUT if the file of
 * tokens, the certificate or its key is malformed; ORGAN_IO if the root, a file or the address cannot be opened, or a
 * thread cannot be started. */
organ_status organ_serve(const organ_serve_options *options, organ_error *error);

#endif
