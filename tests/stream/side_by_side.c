/* SPDX-License-Identifier: MIT
 * LD_PRELOAD library that counts which threads read and write the bytes of tensors, and holds these calls until enough
 * of them are in flight.
 *
 * SIDE_THREADS=N: the first reads are held until N of them are in flight, and so are the first writes
 * SIDE_BYTES=B: shorter calls are neither held nor counted for the main thread (headers, shapes, samples)
 * SIDE_REPORT=FILE: gets the line "reads PEAK THREADS BY_MAIN writes PEAK THREADS BY_MAIN" at exit: the most calls that
 * were in flight, the number of threads that made some, and the calls that the main thread made
 *
 * Calls of pread and pwrite on files with weights count (*.safetensors, *.gguf, *.bin), but those of the main thread
 * not in the first bytes of a file, where headers are. If the calls that are held never become enough, they go on after
 * half a minute, and the peak shows it. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024, PATIENCE = 30 };

/* The calls of one kind: reads or writes. */
typedef struct side {
    size_t in_flight, peak, by_main, threads;
    pid_t thread[MOST];
    bool open; /* calls are not held any more */
} side;

static side sides[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t enough = PTHREAD_COND_INITIALIZER;

static size_t number_of(const char *name)
{
    const char *const text = getenv(name);
    return text ? strtoul(text, NULL, 10) : 0;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* Returns whether the descriptor is of a file with weights. */
static bool has_weights(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    return ends_with(path, ".safetensors") || ends_with(path, ".gguf") || ends_with(path, ".bin");
}

static void note_thread(side *s)
{
    const pid_t me = gettid();
    for (size_t k = 0; k < s->threads; k++)
        if (s->thread[k] == me)
            return;
    if (s->threads < MOST)
        s->thread[s->threads++] = me;
}

/* Waits until enough calls are in flight. */
static void hold(side *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE;
    while (!s->open)
        if (s->in_flight >= number_of("SIDE_THREADS") || pthread_cond_timedwait(&enough, &lock, &until)) {
            s->open = true;
            pthread_cond_broadcast(&enough);
        }
}

/* Counts a call that begins, and holds it. Returns whether it counts; end_call is then called after it. */
static bool begin_call(side *s, int fd, size_t bytes, off_t offset)
{
    const bool is_main = gettid() == getpid();
    if (bytes == 0 || !has_weights(fd) || (is_main && offset <= 8))
        return false;
    pthread_mutex_lock(&lock);
    s->by_main += is_main && bytes >= number_of("SIDE_BYTES");
    if (!is_main) {
        note_thread(s);
        s->in_flight++;
        s->peak = s->in_flight > s->peak ? s->in_flight : s->peak;
        if (bytes >= number_of("SIDE_BYTES"))
            hold(s);
    }
    pthread_mutex_unlock(&lock);
    return !is_main;
}

static void end_call(side *s)
{
    pthread_mutex_lock(&lock);
    s->in_flight--;
    pthread_mutex_unlock(&lock);
}

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    ssize_t (*const call)(int, void *, size_t, off_t) =
        (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
    const bool counts = begin_call(&sides[0], fd, bytes, offset);
    const ssize_t got = call(fd, data, bytes, offset);
    if (counts)
        end_call(&sides[0]);
    return got;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    ssize_t (*const call)(int, const void *, size_t, off_t) =
        (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    const bool counts = begin_call(&sides[1], fd, bytes, offset);
    const ssize_t put = call(fd, data, bytes, offset);
    if (counts)
        end_call(&sides[1]);
    return put;
}

__attribute__((destructor)) static void report(void)
{
    FILE *const out = getenv("SIDE_REPORT") ? fopen(getenv("SIDE_REPORT"), "w") : NULL;
    if (!out)
        return;
    fprintf(out, "reads %zu %zu %zu writes %zu %zu %zu\n", sides[0].peak, sides[0].threads, sides[0].by_main,
            sides[1].peak, sides[1].threads, sides[1].by_main);
    fclose(out);
}
