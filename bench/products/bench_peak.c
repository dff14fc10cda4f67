/* SPDX-License-Identifier: MIT
 * Compares the product kernel of every table that this CPU supports, on one core, with the peak of fused multiply-adds
 * in registers on the same ISA, and products of --compute bf16 with the peak of the instructions that they use. C = A
 * B^T with m rows of FP32 and the matrices of a layer in FP32 and BF16. With few rows, memory limits the speed: for
 * these it also compares the bytes of B per second with those of a kernel that only reads. Processor time of one
 * thread. Ends with 1 if a bar is missed, or a product is faster than the peak.
 * peak [RESULT.json [ISA]]. With BENCH_SMOKE=1 in the environment, each shape runs once with at most 4 rows. */
#include "bench/products/bench_peaks.h"
#include <organ/kernels.h>
#include "orchestrator/machine/topology_parts.h"
#include "tests/kit/samples.h"

#include <string.h>

enum { RUNS = 7, MAX_ROWS = 512, MOST_N = 4864, MOST_K = 4864, LARGE = 256 };
#define BAR 0.85 /* share of the peak that exact products reach from LARGE rows on */

/* ---- the product ---- */

typedef struct arrays {
    float *a, *b, *c;
    uint16_t *narrow; /* b in BF16 */
    void *scratch;
} arrays;

/* A way to compute products. */
typedef struct way {
    const char *isa;
    const organ_kernels *kernels; /* exact, or the table with which the dot products are used */
    const organ_dots *dots;       /* NULL: exact */
    bench_peak *peak;
} way;

static double product_of(const way *w, const arrays *s, size_t m, size_t n, size_t k, bool narrow)
{
    void (*const multiply)(const organ_product *, void *) = w->dots ? w->dots->product : w->kernels->product;
    const organ_product p = {
        .m = m,
        .n = n,
        .k = k,
        .a = {s->a, ORGAN_REAL_F32, false, k},
        .b = {narrow ? (const void *)s->narrow : s->b, narrow ? ORGAN_REAL_BF16 : ORGAN_REAL_F32, false, k},
        .c = s->c,
        .c_stride = n,
        .compute = w->dots ? ORGAN_COMPUTE_BF16 : ORGAN_COMPUTE_EXACT};
    double best = 1e9;
    for (int run = 0; run < (bench_is_smoke() ? 1 : RUNS); run++) {
        const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
        multiply(&p, s->scratch);
        const double took = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
        best = took < best ? took : best;
    }
    return best;
}

/* Returns the seconds that reading b takes. */
static double reading(const organ_kernels *kernels, const arrays *s, size_t elements, bool narrow)
{
    volatile float seen = 0;
    double best = 1e9;
    for (int run = 0; run < (bench_is_smoke() ? 1 : RUNS); run++) {
        const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
        seen = seen + (narrow ? (float)kernels->zeros_16(s->narrow, elements) : kernels->amax(s->b, elements));
        const double took = bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start;
        best = took < best ? took : best;
    }
    return best;
}

static void one_shape(FILE *json, const way *w, const arrays *s, const size_t shape[3], bool narrow)
{
    static int rows;
    const size_t m = shape[0], n = shape[1], k = shape[2], bytes = n * k * (narrow ? 2 : 4);
    const char *const type = narrow ? "bf16" : "f32", *const compute = w->dots ? "bf16" : "exact";
    const double took = product_of(w, s, m, n, k, narrow), read = reading(w->kernels, s, n * k, narrow);
    const double rate = 2.0 * (double)m * (double)n * (double)k / took, share = rate / bench_peak_renew(w->peak);
    printf("%-11s %-5s %-4s m %4zu n %4zu k %4zu  %7.1f GF/s", w->isa, compute, type, m, n, k, rate * 1e-9);
    bench_tell_share(share);
    printf("  %6.1f GB/s of B, %.2f of reading", (double)bytes / took * 1e-9, read / took);
    if (m < LARGE || w->dots)
        printf("\n");
    else
        bench_tell_bar(share >= BAR, BAR);
    fflush(stdout);
    fprintf(json, "%s\n  {\"isa\": \"%s\", \"compute\": \"%s\", \"b\": \"%s\", \"m\": %zu, \"n\": %zu, \"k\": %zu, ",
            rows++ ? "," : "", w->isa, compute, type, m, n, k);
    fprintf(json, "\"flops\": %.5g, \"of_peak\": %.4g, \"of_reading\": %.4g}", rate, share, read / took);
}

/* Returns the number of ways, exact ones first. */
static size_t find_ways(way ways[8])
{
    static const char *const isas[] = {"avx512", "avx2", "neon"};
    const organ_cpu cpu = organ_cpu_detect();
    const organ_dots *const dots[] = {cpu.amx && organ_ask_for_tiles() ? organ_dots_amx : NULL,
                                      cpu.avx512_bf16 ? organ_dots_avx512_bf16 : NULL};
    const char *why;
    size_t count = 0;
    for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
        const organ_kernels *const kernels = organ_kernels_choose(cpu, isas[k], &why);
        if (kernels)
            ways[count++] = (way){kernels->isa, kernels, NULL, bench_peak_of(isas[k])};
    }
    for (size_t k = 0; k < 2; k++)
        if (dots[k])
            ways[count++] =
                (way){dots[k]->isa, organ_kernels_choose(cpu, NULL, &why), dots[k], bench_peak_of(dots[k]->isa)};
    return count;
}

static arrays make_arrays(void)
{
    const size_t a = (size_t)MAX_ROWS * MOST_K, b = (size_t)MOST_N * MOST_K;
    arrays s = {.a = bench_room(a * sizeof(float)),
                .b = bench_room(b * sizeof(float)),
                .c = bench_room((size_t)MAX_ROWS * MOST_N * sizeof(float)),
                .narrow = bench_room(b * sizeof(uint16_t)),
                .scratch = bench_room(ORGAN_PRODUCT_SCRATCH)};
    samples random = {1};
    samples_fill(&random, NORMAL, s.b, 1 << 16);
    for (size_t at = 1 << 16; at < b; at++)
        s.b[at] = s.b[at - (1 << 16)];
    memcpy(s.a, s.b, a * sizeof(float));
    organ_kernels_scalar->f32_to_bf16(s.b, s.narrow, b);
    memset(s.c, 0, (size_t)MAX_ROWS * MOST_N * sizeof(float));
    return s;
}

static void free_arrays(const arrays *s) { free(s->a), free(s->b), free(s->c), free(s->narrow), free(s->scratch); }

int main(int argc, char **argv)
{
    static const size_t rows[] = {1, 4, 16, 64, 256, 512}, layers[][2] = {{896, 896}, {4864, 896}, {896, 4864}};
    const char *const path = argc > 1 ? argv[1] : "build/bench/peak.json";
    char cpu[BENCH_CPU_NAME];
    FILE *const json = fopen(path, "w");
    if (!json) {
        perror(path);
        return EXIT_FAILURE;
    }
    const arrays s = make_arrays();
    way ways[8];
    const size_t count = find_ways(ways);
    printf("%s; from %d rows on the bar of exact products is %.2f of the peak\n", bench_cpu_name(cpu), LARGE, BAR);
    fprintf(json, "{\"schema\": \"organ.bench.peak/2\", \"cpu\": \"%s\", \"results\": [", cpu);
    for (size_t w = 0; w < count; w++) {
        if (argc > 2 && strcmp(argv[2], ways[w].isa) != 0)
            continue;
        printf("%-11s peak of one core %7.1f GF/s\n", ways[w].isa, bench_peak_renew(ways[w].peak) * 1e-9);
        for (int narrow = ways[w].dots != NULL; narrow < 2; narrow++)
            for (size_t l = 0; l < sizeof layers / sizeof *layers; l++)
                for (size_t r = 0; r < (bench_is_smoke() ? 2 : sizeof rows / sizeof *rows); r++)
                    one_shape(json, &ways[w], &s, (size_t[]){rows[r], layers[l][0], layers[l][1]}, narrow);
    }
    fprintf(json, "\n]}\n");
    free_arrays(&s);
    return bench_end(fclose(json) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}
