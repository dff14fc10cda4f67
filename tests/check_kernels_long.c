/* SPDX-License-Identifier: MIT
 * All 2^32 FP32 values to BF16 and F16 on every table this CPU runs. Not part of `ninja test`. The reference needs no search: in order of
 * magnitude the code goes up by one wherever a tie is passed. */
#include "tests/kernel_reference.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 20 };
static uint32_t bits[BLOCK];
static uint16_t codes[BLOCK];

typedef struct ladder {
    small_float type;
    unsigned code; /* of the magnitudes from the last tie on */
    double tie;    /* to the next code */
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

/* Number of wrong values among the 2^31 of one sign. */
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
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
