/* SPDX-License-Identifier: MIT
 * Checks all 2^32 FP32 values to BF16 and F16 on every table that this CPU supports, all FP8 codes with all BF16
 * scales, and all quotients of the physarum flow that are computed without a division. Not part of `ninja test`. The
 * reference of the first needs no search: in ascending order the code increases by one at each tie. The reference of
 * FP8 is the product in FP64, which is exact, rounded to FP32 by the compiler and then converted. */
#include "kernels/simd/scalar.h"
#include "tests/kernels/kernel_reference.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 20 };
static uint32_t bits[BLOCK];
static uint16_t codes[BLOCK];

typedef struct ladder {
    small_float type;
    unsigned code; /* code of the magnitudes from the last tie on */
    double tie;    /* tie with the next code */
} ladder;

static void climb(ladder *l, uint32_t magnitude)
{
    float value;
    memcpy(&value, &magnitude, sizeof value);
    while (l->code < reference_infinity(l->type) && (value > l->tie || (value == l->tie && l->code % 2 == 1))) {
        l->code++;
        l->tie = (reference_magnitude(l->type, l->code) + reference_magnitude(l->type, l->code + 1)) / 2;
    }
}

/* Returns the number of wrong results among the 2^31 values of one sign. */
static uint64_t sweep(const organ_kernels *k, int to_f16, uint32_t sign)
{
    const small_float type = to_f16 ? reference_f16 : reference_bf16;
    ladder l = {type, 0, reference_magnitude(type, 1) / 2};
    uint64_t wrong = 0;
    for (uint32_t block = 0; block < 1u << 31; block += BLOCK) {
        for (uint32_t j = 0; j < BLOCK; j++)
            bits[j] = sign | (block + j);
        (to_f16 ? k->f32_to_f16 : k->f32_to_bf16)((const float *)(const void *)bits, codes, BLOCK);
        for (uint32_t j = 0; j < BLOCK; j++) {
            const uint32_t magnitude = block + j;
            if (magnitude <= 0x7f800000)
                climb(&l, magnitude);
            const unsigned expected = magnitude <= 0x7f800000 ? l.code | sign >> 16 : reference_narrow(type, bits[j]);
            wrong += codes[j] != expected;
        }
    }
    return wrong;
}

/* ---- FP8 ---- */
static const char *const fp8_names[] = {"E4M3", "E5M2", "E4M3FNUZ", "E5M2FNUZ"};
static const char *const real_names[] = {"F32", "BF16", "F16"};

static void expect(float exact[256], int real, uint32_t expected[256])
{
    static const uint32_t nan[] = {0x7fc00000, 0x7fc0, 0x7e00};
    uint16_t narrow[256];
    (real == ORGAN_REAL_F16 ? organ_kernels_scalar->f32_to_f16 : organ_kernels_scalar->f32_to_bf16)(exact, narrow, 256);
    for (int c = 0; c < 256; c++) {
        uint32_t wide;
        memcpy(&wide, &exact[c], sizeof wide);
        expected[c] = real == ORGAN_REAL_F32 ? wide : narrow[c];
        if (isnan(exact[c]))
            expected[c] = nan[real];
    }
}

/* Returns the number of wrong results among 256 codes x 65536 scales. Each scale is tested with all codes and with
 * finite ones only. */
static uint64_t sweep_codes(const organ_kernels *k, int code, int real)
{
    uint8_t all[2][256];
    double worth[256];
    uint64_t wrong = 0;
    for (unsigned c = 0; c < 256; c++) {
        worth[c] = reference_code((organ_code)code, c);
        all[0][c] = (uint8_t)c;
        all[1][c] = isfinite(worth[c]) ? (uint8_t)c : 0;
    }
    for (uint32_t s = 0; s < 65536; s++) {
        const uint32_t scale_bits = s << 16;
        uint32_t expected[256];
        float scale, exact[256];
        memcpy(&scale, &scale_bits, sizeof scale);
        for (int c = 0; c < 256; c++)
            exact[c] = (float)(worth[c] * (double)scale);
        expect(exact, real, expected);
        for (int array = 0; array < 2; array++) {
            union {
                uint32_t wide[256];
                uint16_t narrow[256];
            } found;
            k->decode[code][real](all[array], &scale, NULL, 256, &found, 256);
            for (int j = 0; j < 256; j++)
                wrong += (real == ORGAN_REAL_F32 ? found.wide[j] : found.narrow[j]) != expected[all[array][j]];
        }
    }
    return wrong;
}

/* ---- quotients of the flow ---- */
/* Tests with the worst estimates of the reciprocal, above and below, and with good ones. */
static float estimate_error;
static f32x16 bad_reciprocal(f32x16 a) { EACH_LANE(f32x16, (1.0f + estimate_error) / a.lane[l]); }
#define f32_reciprocal bad_reciprocal
#include "kernels/quotient.h"

static float float_of(uint32_t word)
{
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* Returns the number of wrong quotients x / (1 + x), for every x from 2^-25 on, and for some smaller ones, where 1 + x
 * is 1. */
static uint64_t sweep_quotients(void)
{
    enum { MIN = 0x0d800000 /* 2^-100 */, SMALL = 0x33000000 /* 2^-25 */, INFINITY_BITS = 0x7f800000, SOME = 1021 };
    uint64_t wrong = 0;
    for (uint32_t word = MIN; word <= INFINITY_BITS; word += 16 * (word < SMALL || word > 0x4d000000 ? SOME : 1)) {
        f32x16 x;
        for (uint32_t l = 0; l < 16; l++)
            x.lane[l] = float_of(word + l < INFINITY_BITS ? word + l : INFINITY_BITS);
        const f32x16 found = saturating_quotient_by_estimate(x),
                     expected = saturating_quotient(f32_min(x, f32_set1(0x1p126f)));
        wrong += memcmp(&found, &expected, sizeof found) != 0;
    }
    return wrong;
}

int main(void)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        const char *why;
        const organ_kernels *k = organ_kernels_choose(organ_cpu_detect(), isas[i], &why);
        for (int to_f16 = 0; k && to_f16 < 2; to_f16++) {
            const uint64_t wrong = sweep(k, to_f16, 0) + sweep(k, to_f16, 0x80000000);
            printf("%-7s f32_to_%s: %llu of 2^32 wrong\n", k->isa, to_f16 ? "f16" : "bf16", (unsigned long long)wrong);
            fflush(stdout);
            passed += wrong == 0;
            failed += wrong != 0;
        }
        for (int which = 0; k && which < 4 * ORGAN_REALS; which++) {
            const int code = ORGAN_CODE_E4M3 + which / ORGAN_REALS, real = which % ORGAN_REALS;
            const uint64_t wrong = sweep_codes(k, code, real);
            printf("%-7s %s to %s: %llu of 2^24 wrong\n", k->isa, fp8_names[code], real_names[real],
                   (unsigned long long)wrong);
            fflush(stdout);
            passed += wrong == 0;
            failed += wrong != 0;
        }
    }
    for (int error = -1; error <= 1; error++) {
        estimate_error = (float)error * 0x1p-14f;
        const uint64_t wrong = sweep_quotients();
        printf("quotients of the flow, estimates off by %g: %llu vectors wrong\n", (double)estimate_error,
               (unsigned long long)wrong);
        passed += wrong == 0;
        failed += wrong != 0;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
