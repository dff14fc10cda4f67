/* SPDX-License-Identifier: MIT
 * A second implementation of the search for TQ1_0, TQ2_0, Q1_0 and Q2_0 in docs/definitions/gguf.md. */
#include "tests/kernels/fit_group.h"
#include "tests/kernels/fit_reference.h"

enum { LANES = 16, LARGEST = 256 };

typedef struct few {
    const fit_type *type;
    const float *w;
    float x[LARGEST];
} few;

/* Sums 16 interleaved parts, then adds the upper half of the parts to the lower one until one is left. */
static float folded(float parts[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            parts[l] += parts[l + half];
    return parts[0];
}

static float nearest(const few *f, float x, float inverse)
{
    return code_at(x * inverse, -1, f->type->number == 42 ? 2 : 1);
}

static float mean_of(const few *f)
{
    float sum[LANES] = {0}, all[LANES] = {0}, far = 0;
    for (size_t k = 0; k < f->type->elements; k++) {
        sum[k % LANES] = fmaf(f->w[k], fabsf(f->x[k]), sum[k % LANES]);
        all[k % LANES] += f->w[k];
        far = fmaxf(far, fabsf(f->x[k]));
    }
    return far > 0x1p-26f ? folded(sum) / folded(all) : 0;
}

/* Replaces *d and *gain if the codes with `inverse` give a better scale. */
static int better(const few *f, float inverse, float *d, float *gain)
{
    float qx[LANES] = {0}, qq[LANES] = {0};
    for (size_t k = 0; k < f->type->elements; k++) {
        const float q = nearest(f, f->x[k], inverse), wq = f->w[k] * q;
        qx[k % LANES] = fmaf(wq, f->x[k], qx[k % LANES]);
        qq[k % LANES] = fmaf(wq, q, qq[k % LANES]);
    }
    const float over = folded(qx), under = folded(qq), next = under > 0 ? over / under : 0;
    if (!(next * over > *gain))
        return 0;
    *d = next;
    *gain = next * over;
    return 1;
}

static float best_scale(const few *f, float mean)
{
    static const float ternary[] = {0.75f, 0.6f, 0.45f, 0.3f, 0},
                       four[] = {0.9f, 0.72f, 0.55f, -0.9f, -0.72f, -0.55f, 0};
    const float *tries = f->type->number == 42 ? four : ternary;
    float d = 0, gain = 0;
    for (; *tries != 0 && mean > 0; tries++)
        better(f, *tries / mean, &d, &gain);
    for (int round = 0; round < 8 && better(f, inverse_of(d), &d, &gain); round++)
        ;
    return d;
}

int reference_fit_few(const fit_type *type, const float *values, const float *weights, float *meant)
{
    few f = {.type = type, .w = weights};
    if (type->number != 34 && type->number != 35 && type->number != 41 && type->number != 42)
        return 0;
    for (size_t k = 0; k < type->elements; k++)
        f.x[k] = bounded(values[k]);
    const float mean = mean_of(&f), d = half_of(type->number == 41 ? mean : best_scale(&f, mean));
    for (size_t k = 0; k < type->elements; k++) {
        const float sign = f.x[k] >= 0 ? 1 : -1;
        meant[k] = d * (type->number == 41 ? sign : nearest(&f, f.x[k], d != 0 ? 1 / d : 0));
    }
    return 1;
}
