/* SPDX-License-Identifier: MIT
 * How models at URLs are requested, and how long requests are repeated. */
#ifndef ORGAN_ACCESS_H
#define ORGAN_ACCESS_H

#include "formats/base/api.h"

#include <stdbool.h>
#include <stddef.h>

ORGAN_API_BEGIN

/* All zero is the default. Everything pointed to must outlive the model. */
typedef struct organ_model_access {
    const char *const *headers; /* "Name: value", sent to the host of the URL and to no other that it redirects to;
                                   never in a message */
    size_t header_count;
    const char *bearer; /* token, sent as "Authorization: Bearer TOKEN" to the scheme, host and port of bearer_origin
                           and to no other; NULL: none. Not sent if `headers` has an Authorization */
    const char *bearer_origin; /* a URL */
    bool alone;                /* of a split GGUF model only the part that is named is opened */
    const char *const *
        also; /* of a .safetensors file that is opened alone: paths of others with tensors that belong to its weights */
    size_t also_count;
    unsigned tries; /* of a request that makes no progress before it is given up; 0: 12, over some three minutes */
    unsigned first_wait_ms; /* before the second try, doubled from try to try up to 30 s; 0: 500 */
    unsigned patience;      /* seconds that a server may ask to wait before the next try (Retry-After): longer ends the
                               reading; 0: 60 */
    unsigned read_ms; /* for one read, with its tries but without waits, plus a second for every 32 KiB; 0: 300000 */
    void *context;    /* of the two functions below; either may be NULL; any thread that reads calls them */
    bool (*stopped)(void *context); /* asked several times a second: true ends waiting and reading, ORGAN_INTERRUPTED */
    void (*note)(void *context, const char *text); /* one sentence: a connection broke and is tried again */
} organ_model_access;

ORGAN_API_END

#endif
