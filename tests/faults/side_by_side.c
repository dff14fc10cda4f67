/* SPDX-License-Identifier: MIT
 * A library for LD_PRELOAD that shows how many calls on bytes of tensors are in flight at the same time, and which
 * threads make them. The library holds the first reads until N of them wait side by side, then the first writes (or
 * copies inside the kernel) until N writes wait. It uses no time: a program that never has N such calls in flight waits
 * for ever, and the caller ends it. Bytes of tensors are those of *.safetensors, *.gguf and *.bin: reads after the
 * header, writes not at 0 (but in *.bin). Short calls are left out: they read samples for a fingerprint of the model,
 * or write parts of pages.
 *
 * ORGAN_SIDE_READS=N, ORGAN_SIDE_WRITES=N: the numbers; 0 or unset: nothing is held. Writes pass until reads have met
 * ORGAN_SIDE_BEHIND=1: holds the second read and the first write until both are in flight, and then appends "met
 * behind" at the end ORGAN_SIDE_BYTES=N: calls for at most N bytes (4,096 if unset) are short ORGAN_SIDE_LOG=FILE:
 * appends a line "KIND THREAD BYTES PATH" for each call; THREAD is the name of the thread. At the end it appends "met
 * READS WRITES": 1 if N calls were side by side, else 0 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t pread_checked(int fd, void *to, size_t bytes, off_t at, size_t room) __asm__("__pread_chk");
ssize_t pread64_checked(int fd, void *to, size_t bytes, off64_t at, size_t room) __asm__("__pread64_chk");

enum { SAMPLE = 4096 };

/* Reads or writes: how many must meet, how many wait now, and whether they have met. */
typedef struct gate {
    long needed, waiting;
    bool met;
} gate;

static struct {
    ssize_t (*pread)(int, void *, size_t, off64_t);
    ssize_t (*pwrite)(int, const void *, size_t, off64_t);
    ssize_t (*copy)(int, off64_t *, int, off64_t *, size_t, unsigned);
} real;
static gate reads, writes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
    bool wanted, met;
    long reads, writes; /* calls so far */
} behind;
static int record = -1;
static size_t sample = SAMPLE;

static long number(const char *name)
{
    const char *const text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    *(void **)&real.pread = dlsym(RTLD_NEXT, "pread64");
    *(void **)&real.pwrite = dlsym(RTLD_NEXT, "pwrite64");
    *(void **)&real.copy = dlsym(RTLD_NEXT, "copy_file_range");
    reads = (gate){.needed = number("ORGAN_SIDE_READS")};
    writes = (gate){.needed = number("ORGAN_SIDE_WRITES")};
    if (getenv("ORGAN_SIDE_BYTES"))
        sample = (size_t)number("ORGAN_SIDE_BYTES");
    reads.met = reads.needed == 0;
    writes.met = writes.needed == 0;
    behind.wanted = number("ORGAN_SIDE_BEHIND") > 0;
    if (getenv("ORGAN_SIDE_LOG"))
        record = open(getenv("ORGAN_SIDE_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

__attribute__((destructor)) static void end(void)
{
    if (behind.met)
        dprintf(record, "met behind\n");
    dprintf(record, "met %d %d\n", reads.met && reads.needed, writes.met && writes.needed);
}

/* Returns the end of the header of a file of tensors: all other bytes are of tensors. A GGUF header counts as 4,096
 * bytes. */
static uint64_t header_end(int fd, const char *path)
{
    uint64_t length = 0;
    if (strstr(path, ".gguf"))
        return 4096;
    if (strstr(path, ".bin"))
        return 0;
    return real.pread(fd, &length, sizeof length, 0) == sizeof length ? 8 + length : 0;
}

/* Holds the second read and the first write until both are in flight. With the lock. */
static void hold_behind(bool is_read)
{
    if (is_read ? ++behind.reads < 2 : behind.writes++ > 0)
        return;
    behind.met |= behind.reads >= 2 && behind.writes;
    pthread_cond_broadcast(&changed);
    while (!behind.met)
        pthread_cond_wait(&changed, &lock);
}

/* Records a call on bytes of tensors and holds it at its gate. Other calls pass. */
static void meet(const char *kind, gate *g, int fd, off64_t at, size_t bytes)
{
    char link[40], path[4096], name[17] = "", line[4200];
    if (bytes <= sample)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    if (!strstr(path, ".safetensors") && !strstr(path, ".gguf") && !strstr(path, ".bin"))
        return;
    if (g == &reads ? (uint64_t)at < header_end(fd, path) : at == 0 && !strstr(path, ".bin"))
        return;
    prctl(PR_GET_NAME, name);
    const int used = snprintf(line, sizeof line, "%s %s %zu %s\n", kind, name, bytes, path);
    if (record >= 0 && write(record, line, (size_t)used) != used)
        abort();
    pthread_mutex_lock(&lock);
    if (behind.wanted)
        hold_behind(g == &reads);
    if (!g->met && (g == &reads || reads.met) && bytes > 0) {
        if (++g->waiting >= g->needed) {
            g->met = true;
            pthread_cond_broadcast(&changed);
        }
        while (!g->met)
            pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

ssize_t pread64(int fd, void *to, size_t bytes, off64_t at)
{
    meet("read", &reads, fd, at, bytes);
    return real.pread(fd, to, bytes, at);
}

ssize_t pread(int fd, void *to, size_t bytes, off_t at) { return pread64(fd, to, bytes, at); }

ssize_t pread_checked(int fd, void *to, size_t bytes, off_t at, size_t room)
{
    if (bytes > room)
        abort();
    return pread64(fd, to, bytes, at);
}

ssize_t pread64_checked(int fd, void *to, size_t bytes, off64_t at, size_t room)
{
    return pread_checked(fd, to, bytes, at, room);
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off64_t at)
{
    meet("write", &writes, fd, at, bytes);
    return real.pwrite(fd, from, bytes, at);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at) { return pwrite64(fd, from, bytes, at); }

ssize_t copy_file_range(int from, off64_t *in, int to, off64_t *out, size_t bytes, unsigned flags)
{
    meet("copy", &writes, to, out ? *out : 0, bytes);
    return real.copy(from, in, to, out, bytes, flags);
}
