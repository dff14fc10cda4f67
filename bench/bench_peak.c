/* SPDX-License-Identifier: MIT
 * Compares the product kernel of every table that this CPU supports, on one core, with the peak of fused multiply-adds
 * in registers on the same ISA. C = A B^T with m rows of FP32 and the matrices of a layer in FP32 and BF16. With few
 * rows, memory limits the speed: for these it also compares the bytes of B per second with those of a kernel that only
 * reads. Processor time of one thread.
 * peak [RESULT.json [ISA]]. With BENCH_SMOKE=1 in the environment, each shape runs once with at most 4 rows. */
#include "bench/bench_rig.h"
#include <organ/kernels.h>
#include "tests/kit/samples.h"
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { ROUNDS = 1 << 18, RUNS = 7, MAX_ROWS = 512, MOST_N = 4864, MOST_K = 4864, LARGE = 256 };
#define BAR 0.85 /* share of the peak, from LARGE rows on */

/* ---- the peak ---- */

/* Independent sums, as many as hide the latency of an FMA. The result is stored only so that the compiler keeps the
 * sums. */
#define PEAK(name, lanes, sums, type, set, fma, store, target)                                                         \
    target static double name(float *result)                                                                           \
    {                                                                                                                  \
        type sum[sums];                                                                                                \
        const type factor = set(0.5f), one = set(1.0f);                                                                \
        _Pragma("GCC unroll 24") for (int s = 0; s < (sums); s++) sum[s] = set((float)s);                              \
        for (int round = 0; round < ROUNDS; round++)                                                                   \
            _Pragma("GCC unroll 24") for (int s = 0; s < (sums); s++) sum[s] = fma(sum[s], factor, one);               \
        _Pragma("GCC unroll 24") for (int s = 0; s < (sums); s++) store(result + s * (lanes), sum[s]);                 \
        return 2.0 * (lanes) * (sums)*ROUNDS;                                                                          \
    }

#if defined(__x86_64__)
PEAK(peak_avx512, 16, 16, __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps, __attribute__((target("avx512f"))))
PEAK(peak_avx2, 8, 12, __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps, __attribute__((target("avx2,fma"))))
#elif defined(__aarch64__)
#define neon_fma(sum, factor, one) vfmaq_f32(one, sum, factor)
PEAK(peak_neon, 4, 24, float32x4_t, vdupq_n_f32, neon_fma, vst1q_f32, )
#endif

static const struct {
    const char *isa;
    double (*peak)(float *result);
} isas[] = {
#if defined(__x86_64__)
    {"avx512", peak_avx512},
    {"avx2", peak_avx2},
#elif defined(__aarch64__)
    {"neon", peak_neon},
#endif
    {NULL, NULL}};

static double peak_of(double (*peak)(float *))
{
    static float result[24 * 16];
    double best = 0;
    for (int run = 0; run < (bench_is_smoke() ? 1 : RUNS); run++) {
        const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID), done = peak(result);
        const double rate = done / (bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start);
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- the product ---- */

typedef struct arrays {
    float *a, *b, *c;
    uint16_t *narrow; /* b in BF16 */
    void *scratch;
} arrays;

static double product_of(const organ_kernels *kernels, const arrays *s, size_t m, size_t n, size_t k, bool narrow)
{
    const organ_product p = {
        .m = m,
        .n = n,
        .k = k,
        .a = {s->a, ORGAN_REAL_F32, false, k},
        .b = {narrow ? (const void *)s->narrow : s->b, narrow ? ORGAN_REAL_BF16 : ORGAN_REAL_F32, false, k},
        .c = s->c,
        .c_stride = n};
    double best = 1e9;
    for (int run = 0; run < (bench_is_smoke() ? 1 : RUNS); run++) {
        const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID);
        kernels->product(&p, s->scratch);
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

static void one_shape(FILE *json, const organ_kernels *kernels, const arrays *s, const size_t shape[3], bool narrow,
                      double peak)
{
    static int rows;
    const size_t m = shape[0], n = shape[1], k = shape[2], bytes = n * k * (narrow ? 2 : 4);
    const double took = product_of(kernels, s, m, n, k, narrow), read = reading(kernels, s, n * k, narrow);
    const double rate = 2.0 * (double)m * (double)n * (double)k / took, share = rate / peak;
    printf("%-7s %-4s m %4zu n %4zu k %4zu  %7.1f GF/s  %.2f of the peak  %6.1f GB/s of B, %.2f of reading",
           kernels->isa, narrow ? "bf16" : "f32", m, n, k, rate * 1e-9, share, (double)bytes / took * 1e-9,
           read / took);
    if (m < LARGE)
        printf("\n");
    else
        bench_tell_bar(share >= BAR, BAR);
    fflush(stdout);
    fprintf(json,
            "%s\n  {\"isa\": \"%s\", \"b\": \"%s\", \"m\": %zu, \"n\": %zu, \"k\": %zu, \"flops\": %.5g, \"of_peak\": "
            "%.4g, ",
            rows++ ? "," : "", kernels->isa, narrow ? "bf16" : "f32", m, n, k, rate, share);
    fprintf(json, "\"of_reading\": %.4g}", read / took);
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
    printf("%s; from %d rows on the bar is %.2f of the peak\n", bench_cpu_name(cpu), LARGE, BAR);
    fprintf(json, "{\"schema\": \"organ.bench.peak/1\", \"cpu\": \"%s\", \"results\": [", cpu);
    for (size_t i = 0; isas[i].isa; i++) {
        const char *why;
        const organ_kernels *const kernels = organ_kernels_choose(organ_cpu_detect(), isas[i].isa, &why);
        if (!kernels || (argc > 2 && strcmp(argv[2], isas[i].isa) != 0))
            continue;
        const double peak = peak_of(isas[i].peak);
        printf("%-7s FMA peak of one core %7.1f GF/s\n", kernels->isa, peak * 1e-9);
        for (int narrow = 0; narrow < 2; narrow++)
            for (size_t l = 0; l < sizeof layers / sizeof *layers; l++)
                for (size_t r = 0; r < (bench_is_smoke() ? 2 : sizeof rows / sizeof *rows); r++)
                    one_shape(json, kernels, &s, (size_t[]){rows[r], layers[l][0], layers[l][1]}, narrow, peak);
    }
    fprintf(json, "\n]}\n");
    free_arrays(&s);
    return fclose(json) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
