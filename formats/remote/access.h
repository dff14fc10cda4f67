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
                                   never in a message */
    size_t header_count;
    const char *bearer;        /* token, sent as "Authorization: Bearer TOKEN" only to the scheme, host and port of
                                  bearer_origin; not sent if `headers` has an Authorization; NULL for none */
    const char *bearer_origin; /* a URL */
    bool alone;                /* open only the named part of a split GGUF model */
    const char *const *also;   /* for a .safetensors file that is opened alone: paths of other files with tensors that
                                  belong to its weights */
    size_t also_count;
    unsigned tries;         /* tries of a request without progress before it fails; 0: 12, over about three minutes */
    unsigned first_wait_ms; /* milliseconds before the second try, doubled from try to try up to 30 s; 0: 500 */
    unsigned patience; /* upper bound in seconds of a wait that a server asks for (Retry-After); a longer one ends the
                          reading; 0: 60 */
    unsigned read_ms; /* milliseconds for one read, with its tries but without waits, plus a second for every 32 KiB; 0:
                         300000 */
    void
        *context; /* passed to the two functions below, either of which may be NULL; any thread that reads calls them */
    bool (*stopped)(void *context); /* called several times a second; if it returns true, waiting and reading end with
                                       ORGAN_INTERRUPTED */
    void (*note)(void *context, const char *text); /* receives one sentence if a request failed and is tried again */
} organ_model_access;

ORGAN_API_END

#endif
