/* SPDX-License-Identifier: MIT
 * The server's end of the process that reads models (worker.h). It is started when the first model is read, kept, and
 * started again after it has ended, for whatever reason. */
#ifndef ORGAN_MODEL_READER_H
#define ORGAN_MODEL_READER_H

#include "orchestrator/serve/models/catalog.h"

typedef struct organ_reader organ_reader;

typedef struct organ_reader_options {
    const char *program; /* what is started: ORGAN_WORKER_WORD must make a worker of it. NULL: none, for fuzzing: models
                            are read here */
    const char *root;
    uint64_t memory;  /* that it may take beyond what it begins with */
    unsigned seconds; /* that one model may take */
} organ_reader_options;

organ_status organ_reader_create(const organ_reader_options *options, organ_reader **reader, organ_error *error);
void organ_reader_destroy(organ_reader *reader); /* NULL is allowed */

/* organ_catalog_read, done by that process. More answers: 422 it has ended while it read the model, or took too long
 * and was ended; 507 it has not got the memory; 500 what it gave back is no catalog, or it cannot be started. By one
 * thread at a time. */
unsigned organ_reader_read(organ_reader *reader, const char *absolute, const char *path, size_t most,
                           organ_catalog **catalog, organ_error *error);

/* Ends what is being read, and lets nothing else begin. By any thread. */
void organ_reader_stop(organ_reader *reader);

/* Prometheus' text format: the process, how often it was started and has ended by itself, its limits. */
void organ_reader_metrics(organ_reader *reader, FILE *out);

#endif
