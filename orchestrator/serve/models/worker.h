/* SPDX-License-Identifier: MIT
 * The process that reads models for the server; a crash in it does not affect the server. The worker is this
 * program, started with a socket as descriptor 3 and directories as descriptors from 4 on: the root and the stores. It
 * can only read files below these. model_reader.h is the server's end of the socket. */
#ifndef ORGAN_MODEL_WORKER_H
#define ORGAN_MODEL_WORKER_H

#include "orchestrator/serve/models/catalog.h"

enum { ORGAN_WORKER_SOCKET = 3, ORGAN_WORKER_FOLDER = 4 /* and following */ };

/* The arguments after "organ": this word, the bytes of address space that the worker may use in addition to those at
 * its start, and the number of directories. ORGAN_WORKER_WORDS counts "organ", too. */
#define ORGAN_WORKER_WORD "--read-models-for-a-server"
enum { ORGAN_WORKER_WORDS = 4 };

/* Protocol of the socket: the worker first sends an answer whose status reports whether it is confined. Then the server
 * sends questions, each followed by its two paths; the worker sends an answer to each, followed by its block. */
typedef struct organ_worker_question {
    uint64_t max;                        /* largest size of the block in bytes */
    uint32_t absolute_bytes, path_bytes; /* lengths of the two paths of organ_catalog_read */
} organ_worker_question;

typedef struct organ_worker_answer {
    uint32_t status;      /* result of organ_catalog_read; in the first answer: errno */
    uint32_t no_memory;   /* 1 if reading failed because memory ran out */
    uint64_t bytes, base; /* size of the block, and its address in the worker */
    char message[sizeof((organ_error *)NULL)->message];
} organ_worker_answer;

enum { ORGAN_WORKER_LONGEST_PATH = 1 << 16 };

typedef unsigned organ_catalog_reader(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                                      organ_error *error);

/* organ_worker_is_requested returns true if the program was started as a worker. organ_worker_run confines the process
 * and answers questions until the server closes the socket; it ends the process and does not return. `read` is
 * organ_catalog_read, except in tests. */
bool organ_worker_is_requested(int argc, char *const *argv);
int organ_worker_run(char *const *argv, organ_catalog_reader *read);

#endif
