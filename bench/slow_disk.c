/* SPDX-License-Identifier: MIT
 * A library for LD_PRELOAD that simulates the file systems of a cluster on one machine. Reads and writes of a process
 * are delayed as if the process had its own link of SLOW_DISK_LINK bytes per second, and to a server of
 * SLOW_DISK_SERVER bytes per second that all processes share by the file SLOW_DISK_CLOCK of zeros; both rates hold in
 * each direction. Requests of less than 64 KiB are not delayed: rows that are read again are in the page cache. At exit
 * it appends "READ WRITTEN", in bytes, to SLOW_DISK_TOLD. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Per direction: the time when all requests so far will be done, in ns of CLOCK_MONOTONIC, which all processes
 * share. */
typedef _Atomic int64_t lane;

#define MIN 65536 /* smaller requests are not delayed */
/* Bytes that a kernel reads ahead and writes behind, so that a disk is not idle while a process computes. */
#define AHEAD (16.0 * (1 << 20))

enum { IN, OUT };

static lane own[2], *server;
static double link_rate, server_rate;
static _Atomic uint64_t through[2];

static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_copy)(int, off_t *, int, off_t *, size_t, unsigned);

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void lookup(const char *name, void *function) { *(void **)function = dlsym(RTLD_NEXT, name); }

static double rate_of(const char *variable)
{
    const char *const text = getenv(variable);
    return text ? strtod(text, NULL) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *const clock = getenv("SLOW_DISK_CLOCK");
    const int fd = clock ? open(clock, O_RDWR | O_CLOEXEC) : -1;
    lookup("pread", &real_pread);
    lookup("pwrite", &real_pwrite);
    lookup("copy_file_range", &real_copy);
    link_rate = rate_of("SLOW_DISK_LINK");
    server_rate = rate_of("SLOW_DISK_SERVER");
    server = fd < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof *server, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (server == MAP_FAILED || !(link_rate > 0) || !(server_rate > 0)) {
        fputs("slow_disk: SLOW_DISK_LINK, SLOW_DISK_SERVER and SLOW_DISK_CLOCK are wanted\n", stderr);
        exit(2);
    }
    close(fd);
}

__attribute__((destructor)) static void tell(void)
{
    const char *const told = getenv("SLOW_DISK_TOLD");
    FILE *const out = told && through[IN] + through[OUT] ? fopen(told, "a") : NULL;
    if (!out)
        return;
    fprintf(out, "%llu %llu\n", (unsigned long long)through[IN], (unsigned long long)through[OUT]);
    fclose(out);
}

/* Returns the time when `bytes` more, requested at `here`, will be done. */
static int64_t queue(lane *l, size_t bytes, double rate, int64_t here)
{
    int64_t before = atomic_load(l), after;
    const int64_t idle = here - (int64_t)(AHEAD / rate * 1e9);
    do
        after = (before > idle ? before : idle) + (int64_t)((double)bytes / rate * 1e9);
    while (!atomic_compare_exchange_weak(l, &before, after));
    return after;
}

/* Sleeps until the simulated disk would be done. The time that the real call took since `began` is part of the
 * delay. */
static void wait_for(int direction, ssize_t bytes, int64_t began)
{
    if (bytes < MIN)
        return;
    through[direction] += (uint64_t)bytes;
    const int64_t a = queue(&own[direction], (size_t)bytes, link_rate, began),
                  b = queue(&server[direction], (size_t)bytes, server_rate, began), end = a > b ? a : b;
    const struct timespec until = {end / 1000000000, end % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        ;
}

ssize_t pread(int fd, void *to, size_t bytes, off_t at)
{
    const int64_t began = now();
    const ssize_t got = real_pread(fd, to, bytes, at);
    wait_for(IN, got, began);
    return got;
}

/* The compiler calls this function instead of pread if it can derive the size of the buffer. */
ssize_t __pread_chk(int fd, void *to, size_t bytes, off_t at, size_t room);
ssize_t __pread_chk(int fd, void *to, size_t bytes, off_t at, size_t room)
{
    return bytes > room ? (abort(), -1) : pread(fd, to, bytes, at);
}

ssize_t pread64(int fd, void *to, size_t bytes, off_t at) { return pread(fd, to, bytes, at); }

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at)
{
    const int64_t began = now();
    const ssize_t put = real_pwrite(fd, from, bytes, at);
    wait_for(OUT, put, began);
    return put;
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off_t at) { return pwrite(fd, from, bytes, at); }

ssize_t copy_file_range(int from, off_t *in, int to, off_t *out, size_t bytes, unsigned flags)
{
    const int64_t began = now();
    const ssize_t put = real_copy(from, in, to, out, bytes, flags);
    wait_for(IN, put, began);
    wait_for(OUT, put, began);
    return put;
}
