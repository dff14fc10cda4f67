/* SPDX-License-Identifier: MIT
 * Settings for models at URLs: headers, credentials, and how long requests are repeated. */
#ifndef ORGAN_ACCESS_H
#define ORGAN_ACCESS_H

#include "formats/base/api.h"

#include <stdbool.h>
#include <stddef.h>

ORGAN_API_BEGIN

/* Settings that are all zero are the defaults. Everything that they point to must outlive the model. */
typedef struct organ_model_access {
    const char *const *headers; /* each "Name: value"; sent to the host of the URL and to no host that it redirects to;
                                   messages never contain them */
    size_t header_count;
    const char *bearer;        /* token, sent as "Authorization: Bearer TOKEN" only to the scheme, host and port of
                                  bearer_origin; not sent if `headers` has an Authorization; NULL for none */
    const char *bearer_origin; /* URL of the only server that may get the token; NULL for none */
    unsigned tries; /* number of tries without progress after which a request fails; 0: 3 until the server has answered
                       for the first time, then 12, over about three minutes */
    unsigned first_wait_ms; /* milliseconds before the second try, doubled from try to try up to 30 s; 0: 500 */
    unsigned patience; /* seconds that a server may ask to wait (Retry-After); a request that is asked to wait longer
                          fails; 0: 60 */
    unsigned read_ms;  /* upper bound in milliseconds on one read: all its tries without the waits between them; each 32
                          KiB received add a second; 0: 300000 */
    void *context;     /* passed to the two functions below, which any thread that reads may call; each may be NULL */
    bool (*stopped)(void *context); /* called at least about once a second; if it returns true, waiting and reading end
                                       with ORGAN_INTERRUPTED */
    /* called with one sentence if a request failed and will be repeated */
    void (*note)(void *context, const char *text);
} organ_model_access;

ORGAN_API_END

#endif
