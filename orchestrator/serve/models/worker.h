/* SPDX-License-Identifier: MIT
 * The worker: the process that reads models for the server, so that a crash in a reader of files does not affect the
 * server. It executes the same program, with a socket as descriptor 3 and directories (the root and the stores) as
 * descriptors from 4 on. It can only read files below these. model_reader.h is the server's end of the socket. */
#ifndef ORGAN_MODEL_WORKER_H
#define ORGAN_MODEL_WORKER_H

#include "orchestrator/serve/models/catalog.h"

enum { ORGAN_WORKER_SOCKET = 3, ORGAN_WORKER_FOLDER = 4 /* and following */ };

/* The arguments of the worker after "organ": this word, the bytes of address space that it may use in addition to those
 * at its start, and the number of directories. ORGAN_WORKER_WORDS is argc: it counts "organ" too. */
#define ORGAN_WORKER_WORD "--read-models-for-a-server"
enum { ORGAN_WORKER_WORDS = 4 };

/* Protocol of the socket: the worker first sends an answer whose status reports whether it is confined. Then the server
 * sends questions, each followed by its two paths; the worker sends an answer to each, followed by its block. */
/* Asks the worker to read a model. */
typedef struct organ_worker_question {
    uint64_t max;                        /* largest size of the block in bytes */
    uint32_t absolute_bytes, path_bytes; /* lengths of the arguments `absolute` and `path` of organ_catalog_read */
} organ_worker_question;

typedef struct organ_worker_answer {
    uint32_t status;    /* result of organ_catalog_read; in the first answer: 0, or the errno that kept the worker from
                           confining itself */
    uint32_t no_memory; /* 1 if reading failed because memory ran out */
    uint64_t bytes, base; /* size of the block with the catalog, 0 after an error; its address in the worker */
    char message[sizeof((organ_error *)NULL)->message];
} organ_worker_answer;

enum { ORGAN_WORKER_LONGEST_PATH = 1 << 16 }; /* bytes, with a NUL */

/* The type of organ_catalog_read. */
typedef unsigned organ_catalog_reader(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                                      organ_error *error);

/* Returns true if the program was started as a worker. */
bool organ_worker_is_requested(int argc, char *const *argv);
/* Confines the process and answers questions until the server closes the socket; then ends the process, so it does not
 * return. `read` is organ_catalog_read, except in tests. */
int organ_worker_run(char *const *argv, organ_catalog_reader *read);

#endif
