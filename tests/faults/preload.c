/* SPDX-License-Identifier: MIT */
#include "tests/faults/preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_CALLS = 64, MAX_EVENTS = 1 << 20, MAX_WORDS = 64 };

static atomic_long count;
static atomic_bool counting;
static long fails_at = -1;
static int kind;
static atomic_int *fired; /* shared with the process that serve() runs in: whether the event came and failed */
static bool shows;
static uint64_t *map; /* map[0] is the number of entries that follow */
static _Thread_local bool is_inside;
static char directory[4096];

void *preload_find(const char *name) { return dlsym(RTLD_NEXT, name); }

bool preload_counts(void) { return atomic_load(&counting) && !is_inside; }

bool preload_inside(bool inside)
{
    const bool before = is_inside;
    is_inside = inside;
    return before;
}

const char *preload_directory(void) { return *directory ? directory : NULL; }

static uint64_t digest_of(void *const *calls, int depth)
{
    uint64_t digest = 14695981039346656037u;
    for (int k = 0; k < depth; k++)
        digest = (digest ^ (uint64_t)(uintptr_t)calls[k]) * 1099511628211u;
    return digest;
}

/* Returns the kind if the event has that fault, else -1. */
static int failure_of(unsigned kinds)
{
    if (!(kinds >> kind & 1))
        return -1;
    if (fired)
        atomic_store(fired, 1);
    return kind;
}

int preload_event(unsigned kinds)
{
    if (!preload_counts())
        return -1;
    const long now = atomic_fetch_add(&count, 1);
    const bool fails = now == fails_at || (now > fails_at && fails_at >= 0 && (preload_lasting >> kind & 1));
    if (!map && !(now == fails_at && shows))
        return fails ? failure_of(kinds) : -1;
    void *calls[MAX_CALLS];
    is_inside = true;
    const int depth = backtrace(calls, MAX_CALLS), reason = errno;
    if (map && now + 1 < MAX_EVENTS) {
        map[now + 1] = (digest_of(calls, depth) & ~(uint64_t)0xFFFF) | kinds;
        map[0] = (uint64_t)(now + 1);
    }
    if (now == fails_at && shows)
        backtrace_symbols_fd(calls, depth, STDERR_FILENO);
    errno = reason;
    is_inside = false;
    return fails ? failure_of(kinds) : -1;
}

/* ---- from the beginning of main to its end ---- */

static int (*real_main)(int, char **, char **);

static void open_map(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)MAX_EVENTS * 8))
        abort();
    map = mmap(NULL, (size_t)MAX_EVENTS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        abort();
}

static void enter(unsigned seconds)
{
    char path[sizeof directory + 8];
    snprintf(path, sizeof path, "%s/work", directory);
    if (chdir(path) || !freopen("../out", "w", stdout) || !freopen("../err", "w", stderr) ||
        !freopen("/dev/null", "r", stdin))
        _exit(125);
    alarm(seconds);
}

/* Reads requests from standard input: the event that fails (-1: none), the way, the added option, the limit of seconds,
 * and a directory. For each it forks a child that runs main in DIRECTORY/work with its output in DIRECTORY/out and
 * DIRECTORY/err, and writes the child's wait() status, and 1 if the event came, else 0, to standard output. Returns in
 * the child: the option, 0 for none, 1 for --resume, 2 for --force. */
static int serve(void)
{
    char line[sizeof directory + 64];
    unsigned seconds;
    int option;
    fired = mmap(NULL, sizeof *fired, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fired == MAP_FAILED)
        abort();
    while (fgets(line, sizeof line, stdin) &&
           sscanf(line, "%ld %d %d %u %4095[^\n]", &fails_at, &kind, &option, &seconds, directory) == 5) {
        int status = 0;
        atomic_store(fired, 0);
        const pid_t child = fork();
        if (child == 0) {
            enter(seconds);
            return option;
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            abort();
        printf("%d %d\n", status, atomic_load(fired));
        fflush(stdout);
    }
    _exit(0);
}

static long number_of(const char *name, long otherwise)
{
    const char *const text = getenv(name);
    return text ? strtol(text, NULL, 10) : otherwise;
}

static int counted_main(int argc, char **argv, char **environment)
{
    static char resume[] = "--resume", force[] = "--force";
    char *words[MAX_WORDS + 2] = {NULL};
    const char *const path = getenv("ORGAN_FAULT_MAP");
    void *calls[MAX_CALLS];
    backtrace(calls, MAX_CALLS); /* the first call loads a library */
    fails_at = number_of("ORGAN_FAULT_AT", -1);
    kind = (int)number_of("ORGAN_FAULT_KIND", 0);
    shows = getenv("ORGAN_FAULT_SHOW") != NULL;
    if (path)
        open_map(path);
    if (argc > MAX_WORDS)
        abort();
    memcpy(words, argv, (size_t)argc * sizeof *argv);
    const int option = getenv("ORGAN_FAULT_SERVE") ? serve() : 0;
    if (option)
        words[argc++] = option == 1 ? resume : force;
    preload_begin();
    atomic_store(&counting, true);
    const int status = real_main(argc, words, environment);
    atomic_store(&counting, false);
    return status;
}

/* Exit handlers do not belong to the program: a sanitizer checks for leaks there. */
_Noreturn void exit(int status);
_Noreturn void exit(int status)
{
    atomic_store(&counting, false);
    void (*const end)(int) = (void (*)(int))preload_find("exit");
    end(status);
    abort();
}

int __libc_start_main(int (*main_function)(int, char **, char **), int argc, char **argv, void (*begin)(void),
                      void (*end)(void), void (*loader_end)(void), void *stack);

int __libc_start_main(int (*main_function)(int, char **, char **), int argc, char **argv, void (*begin)(void),
                      void (*end)(void), void (*loader_end)(void), void *stack)
{
    real_main = main_function;
    int (*const start)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void),
                       void *) = (int (*)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void),
                                          void (*)(void), void *))preload_find("__libc_start_main");
    return start(counted_main, argc, argv, begin, end, loader_end, stack);
}
