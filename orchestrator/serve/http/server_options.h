/* SPDX-License-Identifier: MIT
 * Options of a server. */
#ifndef ORGAN_SERVER_OPTIONS_H
#define ORGAN_SERVER_OPTIONS_H

#include "orchestrator/command/options.h"
#include <organ/stream.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_serve_options {
    const char *root;       /* the server reads and writes only below this directory */
    bool caches;            /* serves also the models in the caches of other programs, read only */
    const char *listen;     /* "127.0.0.1:8935", "[::1]:8935", ":8935" for all addresses; port 0: any free port */
    const char *token_file; /* NULL: none; then only loopback addresses are allowed */
    const char *tls_certificate, *tls_key; /* names of PEM files; both, or both NULL: no encryption */
    const char *audit_log;                 /* name of the file; NULL: none */
    organ_words proxies;                   /* trusted proxies, whose X-Forwarded-For is used: addresses and networks */
    organ_words hosts;                     /* further names of the server that a Host header may contain */
    unsigned jobs;                         /* largest number of running jobs */
    /* largest number of open connections, and of those from one network (organ_peer_network); per_address 0: half of
     * `connections` */
    unsigned connections, per_address;
    uint64_t job_output, keep_bytes; /* largest size in bytes of the output kept per job, and of all jobs in total;
                                      * 0: no limit */
    uint64_t job_memory;             /* largest --memory of a job, in bytes */
    uint64_t cache;                  /* largest size of all cached catalogs (catalog.h) together, in bytes */
    uint64_t model_memory;           /* bytes of memory for reading one model */
    unsigned model_seconds;          /* longest time that reading one model may take */
    bool models_here;       /* reads models in this process instead of a confined one: for fuzzing, which observes one
                             * process */
    unsigned timeout;       /* seconds within which a request must have arrived, and after which an idle connection is
                             * closed */
    unsigned token_timeout; /* seconds that a connection has for requests without a valid token, if less than `timeout`;
                             * 0: 5. Only tests set it */
    bool quiet;             /* writes no log line for each request */
    const organ_verb_table *verbs; /* all verbs; the server offers those that can be jobs */
    const organ_stop *stop;        /* the server runs until it is set */
} organ_serve_options;

#endif
