/* SPDX-License-Identifier: MIT
 * The server's end of the process that reads models (worker.h). The process is started when the first model is read,
 * and again after it has ended. */
#ifndef ORGAN_MODEL_READER_H
#define ORGAN_MODEL_READER_H

#include "orchestrator/serve/models/catalog.h"

typedef struct organ_reader organ_reader;

typedef struct organ_reader_options {
    const char *program; /* path of the program to start, which runs as a worker if ORGAN_WORKER_WORD is its first
                          * argument. NULL, for fuzzing: this process reads models */
    const struct organ_jail *jail; /* has the directories that the process may read */
    uint64_t memory;  /* address space in bytes that the process may use in addition to that at its start */
    unsigned seconds; /* time limit for reading one model */
} organ_reader_options;

/* Creates a reader without starting its process. Returns ORGAN_IO if the program cannot be opened or memory runs out;
 * *reader is NULL then. */
organ_status organ_reader_create(const organ_reader_options *options, organ_reader **reader, organ_error *error);
void organ_reader_destroy(organ_reader *reader); /* NULL is allowed */

/* Reads the headers of the model at `absolute` into a new catalog: runs organ_catalog_read in the process that reads
 * models, or in this process without options.program. Messages contain `path`, the model's name for clients, instead of
 * `absolute`. `max` limits the bytes of the catalog's block.
 *
 * Returns 0, or an HTTP status: those of organ_catalog_read; 422 also if the process ended while it read the model, or
 * exceeded the time limit and was killed; 507 also if it ran out of memory; 500 also if its answer is not a catalog, or
 * if the process cannot be started. Only one thread may call it. */
unsigned organ_reader_read(organ_reader *reader, const char *absolute, const char *path, size_t max,
                           organ_catalog **catalog, organ_error *error);

/* Aborts the current reading and prevents any further one. Thread-safe. */
void organ_reader_stop(organ_reader *reader);

/* Writes metrics in Prometheus' text format: memory and time that the process uses, with their limits; numbers of
 * processes started, ended while reading, and killed for exceeding the time. */
void organ_reader_metrics(organ_reader *reader, FILE *out);

#endif
