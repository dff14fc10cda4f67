/* SPDX-License-Identifier: MIT
 * The server's end of the process that reads models (worker.h). The process is started when the first model is read,
 * and again after it has ended for any reason. */
#ifndef ORGAN_MODEL_READER_H
#define ORGAN_MODEL_READER_H

#include "orchestrator/serve/models/catalog.h"

typedef struct organ_reader organ_reader;

typedef struct organ_reader_options {
    const char *program; /* the program to start: with ORGAN_WORKER_WORD it must run as a worker. NULL, for fuzzing:
                          * this process reads models */
    const struct organ_jail *jail; /* has the directories that the process may read */
    uint64_t memory;               /* bytes that the process may allocate in addition to those at its start */
    unsigned seconds;              /* time limit for reading one model */
} organ_reader_options;

organ_status organ_reader_create(const organ_reader_options *options, organ_reader **reader, organ_error *error);
void organ_reader_destroy(organ_reader *reader); /* NULL is allowed */

/* Runs organ_catalog_read in that process. Further results: 422 the process ended while it read the model, or
 * exceeded the time and was killed; 507 it ran out of memory; 500 its answer is not a catalog, or it cannot be
 * started. By one thread at a time. */
unsigned organ_reader_read(organ_reader *reader, const char *absolute, const char *path, size_t max,
                           organ_catalog **catalog, organ_error *error);

/* Aborts the current reading and prevents any further one. Thread-safe. */
void organ_reader_stop(organ_reader *reader);

/* Writes metrics in Prometheus' text format: the process, the number of its starts and unexpected ends, its limits. */
void organ_reader_metrics(organ_reader *reader, FILE *out);

#endif
