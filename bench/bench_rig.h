/* SPDX-License-Identifier: MIT
 * Functions of several benchmarks: CPU time, the name of the CPU, allocation, and exit on an error. */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include <organ/base.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Returns the time of a clock in seconds, such as CLOCK_PROCESS_CPUTIME_ID or CLOCK_THREAD_CPUTIME_ID. */
static inline double bench_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Returns whether the environment variable BENCH_SMOKE is set: the test tests/bench/check_benches.sh then runs each
 * benchmark once on tiny arrays and checks its output, not its speed. No bar applies. */
static inline int bench_is_smoke(void) { return getenv("BENCH_SMOKE") != NULL; }

#define BENCH_CPU_NAME 128

/* Writes the CPU's name from /proc/cpuinfo, or "unknown CPU". */
static inline const char *bench_cpu_name(char name[BENCH_CPU_NAME])
{
    char line[512];
    FILE *const info = fopen("/proc/cpuinfo", "r");
    strcpy(name, "unknown CPU");
    while (info && fgets(line, sizeof line, info)) {
        char *const value = strchr(line, ':');
        if (!value || (strncmp(line, "model name", 10) != 0 && strncmp(line, "CPU part", 8) != 0))
            continue;
        value[strcspn(value, "\n")] = '\0';
        snprintf(name, BENCH_CPU_NAME, "%.100s", value + 1 + (value[1] == ' '));
        break;
    }
    if (info)
        fclose(info);
    return name;
}

/* The program's memory of missed bars. */
static inline int *bench_missed(void)
{
    static int missed;
    return &missed;
}

/* Prints a remark about a missed bar. bench_end then returns failure. */
static inline void bench_miss(const char *remark)
{
    fputs(remark, stdout);
    *bench_missed() = 1;
}

/* Prints "bar 1.15: ok" or "bar 1.15: missed" at the end of a line. */
static inline void bench_tell_bar(int holds, double bar)
{
    printf("   bar %.2f: ", bar);
    if (holds)
        fputs("ok", stdout);
    else
        bench_miss("missed");
    putchar('\n');
}

/* Returns the status with which main ends: `status` unless it is 0, else 1 if a bar was missed. */
static inline int bench_end(int status)
{
    if (!status && *bench_missed() && !bench_is_smoke())
        return EXIT_FAILURE;
    return status;
}

/* Ends the program with status 4 if `error` is set. */
static inline void bench_stop_at(const organ_error *error)
{
    if (error->status) {
        fprintf(stderr, "%s\n", error->message);
        exit(4);
    }
}

/* Allocates memory for a benchmark's own numbers; the caller frees it. Ends the program with status 4 on failure. */
static inline void *bench_room(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) {
        fputs("no memory\n", stderr);
        exit(4);
    }
    return memory;
}

/* Allocates memory on huge pages if the system has some; the caller frees it. Ends the program on failure. */
static inline void *bench_large(size_t bytes)
{
    void *p = aligned_alloc(2 << 20, bytes);
    if (!p) {
        perror("bench");
        exit(EXIT_FAILURE);
    }
    madvise(p, bytes, MADV_HUGEPAGE); /* only a hint */
    return p;
}

/* Returns the core's cycles per second, measured with dependent operations. On x86-64 these are multiplications, which
 * take three cycles on current CPUs, because some CPUs fold additions of a constant and execute several per cycle.
 * Elsewhere these are additions of one cycle each. */
static inline double bench_core_frequency(void)
{
    double best = 1e9;
    for (int run = 0; run < 5; run++) {
        const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
        unsigned long x = 3;
        for (int k = 0; k < 400000; k++)
            _Pragma("GCC unroll 16") for (int u = 0; u < 16; u++)
#if defined(__x86_64__)
                __asm__ volatile("imul %0, %0" : "+r"(x));
#else
            {
                x += 3;
                __asm__ volatile("" : "+r"(x));
            }
#endif
        const double took = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
        best = took < best ? took : best;
    }
#if defined(__x86_64__)
    return 3 * 6.4e6 / best;
#else
    return 6.4e6 / best;
#endif
}

#endif
