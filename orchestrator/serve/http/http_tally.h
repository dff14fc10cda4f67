/* SPDX-License-Identifier: MIT
 * Counters of the server for /metrics. Thread-safe. */
#ifndef ORGAN_HTTP_TALLY_H
#define ORGAN_HTTP_TALLY_H

#include "orchestrator/serve/http/http_exchange.h"

typedef struct organ_request_tally organ_request_tally;

organ_request_tally *organ_tally_create(void); /* NULL if memory runs out */
void organ_tally_destroy(organ_request_tally *tally);

/* Counts one finished request that took `seconds`; `route` is NULL if none matched. */
void organ_tally_request(organ_request_tally *tally, const organ_http_route *route, unsigned status, double seconds);
void organ_tally_bytes(organ_request_tally *tally, uint64_t bytes); /* adds bytes of sent bodies */
/* Counts a new connection; does nothing if `opened` is false. */
void organ_tally_connection(organ_request_tally *tally, bool opened);
/* Counts a connection that was closed because its request took too long to arrive. */
void organ_tally_slow(organ_request_tally *tally);

/* Writes the counts, and the resident memory of the process, in Prometheus' text format. */
void organ_tally_print(organ_request_tally *tally, FILE *out);

#endif
