/* SPDX-License-Identifier: MIT
 * Peak rates of one core: loops in assembler, which no compiler can spill, of independent sums in registers, as many as
 * hide the latency of an instruction. */
#ifndef BENCH_PEAKS_H
#define BENCH_PEAKS_H

#include "bench/bench_rig.h"

#include <stdint.h>

enum { BENCH_PEAK_ROUNDS = 1 << 18, BENCH_PEAK_RUNS = 7 };

/* Each loop runs BENCH_PEAK_ROUNDS times and returns its floating-point operations; a fused multiply-add is two. */
#define BENCH_LOOP(setup, body)                                                                                        \
    long rounds = BENCH_PEAK_ROUNDS;                                                                                   \
    __asm__ volatile(setup "1:\n\t" body "dec %0\n\tjnz 1b\n\t" : "+r"(rounds) : : BENCH_CLOBBERS)

#if defined(__x86_64__)
/* 12 of the 16 registers of AVX2, 24 of the 32 of AVX-512. The sources are registers 12 to 15, and 28 and 29. */
#define BENCH_12(one)                                                                                                  \
    one("0") one("1") one("2") one("3") one("4") one("5") one("6") one("7") one("8") one("9") one("10") one("11")
#define BENCH_24(one)                                                                                                  \
    BENCH_12(one)                                                                                                      \
    one("12") one("13") one("14") one("15") one("16") one("17") one("18") one("19") one("20") one("21") one("22")      \
        one("23")
#define BENCH_ZERO_Y(r) "vxorps %%ymm" r ", %%ymm" r ", %%ymm" r "\n\t"
#define BENCH_ZERO_Z(r) "vpxord %%zmm" r ", %%zmm" r ", %%zmm" r "\n\t"
#define BENCH_FMA_Y(r)  "vfmadd231ps %%ymm12, %%ymm13, %%ymm" r "\n\t"
#define BENCH_FMA_Z(r)  "vfmadd231ps %%zmm28, %%zmm29, %%zmm" r "\n\t"
#define BENCH_DOT_Z(r)  "vdpbf16ps %%zmm28, %%zmm29, %%zmm" r "\n\t"
#define BENCH_LOW                                                                                                      \
    "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",   \
        "xmm13", "xmm14", "xmm15"
#define BENCH_HIGH "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm28", "xmm29"

#define BENCH_CLOBBERS BENCH_LOW
__attribute__((target("avx2,fma"))) static inline double bench_peak_avx2(void)
{
    BENCH_LOOP(BENCH_12(BENCH_ZERO_Y) BENCH_ZERO_Y("12") BENCH_ZERO_Y("13"), BENCH_12(BENCH_FMA_Y));
    return 2.0 * 8 * 12 * BENCH_PEAK_ROUNDS;
}
#undef BENCH_CLOBBERS

#define BENCH_CLOBBERS BENCH_LOW, BENCH_HIGH
__attribute__((target("avx512f"))) static inline double bench_peak_avx512(void)
{
    BENCH_LOOP(BENCH_24(BENCH_ZERO_Z) BENCH_ZERO_Z("28") BENCH_ZERO_Z("29"), BENCH_24(BENCH_FMA_Z));
    return 2.0 * 16 * 24 * BENCH_PEAK_ROUNDS;
}

/* A lane of the instruction adds two products of BF16. */
__attribute__((target("avx512f"))) static inline double bench_peak_avx512_bf16(void)
{
    BENCH_LOOP(BENCH_24(BENCH_ZERO_Z) BENCH_ZERO_Z("28") BENCH_ZERO_Z("29"), BENCH_24(BENCH_DOT_Z));
    return 2.0 * 2 * 16 * 24 * BENCH_PEAK_ROUNDS;
}
#undef BENCH_CLOBBERS

/* The process must have permission to use tiles. The configuration has 8 tiles of 16 rows of 64 bytes: an instruction
 * multiplies 16 x 32 by 32 x 16 numbers of BF16. Tiles 0 to 5 are the sums. */
static inline double bench_peak_amx(void)
{
    struct {
        uint8_t palette, start, unused[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};
    long rounds = BENCH_PEAK_ROUNDS;
    for (int k = 0; k < 8; k++) {
        tiles.row_bytes[k] = 64;
        tiles.rows[k] = 16;
    }
    __asm__ volatile("ldtilecfg (%1)\n\t"
                     "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7\n\t"
                     "1:\n\t"
                     "tdpbf16ps %%tmm7, %%tmm6, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm6, %%tmm1\n\t"
                     "tdpbf16ps %%tmm7, %%tmm6, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm6, %%tmm3\n\t"
                     "tdpbf16ps %%tmm7, %%tmm6, %%tmm4\n\ttdpbf16ps %%tmm7, %%tmm6, %%tmm5\n\t"
                     "dec %0\n\tjnz 1b\n\t"
                     "tilerelease\n\t"
                     : "+r"(rounds)
                     : "r"(&tiles)
                     : "cc", "memory");
    return 2.0 * 16 * 16 * 32 * 6 * BENCH_PEAK_ROUNDS;
}
#elif defined(__aarch64__)
#define BENCH_ZERO(r) "movi v" r ".4s, #0\n\t"
#define BENCH_FMA(r)  "fmla v" r ".4s, v30.4s, v31.4s\n\t"
#define BENCH_24(one)                                                                                                  \
    one("0") one("1") one("2") one("3") one("4") one("5") one("6") one("7") one("8") one("9") one("10") one("11")      \
        one("12") one("13") one("14") one("15") one("16") one("17") one("18") one("19") one("20") one("21") one("22")  \
            one("23")
static inline double bench_peak_neon(void)
{
    long rounds = BENCH_PEAK_ROUNDS;
    __asm__ volatile(BENCH_24(BENCH_ZERO) BENCH_ZERO("30")
                         BENCH_ZERO("31") "1:\n\t" BENCH_24(BENCH_FMA) "subs %0, %0, #1\n\tb.ne 1b\n\t"
                     : "+r"(rounds)
                     :
                     : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",
                       "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v30", "v31");
    return 2.0 * 4 * 24 * BENCH_PEAK_ROUNDS;
}
#endif

typedef struct bench_peak {
    const char *isa; /* as organ_kernels.isa or organ_dots.isa */
    double (*loop)(void);
    double rate; /* operations per second: the largest that was measured; 0: none yet */
} bench_peak;

/* Measures again, and returns the largest rate that was ever measured. */
static inline double bench_peak_renew(bench_peak *peak)
{
    for (int run = 0; run < BENCH_PEAK_RUNS; run++) {
        const double start = bench_seconds(CLOCK_THREAD_CPUTIME_ID), done = peak->loop();
        const double rate = done / (bench_seconds(CLOCK_THREAD_CPUTIME_ID) - start);
        peak->rate = rate > peak->rate ? rate : peak->rate;
    }
    return peak->rate;
}

/* Returns the peak of this instruction set; NULL: there is none. */
static inline bench_peak *bench_peak_of(const char *isa)
{
    static bench_peak peaks[] = {
#if defined(__x86_64__)
        {"avx2", bench_peak_avx2, 0},
        {"avx512", bench_peak_avx512, 0},
        {"avx512-mixed", bench_peak_avx512, 0},
        {"avx512-bf16", bench_peak_avx512_bf16, 0},
        {"amx", bench_peak_amx, 0},
#elif defined(__aarch64__)
        {"neon", bench_peak_neon, 0},
#endif
        {NULL, NULL, 0}
    };
    bench_peak *at = peaks;
    while (at->isa && strcmp(at->isa, isa) != 0)
        at++;
    return at->isa ? at : NULL;
}

/* Prints what share of the peak was reached. One above 1 cannot be, and counts as a missed bar. */
static inline void bench_tell_share(double share)
{
    printf("  %.2f of the peak", share);
    if (share > 1)
        bench_miss("   wrong: above the peak");
}

#endif
