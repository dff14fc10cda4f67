/* SPDX-License-Identifier: MIT
 * Speed of every kernel on every table this CPU runs: GB/s (bytes read plus bytes written), elements per core cycle, ratios to memcpy and
 * to scalar measured in the same run; warm (arrays that fit L2) and cold (the larger array 256 MiB). The core's frequency is measured,
 * since a time stamp counter does not run at it. Usage: kernels [RESULT.json] */
#include "bench/bench_rig.h"
#include "kernels/kernels.h"
#include "tests/samples.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLD_BYTES = 256 << 20, WARM_BYTES = 256 << 10, TILE = 256, ITERATIONS = 30, COLD_COLS = 8192 };

typedef struct arrays {
    unsigned char *in, *in2, *out;
    void *scratch;
} arrays;

typedef struct subject {
    const char *name;
    size_t read, write; /* bytes per unit: an element, or a block of a GGUF type */
    void (*run)(const organ_kernels *k, const arrays *a, size_t n);
    size_t elements; /* of a block; 0 where units are elements */
} subject;

typedef struct result {
    double seconds, per_second, gigabytes, per_cycle, of_memcpy, of_scalar;
} result;

/* Of this thread alone: what others run on the machine meanwhile is not counted. */
static double now(void) { return bench_seconds(CLOCK_THREAD_CPUTIME_ID); }

static void keep(const void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

/* Cycles per second of the core: additions that wait for each other take one each. */
static double core_frequency(void)
{
    double best = 1e9;
    for (int run = 0; run < 5; run++) {
        const double start = now();
        unsigned long x = 0;
        for (int k = 0; k < 1000000; k++)
            _Pragma("GCC unroll 16") for (int u = 0; u < 16; u++)
            {
                x += 3;
                __asm__ volatile("" : "+r"(x));
            }
        const double took = now() - start;
        best = took < best ? took : best;
    }
    return 16e6 / best;
}

/* ---- what is measured ---- */
#define FLOATS(p) ((float *)(void *)(p))
#define WORDS(p)  ((uint16_t *)(void *)(p))
static void run_memcpy(const organ_kernels *k, const arrays *a, size_t n) { (void)k, memcpy(a->out, a->in, n); }
static void run_bf16_to_f32(const organ_kernels *k, const arrays *a, size_t n) { k->bf16_to_f32(WORDS(a->in), FLOATS(a->out), n); }
static void run_f16_to_f32(const organ_kernels *k, const arrays *a, size_t n) { k->f16_to_f32(WORDS(a->in), FLOATS(a->out), n); }
static void run_f32_to_bf16(const organ_kernels *k, const arrays *a, size_t n) { k->f32_to_bf16(FLOATS(a->in), WORDS(a->out), n); }
static void run_f32_to_f16(const organ_kernels *k, const arrays *a, size_t n) { k->f32_to_f16(FLOATS(a->in), WORDS(a->out), n); }
static void run_moments_bf16(const organ_kernels *k, const arrays *a, size_t n)
{
    organ_moments m;
    k->moments_bf16(WORDS(a->in), n, &m);
    keep(&m);
}
static void run_moments_f16(const organ_kernels *k, const arrays *a, size_t n)
{
    organ_moments m;
    k->moments_f16(WORDS(a->in), n, &m);
    keep(&m);
}
static void run_moments_f32(const organ_kernels *k, const arrays *a, size_t n)
{
    organ_moments m;
    k->moments_f32(FLOATS(a->in), n, &m);
    keep(&m);
}
static void run_zeros_16(const organ_kernels *k, const arrays *a, size_t n)
{
    const uint64_t zeros = k->zeros_16(WORDS(a->in), n);
    keep(&zeros);
}
static void run_zeros_32(const organ_kernels *k, const arrays *a, size_t n)
{
    const uint64_t zeros = k->zeros_32(FLOATS(a->in), n);
    keep(&zeros);
}
static void run_audit_16(const organ_kernels *k, const arrays *a, size_t n)
{
    organ_audit_counts counts;
    k->audit_16(WORDS(a->in), WORDS(a->in2), n, &counts);
    keep(&counts);
}
static void run_audit_32(const organ_kernels *k, const arrays *a, size_t n)
{
    organ_audit_counts counts;
    k->audit_32(FLOATS(a->in), FLOATS(a->in2), n, &counts);
    keep(&counts);
}

static void run_count_codes(const organ_kernels *k, const arrays *a, size_t n)
{
    static uint64_t counts[65536];
    k->count_codes(WORDS(a->in), n, counts);
    keep(counts);
}
static void run_pair_means(const organ_kernels *k, const arrays *a, size_t n) { k->pair_means_bf16(WORDS(a->in), FLOATS(a->out), n); }
static void run_spread(const organ_kernels *k, const arrays *a, size_t n)
{
    organ_spread spread;
    k->spread(FLOATS(a->in), n, &spread);
    keep(&spread);
}
static void run_z_bins(const organ_kernels *k, const arrays *a, size_t n)
{
    static uint64_t counts[4 * ORGAN_Z_BINS];
    k->z_bins(FLOATS(a->in), n, 0.0, 1.0, counts);
    keep(counts);
}

#define BLOCKS(type, number)                                                                                                               \
    static void run_##type(const organ_kernels *k, const arrays *a, size_t n) { k->dequantize[number](a->in, FLOATS(a->out), n); }
#define TO_BLOCKS(type, number)                                                                                                            \
    static void run_to_##type(const organ_kernels *k, const arrays *a, size_t n) { k->quantize[number](FLOATS(a->in), a->out, n); }
BLOCKS(q8_0, 8)
BLOCKS(q4_0, 2)
BLOCKS(q2_k, 10)
BLOCKS(q3_k, 11)
BLOCKS(q4_k, 12)
BLOCKS(q5_k, 13)
BLOCKS(q6_k, 14)
BLOCKS(iq4_nl, 20)
BLOCKS(iq4_xs, 23)
BLOCKS(mxfp4, 39)
BLOCKS(q5_0, 6)
BLOCKS(iq3_s, 21)
TO_BLOCKS(q8_0, 8)
TO_BLOCKS(q4_0, 2)

static const subject memcpy_subject = {"memcpy", 1, 1, run_memcpy, 0};
static const subject subjects[] = {
    {"bf16_to_f32", 2, 4, run_bf16_to_f32, 0},
    {"f16_to_f32", 2, 4, run_f16_to_f32, 0},
    {"f32_to_bf16", 4, 2, run_f32_to_bf16, 0},
    {"f32_to_f16", 4, 2, run_f32_to_f16, 0},
    {"moments_bf16", 2, 0, run_moments_bf16, 0},
    {"moments_f16", 2, 0, run_moments_f16, 0},
    {"moments_f32", 4, 0, run_moments_f32, 0},
    {"zeros_16", 2, 0, run_zeros_16, 0},
    {"zeros_32", 4, 0, run_zeros_32, 0},
    {"audit_16", 4, 0, run_audit_16, 0},
    {"audit_32", 8, 0, run_audit_32, 0},
    {"q8_0 to f32", 34, 128, run_q8_0, 32},
    {"q4_0 to f32", 18, 128, run_q4_0, 32},
    {"q2_k to f32", 84, 1024, run_q2_k, 256},
    {"q3_k to f32", 110, 1024, run_q3_k, 256},
    {"q4_k to f32", 144, 1024, run_q4_k, 256},
    {"q5_k to f32", 176, 1024, run_q5_k, 256},
    {"q6_k to f32", 210, 1024, run_q6_k, 256},
    {"iq4_nl to f32", 18, 128, run_iq4_nl, 32},
    {"iq4_xs to f32", 136, 1024, run_iq4_xs, 256},
    {"mxfp4 to f32", 17, 128, run_mxfp4, 32},
    {"q5_0 to f32", 22, 128, run_q5_0, 32},
    {"iq3_s to f32", 110, 1024, run_iq3_s, 256},
    {"f32 to q8_0", 128, 34, run_to_q8_0, 32},
    {"f32 to q4_0", 128, 18, run_to_q4_0, 32},
    {"count_codes", 2, 0, run_count_codes, 0},
    {"pair_means", 4, 4, run_pair_means, 0},
    {"spread", 4, 0, run_spread, 0},
    {"z_bins", 4, 0, run_z_bins, 0},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

/* ---- measuring ---- */
/* Bytes of the larger of the arrays an element takes part in; the audits read two arrays of half of `read`. */
static size_t widest(const subject *s)
{
    const size_t one = s->run == run_audit_16 || s->run == run_audit_32 ? s->read / 2 : s->read;
    return one > s->write ? one : s->write;
}

static result measure(const subject *s, const organ_kernels *k, const arrays *a, size_t bytes, double frequency)
{
    const size_t n = bytes / widest(s);
    const double end = now() + 0.1;
    double best = 1e9;
    for (int run = 0; run == 0 || (run < 1000 && now() < end); run++) {
        const double start = now();
        s->run(k, a, n);
        const double took = now() - start;
        best = took < best ? took : best;
    }
    const double per_second = (double)n * (double)(s->elements ? s->elements : 1) / best;
    return (result){.seconds = best,
                    .per_second = per_second,
                    .gigabytes = (double)n / best * (double)(s->read + s->write) * 1e-9,
                    .per_cycle = per_second / frequency};
}

/* Weight-iterations per second over tiles of a matrix `cols` wide that starts at in2 and is pruned in a copy: one tile again and again when
 * warm, each tile once when cold. */
static result measure_physarum(const organ_kernels *k, const arrays *a, int cold, double frequency)
{
    const organ_physarum_params params = {ITERATIONS, 2, 1, 6};
    const size_t stride = cold ? COLD_COLS : TILE, tiles = cold ? COLD_COLS / TILE : 1;
    organ_prune_counts counts;
    double best = 1e9;
    for (int run = 0; run < (cold ? 3 : 20); run++) {
        memcpy(a->out, a->in2, TILE * stride * 2);
        if (cold) /* push it out of the caches */
            memset(a->in, 1, COLD_BYTES / 4);
        const double start = now();
        for (size_t t = 0; t < tiles; t++)
            k->physarum_bf16(WORDS(a->out) + t * TILE, TILE, TILE, stride, &params, a->scratch, &counts);
        const double took = (now() - start) / (double)tiles;
        best = took < best ? took : best;
    }
    const double per_second = (double)TILE * TILE * ITERATIONS / best;
    return (result){.seconds = best, .per_second = per_second, .per_cycle = per_second / frequency};
}

/* ---- showing ---- */
static void show(FILE *json, const char *name, const char *isa, int cold, const result *r, const char *unit)
{
    static int rows;
    printf("%-13s %-7s %-5s %8.2f %-7s %8.2f %9.2f %9.2f\n", name, isa, cold ? "cold" : "warm",
           r->gigabytes > 0 ? r->gigabytes : r->per_second * 1e-9, unit, r->per_cycle, r->of_memcpy, r->of_scalar);
    fprintf(json,
            "%s\n  {\"kernel\": \"%s\", \"isa\": \"%s\", \"cold\": %s, \"elements_per_second\": %.6g, \"gigabytes_per_second\": %.4g, ",
            rows++ ? "," : "", name, isa, cold ? "true" : "false", r->per_second, r->gigabytes);
    fprintf(json, "\"elements_per_cycle\": %.4g, \"ratio_to_memcpy\": %.4g, \"ratio_to_scalar\": %.4g}", r->per_cycle, r->of_memcpy,
            r->of_scalar);
}

static void bench_all(FILE *json, const arrays *a, int cold, double frequency)
{
    static const char *const isas[] = {"scalar", "neon", "avx2", "avx512"};
    result scalar[SUBJECTS + 1], copy = measure(&memcpy_subject, NULL, a, cold ? COLD_BYTES : WARM_BYTES, frequency);
    copy.of_memcpy = 1;
    show(json, "memcpy", "libc", cold, &copy, "GB/s");
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        const char *why;
        const organ_kernels *k = organ_kernels_choose(organ_cpu_detect(), isas[i], &why);
        const size_t bytes = !cold ? WARM_BYTES : i == 0 ? COLD_BYTES / 8 : COLD_BYTES; /* scalar is far from what memory can do */
        for (size_t s = 0; k && s <= SUBJECTS; s++) {
            result r = s < SUBJECTS ? measure(&subjects[s], k, a, bytes, frequency) : measure_physarum(k, a, cold, frequency);
            if (i == 0)
                scalar[s] = r;
            r.of_scalar = r.per_second / scalar[s].per_second;
            r.of_memcpy = r.gigabytes / copy.gigabytes;
            show(json, s < SUBJECTS ? subjects[s].name : "physarum_bf16", k->isa, cold, &r, s < SUBJECTS ? "GB/s" : "G w-i/s");
        }
    }
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "build/bench/kernels.json";
    const arrays a = {bench_large(COLD_BYTES), bench_large(COLD_BYTES), bench_large(COLD_BYTES),
                      aligned_alloc(64, organ_physarum_scratch(TILE, TILE))};
    const double frequency = core_frequency();
    samples random = {1};
    FILE *json = fopen(path, "w");
    if (!json || !a.scratch) {
        perror(path);
        return EXIT_FAILURE;
    }
    samples_fill(&random, NORMAL, FLOATS(a.in), 1 << 20);
    organ_kernels_scalar->f32_to_bf16(FLOATS(a.in), WORDS(a.in2), 1 << 20);
    for (size_t at = 2 << 20; at < COLD_BYTES; at *= 2)
        memcpy(a.in2 + at, a.in2, at);
    memcpy(a.in, a.in2, COLD_BYTES);
    memset(a.out, 1, COLD_BYTES);
    printf("core %.2f GHz; bytes read and written count alike; warm %d KiB, cold %d MiB in the larger array\n", frequency * 1e-9,
           WARM_BYTES >> 10, COLD_BYTES >> 20);
    printf("%-13s %-7s %-5s %16s %8s %9s %9s\n", "kernel", "isa", "", "", "el/cycle", "x memcpy", "x scalar");
    fprintf(json, "{\"schema\": \"organ.bench.kernels/1\", \"core_hertz\": %.6g, \"warm_bytes\": %d, \"cold_bytes\": %d, \"results\": [",
            frequency, WARM_BYTES, COLD_BYTES);
    bench_all(json, &a, 0, frequency);
    bench_all(json, &a, 1, frequency);
    fprintf(json, "\n]}\n");
    free(a.in), free(a.in2), free(a.out), free(a.scratch);
    return fclose(json) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
