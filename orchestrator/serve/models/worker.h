/* SPDX-License-Identifier: MIT
 * The process that reads models for the server: whatever a file does to it, the server goes on. It is this program
 * again, started with a socket as its descriptor 3 and the root as 4, and does nothing but read below that root.
 * reader.h is its other end. */
#ifndef ORGAN_MODEL_WORKER_H
#define ORGAN_MODEL_WORKER_H

#include "orchestrator/serve/models/catalog.h"

enum { ORGAN_WORKER_SOCKET = 3, ORGAN_WORKER_ROOT = 4 };

/* The words after "organ": this one, and the bytes of memory that it may take beyond what it begins with. */
#define ORGAN_WORKER_WORD "--read-models-for-a-server"
enum { ORGAN_WORKER_WORDS = 3 };

/* What goes through the socket: an answer first, that it is ready; then a question, with both paths behind it, and an
 * answer, with the block behind it, and so on. */
typedef struct organ_worker_question {
    uint64_t most; /* bytes of the block */
    uint32_t absolute_bytes, path_bytes;
} organ_worker_question;

typedef struct organ_worker_answer {
    uint32_t status; /* as organ_catalog_read gives it; of the first: errno */
    uint32_t no_memory;
    uint64_t bytes, base; /* of the block, and the address that it has in the worker */
    char message[sizeof((organ_error *)NULL)->message];
} organ_worker_answer;

enum { ORGAN_WORKER_LONGEST_PATH = 1 << 16 };

typedef unsigned organ_catalog_reader(const char *absolute, const char *path, size_t most, organ_catalog **catalog,
                                      organ_error *error);

/* Whether the program was started as a worker, and its work, which ends when the server does: the exit code. `read` is
 * organ_catalog_read, but in tests. */
bool organ_worker_wanted(int argc, char *const *argv);
int organ_worker_run(char *const *argv, organ_catalog_reader *read);

#endif
