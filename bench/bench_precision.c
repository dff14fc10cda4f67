/* SPDX-License-Identifier: MIT
 * Compares the conversion of packed codes to floats and back with memcpy on every table that this CPU supports: GB/s
 * (bytes read plus bytes written), where the larger array has 256 MiB, as memcpy's has, in alternating runs; with one
 * thread, and with one per CPU. The table ends with the lowest ratio of the three most common formats.
 * precision [RESULT.json]. With BENCH_SMOKE=1 in the environment, arrays have 4 MiB, and each row is measured once with
 * one thread and with two. */
#include "bench/bench_rig.h"
#include <organ/kernels.h>
#include "tests/kit/samples.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROW = 4096, MAX_THREADS = 64, TURNS = 7 };

/* Bytes of the larger array. */
static size_t array_bytes(void) { return bench_is_smoke() ? 4 << 20 : 256 << 20; }

typedef struct slice {
    const unsigned char *in, *codes;
    unsigned char *out;
    const float *scales, *zeros;
} slice;

typedef struct subject {
    const char *name;
    double read, write; /* bytes per element */
    size_t group;
    int code, real;
    void (*run)(const struct subject *s, const organ_kernels *k, const slice *a, size_t n);
    int counts; /* one of the common formats */
} subject;

static void run_decode(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    k->decode[s->code][s->real](a->codes, a->scales, NULL, s->group, a->out, n);
}
static void run_decode_zeros(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    k->decode[s->code][s->real](a->codes, a->scales, a->zeros, s->group, a->out, n);
}
static void run_encode(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    k->encode[s->code]((const float *)(const void *)a->in, a->scales, s->group, a->out, n);
}
static void run_amax(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    const float max = k->amax((const float *)(const void *)a->in, n);
    (void)s;
    __asm__ volatile("" : : "r"(&max) : "memory");
}
static void run_copy(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    (void)s, (void)k, memcpy(a->out, a->in, n);
}
static void run_transpose(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    (void)s, (void)k;
    for (size_t at = 0; at + ROW * ROW <= n; at += ROW * ROW)
        organ_transpose_nibbles(a->in + at, ROW, a->out + at, ROW / 2, ROW, ROW, 0x88);
}
static void run_transpose_words(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    (void)s, (void)k;
    for (size_t at = 0; at + ROW * ROW <= n; at += ROW * ROW)
        organ_transpose_u32((const uint32_t *)(const void *)a->in + at, ROW, (uint32_t *)(void *)a->out + at, ROW, ROW,
                            ROW);
}
static void run_unpack(const subject *s, const organ_kernels *k, const slice *a, size_t n)
{
    (void)k;
    organ_unpack_bits(a->in, (unsigned)s->code, 1, 0, a->out, n);
}

#define CODE(name) ORGAN_CODE_##name
static const subject copying = {"memcpy", 1, 1, 0, 0, 0, run_copy, 0};
static const subject subjects[] = {
    {"E4M3, group 128, to BF16", 1, 2, 128, CODE(E4M3), ORGAN_REAL_BF16, run_decode, 1},
    {"E2M1, group 32, to BF16", 0.5, 2, 32, CODE(E2M1), ORGAN_REAL_BF16, run_decode, 1},
    {"U4, group 128, to BF16", 0.5, 2, 128, CODE(U4), ORGAN_REAL_BF16, run_decode_zeros, 1},
    {"E4M3, group 32, to BF16", 1, 2, 32, CODE(E4M3), ORGAN_REAL_BF16, run_decode, 0},
    {"E4M3, group 100, to BF16", 1, 2, 100, CODE(E4M3), ORGAN_REAL_BF16, run_decode, 0},
    {"E4M3, group 128, to F16", 1, 2, 128, CODE(E4M3), ORGAN_REAL_F16, run_decode, 0},
    {"E4M3, group 128, to F32", 1, 4, 128, CODE(E4M3), ORGAN_REAL_F32, run_decode, 0},
    {"E5M2, group 128, to BF16", 1, 2, 128, CODE(E5M2), ORGAN_REAL_BF16, run_decode, 0},
    {"E4M3FNUZ, 128, to BF16", 1, 2, 128, CODE(E4M3FNUZ), ORGAN_REAL_BF16, run_decode, 0},
    {"E5M2FNUZ, 128, to BF16", 1, 2, 128, CODE(E5M2FNUZ), ORGAN_REAL_BF16, run_decode, 0},
    {"I8, group 4096, to BF16", 1, 2, 4096, CODE(I8), ORGAN_REAL_BF16, run_decode, 0},
    {"U8, group 128, to BF16", 1, 2, 128, CODE(U8), ORGAN_REAL_BF16, run_decode_zeros, 0},
    {"E2M1, group 16, to BF16", 0.5, 2, 16, CODE(E2M1), ORGAN_REAL_BF16, run_decode, 0},
    {"E2M1, group 32, to F32", 0.5, 4, 32, CODE(E2M1), ORGAN_REAL_F32, run_decode, 0},
    {"U4, group 128, to F16", 0.5, 2, 128, CODE(U4), ORGAN_REAL_F16, run_decode_zeros, 0},
    {"U4, group 100, to BF16", 0.5, 2, 100, CODE(U4), ORGAN_REAL_BF16, run_decode_zeros, 0},
    {"F32 to E4M3, group 128", 4, 1, 128, CODE(E4M3), 0, run_encode, 0},
    {"F32 to E5M2, group 128", 4, 1, 128, CODE(E5M2), 0, run_encode, 0},
    {"F32 to I8, group 4096", 4, 1, 4096, CODE(I8), 0, run_encode, 0},
    {"F32 to U4, group 128", 4, 0.5, 128, CODE(U4), 0, run_encode, 0},
    {"amax", 4, 0, 0, 0, 0, run_amax, 0},
};
static const subject plain[] = {
    {"bytes turned", 1, 1, 0, 0, 0, run_transpose, 0},
    {"words turned", 4, 4, 0, 0, 0, run_transpose_words, 0},
    {"4 bits to bytes", 0.5, 1, 0, 4, 0, run_unpack, 0},
    {"3 bits to bytes", 0.375, 1, 0, 3, 0, run_unpack, 0},
};

/* ---- threads that start at the same time ---- */
typedef struct job {
    const subject *subject;
    const organ_kernels *kernels;
    slice part;
    size_t n;
} job;

static pthread_barrier_t start, stop;
static job jobs[MAX_THREADS];

static void run_job(const job *j) { j->subject->run(j->subject, j->kernels, &j->part, j->n); }

static void *worker(void *argument)
{
    for (;;) {
        pthread_barrier_wait(&start);
        const job *j = argument;
        if (!j->subject)
            return NULL;
        run_job(j);
        pthread_barrier_wait(&stop);
    }
}

/* For one thread, processor time, which does not depend on what else the machine runs; else wall time. */
static double now(int threads) { return bench_seconds(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC); }

static size_t elements(const subject *s, int threads)
{
    const double widest = s->write > s->read ? s->write : s->read;
    return (size_t)((double)array_bytes() / widest) / (size_t)threads / (ROW * 32) * (ROW * 32);
}

static double seconds(const subject *s, const organ_kernels *k, const slice *whole, int threads)
{
    const size_t n = elements(s, threads);
    for (int t = 0; t < threads; t++) {
        const size_t first = n * (size_t)t;
        const size_t at = (size_t)((double)first * s->read);
        const slice part = {whole->in + at, whole->codes + at, whole->out + (size_t)((double)first * s->write),
                            s->group ? whole->scales + first / s->group : NULL,
                            s->group ? whole->zeros + first / s->group : NULL};
        jobs[t] = (job){s, k, part, n};
    }
    if (threads > 1)
        pthread_barrier_wait(&start);
    const double from = now(threads);
    run_job(&jobs[0]);
    if (threads > 1)
        pthread_barrier_wait(&stop);
    return now(threads) - from;
}

/* Measures the best GB/s of each table in alternating runs. */
static void measure(const subject *s, const organ_kernels *k, const slice *whole, int threads, double *rate,
                    double *copy)
{
    double best = 1e9, best_copy = 1e9;
    for (int turn = 0; turn < (bench_is_smoke() || (k == organ_kernels_scalar && s->group) ? 1 : TURNS); turn++) {
        const double one = seconds(s, k, whole, threads), other = seconds(&copying, k, whole, threads);
        best = one < best ? one : best;
        best_copy = other < best_copy ? other : best_copy;
    }
    *rate = (double)elements(s, threads) * threads * (s->read + s->write) / best * 1e-9;
    *copy = (double)elements(&copying, threads) * threads * 2 / best_copy * 1e-9;
}

static double show(FILE *json, const subject *s, const organ_kernels *k, const slice *whole, int threads)
{
    static int rows;
    double rate, copy;
    measure(s, k, whole, threads, &rate, &copy);
    printf("%-25s %-7s %3d %8.2f %8.2f %8.2f\n", s->name, k->isa, threads, rate, copy, rate / copy);
    fflush(stdout);
    fprintf(json,
            "%s\n  {\"kernel\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"gigabytes_per_second\": %.4g, "
            "\"ratio_to_memcpy\": %.4g}",
            rows++ ? "," : "", s->name, k->isa, threads, rate, rate / copy);
    return rate / copy;
}

static void bench_all(FILE *json, const slice *whole, int threads)
{
    static const char *const isas[] = {"scalar", "neon", "avx2", "avx512"};
    double least = 1e9;
    const char *last = "";
    for (size_t i = threads > 1; i < sizeof isas / sizeof *isas; i++) { /* far below the memory bandwidth */
        const char *why;
        const organ_kernels *k = organ_kernels_choose(organ_cpu_detect(), isas[i], &why);
        if (!k)
            continue;
        least = 1e9;
        last = isas[i];
        for (size_t s = 0; s < sizeof subjects / sizeof *subjects; s++) {
            const double ratio = show(json, &subjects[s], k, whole, threads);
            least = subjects[s].counts && ratio < least ? ratio : least;
        }
    }
    for (size_t s = 0; s < sizeof plain / sizeof *plain; s++)
        show(json, &plain[s], organ_kernels_scalar, whole, threads);
    if (*last)
        printf("%d thread%s, %s: E4M3, E2M1 and U4 to BF16 at %.2f x memcpy or more\n", threads, threads > 1 ? "s" : "",
               last, least);
}

static void bench_threads(FILE *json, const slice *whole, int threads)
{
    pthread_t ids[MAX_THREADS];
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    pthread_barrier_init(&stop, NULL, (unsigned)threads);
    for (int t = 1; t < threads; t++)
        if (pthread_create(&ids[t], NULL, worker, &jobs[t]) != 0)
            exit(EXIT_FAILURE);
    bench_all(json, whole, threads);
    for (int t = 1; t < threads; t++)
        jobs[t].subject = NULL;
    if (threads > 1)
        pthread_barrier_wait(&start);
    for (int t = 1; t < threads; t++)
        pthread_join(ids[t], NULL);
    pthread_barrier_destroy(&start);
    pthread_barrier_destroy(&stop);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "build/bench/precision.json";
    const size_t bytes = array_bytes(), factors = bytes / 8; /* for groups of 16 nibbles */
    unsigned char *in = bench_large(bytes), *codes = bench_large(bytes), *out = bench_large(bytes);
    float *scales = bench_large(factors * sizeof *scales), *zeros = bench_large(factors * sizeof *zeros);
    const long cpus = bench_is_smoke() ? 2 : sysconf(_SC_NPROCESSORS_ONLN);
    const slice whole = {in, codes, out, scales, zeros};
    samples random = {1};
    FILE *json = fopen(path, "w");
    if (!json) {
        perror(path);
        return EXIT_FAILURE;
    }
    const float step = 1 / 56.0f; /* the largest code is about 336, as in weights scaled by their maximum */
    samples_fill(&random, NORMAL, (float *)(void *)in, 1 << 20);
    organ_kernels_scalar->encode[ORGAN_CODE_E4M3]((const float *)(void *)in, &step, 1 << 20, codes, 1 << 20);
    for (size_t at = 1 << 20; at < bytes; at *= 2)
        memcpy(codes + at, codes, at);
    for (size_t at = 4 << 20; at < bytes; at *= 2)
        memcpy(in + at, in, at);
    memset(out, 1, bytes);
    for (size_t g = 0; g < factors; g++)
        scales[g] = 0.001f + (float)(g % 1024) * 1e-6f, zeros[g] = (float)(g % 16);
    printf("%-25s %-7s %3s %8s %8s %8s\n", "GB/s read and written", "isa", "thr", "", "memcpy", "ratio");
    fprintf(json, "{\"schema\": \"organ.bench.precision/1\", \"bytes\": %zu, \"results\": [", bytes);
    bench_threads(json, &whole, 1);
    if (cpus > 1)
        bench_threads(json, &whole, cpus < MAX_THREADS ? (int)cpus : MAX_THREADS);
    fprintf(json, "\n]}\n");
    free(in), free(codes), free(out), free(scales), free(zeros);
    return fclose(json) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
