/* SPDX-License-Identifier: MIT
 * How a server is to be. */
#ifndef ORGAN_SERVE_OPTIONS_H
#define ORGAN_SERVE_OPTIONS_H

#include "orchestrator/command/options.h"
#include "orchestrator/stream/stop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_serve_options {
    const char *root;       /* nothing outside of it is read or written */
    const char *listen;     /* "127.0.0.1:8935", "[::1]:8935", ":8935" for all addresses; port 0: any that is free */
    const char *token_file; /* NULL: none, and only loopback may be listened on */
    const char *tls_certificate, *tls_key; /* NULL, or both */
    const char *audit_log;                 /* NULL: none */
    organ_words proxies;                   /* whose X-Forwarded-For is believed: addresses and networks */
    organ_words hosts;                     /* further names by which the server is reached */
    unsigned jobs;                         /* that run at once */
    unsigned connections, per_address;
    uint64_t job_output, keep_bytes; /* that one job keeps of what it prints, and all jobs together; 0: no limit */
    uint64_t job_memory;             /* what --memory of a job may be at most */
    uint64_t shelf;                  /* bytes of memory for what is known of models */
    uint64_t model_memory;           /* that reading one model may take */
    unsigned model_seconds;
    bool models_here; /* models are read by this process, not by a confined one: for fuzzing, which looks at one process
                       */
    unsigned timeout; /* seconds in which a request must have arrived, and that a connection may be idle */
    bool quiet;       /* no line for each request */
    const organ_verb_table *verbs; /* all verbs; the server offers those that can be jobs */
    const organ_stop *stop;
} organ_serve_options;

#endif
