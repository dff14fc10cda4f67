/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/worker.h"

#include "formats/base/file_calls.h"
#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/models/serve_models.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static bool receive_all(int fd, void *data, size_t bytes)
{
    char *to = data;
    while (bytes > 0) {
        const ssize_t got = read(fd, to, bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        to += got;
        bytes -= (size_t)got;
    }
    return true;
}

bool organ_worker_is_requested(int argc, char *const *argv)
{
    return argc == ORGAN_WORKER_WORDS && strcmp(argv[1], ORGAN_WORKER_WORD) == 0;
}

/* The limit is the present size plus `more` bytes (a decimal number). Sets no limit under sanitizers, whose tables
 * need terabytes. */
static bool limit_memory(const char *more)
{
#if ORGAN_SANITIZED
    return *more != '\0';
#else
    unsigned long long pages = 0;
    FILE *const file = fopen("/proc/self/statm", "re");
    const bool known = file && fscanf(file, "%llu", &pages) == 1;
    if (file)
        fclose(file);
    const rlim_t max = (rlim_t)(pages * (unsigned long long)sysconf(_SC_PAGESIZE) + strtoull(more, NULL, 10));
    return known && setrlimit(RLIMIT_AS, &(struct rlimit){max, max}) == 0;
#endif
}

/* Each shard of a model needs a descriptor. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* `memory` and `folders` are arguments of the program, in decimal. The process may read only below the `folders`
 * directories that are open from ORGAN_WORKER_FOLDER on, which are closed then. A mechanism that the kernel lacks is
 * left out. Returns 0, or the errno of the call that failed. */
static int confine_worker(const char *memory, const char *folders)
{
    int fds[ORGAN_JAIL_FOLDERS];
    organ_readable readable = {.fds = fds, .count = strtoul(folders, NULL, 10)};
    if (readable.count > ORGAN_JAIL_FOLDERS)
        return EINVAL;
    for (size_t k = 0; k < readable.count; k++)
        fds[k] = ORGAN_WORKER_FOLDER + (int)k;
    const organ_confinement has = organ_confinement_of_kernel();
    json_object_seed(0); /* it reads /dev/urandom, which the process can no longer open afterwards */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    raise_descriptors();
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) != 0 || !limit_memory(memory))
        return errno;
    if (has.landlock && !organ_confine_reading(has.landlock, readable))
        return errno;
    for (size_t k = 0; k < readable.count; k++)
        close(fds[k]);
    return has.seccomp && !organ_confine_calls(ORGAN_CALLS_OF_READERS) ? errno : 0;
}

static char *receive_path(uint32_t bytes)
{
    char *const path = bytes < ORGAN_WORKER_LONGEST_PATH ? calloc(1, bytes + 1) : NULL;
    if (path && receive_all(ORGAN_WORKER_SOCKET, path, bytes))
        return path;
    free(path);
    return NULL;
}

/* After sending a larger block (in bytes) the worker returns free memory to the system. */
enum { LARGE_BLOCK = 1 << 20 };

static bool answer_question(const organ_worker_question *question, organ_catalog_reader *read_model)
{
    organ_worker_answer answer = {0};
    organ_catalog *catalog = NULL;
    organ_error error = {0};
    char *const absolute = receive_path(question->absolute_bytes), *const path =
                                                                       absolute ? receive_path(question->path_bytes)
                                                                                : NULL;
    if (path) {
        answer.status = read_model(absolute, path, (size_t)question->max, &catalog, &error);
        answer.no_memory = answer.status != 0 && error.errnum == ENOMEM;
        answer.bytes = catalog ? catalog->bytes : 0;
        answer.base = (uintptr_t)catalog;
        memcpy(answer.message, error.message, sizeof answer.message);
    }
    const bool sent = path && organ_write_all(ORGAN_WORKER_SOCKET, &answer, sizeof answer) == 0 &&
                      organ_write_all(ORGAN_WORKER_SOCKET, catalog, answer.bytes) == 0;
    organ_catalog_free(catalog);
    free(absolute);
    free(path);
    if (answer.bytes > LARGE_BLOCK)
        malloc_trim(0); /* reading used several times the memory of the block */
    return sent;
}

int organ_worker_run(char *const *argv, organ_catalog_reader *read_model)
{
    organ_worker_question question;
    const organ_worker_answer ready = {.status = (uint32_t)confine_worker(argv[2], argv[3])};
    bool goes_on = organ_write_all(ORGAN_WORKER_SOCKET, &ready, sizeof ready) == 0 && !ready.status;
    while (goes_on)
        goes_on =
            receive_all(ORGAN_WORKER_SOCKET, &question, sizeof question) && answer_question(&question, read_model);
    _exit(0);
}

bool organ_models_worked(int argc, char *const *argv, int *code)
{
    if (!organ_worker_is_requested(argc, argv))
        return false;
    *code = organ_worker_run(argv, organ_catalog_read);
    return true;
}
