/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/models_parts.h"

#include "formats/base/files.h"
#include <organ/base.h>
#include <organ/machine.h>
#include "orchestrator/machine/quantity.h"
#include "orchestrator/serve/confine/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct organ_reader {
    organ_reader_options options;
    int program;                     /* descriptor of the program; -1: none */
    int socket;                      /* the server's end of the socket; -1: there is no process */
    int folders[ORGAN_JAIL_FOLDERS]; /* descriptors of the root and the stores, which the jail owns */
    size_t folder_count;
    char **environ;       /* environment of the process */
    pthread_mutex_t lock; /* guards the members below */
    pid_t pid;            /* of the process; 0: none */
    bool stopped;         /* organ_reader_stop was called: no process may start; atomic, because a read checks it */
    double read_began;    /* start of the current read, in seconds of organ_seconds_now; 0: nothing is being read */
    /* numbers of processes started; ended during a read, or with a malformed answer (atomic); killed after the time
     * limit (atomic) */
    unsigned long long started, lost, late;
};

/* ---- the process ---- */

/* Runs in the forked child and does not return. Places its descriptors (0, 1 and, without sanitizers, 2 on
 * /dev/null; its end `far` of the socket; the folders of the jail; the program), closes all others and
 * executes the program. Runs between fork and exec, so it makes system calls only. If it fails, the server sees the
 * closed socket and counts the worker as lost, whatever the status. */
static void become_worker(const organ_reader *reader, int far, char *const *argv)
{
    /* First moves all descriptors out of the range into which the next calls place them. */
    const int program = organ_child_move_descriptor(reader->program), ours = organ_child_move_descriptor(far);
    int folders[ORGAN_JAIL_FOLDERS];
    for (size_t k = 0; k < reader->folder_count; k++)
        folders[k] = organ_child_move_descriptor(reader->folders[k]);
    const int nothing = organ_child_move_descriptor(open("/dev/null", O_RDWR | O_CLOEXEC));
    enum { PROGRAM = ORGAN_WORKER_FOLDER + ORGAN_JAIL_FOLDERS };
    _Static_assert(PROGRAM < (int)ORGAN_CHILD_MOVED, "a moved descriptor would be replaced");
    organ_child_plain_signals();
    /* Ctrl-C is for the server alone, hence the own process group. If the server dies, the kernel kills the worker. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool good = organ_child_place(nothing, 0) && organ_child_place(nothing, 1) &&
                organ_child_place(ours, ORGAN_WORKER_SOCKET) && dup3(program, PROGRAM, O_CLOEXEC) == PROGRAM;
    for (size_t k = 0; k < reader->folder_count; k++)
        good = organ_child_place(folders[k], ORGAN_WORKER_FOLDER + (int)k) && good;
#if !ORGAN_SANITIZED
    /* A process that reads untrusted files must not write to the server's log; only sanitizers may, with findings. */
    good = good && organ_child_place(nothing, 2);
#endif
    for (int unused = ORGAN_WORKER_FOLDER + (int)reader->folder_count; unused < PROGRAM; unused++)
        close(unused); /* the server may have inherited it */
    organ_child_close_from(PROGRAM + 1);
    if (good)
        syscall(SYS_execveat, PROGRAM, "", argv, reader->environ, AT_EMPTY_PATH);
    _exit(ORGAN_INTERRUPTED);
}

/* `until`: as organ_seconds_now counts. Returns false with errno, ETIMEDOUT after that time. */
static bool wait_for_bytes(int fd, double until)
{
    for (;;) {
        const double left = until - organ_seconds_now();
        struct pollfd one = {.fd = fd, .events = POLLIN};
        const int ready = left <= 0 ? 0 : poll(&one, 1, (int)(1e3 * left) + 1); /* ms, rounded up */
        if (ready > 0)
            return true;
        if (ready == 0 || errno != EINTR) {
            errno = ready == 0 ? ETIMEDOUT : errno;
            return false;
        }
    }
}

/* Receives exactly `bytes` bytes, at most until organ_seconds_now is `until`. On failure returns false and sets
 * errno: ETIMEDOUT, 0 if the worker has closed its end, or the errno of poll or recv. */
static bool receive_bytes(int fd, void *data, size_t bytes, double until)
{
    char *to = data;
    while (bytes > 0) {
        if (!wait_for_bytes(fd, until))
            return false;
        const ssize_t got = recv(fd, to, bytes, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0) {
            errno = got < 0 ? errno : 0;
            return false;
        }
        to += got;
        bytes -= (size_t)got;
    }
    return true;
}

/* The closed socket makes the worker end. Waits for that for at most a second (MAX_CHECKS pauses of 2 ms) and
 * returns its status, as waitpid does. With `at_once`, or if it still runs after that second, kills it and returns
 * -1. */
static int end_worker(organ_reader *reader, bool at_once)
{
    enum { MAX_CHECKS = 500 };
    const struct timespec pause = {.tv_nsec = 2000000};
    int how = 0;
    bool over = false;
    close(reader->socket);
    reader->socket = -1;
    for (int k = 0; !at_once && !over && k < MAX_CHECKS; k++) {
        over = waitpid(reader->pid, &how, WNOHANG) != 0;
        if (!over)
            nanosleep(&pause, NULL);
    }
    ORGAN_LOCKED(&reader->lock);
    if (!over) {
        kill(reader->pid, SIGKILL);
        waitpid(reader->pid, &how, 0);
        how = -1;
    }
    reader->pid = 0;
    return how;
}

static organ_status fail_to_start(organ_error *error, int why)
{
    return organ_fail_errno(error, why, "the process that reads models cannot be started");
}

/* Fails if the reader is stopped; the lock keeps organ_reader_stop from missing a new process. */
static organ_status fork_worker(organ_reader *reader, char *const *argv, organ_error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return fail_to_start(error, errno);
    pthread_mutex_lock(&reader->lock);
    const pid_t pid = reader->stopped ? -1 : fork();
    if (pid == 0)
        become_worker(reader, ends[1], argv);
    const int fault = reader->stopped ? ECANCELED : errno;
    reader->pid = pid > 0 ? pid : 0;
    reader->started += pid > 0;
    pthread_mutex_unlock(&reader->lock);
    close(ends[1]);
    reader->socket = ends[0];
    if (pid > 0)
        return ORGAN_OK;
    close(ends[0]);
    reader->socket = -1;
    return fail_to_start(error, fault);
}

/* Waits until the worker has confined itself. */
static organ_status start_worker(organ_reader *reader, organ_error *error)
{
    enum { SECONDS_TO_START = 30 };
    char memory[24], folders[24], name[] = "organ", word[] = ORGAN_WORKER_WORD;
    char *const argv[] = {name, word, memory, folders, NULL};
    organ_worker_answer ready;
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)reader->options.memory);
    snprintf(folders, sizeof folders, "%zu", reader->folder_count);
    if (fork_worker(reader, argv, error) != ORGAN_OK)
        return error->status;
    if (!receive_bytes(reader->socket, &ready, sizeof ready, organ_seconds_now() + SECONDS_TO_START))
        fail_to_start(error, errno ? errno : ECHILD);
    else if (ready.status)
        organ_fail_errno(error, (int)ready.status, "the process that reads models cannot be confined");
    if (error->status)
        end_worker(reader, /*at_once=*/false);
    return error->status;
}

/* ---- one model ---- */

/* `path` is the model that the worker read when it ended. `how` is its status of waitpid, -1 if unknown. Returns
 * 422. */
static unsigned fail_ended_worker(organ_reader *reader, const char *path, int how, organ_error *error)
{
    __atomic_add_fetch(&reader->lost, 1, __ATOMIC_RELAXED);
    if (how > 0 && WIFSIGNALED(how))
        organ_fail(error, ORGAN_BAD_INPUT,
                   "'%s': the process that read it was ended by signal %d (%s); other models are not affected", path,
                   WTERMSIG(how), strsignal(WTERMSIG(how)));
    else
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': the process that read it exited early; other models are not affected",
                   path);
    return 422;
}

static bool send_question(organ_reader *reader, const char *absolute, const char *path, size_t max)
{
    const organ_worker_question question = {
        .max = max, .absolute_bytes = (uint32_t)strlen(absolute), .path_bytes = (uint32_t)strlen(path)};
    return organ_write_all(reader->socket, &question, sizeof question) == 0 &&
           organ_write_all(reader->socket, absolute, question.absolute_bytes) == 0 &&
           organ_write_all(reader->socket, path, question.path_bytes) == 0;
}

/* The block is from mmap, for the caller to unmap. Returns NULL with errno, as receive_bytes sets it, or if memory
 * runs out. */
static void *receive_block(int fd, size_t bytes, double until)
{
    void *const block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    if (receive_bytes(fd, block, bytes, until))
        return block;
    const int fault = errno;
    munmap(block, bytes);
    errno = fault;
    return NULL;
}

/* After an answer without an error, receives the catalog, a block of at most `max` bytes, until the time `until`.
 * Checks everything, because a hostile model may have taken over the worker. Returns 0 and sets *catalog, or returns
 * an HTTP status. */
static unsigned check_answer(organ_reader *reader, organ_worker_answer *answer, const char *path, size_t max,
                             double until, organ_catalog **catalog, organ_error *error)
{
    char allowed[32];
    answer->message[sizeof answer->message - 1] = '\0';
    if (answer->no_memory) {
        end_worker(reader, /*at_once=*/true); /* the next read starts a new worker, all of whose memory is free */
        organ_fail(error, ORGAN_IO,
                   "'%s': reading it needs more memory than the limit for one model (--model-memory %s)", path,
                   organ_quantity_option(reader->options.memory, allowed));
        return 507;
    }
    if (answer->status) {
        organ_fail(error, answer->status == 422 ? ORGAN_BAD_INPUT : ORGAN_IO, "%s", answer->message);
        return answer->status == 422 || answer->status == 507 ? answer->status : 500;
    }
    void *const block =
        answer->bytes <= max && answer->bytes > 0 ? receive_block(reader->socket, answer->bytes, until) : NULL;
    const unsigned long refusals =
        organ_memory_refusals(); /* if larger after the check, the check failed because memory ran out */
    if (block && organ_catalog_adopt(block, answer->bytes, answer->base)) {
        *catalog = block;
        return 0;
    }
    if (block)
        munmap(block, answer->bytes);
    end_worker(reader, /*at_once=*/true);
    __atomic_add_fetch(&reader->lost, 1, __ATOMIC_RELAXED);
    if (organ_memory_refusals() != refusals)
        organ_fail_memory(error, path);
    organ_fail(error, ORGAN_IO, "'%s': the process that read it returned no list of tensors", path);
    return 500;
}

/* Starts a worker if there is none. *ended becomes true if the worker has ended without an answer, but not if it was
 * killed after the time limit. Returns 0 or an HTTP status. */
static unsigned read_by_worker(organ_reader *reader, const char *absolute, const char *path, size_t max,
                               organ_catalog **catalog, bool *ended, organ_error *error)
{
    organ_worker_answer answer;
    const double until = organ_seconds_now() + reader->options.seconds;
    *ended = false;
    if (reader->socket < 0 && start_worker(reader, error) != ORGAN_OK)
        return 500;
    if (send_question(reader, absolute, path, max) && receive_bytes(reader->socket, &answer, sizeof answer, until))
        return check_answer(reader, &answer, path, max, until, catalog, error);
    const bool late = errno == ETIMEDOUT;
    const int how = end_worker(reader, late);
    *ended = !late;
    if (!late)
        return fail_ended_worker(reader, path, how, error);
    __atomic_add_fetch(&reader->late, 1, __ATOMIC_RELAXED);
    organ_fail(error, ORGAN_BAD_INPUT,
               "'%s': it was not read within %u seconds (--model-seconds); other models are not affected", path,
               reader->options.seconds);
    return 422;
}

static void set_read_began(organ_reader *reader, double when)
{
    ORGAN_LOCKED(&reader->lock);
    reader->read_began = when;
}

unsigned organ_reader_read(organ_reader *reader, const char *absolute, const char *path, size_t max,
                           organ_catalog **catalog, organ_error *error)
{
    const bool kept = reader->socket >= 0;
    bool ended;
    if (!reader->options.program)
        return organ_catalog_read(absolute, path, max, catalog, error);
    set_read_began(reader, organ_seconds_now());
    *catalog = NULL;
    unsigned status = read_by_worker(reader, absolute, path, max, catalog, &ended, error);
    /* A worker that has read other models before may have been killed while idle, or damaged by one of them. So the
     * model is read again by a new worker, whose failure counts. */
    if (ended && kept && !__atomic_load_n(&reader->stopped, __ATOMIC_RELAXED)) {
        *error = (organ_error){0};
        status = read_by_worker(reader, absolute, path, max, catalog, &ended, error);
    }
    set_read_began(reader, 0);
    return status;
}

/* ---- the beginning and the end ---- */

organ_status organ_reader_create(const organ_reader_options *options, organ_reader **made, organ_error *error)
{
    organ_reader *const reader = *made = calloc(1, sizeof *reader);
    if (!reader)
        return organ_fail_memory(error, "the process that reads models");
    reader->options = *options;
    pthread_mutex_init(&reader->lock, NULL);
    reader->socket = -1;
    reader->environ = organ_child_environment(/*confined=*/false);
    reader->program = options->program ? open(options->program, O_PATH | O_CLOEXEC) : -1;
    reader->folder_count = organ_jail_folders(options->jail, reader->folders);
    if ((reader->program >= 0 || !options->program) && reader->environ)
        return ORGAN_OK;
    fail_to_start(error, errno);
    organ_reader_destroy(reader);
    *made = NULL;
    return error->status;
}

void organ_reader_stop(organ_reader *reader)
{
    ORGAN_LOCKED(&reader->lock);
    __atomic_store_n(&reader->stopped, true, __ATOMIC_RELAXED);
    if (reader->pid)
        kill(reader->pid, SIGKILL);
}

void organ_reader_destroy(organ_reader *reader)
{
    if (!reader)
        return;
    if (reader->socket >= 0)
        end_worker(reader, /*at_once=*/true);
    if (reader->program >= 0)
        close(reader->program);
    free(reader->environ);
    pthread_mutex_destroy(&reader->lock);
    free(reader);
}

void organ_reader_metrics(organ_reader *reader, FILE *out)
{
    ORGAN_LOCKED(&reader->lock);
    /* The limit applies to the address space in addition to that at the start; the gauge is the resident memory. */
    organ_http_quota(out, "organ_reader_memory_bytes", "Memory of the process that reads models.",
                     reader->pid ? organ_http_resident(reader->pid) : 0, reader->options.memory);
    organ_http_quota(out, "organ_reader_seconds", "Seconds that the reader process has spent on the current model.",
                     reader->read_began > 0 ? (unsigned long long)(organ_seconds_now() - reader->read_began) : 0,
                     reader->options.seconds);
    organ_http_metric(out, "organ_reader_processes", "gauge", "Reader processes that exist.", reader->pid != 0);
    organ_http_metric(out, "organ_reader_started_total", "counter", "Processes started to read models.",
                      reader->started);
    organ_http_metric(out, "organ_reader_lost_total", "counter", "Reader processes that ended while reading a model.",
                      __atomic_load_n(&reader->lost, __ATOMIC_RELAXED));
    organ_http_metric(out, "organ_reader_late_total", "counter",
                      "Reader processes that were stopped because a model took too long.",
                      __atomic_load_n(&reader->late, __ATOMIC_RELAXED));
}
