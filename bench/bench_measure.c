/* SPDX-License-Identifier: MIT
 * Measures the Z-measure from the page cache with one thread on every table that this CPU supports: bytes of the
 * tensors per second of the thread's CPU time, which does not depend on other load, and the peak memory of the process.
 * bench_measure FILE [MEGABYTES [ISA]]: the program makes FILE and removes it at the end. With BENCH_SMOKE=1 in the
 * environment, it measures each type once. */
#include "bench/bench_rig.h"
#include <organ/measure.h>
#include "tests/kit/samples.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    COLS = 4096,
    TENSORS = 8,
    RUNS = 15,
    SECONDS = 2,
    SAMPLED_ROWS = 256
};              /* rows repeat after this many, because samples are slow to make */
#define BAR 2.0 /* GB/s of BF16 with AVX-512 */

static void write_row(FILE *out, organ_dtype dtype, const float *values)
{
    uint16_t words[COLS];
    if (dtype == ORGAN_F32) {
        fwrite(values, sizeof *values, COLS, out);
        return;
    }
    if (dtype == ORGAN_BF16)
        organ_kernels_scalar->f32_to_bf16(values, words, COLS);
    else
        organ_kernels_scalar->f32_to_f16(values, words, COLS);
    fwrite(words, sizeof *words, COLS, out);
}

static void make(const char *path, organ_dtype dtype, const float *sampled, size_t megabytes)
{
    char header[200 * TENSORS];
    const size_t row = COLS * organ_dtype_describe(dtype)->bytes, rows = (megabytes << 20) / TENSORS / row,
                 bytes = rows * row;
    uint64_t length = 0;
    for (size_t k = 0; k < TENSORS; k++)
        length += (uint64_t)snprintf(header + length, sizeof header - length,
                                     "%s\"model.layers.%zu.mlp.up_proj.weight\":{\"dtype\":\"%s\",\"shape\":[%zu,%d],"
                                     "\"data_offsets\":[%zu,%zu]}",
                                     k ? "," : "{", k, organ_dtype_describe(dtype)->name, rows, COLS, k * bytes,
                                     (k + 1) * bytes);
    length += (uint64_t)snprintf(header + length, sizeof header - length, "}");
    FILE *out = fopen(path, "wb");
    if (!out) {
        perror(path);
        exit(4);
    }
    fwrite(&length, sizeof length, 1, out);
    fwrite(header, 1, length, out);
    for (size_t k = 0; k < TENSORS * rows; k++)
        write_row(out, dtype, sampled + k % SAMPLED_ROWS * COLS);
    fclose(out);
}

/* Returns the best speed of RUNS runs, or of those within SECONDS, in bytes per second of CPU time. */
static double speed(const char *path, const organ_kernels *kernels, double *theta)
{
    organ_error error = {0};
    organ_model *model;
    organ_engine engine = {.memory = 512 << 20, .kernels = kernels};
    organ_topology *topology;
    double best = 0, spent = 0;
    organ_model_open(path, &model, &error), bench_stop_at(&error);
    organ_topology_discover(&topology, &error), bench_stop_at(&error);
    organ_workers_create(engine.topology = topology, 1, &engine.workers, &error), bench_stop_at(&error);
    for (int run = 0; run < (bench_is_smoke() ? 1 : RUNS) && spent < SECONDS; run++) {
        organ_z z[TENSORS] = {{0}};
        uint64_t bytes = 0;
        const double start = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
        organ_measure_tensors(model, &(organ_z_options){0}, &engine, NULL, z, &error), bench_stop_at(&error);
        const double took = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
        spent += took;
        for (size_t k = 0; k < TENSORS; k++)
            bytes += model->tensors[k].bytes;
        best = (double)bytes / took > best ? (double)bytes / took : best;
        *theta = z[0].theta;
    }
    organ_workers_destroy(engine.workers);
    organ_topology_destroy(topology);
    organ_model_close(model);
    return best;
}

int main(int argc, char **argv)
{
    static const organ_dtype types[] = {ORGAN_BF16, ORGAN_F16, ORGAN_F32};
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    struct rusage usage;
    char cpu[BENCH_CPU_NAME];
    if (argc < 2) {
        fprintf(stderr, "bench_measure FILE [MEGABYTES [ISA]]\n");
        return 2;
    }
    printf("%s\n", bench_cpu_name(cpu));
    float *const sampled = bench_room(SAMPLED_ROWS * COLS * sizeof *sampled);
    samples_fill(&(samples){1}, STUDENT_T4, sampled, SAMPLED_ROWS * COLS);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        make(argv[1], types[t], sampled, argc > 2 ? (size_t)atoi(argv[2]) : 128);
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            const char *why;
            double theta = 0;
            const organ_kernels *kernels = organ_kernels_choose(organ_cpu_detect(), names[k], &why);
            if (!kernels || (argc > 3 && strcmp(names[k], argv[3]) != 0))
                continue;
            const double found = speed(argv[1], kernels, &theta);
            printf("%-5s %-7s %6.2f GB/s a core   theta %.6f", organ_dtype_describe(types[t])->name, names[k],
                   found / 1e9, theta);
            if (types[t] == ORGAN_BF16 && strcmp(names[k], "avx512") == 0)
                bench_tell_bar(found >= BAR * 1e9, BAR);
            else
                printf("\n");
            fflush(stdout);
        }
        unlink(argv[1]);
    }
    free(sampled);
    getrusage(RUSAGE_SELF, &usage);
    printf("peak RSS %ld MiB\n", usage.ru_maxrss / 1024);
    return bench_end(EXIT_SUCCESS);
}
