/* SPDX-License-Identifier: MIT
 * Measures products of FP32 with BF16 weights on one core: exact ones, and those of --compute split and bf16 with all
 * instructions of this CPU, whether they are faster or not. ORGAN_ISA chooses the kernels of the exact ones.
 * build/bench/products [OUT.json]. With BENCH_SMOKE=1 in the environment, each runs once. */
#include "bench/products/bench_peaks.h"
#include <organ/kernels.h>
#include "orchestrator/machine/topology_parts.h"
#include "tests/kit/samples.h"

#include <string.h>

/* The sizes that the forward pass uses: rows of a part, rows of the weights, depth. */
enum { ROWS = 512, COLUMNS = 512, DEPTH = 896, ROUNDS = 60 };

typedef void run_product(const organ_product *product, void *scratch);

typedef struct way {
    const char *compute, *isa;
    run_product *run;
    organ_compute kind;
    double best; /* seconds */
    bench_peak *peak;
} way;

static size_t find_ways(way ways[5])
{
    const char *why;
    const organ_cpu cpu = organ_cpu_detect();
    const organ_kernels *const kernels = organ_kernels_choose(cpu, getenv("ORGAN_ISA"), &why);
    if (!kernels) {
        fprintf(stderr, "ORGAN_ISA: %s\n", why);
        exit(2);
    }
    const organ_dots *const dots[] = {cpu.amx && organ_ask_for_tiles() ? organ_dots_amx : NULL,
                                      cpu.avx512_bf16 ? organ_dots_avx512_bf16 : NULL};
    size_t count = 1;
    ways[0] = (way){"exact", kernels->isa, kernels->product, ORGAN_COMPUTE_EXACT, 1e9, bench_peak_of(kernels->isa)};
    for (size_t d = 0; d < 2; d++)
        if (dots[d]) {
            bench_peak *const peak = bench_peak_of(dots[d]->isa);
            ways[count++] = (way){"split", dots[d]->isa, dots[d]->product, ORGAN_COMPUTE_SPLIT, 1e9, peak};
            ways[count++] = (way){"bf16", dots[d]->isa, dots[d]->product, ORGAN_COMPUTE_BF16, 1e9, peak};
        } else
            printf("skipped: split and bf16 by %s, which this CPU or its kernel does not have\n",
                   d ? "AVX512-BF16" : "AMX");
    return count;
}

static void show(FILE *json, const way *ways, size_t count)
{
    const double products = (double)ROWS * COLUMNS * DEPTH;
    fprintf(json,
            "{\"schema\": \"organ.bench.products/1\", \"rows\": %d, \"columns\": %d, \"depth\": %d, \"results\": [",
            ROWS, COLUMNS, DEPTH);
    printf("%-8s %-12s %10s %10s\n", "compute", "isa", "GF/s", "x exact");
    for (size_t w = 0; w < count; w++) {
        const double rate = 2e-9 * products / ways[w].best, ratio = ways[0].best / ways[w].best;
        printf("%-8s %-12s %10.1f %10.2f", ways[w].compute, ways[w].isa, rate, ratio);
        if (ways[w].peak) /* the scalar kernels have none */
            bench_tell_share(rate * 1e9 / bench_peak_renew(ways[w].peak));
        printf("\n");
        fprintf(json, "%s\n  {\"compute\": \"%s\", \"isa\": \"%s\", \"gigaflops\": %.5g, \"ratio_to_exact\": %.4g}",
                w ? "," : "", ways[w].compute, ways[w].isa, rate, ratio);
    }
    fprintf(json, "\n]}\n");
}

int main(int argc, char **argv)
{
    const char *const path = argc > 1 ? argv[1] : "build/bench/products.json";
    way ways[5];
    const size_t count = find_ways(ways);
    float *const a = bench_room(ROWS * DEPTH * sizeof *a), *const c = bench_room(ROWS * COLUMNS * sizeof *c);
    uint16_t *const b = bench_room(COLUMNS * DEPTH * sizeof *b);
    void *const scratch = bench_room(ORGAN_PRODUCT_SCRATCH);
    samples random = {1};
    FILE *json = fopen(path, "w");
    if (!json) {
        perror(path);
        return EXIT_FAILURE;
    }
    samples_fill(&random, NORMAL, a, ROWS * DEPTH);
    organ_kernels_scalar->f32_to_bf16(a, b, COLUMNS * DEPTH);
    for (int round = 0; round < (bench_is_smoke() ? 1 : ROUNDS); round++)
        for (size_t w = 0; w < count; w++) {
            const organ_product p = {.m = ROWS,
                                     .n = COLUMNS,
                                     .k = DEPTH,
                                     .a = {a, ORGAN_REAL_F32, false, DEPTH},
                                     .b = {b, ORGAN_REAL_BF16, false, DEPTH},
                                     .c = c,
                                     .c_stride = COLUMNS,
                                     .compute = ways[w].kind};
            const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
            ways[w].run(&p, scratch);
            const double took = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
            ways[w].best = took < ways[w].best ? took : ways[w].best;
        }
    show(json, ways, count);
    free(a), free(b), free(c), free(scratch);
    return bench_end(fclose(json) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}
