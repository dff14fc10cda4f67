/* SPDX-License-Identifier: MIT
 * Measures every kernel of every table that this CPU supports: GB/s (bytes read plus bytes written), elements per core
 * cycle, and ratios to memcpy and to the scalar table in the same run; warm (arrays that fit into L2) and cold (the
 * larger array has 256 MiB). Exits with status 1 before measuring if a member of organ_kernels has no row here.
 * kernels [RESULT.json [WORD]]: WORD selects kernels with it in their name, or "none". With BENCH_SMOKE in the
 * environment, the larger array has 4 MiB and each kernel runs once. */
#include "bench/bench_blocks.h"
#include "bench/bench_coding.h"
#include "bench/bench_rig.h"
#include <organ/kernels.h>
#include "tests/kit/samples.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_BYTES = 256 << 10, TILE = 256, ITERATIONS = 30, COLD_COLS = 8192, SMOKE_COLS = 1024, CHUNK = 4096 };
enum { SIDE = 64, GROUP = 128 };

/* Bytes of the larger array of a cold measurement. */
static size_t cold_bytes(void) { return bench_is_smoke() ? 4 << 20 : 256 << 20; }

typedef struct arrays {
    unsigned char *in, *in2, *out;
    void *scratch;
} arrays;

/* A kernel of the table, and the function that runs it over n units (elements or blocks). */
typedef struct subject subject;
typedef void run_kernel(const organ_kernels *k, const subject *s, const arrays *a, size_t n);
struct subject {
    const char *name;
    size_t member;      /* offset in organ_kernels; for functions of libc, an index into their own list */
    size_t read, write; /* bytes per unit */
    size_t elements, inputs;
    run_kernel *run; /* NULL: the physarum tile */
};

typedef struct result {
    double seconds, per_second, gigabytes, per_cycle, of_memcpy, of_scalar;
} result;

/* Processor time of this thread, which does not depend on what else the machine runs. */
static double now(void) { return bench_seconds(CLOCK_THREAD_CPUTIME_ID); }

static void keep(const void *p) { __asm__ volatile("" : : "r"(p) : "memory"); }

/* ---- kernels to measure ---- */
#define FLOATS(p)  ((float *)(void *)(p))
#define WORDS(p)   ((uint16_t *)(void *)(p))
#define DOUBLES(p) ((double *)(void *)(p))
#define RUN(name)  static void run_##name(const organ_kernels *k, const subject *s, const arrays *a, size_t n)
/* Reads the function at the row's offset in the table. */
#define MEMBER(type)                                                                                                   \
    __typeof__(type) *member;                                                                                          \
    memcpy(&member, (const char *)k + s->member, sizeof(member))
#define IGNORE (void)k, (void)s

RUN(memcpy) { IGNORE, memcpy(a->out, a->in, n); }
RUN(to_floats)
{
    MEMBER(void(const void *, float *, size_t));
    member(a->in, FLOATS(a->out), n);
}
RUN(narrow)
{
    MEMBER(void(const float *, uint16_t *, size_t));
    member(FLOATS(a->in), WORDS(a->out), n);
}
RUN(dequantize)
{
    MEMBER(organ_dequantize_blocks);
    member(a->in, FLOATS(a->out), n);
}
RUN(quantize)
{
    MEMBER(organ_quantize_blocks);
    member(FLOATS(a->in), a->out, n);
}
RUN(fit)
{
    MEMBER(organ_fit_blocks);
    member(FLOATS(a->in), NULL, s->elements, a->out, n);
}
RUN(decode)
{
    MEMBER(organ_decode_codes);
    member(a->in, FLOATS(a->in2), NULL, GROUP, a->out, n * s->elements);
}
RUN(decode_levels)
{
    MEMBER(organ_decode_levels);
    member(a->in, FLOATS(a->in2), FLOATS(a->in2), GROUP, a->out, n * s->elements);
}
RUN(encode)
{
    MEMBER(organ_encode_codes);
    member(FLOATS(a->in), FLOATS(a->in2), GROUP, a->out, n * s->elements);
}
RUN(encode_summed)
{
    double sums[2];
    MEMBER(organ_encode_summed);
    member(FLOATS(a->in), FLOATS(a->in2), GROUP, a->out, n * s->elements, sums);
    keep(sums);
}
RUN(moments)
{
    organ_moments m;
    MEMBER(void(const void *, size_t, organ_moments *));
    member(a->in, n, &m);
    keep(&m);
}
RUN(zeros)
{
    MEMBER(uint64_t(const void *, size_t));
    const uint64_t zeros = member(a->in, n);
    keep(&zeros);
}
RUN(audit)
{
    organ_audit_counts counts;
    MEMBER(void(const void *, const void *, size_t, organ_audit_counts *));
    member(a->in, a->in2, n, &counts);
    keep(&counts);
}
RUN(count_codes)
{
    static uint64_t counts[65536];
    (void)s, k->count_codes(WORDS(a->in), n, counts);
    keep(counts);
}
RUN(spread)
{
    organ_spread spread;
    (void)s, k->spread(FLOATS(a->in), n, &spread);
    keep(&spread);
}
RUN(z_bins)
{
    static uint64_t counts[4 * ORGAN_Z_BINS];
    (void)s, k->z_bins(FLOATS(a->in), n, 0.0, 1.0, counts);
    keep(counts);
}
RUN(amax)
{
    (void)s;
    const float max = k->amax(FLOATS(a->in), n);
    keep(&max);
}
RUN(powers_of) { (void)s, k->powers_of(10000, FLOATS(a->in), FLOATS(a->out), n); }
/* A kernel that returns a sum. */
#define SUM(name, call)                                                                                                \
    RUN(name)                                                                                                          \
    {                                                                                                                  \
        (void)s;                                                                                                       \
        const double sum = k->call;                                                                                    \
        keep(&sum);                                                                                                    \
    }
SUM(exp_sum, exp_sum(FLOATS(a->in), n, 2))
SUM(smaller_exp_sum, smaller_exp_sum(FLOATS(a->in), 1, FLOATS(a->in2), 2, n))
SUM(divergence, divergence(FLOATS(a->in), 2, FLOATS(a->in2), 2, n))
RUN(raised_divergence)
{
    (void)s;
    const double sums[2] = {2, 100}, sum = k->raised_divergence(FLOATS(a->in), sums, FLOATS(a->in2), sums, n);
    keep(&sum);
}
SUM(entropy, entropy(DOUBLES(a->in), n))
/* Multiplies PRODUCT_ROWS rows of FP32 by a matrix of n elements in BF16; each multiplication of an element counts. */
enum { PRODUCT_ROWS = 64, PRODUCT_DEPTH = 1024 };
RUN(product)
{
    const size_t columns = n / PRODUCT_DEPTH;
    const organ_product p = {.m = PRODUCT_ROWS,
                             .n = columns,
                             .k = PRODUCT_DEPTH,
                             .a = {a->in2, ORGAN_REAL_F32, false, PRODUCT_DEPTH},
                             .b = {a->in, ORGAN_REAL_BF16, false, PRODUCT_DEPTH},
                             .c = a->out,
                             .c_stride = columns};
    (void)s, k->product(&p, a->scratch);
}

SUM(dot, dot_f64(DOUBLES(a->in), DOUBLES(a->in2), n))
RUN(add_scaled) { (void)s, k->add_scaled_f64(DOUBLES(a->out), 0.5, DOUBLES(a->in), n); }

/* Copies CHUNK values, which stay in L1, for kernels that work in place. The time includes the copy. */
static float *copied(const arrays *a, size_t at, size_t n)
{
    static _Alignas(64) float chunk[CHUNK];
    return memcpy(chunk, FLOATS(a->in) + at, n * sizeof(float));
}
#define CHUNKS(call)                                                                                                   \
    for (size_t at = 0; at < n; at += CHUNK) {                                                                         \
        const size_t part = n - at < CHUNK ? n - at : CHUNK;                                                           \
        float *const values = copied(a, at, part);                                                                     \
        call;                                                                                                          \
        keep(values);                                                                                                  \
    }
#include "bench/merge/bench_selection.h"
RUN(gate)
{
    MEMBER(void(float *, const float *, size_t));
    CHUNKS(member(values, FLOATS(a->in2) + at, part))
}
RUN(softcap)
{
    (void)s;
    CHUNKS(k->softcap(values, part, 30))
}
RUN(exp_below)
{
    (void)s;
    CHUNKS(k->exp_below(values, part, 2))
}
RUN(softplus)
{
    (void)s;
    CHUNKS(k->softplus(values, part))
}
RUN(haar_purify)
{
    static float scratch[CHUNK];
    (void)s;
    CHUNKS(k->haar_purify(values, part, 1, 0.1f, scratch))
}
/* A chunk is a SIDE x SIDE matrix with a large diagonal, which keeps it positive definite. */
RUN(cholesky)
{
    (void)s;
    CHUNKS(for (size_t j = 0; j < SIDE; j++) values[j * (SIDE + 1)] = SIDE * 4; k->cholesky_f32(values, SIDE))
}
RUN(solve)
{
    (void)s;
    CHUNKS(for (size_t j = 0; j < SIDE; j++) values[j * (SIDE + 1)] = SIDE * 4;
           k->solve_f32(values, SIDE, FLOATS(a->out)))
}
/* The tokens of one head of a gated delta rule with a state of SIDE x SIDE, which starts at 0. Each element of the
 * values counts. */
RUN(recurrence)
{
    static _Alignas(64) float state[SIDE * (SIDE + 16)];
    static const float decay = 0.9f, strength = 0.5f;
    const size_t stride = organ_recurrence_stride(SIDE);
    const float *const in = FLOATS(a->in);
    const organ_recurrence r = {n / SIDE, SIDE, SIDE, in, in,   in,     &decay, &strength, FLOATS(a->out), state, SIDE,
                                SIDE,     SIDE, 0,    0,  SIDE, stride, false,  true};
    memset(state, 0, sizeof state);
    (void)s, k->recurrence(&r);
}
/* A selective scan over SCAN_CHANNELS channels with SCAN_STATES states each. Each element of the values counts. */
enum { SCAN_CHANNELS = 1024, SCAN_STATES = 16 };
RUN(selective_scan)
{
    static _Alignas(64) float state[SCAN_STATES * SCAN_CHANNELS], rates[SCAN_STATES * SCAN_CHANNELS];
    for (size_t j = 0; j < SCAN_STATES * SCAN_CHANNELS; j++)
        rates[j] = -0.01f;
    const float *const in = FLOATS(a->in), *const in2 = FLOATS(a->in2);
    /* clang-format off */
    const organ_selective_scan scan = {n / SCAN_CHANNELS, SCAN_CHANNELS, SCAN_STATES, FLOATS(a->out), in, in2, in2,
        rates, in2, state, SCAN_CHANNELS, SCAN_CHANNELS, SCAN_STATES, SCAN_STATES, SCAN_CHANNELS, SCAN_CHANNELS};
    /* clang-format on */
    memset(state, 0, sizeof state);
    (void)s, k->selective_scan(&scan);
}
/* The search for scales of groups of SEARCHED values with whole codes of 4 bits. */
enum { SEARCHED = 32 };
static const organ_scale_search search = {
    0,        -8, 7, 1, 1, 1, {7.5f, 8, 7.8f, 7.6f, 7.4f, 7.2f, 7, 6.8f, 6.6f, 6.4f, 6.2f, 6, 5.8f, 5.6f, 5.4f, 5.2f},
    .e2m1 = 0};
RUN(search_scales)
{
    (void)s;
    const double error = k->search_scales(&search, FLOATS(a->in), n, 1, n, SEARCHED, FLOATS(a->out));
    keep(&error);
}
RUN(search_weighted)
{
    (void)s, k->search_weighted(&search, FLOATS(a->in), FLOATS(a->in2), n, SEARCHED, FLOATS(a->out));
}
RUN(transpose) { (void)s, k->transpose(FLOATS(a->in), SIDE, FLOATS(a->out), n / SIDE, n / SIDE, SIDE); }
RUN(code_columns) { (void)s, run_coding(k, FLOATS(a->out), FLOATS(a->in2), FLOATS(a->in), n, 0); }
RUN(refit_scales) { (void)s, run_coding(k, FLOATS(a->out), FLOATS(a->in2), FLOATS(a->in), n, 1); }
RUN(fit_affine)
{
    const organ_affine_fit fit = {4, SEARCHED, ORGAN_STORE_BF16};
    float *const out = FLOATS(a->out);
    const double error = k->fit_affine(&fit, FLOATS(a->in), FLOATS(a->in2), n, out, out + n / SEARCHED);
    (void)s;
    keep(&error);
}
RUN(scale_errors)
{
    float scales[16], errors[16];
    (void)s;
    for (size_t at = 0; at + SEARCHED <= n; at += SEARCHED) {
        k->scale_errors(&search, FLOATS(a->in) + at, SEARCHED, 3, scales, errors);
        keep(errors);
    }
}
RUN(error_squares)
{
    double sums[2];
    (void)s;
    k->error_squares(FLOATS(a->in), FLOATS(a->in2), n, sums);
    keep(sums);
}
static float (*const functions[])(float) = {expf, tanhf, erff};
RUN(function)
{
    (void)k;
    CHUNKS(for (size_t j = 0; j < part; j++) values[j] = functions[s->member](values[j]))
}
RUN(powf)
{
    IGNORE;
    CHUNKS(for (size_t j = 0; j < part; j++) values[j] = powf(10000, values[j]))
}
RUN(exp)
{
    IGNORE;
    for (size_t j = 0; j < n; j++)
        DOUBLES(a->out)[j] = exp((double)FLOATS(a->in)[j]);
}
RUN(log2)
{
    IGNORE;
    for (size_t j = 0; j < n; j++)
        DOUBLES(a->out)[j] = log2(DOUBLES(a->in)[j]);
}

#define OF(member) offsetof(organ_kernels, member)
#define ROW(name, member, read, write, el, inputs, run)                                                                \
    {                                                                                                                  \
        name, OF(member), read, write, el, inputs, run                                                                 \
    }
#define PLAIN(member, read, write, run) ROW(#member, member, read, write, 1, 1, run)
#define TWO(member, read, write, run)   ROW(#member, member, read, write, 1, 2, run)
#define BLOCKS(type, number, bytes, el) ROW(type " to f32", dequantize[number], bytes, 4 * (el), el, 1, run_dequantize)

#define TO_BLOCKS(type, number, bytes, el) ROW("f32 to " type, quantize[number], 4 * (el), bytes, el, 1, run_quantize)
#define FIT(type, number, bytes, el)       ROW("f32 fitted to " type, fit[number], 4 * (el), bytes, el, 1, run_fit)
#define BOTH(type, number, bytes, el)      TO_BLOCKS(type, number, bytes, el), FIT(type, number, bytes, el)
#define DECODE(type, code, el)                                                                                         \
    ROW(type " to f32", decode[code][ORGAN_REAL_F32], 1, 4 * (el), el, 1, run_decode),                                 \
        ROW(type " to bf16", decode[code][ORGAN_REAL_BF16], 1, 2 * (el), el, 1, run_decode),                           \
        ROW(type " to f16", decode[code][ORGAN_REAL_F16], 1, 2 * (el), el, 1, run_decode)
#define ENCODE(type, code, el)                                                                                         \
    ROW("f32 to " type, encode[code], 4 * (el), 1, el, 1, run_encode),                                                 \
        ROW("f32 to " type ", summed", encode_summed[code], 4 * (el), 1, el, 1, run_encode_summed)

static const subject memcpy_subject = {"memcpy", 0, 1, 1, 1, 1, run_memcpy};
static const subject subjects[] = {
    PLAIN(bf16_to_f32, 2, 4, run_to_floats),
    PLAIN(f16_to_f32, 2, 4, run_to_floats),
    PLAIN(f32_to_bf16, 4, 2, run_narrow),
    PLAIN(f32_to_f16, 4, 2, run_narrow),
    PLAIN(moments_bf16, 2, 0, run_moments),
    PLAIN(moments_f16, 2, 0, run_moments),
    PLAIN(moments_f32, 4, 0, run_moments),
    PLAIN(zeros_16, 2, 0, run_zeros),
    PLAIN(zeros_32, 4, 0, run_zeros),
    TWO(audit_16, 4, 0, run_audit),
    TWO(audit_32, 8, 0, run_audit),
    BENCH_BLOCKS(BLOCKS) TO_BLOCKS("f32", 0, 4, 1),
    TO_BLOCKS("f16", 1, 2, 1),
    TO_BLOCKS("bf16", 30, 2, 1),
    BOTH("q8_0", 8, 34, 32),
    BOTH("q4_0", 2, 18, 32),
    BOTH("q4_1", 3, 20, 32),
    BOTH("q5_0", 6, 22, 32),
    BOTH("q5_1", 7, 24, 32),
    BENCH_FITTED(FIT) DECODE("e4m3", ORGAN_CODE_E4M3, 1),
    DECODE("e5m2", ORGAN_CODE_E5M2, 1),
    DECODE("e4m3fnuz", ORGAN_CODE_E4M3FNUZ, 1),
    DECODE("e5m2fnuz", ORGAN_CODE_E5M2FNUZ, 1),
    DECODE("i8", ORGAN_CODE_I8, 1),
    DECODE("u8", ORGAN_CODE_U8, 1),
    DECODE("e2m1", ORGAN_CODE_E2M1, 2),
    DECODE("u4", ORGAN_CODE_U4, 2),
    ROW("levels to f32", decode_levels[ORGAN_REAL_F32], 1, 8, 2, 1, run_decode_levels),
    ROW("levels to bf16", decode_levels[ORGAN_REAL_BF16], 1, 4, 2, 1, run_decode_levels),
    ROW("levels to f16", decode_levels[ORGAN_REAL_F16], 1, 4, 2, 1, run_decode_levels),
    ENCODE("e4m3", ORGAN_CODE_E4M3, 1),
    ENCODE("e5m2", ORGAN_CODE_E5M2, 1),
    ENCODE("i8", ORGAN_CODE_I8, 1),
    ENCODE("u8", ORGAN_CODE_U8, 1),
    ENCODE("e2m1", ORGAN_CODE_E2M1, 2),
    ENCODE("u4", ORGAN_CODE_U4, 2),
    PLAIN(amax, 4, 0, run_amax),
    PLAIN(count_codes, 2, 0, run_count_codes),
    PLAIN(pair_means_bf16, 4, 4, run_to_floats),
    PLAIN(pair_means_f16, 4, 4, run_to_floats),
    PLAIN(pair_means_f32, 8, 4, run_to_floats),
    PLAIN(spread, 4, 0, run_spread),
    PLAIN(z_bins, 4, 0, run_z_bins),
    PLAIN(haar_purify, 4, 4, run_haar_purify),
    TWO(gate_silu, 8, 4, run_gate),
    TWO(gate_gelu_tanh, 8, 4, run_gate),
    TWO(gate_gelu, 8, 4, run_gate),
    PLAIN(softcap, 4, 4, run_softcap),
    PLAIN(softplus, 4, 4, run_softplus),
    PLAIN(powers_of, 4, 4, run_powers_of),
    PLAIN(exp_below, 4, 4, run_exp_below),
    PLAIN(exp_sum, 4, 0, run_exp_sum),
    TWO(smaller_exp_sum, 8, 0, run_smaller_exp_sum),
    TWO(divergence, 8, 0, run_divergence),
    TWO(raised_divergence, 8, 0, run_raised_divergence),
    PLAIN(entropy, 8, 0, run_entropy),
    TWO(dot_f64, 16, 0, run_dot),
    TWO(add_scaled_f64, 16, 8, run_add_scaled),
    PLAIN(cholesky_f32, 4, 4, run_cholesky),
    PLAIN(solve_f32, 4, 0, run_solve),
    PLAIN(search_scales, 4, 0, run_search_scales),
    PLAIN(scale_errors, 4, 0, run_scale_errors),
    TWO(search_weighted, 8, 0, run_search_weighted),
    TWO(fit_affine, 8, 0, run_fit_affine),
    PLAIN(transpose, 4, 4, run_transpose),
    TWO(code_columns, 8, 8, run_code_columns),
    TWO(refit_scales, 8, 8, run_refit_scales),
    TWO(error_squares, 8, 0, run_error_squares),
    BENCH_SELECTION(PLAIN, TWO) PLAIN(recurrence, 12, 4, run_recurrence),
    PLAIN(selective_scan, 8, 4, run_selective_scan),
    {"product", OF(product), 2, 0, PRODUCT_ROWS, 1, run_product},
    PLAIN(physarum_bf16, 2, 2, NULL),
    PLAIN(physarum_f16, 2, 2, NULL),
    PLAIN(physarum_f32, 4, 4, NULL),
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };
/* The functions of libm, called for one value at a time. */
static const subject of_libc[] = {
    {"expf", 0, 4, 4, 1, 1, run_function}, {"tanhf", 1, 4, 4, 1, 1, run_function},
    {"erff", 2, 4, 4, 1, 1, run_function}, {"powf", 0, 4, 4, 1, 1, run_powf},
    {"exp", 0, 4, 8, 1, 1, run_exp},       {"log2", 0, 8, 8, 1, 1, run_log2},
};

/* ---- every kernel has a row ---- */

/* Reports the functions of the tables that have no row here. A table consists of a name and function pointers, so each
 * pointer-sized word that is set in any table is checked. */
static int missing_rows(void)
{
    const organ_kernels *const tables[] = {organ_kernels_scalar, organ_kernels_avx2, organ_kernels_avx512,
                                           organ_kernels_neon};
    int missing = 0;
    for (size_t at = sizeof(char *); at + sizeof(void *) <= sizeof(organ_kernels); at += sizeof(void *)) {
        int is_set = 0, has_row = 0;
        for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
            for (size_t byte = 0; tables[t] && byte < sizeof(void *); byte++)
                is_set |= ((const unsigned char *)tables[t])[at + byte] != 0;
        for (size_t s = 0; s < SUBJECTS; s++)
            has_row |= subjects[s].member == at;
        if (is_set && !has_row)
            fprintf(stderr, "bench_kernels: the member of organ_kernels at byte %zu has no row\n", at), missing++;
    }
    return missing;
}

/* ---- measuring ---- */
static result measure(const subject *s, const organ_kernels *k, const arrays *a, size_t bytes, double frequency)
{
    const size_t read = s->read / s->inputs, n = bytes / (read > s->write ? read : s->write);
    const double end = now() + (bench_is_smoke() ? 0 : 0.1);
    double best = 1e9;
    for (int run = 0; run == 0 || (run < 1000 && now() < end); run++) {
        const double start = now();
        s->run(k, s, a, n);
        const double took = now() - start;
        best = took < best ? took : best;
    }
    const double per_second = (double)n * (double)s->elements / best;
    return (result){.seconds = best,
                    .per_second = per_second,
                    .gigabytes = (double)n / best * (double)(s->read + s->write) * 1e-9,
                    .per_cycle = per_second / frequency};
}

/* Returns weight-iterations per second over tiles of a matrix `cols` wide at in2, which is pruned in a copy. If warm,
 * the same tile is pruned repeatedly; if cold, each tile once. */
static result measure_physarum(const subject *s, const organ_kernels *k, const arrays *a, int cold, double frequency)
{
    const organ_physarum_params params = {ITERATIONS, 2, 1, 6};
    const size_t cols = bench_is_smoke() ? SMOKE_COLS : COLD_COLS;
    const size_t stride = cold ? cols : TILE, tiles = cold ? cols / TILE : 1, size = s->read;
    const int measured = cold ? 3 : 20, runs = bench_is_smoke() ? 1 : measured;
    MEMBER(void(void *, size_t, size_t, size_t, const organ_physarum_params *, void *, organ_prune_counts *));
    organ_prune_counts counts;
    double best = 1e9;
    for (int run = 0; run < runs; run++) {
        memcpy(a->out, size == 4 ? a->in : a->in2, TILE * stride * size);
        if (cold) /* evict it from the caches: the tile is not in the last quarter of the array */
            memset(a->out + cold_bytes() / 4 * 3, 1, cold_bytes() / 4);
        const double start = now();
        for (size_t t = 0; t < tiles; t++)
            member(a->out + t * TILE * size, TILE, TILE, stride, &params, a->scratch, &counts);
        const double took = (now() - start) / (double)tiles;
        best = took < best ? took : best;
    }
    const double per_second = (double)TILE * TILE * ITERATIONS / best;
    return (result){.seconds = best, .per_second = per_second, .per_cycle = per_second / frequency};
}

/* ---- output ---- */
static void show(FILE *json, const char *name, const char *isa, int cold, const result *r)
{
    static int rows;
    const int streams = r->gigabytes > 0;
    printf("%-15s %-7s %-5s %8.2f %-7s %8.2f %9.2f %9.2f\n", name, isa, cold ? "cold" : "warm",
           streams ? r->gigabytes : r->per_second * 1e-9, streams ? "GB/s" : "G w-i/s", r->per_cycle, r->of_memcpy,
           r->of_scalar);
    fprintf(json,
            "%s\n  {\"kernel\": \"%s\", \"isa\": \"%s\", \"cold\": %s, \"elements_per_second\": %.6g, "
            "\"gigabytes_per_second\": %.4g, ",
            rows++ ? "," : "", name, isa, cold ? "true" : "false", r->per_second, r->gigabytes);
    fprintf(json, "\"elements_per_cycle\": %.4g, \"ratio_to_memcpy\": %.4g, \"ratio_to_scalar\": %.4g}", r->per_cycle,
            r->of_memcpy, r->of_scalar);
}

static int requested(const subject *s, const char *word) { return !word || strstr(s->name, word) != NULL; }

static void bench_all(FILE *json, const arrays *a, const char *word, int cold, double frequency)
{
    static const char *const isas[] = {"scalar", "neon", "avx2", "avx512", "avx512-mixed"};
    result scalar[SUBJECTS], copy = measure(&memcpy_subject, NULL, a, cold ? cold_bytes() : WARM_BYTES, frequency);
    copy.of_memcpy = 1;
    show(json, "memcpy", "libc", cold, &copy);
    for (size_t s = 0; !cold && s < sizeof of_libc / sizeof *of_libc; s++)
        if (requested(&of_libc[s], word)) {
            const result r = measure(&of_libc[s], NULL, a, WARM_BYTES, frequency);
            show(json, of_libc[s].name, "libc", cold, &r);
        }
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        const char *why;
        const organ_kernels *k = organ_kernels_choose(organ_cpu_detect(), isas[i], &why);
        size_t bytes = WARM_BYTES;
        if (cold)
            bytes = i == 0 ? cold_bytes() / 8 : cold_bytes(); /* scalar kernels are far below the bandwidth of memory */
        for (size_t s = 0; k && s < SUBJECTS; s++) {
            if (!requested(&subjects[s], word) || (k == organ_kernels_avx512_mixed && subjects[s].run))
                continue; /* this table replaces the physarum tile only */
            result r = subjects[s].run ? measure(&subjects[s], k, a, bytes, frequency)
                                       : measure_physarum(&subjects[s], k, a, cold, frequency);
            if (i == 0)
                scalar[s] = r;
            r.of_scalar = r.per_second / scalar[s].per_second;
            r.of_memcpy = r.gigabytes / copy.gigabytes;
            show(json, subjects[s].name, k->isa, cold, &r);
        }
    }
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "build/bench/kernels.json", *word = argc > 2 ? argv[2] : NULL;
    if (missing_rows() > 0)
        return EXIT_FAILURE;
    const arrays a = {bench_large(cold_bytes()), bench_large(cold_bytes()), bench_large(cold_bytes()),
                      aligned_alloc(64, organ_physarum_scratch(TILE, TILE))};
    const double frequency = bench_core_frequency();
    samples random = {1};
    FILE *json = fopen(path, "w");
    if (!json || !a.scratch) {
        perror(path);
        return EXIT_FAILURE;
    }
    samples_fill(&random, NORMAL, FLOATS(a.in), 1 << 20);
    organ_kernels_scalar->f32_to_bf16(FLOATS(a.in), WORDS(a.in2), 1 << 20);
    for (size_t k = 0; k < 1 << 20; k++)
        WORDS(a.in2)[k] &= 0xff77; /* so that no byte is NaN in FP8 */
    for (size_t at = 2 << 20; at < cold_bytes(); at *= 2)
        memcpy(a.in2 + at, a.in2, at);
    memcpy(a.in, a.in2, cold_bytes());
    memset(a.out, 1, cold_bytes());
    printf("core %.2f GHz; bytes read and written count alike; warm %d KiB, cold %zu MiB in the larger array\n",
           frequency * 1e-9, WARM_BYTES >> 10, cold_bytes() >> 20);
    printf("%-15s %-7s %-5s %16s %8s %9s %9s\n", "kernel", "isa", "", "", "el/cycle", "x memcpy", "x scalar");
    fprintf(json,
            "{\"schema\": \"organ.bench.kernels/1\", \"core_hertz\": %.6g, \"warm_bytes\": %d, \"cold_bytes\": %zu, "
            "\"results\": [",
            frequency, WARM_BYTES, cold_bytes());
    bench_all(json, &a, word, 0, frequency);
    bench_all(json, &a, word, 1, frequency);
    fprintf(json, "\n]}\n");
    free(a.in), free(a.in2), free(a.out), free(a.scratch);
    return fclose(json) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
