/* SPDX-License-Identifier: MIT
 * Runs the kernels of GPTQ for bench_kernels.c. */
#ifndef BENCH_CODING_H
#define BENCH_CODING_H

#include <organ/kernels.h>

#include <string.h>

/* Blocks of CODED columns of 16 rows each, of codes of 4 bits in groups of 32 columns. */
enum { CODED = 64 };
static void run_coding(const organ_kernels *k, float *field, float *values, const float *from, size_t n, int refit)
{
    static _Alignas(64) float square[CODED * CODED], scales[CODED / 32 * 16], changes[CODED * 16],
        scratch[3 * CODED * 16];
    static uint32_t groups[CODED];
    organ_coding c = {.descent = 1, .low = -8, .high = 7, .n = CODED, .square = square, .square_stride = CODED};
    for (size_t j = 0; j < CODED; j++) {
        groups[j] = (uint32_t)(j / 32);
        for (size_t l = 0; l < 16; l++)
            scales[groups[j] * 16 + l] = 0.25f;
        for (size_t i = 0; i < CODED; i++)
            square[i * CODED + j] = i == j ? 2 : 0.01f;
    }
    c.groups = groups, c.scales = scales, c.stride = 16, c.changes = changes;
    for (size_t at = 0; at + CODED * 16 <= n; at += CODED * 16) {
        c.field = field + at, c.values = values + at;
        memcpy(c.field, from + at, CODED * 16 * sizeof(float));
        if (refit)
            k->refit_scales(&c, scratch);
        else
            k->code_columns(&c);
    }
}

#endif
